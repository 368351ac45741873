"""What a page is made of: sections with sentences, figures, tables, programs. Plain data; the template draws them.

Text is as it came from the database: the template escapes it, and `label` what goes into a figure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from search.report.mathml import Equations
from search.results.text import printable

# Colours by name: the page has those of Okabe and Ito for light and for dark, and puts them in.
OURS, REFERENCE, THIRD, FOURTH, FIFTH, SIXTH = (f"$colour{n}" for n in range(6))
INK, MUTED, SOFT, GROUND = "$ink", "$muted", "$soft", "$ground"
RIVALS = (REFERENCE, THIRD, FOURTH, FIFTH, SIXTH)
DASHES = ("dash", "dot", "dashdot", "longdash", "longdashdot")  # besides colours, for those who see none


class Axis(NamedTuple):
    """What an axis shows, with its unit. `scale`: linear, log or category."""

    title: str
    scale: str = "linear"
    range: tuple[float, float] | None = None
    percent: bool = False


@dataclass(frozen=True)
class Figure:
    """A plot: `traces` as plotly takes them, and a sentence that says what to see."""

    kind: ClassVar[str] = "figure"
    name: str
    see: str
    traces: Sequence[dict[str, Any]]
    x: Axis
    y: Axis
    title: str = ""
    height: int = 340
    legend: bool = True
    layout: dict[str, Any] = field(default_factory=dict)

    def data(self) -> dict[str, Any]:
        """Return the figure as plotly takes it; colours are still names."""
        axes = {"xaxis": _axis(self.x), "yaxis": _axis(self.y)}
        layout: dict[str, Any] = {"height": self.height, "showlegend": self.legend, **axes, **self.layout}
        return {"data": list(self.traces), "layout": layout}


def _axis(axis: Axis) -> dict[str, Any]:
    described: dict[str, Any] = {"title": {"text": axis.title}, "type": axis.scale}
    if axis.range is not None:
        described["range"] = list(axis.range)
    if axis.percent:
        described["tickformat"] = ".0%"
    return described


class Cell(NamedTuple):
    """What a table shows, and what it is sorted by: a number, a text, or None for what comes last."""

    text: str
    value: float | str | None = None


@dataclass(frozen=True)
class Table:
    """`columns` are numbers unless named in `left`; `sortable` by a click on a heading."""

    kind: ClassVar[str] = "table"
    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    left: Sequence[str] = ()
    sortable: bool = False
    title: str = ""


class Line(NamedTuple):
    """A line of a program. `mark`: dead, added, removed or nothing."""

    text: str
    mark: str = ""


@dataclass(frozen=True)
class Code:
    """A text to be copied."""

    kind: ClassVar[str] = "code"
    name: str
    title: str
    lines: Sequence[Line]
    note: str = ""
    folded: bool = False


@dataclass(frozen=True)
class Formulas:
    """Equations, drawn where a browser can, and their LaTeX to be copied."""

    kind: ClassVar[str] = "formulas"
    name: str
    title: str
    drawn: Equations | None
    latex: str


class Step(NamedTuple):
    """A change on the way from the first ancestor to a program."""

    title: str
    detail: str
    lines: Sequence[Line]


@dataclass(frozen=True)
class Steps:
    """Changes, oldest first."""

    kind: ClassVar[str] = "steps"
    name: str
    steps: Sequence[Step]


@dataclass(frozen=True)
class Note:
    """Why there is nothing to show, or a remark."""

    kind: ClassVar[str] = "note"
    text: str


Block = Figure | Table | Code | Formulas | Steps | Note


@dataclass(frozen=True)
class Section:
    """A part of the page. With `columns` its blocks stand side by side where there is room."""

    name: str
    title: str
    blocks: Sequence[Block]
    lead: str = ""
    columns: bool = False


def missing(name: str, title: str, why: str) -> Section:
    """Return a section without data: one sentence that says why, and how to get it."""
    return Section(name, title, [Note(why)])


def label(text: str, most: int = 80) -> str:
    """Return text for a figure, escaped, since plotly reads some HTML there."""
    return printable(text, most).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def figures(value: float | None, digits: int = 4, sign: bool = False) -> str:
    """Return a number with this many significant digits; a dash for none."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:{'+' if sign else ''}.{digits}g}"


def number(value: float | None, digits: int = 4, sign: bool = False) -> Cell:
    """Return a cell with a number."""
    return Cell(figures(value, digits, sign), value)


def count(value: int) -> Cell:
    """Return a cell with a whole number."""
    return Cell(f"{value:,}", value)


def words(value: str) -> Cell:
    """Return a cell with text."""
    return Cell(value[:300], value[:300])


def rounded(values: Iterable[float]) -> list[float]:
    """Return values with as many digits as a plot can show."""
    return [float(f"{value:.6g}") for value in values]


def share(part: float, whole: float) -> str:
    """Return a share as percent; a dash where the whole is nothing."""
    return f"{part / whole:.1%}" if whole else "–"


def plural(n: int, what: str, several: str = "") -> str:
    """Return `1 program` or `2 programs`; `several` is for plurals without an s."""
    return f"{n:,} {what}" if n == 1 else f"{n:,} {several or f'{what}s'}"
