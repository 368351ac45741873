"""Results of the locked tasks as tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from search.commands.terminal import console, number, show_table
from search.store.evidence_views import ProofEntry


def show_proof(rows: Iterable[ProofEntry]) -> None:
    """Print, for each locked set, a table for each of its tasks, and one over all of them.

    Args:
        rows: of one finalist, on whole sets.
    """
    of_sets: dict[str, list[ProofEntry]] = {}
    for row in rows:
        of_sets.setdefault(row.locked_set, []).append(row)
    for name, of_set in of_sets.items():
        _show_set(name, of_set)
    console.print("p is corrected for the finalists of a set by then, and for there being several sets.")


def _show_set(name: str, rows: Sequence[ProofEntry]) -> None:
    for task in dict.fromkeys(row.task for row in rows):
        _show_task(task, [row for row in rows if row.task == task])
    competitors, finalists = dict.fromkeys(row.competitor for row in rows), rows[0].finalists
    show_table(
        f"over the {name} locked set ({finalists} finalist{'s' * (finalists != 1)} by then)",
        ["competitor", "beaten on", "z", "p", "one setting", "failed trials", "states", "step time"],
        [_overall([row for row in rows if row.competitor == competitor]) for competitor in competitors],
        left=["competitor"],
    )


def _overall(rows: Sequence[ProofEntry]) -> list[str]:
    """Return the line of a competitor over all tasks of a set."""
    one = rows[0]
    ahead = [row.ahead for row in rows if row.ahead is not None]
    wins = "-" if one.program_id is not None else f"{sum(lead > 0 for lead in ahead)} of {len(rows)}"
    failed = sum(row.trials_failed for row in rows) / max(1, sum(row.trials for row in rows))
    states = max(row.state_per_weight for row in rows)
    return [
        one.competitor, wins, _text(one.z, ".1f"), _text(one.p, ".2g"), _text(one.one_setting, ".3f"), f"{failed:.0%}",
        f"{states:.2g}", f"{one.step_time:.2f}",
    ]  # fmt: skip


def _show_task(task: str, rows: Sequence[ProofEntry]) -> None:
    show_table(
        f"{task}: tuned, then {rows[0].seeds - rows[0].seeds_failed} fresh seeds; what the finalist is ahead",
        ["competitor", "rate", "decay", "loss", "ahead", "+-", "z", "steps to AdamW's", "decades"],
        [
            [
                row.competitor, f"{row.learning_rate:.3g}", f"{row.weight_decay:.3g}", _loss(row.fitness),
                _text(row.ahead, "+.4f"), _text(row.ahead_error, ".4f"), _text(row.task_z, ".1f"),
                _text(row.steps_to_adamw, ".0%"), _text(row.tolerance, ".2f"),
            ]
            for row in rows
        ],
        left=["competitor"],
    )  # fmt: skip


def _loss(fitness: float | None) -> str:
    return "-" if fitness is None else _text(-fitness, ".4f")


def _text(value: float | None, form: str) -> str:
    """Return a number in this form, or as a power of ten where the form would make it very long."""
    if value is None:
        return "-"
    return format(value, form) if abs(value) < 1e7 else number(value)
