"""Results of the locked tasks as tables, from the rows of `v_proof`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from search.commands.terminal import number, show_table
from search.store import Store
from search.training.statistics import signs

PROOF_COLUMNS = (
    "finalist", "funnel", "opened", "finished", "competitor", "program_id", "task", "fitness", "standard_error",
    "seeds", "seeds_failed", "ahead", "ahead_error", "task_z", "steps_to_adamw", "tolerance", "trials",
    "trials_failed", "learning_rate", "weight_decay", "one_setting", "state_per_weight", "step_time", "z", "p",
    "genome",
)  # fmt: skip


def proof_of(store: Store, program_id: int) -> list[dict[str, Any]]:
    """Return what was measured on the locked tasks for a finalist; no rows if they were not opened for it."""
    return store.rows("SELECT * FROM v_proof WHERE finalist = :id", id=program_id)


def show_proof(rows: Sequence[dict[str, Any]], openings: int) -> None:
    """Print a table for each locked task, and one over all.

    Args:
        rows: of `v_proof`, all of one finalist.
        openings: number of finalists that the locked tasks have been opened for, this one included.
    """
    for task in dict.fromkeys(row["task"] for row in rows):
        _show_task(task, [row for row in rows if row["task"] == task])
    competitors = dict.fromkeys(row["competitor"] for row in rows)
    show_table(
        f"over all locked tasks ({openings} finalist{'s' * (openings != 1)} so far)",
        ["competitor", "beaten on", "z", "p", "one setting", "failed trials", "states", "step time"],
        [_overall([row for row in rows if row["competitor"] == name]) for name in competitors],
        left=["competitor"],
    )


def _overall(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the row of a competitor over all tasks."""
    one = rows[0]
    trials, failed = (sum(row[name] for row in rows) for name in ("trials", "trials_failed"))
    ahead = [row["ahead"] for row in rows if row["ahead"] is not None]
    wins = "-" if one["program_id"] is not None else f"{signs(ahead).better} of {len(rows)}"
    return [
        one["competitor"], wins, _text(one["z"], ".1f"), _text(one["p"], ".2g"), _text(one["one_setting"], ".3f"),
        f"{failed / max(1, trials):.0%}", f"{max(row['state_per_weight'] for row in rows):.2g}",
        f"{one['step_time']:.2f}",
    ]  # fmt: skip


def _show_task(task: str, rows: Sequence[dict[str, Any]]) -> None:
    show_table(
        f"{task}: tuned, then {rows[0]['seeds'] - rows[0]['seeds_failed']} fresh seeds; what the finalist is ahead",
        ["competitor", "rate", "decay", "loss", "ahead", "+-", "z", "steps to AdamW's", "decades"],
        [
            [
                row["competitor"], f"{row['learning_rate']:.3g}", f"{row['weight_decay']:.3g}", _loss(row["fitness"]),
                _text(row["ahead"], "+.4f"), _text(row["ahead_error"], ".4f"), _text(row["task_z"], ".1f"),
                _text(row["steps_to_adamw"], ".0%"), _text(row["tolerance"], ".2f"),
            ]
            for row in rows
        ],
        left=["competitor"],
    )  # fmt: skip


def _loss(fitness: float | None) -> str:
    return "-" if fitness is None else _text(-fitness, ".4f")


def _text(value: float | None, form: str) -> str:
    """Format a number, as a power of ten where it would be too long otherwise."""
    if value is None:
        return "-"
    return format(value, form) if abs(value) < 1e7 else number(value)
