"""Which programs no other beats in everything that counts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def pareto_front(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows that are not dominated: no other has at least the fitness with at most the live statements and state
    slots, and is better in one of these; of equals, the first. Of falling fitness.

    Args:
        rows: with `fitness`, `live_statements` and `state_slots`.
    """
    front: list[dict[str, Any]] = []
    least: dict[int, int] = {}  # live statements of the leanest row so far, by its state slots
    for row in sorted(rows, key=lambda row: (-row["fitness"], row["live_statements"], row["state_slots"])):
        slots, statements = row["state_slots"], row["live_statements"]
        if all(statements < known for used, known in least.items() if used <= slots):
            front.append(row)
            least[slots] = statements
    return front
