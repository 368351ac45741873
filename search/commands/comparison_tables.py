"""Results of a comparison as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.text import Text

from search.commands.terminal import console, number, show_table
from search.evidence.populations import MARKS
from search.evidence.standings import FRESH_SEEDS, ArmEntry, OverallEntry


def show_contest(arms: Sequence[ArmEntry], first: str) -> None:
    """Print what the arms have spent and found on one contest, and what that is worth on fresh seeds.

    Args:
        arms: that have run there.
        first: the arm that is compared with the others.
    """
    task = arms[0].task
    show_table(
        f"{task}: best of each population; fresh: on {FRESH_SEEDS} seeds that no search trains on",
        ["arm", "pop.", "born", "evaluated", "Msteps", "fitness", "fresh", "gap", "in s.e."],
        [
            [
                one.arm, str(one.populations), str(one.births), f"{one.programs:.0f}",
                _millions(one.replica_steps), _with_error(one.fitness, one.fitness_error),
                _with_error(one.fresh, one.fresh_error), _with_error(one.gap, one.gap_error, sign=True),
                _short(one.gap_in_errors),
            ]
            for one in arms
        ],
        left=["arm"],
    )  # fmt: skip
    show_table(
        f"{task}: lead over tuned AdamW on fresh seeds, after so many programs; ahead: how far {first} is",
        ["arm", *map(str, MARKS), "at the end", "ahead", "z"],
        [
            [
                one.arm,
                *(_with_error(getattr(one, f"lead_{m}"), getattr(one, f"lead_{m}_error"), sign=True) for m in MARKS),
                _with_error(one.lead, one.lead_error, sign=True), _with_error(one.ahead, one.ahead_error, sign=True),
                _short(one.z),
            ]
            for one in arms
        ],
        left=["arm"],
    )  # fmt: skip
    _say_what_tables_cannot(arms)


def show_overall(arms: Sequence[OverallEntry], first: str) -> None:
    """Print how the arms stand over all contests that they share with the first arm."""
    show_table(
        f"over all tasks: how far {first} is ahead on fresh seeds",
        ["arm", "tasks", "Msteps", "gap in s.e.", "ahead on", "z"],
        [
            [
                one.arm, str(one.tasks), _millions(one.replica_steps), _short(one.gap_in_errors),
                "-" if one.ahead_on is None else f"{one.ahead_on} of {one.tasks}", _short(one.z),
            ]
            for one in arms
        ],
        left=["arm"],
    )  # fmt: skip


def _say_what_tables_cannot(arms: Sequence[ArmEntry]) -> None:
    """Print what has failed, and the AdamW of each search."""
    for one in arms:
        if one.without:
            console.print(
                f"{one.arm}: {one.without} of {one.populations} populations found nothing that trains; fresh, these"
                " count as the untrained model"
            )
        if one.failed:
            console.print(
                f"{one.arm}: {one.failed} trainings of its best programs failed on fresh seeds; these count as the"
                " untrained model"
            )
    tuned: Mapping[float, list[str]] = {one.adamw_fresh: [] for one in arms if one.adamw_fresh is not None}
    for one in arms:
        if one.adamw_fresh is not None:
            tuned[one.adamw_fresh].append(one.arm)
    for fitness, of in tuned.items():
        console.print(f"AdamW as tuned for {', '.join(of)}: {number(fitness)} on fresh seeds")
    console.print()


def _with_error(mean: float | None, error: float | None, sign: bool = False) -> Text:
    """Return a number with its standard error, if known, in a line below."""
    text = number(mean, sign)
    return Text(text if error is None else f"{text}\n+-{number(error)}")


def _millions(steps: int) -> str:
    return f"{steps / 1e6:.4g}"


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
