"""Trainings on fresh seeds, and the differences between programs, as tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from search.commands.terminal import number, show_table
from search.training.service import Trainings


def show_trainings(title: str, names: Sequence[str], trainings: Sequence[Sequence[Trainings]]) -> None:
    """Print how programs trained on fresh seeds: one row for each program and task."""
    has_metric = any(t.metrics for of_program in trainings for t in of_program)
    show_table(
        title,
        ["program", "task", "fitness", *["metric"] * has_metric, "std. error", "seeds", "of each seed"],
        [
            [
                name, t.task, number(t.mean), *[number(_mean(t.metrics))] * has_metric, number(t.standard_error),
                str(len(t.fitness) + len(t.failures)),
                " ".join([number(f) for f in t.fitness] + [f.split(":")[0] for f in t.failures]),
            ]
            for name, of_program in zip(names, trainings, strict=True)
            for t in of_program
        ],
        left=["program", "task", "of each seed"],
    )  # fmt: skip


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def show_differences(name: str, ours: Trainings, rivals: Mapping[str, Trainings]) -> None:
    """Print how far the mean fitness of a program on one task is above that of rivals, with intervals.

    Where trainings failed there is none: those that are left would speak for what diverges.
    """
    rows = []
    for rival, theirs in rivals.items():
        d = ours.ahead_of(theirs)
        if d is not None:
            low, high = d.interval()
            row = [number(d.mean, True), number(d.standard_error), f"{number(low, True)} to {number(high, True)}"]
            rows.append([f"{name} - {rival}", *row, f"{d.z:+.2f}", "yes" if d.paired else "no"])
    if rows:
        columns = ["difference", "fitness", "std. error", "95 % interval", "z", "paired"]
        show_table("differences of means", columns, rows, left=["difference"])
