"""Which programs no other beats in everything that counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from search.store.rows import Row

Sized = TypeVar("Sized", bound=Row)


def wants_small(settings: Mapping[str, Any]) -> bool:
    """Return whether sizes are among the objectives of a search with these settings, as they are stored."""
    strategy = settings.get("strategy")
    objectives = strategy.get("objectives") if isinstance(strategy, dict) else None
    return isinstance(objectives, list) and len(objectives) > 1


def pareto_front(rows: Iterable[Sized]) -> list[Sized]:
    """Return the rows that are not dominated, of falling lower bounds: fitness less its standard error.

    A row is dominated if another has at least its bound with at most its live statements and state slots, and is better
    in one of these; of equals, the first stays.

    Args:
        rows: with `lower_bound`, `live_statements` and `state_slots`.
    """
    front: list[Sized] = []
    least: dict[float, int] = {}  # live statements of the leanest row so far, by its state slots
    for row in sorted(rows, key=_best_first):
        _, statements, slots = _best_first(row)
        if all(statements < known for used, known in least.items() if used <= slots):
            front.append(row)
            least[slots] = statements
    return front


def _best_first(row: Row) -> tuple[float, int, float]:
    values = row.as_columns()
    return -values["lower_bound"], values["live_statements"], values["state_slots"]
