"""The figure of `optsearch compare`.

For every contest a panel: what the best programs of the populations are ahead of tuned AdamW on fresh seeds, after so
many programs. Where all arms ran on the same tasks, two panels more, figure 2 of the Lion paper: best fitness over
trained programs, and what was not trained at all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from programs.errors import InputError

from search.evidence.populations import MARKS, Population
from search.evidence.standings import FRESH_SEEDS, ArmEntry
from search.store.views import ProgressEntry

FORMATS = (".png", ".svg", ".pdf")
POINTS = 300  # of each curve
STRETCHES = 20  # into which the births of a search are divided, on the right
COLUMNS = 3  # panels side by side
APART = 1.03  # factor between neighbours along the axis of programs, so that error bars can be told apart
# Okabe and Ito's, for colour-blind readers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
LINES = ("-", "--", "-.", ":", "-", "--")
SIGNS = ("o", "s", "^", "D", "v", "P", "X", "*")


class Curves(NamedTuple):
    """An arm that has run: its populations, and how its search went batch by batch."""

    arm: str
    populations: Sequence[Population]
    progress: Sequence[ProgressEntry]


def check_format(path: Path) -> None:
    """Refuse a file that the figure cannot be drawn to.

    Raises:
        InputError: its name does not end in a format of `FORMATS`, or there is no such folder.
    """
    if path.suffix not in FORMATS:
        raise InputError(f"{path}: expected a name that ends in {', '.join(FORMATS)}")
    if not path.parent.is_dir():
        raise InputError(f"{path}: no folder {path.parent}; make it, or name another file with -o")


def draw(
    title: str, arms: Sequence[str], entries: Sequence[ArmEntry], curves: Sequence[Curves], path: Path, what: str
) -> None:
    """Draw all panels to a file.

    Args:
        title: of the figure.
        arms: the names of all arms, in the order of their colours.
        entries: how they stand, on every contest.
        curves: of the arms, for the panels of the paper; or none.
        path: the file.
        what: the fitness of the curves is, for their axis.
    """
    contests = list(dict.fromkeys(entry.task for entry in entries))
    panels = len(contests) + 2 * bool(curves)
    columns = min(panels, COLUMNS)
    rows = math.ceil(panels / columns)
    with mpl.rc_context({"font.size": 10, "axes.grid": True, "grid.alpha": 0.3, "svg.hashsalt": "optsearch"}):
        figure = Figure(figsize=(5.5 * columns, 4.2 * rows), layout="constrained")
        axes = list(figure.subplots(rows, columns, squeeze=False).flat)
        for unused in axes[panels:]:
            unused.remove()
        if curves:
            _draw_fitness(axes[0], arms, curves, what)
            _draw_answers(axes[1], arms, curves)
        for place, contest in enumerate(contests, start=2 * bool(curves)):
            _draw_leads(axes[place], arms, [entry for entry in entries if entry.task == contest])
        _add_legends(figure, axes[:panels], shared=not curves)
        figure.suptitle(title)
        figure.savefig(path, dpi=150)


def _add_legends(figure: Figure, axes: Sequence[Any], shared: bool) -> None:
    """Say which line is which: once under all panels that have the same lines, or in each of them."""
    if not shared:
        for one in axes:
            one.legend(fontsize=8)
        return
    lines = {label: line for one in axes for line, label in zip(*one.get_legend_handles_labels(), strict=True)}
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=min(len(lines), 2 * len(axes)))


def _style(arms: Sequence[str], arm: str) -> dict[str, str]:
    """Return the colour and the line of an arm, the same in all panels."""
    place = arms.index(arm)
    return {"color": COLOURS[place % len(COLOURS)], "linestyle": LINES[place % len(LINES)]}


# --- leads -----------------------------------------------------------------------------------------------------------


def _draw_leads(axes: Any, arms: Sequence[str], entries: Sequence[ArmEntry]) -> None:
    """Draw an arm's lead over AdamW with its standard error; without AdamW, its fitness at the end alone."""
    has_adamw = any(entry.lead is not None for entry in entries)
    for place, entry in enumerate(entries):
        points = list(_leads(entry)) if has_adamw else [(entry.programs, entry.fresh, entry.fresh_error)]
        if not points:
            continue
        at, leads, errors = zip(*points, strict=True)
        shift = APART ** (place - (len(entries) - 1) / 2)
        style = _style(arms, entry.arm) | {"marker": SIGNS[arms.index(entry.arm) % len(SIGNS)]}
        shifted = [x * shift for x in at]
        axes.errorbar(shifted, leads, [e or 0.0 for e in errors], label=entry.arm, capsize=3, markersize=5, **style)
    if has_adamw:
        axes.axhline(0, color="#666666", linewidth=1)
    axes.set_xscale("log")
    first, last = (math.log2(end) for end in axes.get_xlim())
    ticks = [2**k for k in range(max(0, math.floor(first)), max(1, math.ceil(last)) + 1)]
    axes.set_xlim(ticks[0], ticks[-1])
    axes.set_xticks(ticks)
    axes.set_xticks([], minor=True)
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.set_xlabel("programs evaluated by each population")
    axes.set_ylabel("lead over tuned AdamW" if has_adamw else "fitness")
    axes.set_title(f"{entries[0].task}: {FRESH_SEEDS} fresh seeds, mean and standard error", fontsize=10)


def _leads(entry: ArmEntry) -> Iterator[tuple[float, float, float | None]]:
    """Yield the leads of an arm at the marks that all its populations have reached, and at the end."""
    for mark in MARKS:
        lead = getattr(entry, f"lead_{mark}")
        if lead is not None:
            yield mark, lead, getattr(entry, f"lead_{mark}_error")
    if entry.lead is not None:
        yield entry.programs, entry.lead, entry.lead_error


# --- as in the paper -------------------------------------------------------------------------------------------------


def _draw_fitness(axes: Any, arms: Sequence[str], curves: Sequence[Curves], what: str) -> None:
    lowest = []
    for arm, populations, _ in curves:
        last = populations[0].trained[-1]
        at = np.unique(np.geomspace(1, max(2.0, last), POINTS))
        lines = np.array(
            [np.interp(at, p.trained, np.where(np.isfinite(p.fitness), p.fitness, np.nan)) for p in populations]
        )
        mean = lines.mean(0)
        error = lines.std(0, ddof=1) / np.sqrt(len(lines)) if len(lines) > 1 else np.zeros_like(mean)
        style = _style(arms, arm)
        axes.plot(at, mean, label=arm, **style)
        axes.fill_between(at, mean - error, mean + error, color=style["color"], alpha=0.2, linewidth=0)
        if np.isfinite(mean).any():
            lowest.append(np.nanmedian(mean))  # the later half of the way, on this scale
    axes.set_xscale("log")
    axes.set_ylim(bottom=min(lowest, default=None))
    axes.set_xlabel("programs trained for each population")
    axes.set_ylabel(f"best fitness so far ({what})")
    axes.set_title("mean over populations, band: standard error", fontsize=10)


def _draw_answers(axes: Any, arms: Sequence[str], curves: Sequence[Curves]) -> None:
    """Draw the shares of births answered without training and of statements without effect, over each arm's run."""
    for arm, _, progress in curves:
        births = np.array([batch.births for batch in progress])
        ends = np.cumsum(births)
        edges = np.searchsorted(ends, np.linspace(0, ends[-1], STRETCHES + 1)[1:])
        answered, redundant, at, start = [], [], [], 0
        for end in dict.fromkeys(int(edge) + 1 for edge in edges):
            part = slice(start, end)
            total = births[part].sum()
            batches = progress[part]
            answered.append(1 - sum(batch.trained for batch in batches) / total)
            redundant.append(sum(batch.redundant_share * batch.births for batch in batches) / total)
            at.append(ends[min(end, len(ends)) - 1] / ends[-1])
            start = end
        style = _style(arms, arm)
        axes.plot(at, answered, label=f"{arm}: answered untrained", **style)
        axes.plot(at, redundant, linewidth=1, alpha=0.6, marker="o", markersize=3,
                  label=f"{arm}: redundant statements", **style)  # fmt: skip
    axes.set_ylim(0, 1)
    axes.set_xlabel("share of the run, in programs born")
    axes.set_ylabel("share")
    axes.set_title("what the cache answers, and statements without effect", fontsize=10)
