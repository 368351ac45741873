"""What a page is made of: sections with sentences, figures, tables and programs. Plain data; the template draws them.

Texts are as they came from the database: the template escapes them, and `label` what goes into a figure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from textwrap import wrap
from typing import Any, ClassVar, NamedTuple

from search.report.mathml import Equations

LINE_OF_X, LINE_OF_Y = 40, 30  # characters of a title that fit a phone and a low figure
_WIDE = 20.0  # ratio of values beyond which a logarithmic axis shows more


class Axis(NamedTuple):
    """What an axis shows, with its unit. The scale is linear, log or category; `ticks` are the labels of a log one."""

    title: str
    scale: str = "linear"
    range: tuple[float, float] | None = None
    percent: bool = False
    ticks: Sequence[float] = ()


def axis_of(title: str, low: float, high: float) -> Axis:
    """Return an axis for values in a range: logarithmic where they are positive and lie far apart."""
    if not 0 < _WIDE * low < high:
        return Axis(title)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    within = [tick for tick in _decades(first, last, (1,)) if low <= tick <= high]
    return Axis(title, "log", ticks=_decades(first, last, (1,) if len(within) > 1 else (1, 2, 5)))


def _decades(first: int, last: int, steps: Sequence[int]) -> list[float]:
    """Return powers of ten, and these times further steps."""
    return [float(f"{step}e{power}") for power in range(first, last + 1) for step in steps]


@dataclass(frozen=True)
class Figure:
    """A plot: its traces as plotly takes them, and a sentence that says what it shows."""

    kind: ClassVar[str] = "figure"
    name: str
    caption: str
    traces: Sequence[dict[str, Any]]
    x: Axis
    y: Axis
    title: str = ""
    height: int = 340
    legend: bool = True
    layout: dict[str, Any] = field(default_factory=dict)

    def data(self) -> dict[str, Any]:
        """Return what plotly takes, with the names of colours still in it."""
        axes = {"xaxis": _axis(self.x, LINE_OF_X), "yaxis": _axis(self.y, LINE_OF_Y)}
        layout: dict[str, Any] = {"height": self.height, "showlegend": self.legend, **axes, **self.layout}
        return {"data": list(self.traces), "layout": layout}


def _axis(axis: Axis, line: int) -> dict[str, Any]:
    title = "<br>".join(wrap(axis.title, line))
    described: dict[str, Any] = {"title": {"text": title}, "type": axis.scale}
    if axis.scale == "category" or axis.ticks:
        described["title"]["standoff"] = 8  # labels of any length stay clear of it
    if axis.range is not None:
        described["range"] = list(axis.range)
    if axis.percent:
        described["tickformat"] = ".0%"
    if axis.ticks:
        labels = [f"{tick:g}" for tick in axis.ticks]
        described |= {"tickvals": list(axis.ticks), "ticktext": labels}
    return described


class Cell(NamedTuple):
    """What a table shows, and what it is sorted by: a number, a text, or None for what comes last."""

    text: str
    value: float | str | None = None


@dataclass(frozen=True)
class DataTable:
    """A table. Columns are numbers unless named in `left`; it may be sorted by a click on a heading."""

    kind: ClassVar[str] = "table"
    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    left: Sequence[str] = ()
    sortable: bool = False
    title: str = ""


class CodeLine(NamedTuple):
    """A line of a program, which may be marked as dead, added or removed."""

    text: str
    mark: str = ""


@dataclass(frozen=True)
class CodeBlock:
    """A text that can be copied."""

    kind: ClassVar[str] = "code"
    name: str
    title: str
    lines: Sequence[CodeLine]
    folded: bool = False


@dataclass(frozen=True)
class Formulas:
    """Equations, drawn where a browser can, and their LaTeX, which can be copied."""

    kind: ClassVar[str] = "formulas"
    name: str
    title: str
    drawn: Equations | None
    latex: str


class LineageStep(NamedTuple):
    """A change on the way from the first ancestor to a program."""

    title: str
    detail: str
    lines: Sequence[CodeLine]


@dataclass(frozen=True)
class LineageSteps:
    """The changes on the way to a program, oldest first."""

    kind: ClassVar[str] = "steps"
    name: str
    steps: Sequence[LineageStep]


@dataclass(frozen=True)
class Note:
    """Why there is nothing to show, or a remark."""

    kind: ClassVar[str] = "note"
    text: str


Block = Figure | DataTable | CodeBlock | Formulas | LineageSteps | Note


@dataclass(frozen=True)
class Section:
    """A part of the page. With `columns` its blocks stand side by side where there is space."""

    name: str
    title: str
    blocks: Sequence[Block]
    lead: str = ""
    columns: bool = False


NO_BIRTHS = "No birth is committed yet: the first appear once a batch has been trained; make the report again then."
NOTHING_TRAINED = "No program has trained well yet; the failures below say why."


def missing(name: str, title: str, why: str) -> Section:
    """Return a section without data: one sentence that says why there is none, and how to get it."""
    return Section(name, title, [Note(why)])
