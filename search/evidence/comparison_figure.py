"""The figure of `optsearch compare`: best fitness over trained programs, and what was not trained at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from programs.errors import InputError

from search.evidence.comparison import Arm

FORMATS = (".png", ".svg", ".pdf")
POINTS = 300  # of each curve
STRETCHES = 20  # into which the births of a search are divided, on the right
COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#E69F00",
)  # Okabe and Ito's, for colour-blind readers
STYLES = ("-", "--", "-.", ":", "-", "--")


def check_format(path: Path) -> None:
    """Refuse a file that the figure cannot be drawn to.

    Raises:
        InputError: its name does not end in a format of `FORMATS`.
    """
    if path.suffix not in FORMATS:
        raise InputError(f"{path}: expected a name that ends in {', '.join(FORMATS)}")


def draw(title: str, arms: Sequence[Arm], path: Path) -> None:
    """Draw all arms to a file."""
    with mpl.rc_context({"font.size": 10, "axes.grid": True, "grid.alpha": 0.3, "svg.hashsalt": "optsearch"}):
        figure = Figure(figsize=(11, 4.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        _draw_fitness(left, arms)
        _draw_answers(right, arms)
        figure.suptitle(title)
        figure.savefig(path, dpi=150)


def _draw_fitness(axes: Any, arms: Sequence[Arm]) -> None:
    lowest = []
    for arm, colour, style in zip(arms, COLOURS, STYLES, strict=False):
        last = arm.repeats[0].trained[-1]
        at = np.unique(np.geomspace(1, max(2.0, last), POINTS))
        curves = np.array(
            [np.interp(at, r.trained, np.where(np.isfinite(r.best), r.best, np.nan)) for r in arm.repeats]
        )
        mean = curves.mean(0)
        error = curves.std(0, ddof=1) / np.sqrt(len(curves)) if len(curves) > 1 else np.zeros_like(mean)
        axes.plot(at, mean, color=colour, linestyle=style, label=arm.name)
        axes.fill_between(at, mean - error, mean + error, color=colour, alpha=0.2, linewidth=0)
        lowest.append(np.nanmedian(mean))  # the later half of the way, on this scale
    axes.set_xscale("log")
    axes.set_ylim(bottom=min(lowest))
    axes.set_xlabel("programs trained for each population")
    axes.set_ylabel("best fitness so far (minus validation loss)")
    axes.set_title("mean over populations, band: standard error", fontsize=10)
    axes.legend()


def _draw_answers(axes: Any, arms: Sequence[Arm]) -> None:
    """Draw the shares of births answered without training and of statements without effect, over each arm's run."""
    for arm, colour, style in zip(arms, COLOURS, STYLES, strict=False):
        births = np.array([batch.births for batch in arm.progress])
        ends = np.cumsum(births)
        edges = np.searchsorted(ends, np.linspace(0, ends[-1], STRETCHES + 1)[1:])
        answered, redundant, at, start = [], [], [], 0
        for end in dict.fromkeys(int(edge) + 1 for edge in edges):
            part = slice(start, end)
            total = births[part].sum()
            batches = arm.progress[part]
            answered.append(1 - sum(batch.trained for batch in batches) / total)
            redundant.append(sum(batch.redundant_share * batch.births for batch in batches) / total)
            at.append(ends[min(end, len(ends)) - 1] / ends[-1])
            start = end
        axes.plot(at, answered, color=colour, linestyle=style, label=f"{arm.name}: answered untrained")
        axes.plot(at, redundant, color=colour, linestyle=style, linewidth=1, alpha=0.6, marker="o", markersize=3,
                  label=f"{arm.name}: redundant statements")  # fmt: skip
    axes.set_ylim(0, 1)
    axes.set_xlabel("share of the run, in programs born")
    axes.set_ylabel("share")
    axes.set_title("what the cache answers, and statements without effect", fontsize=10)
    axes.legend(fontsize=8)
