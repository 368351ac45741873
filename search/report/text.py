"""Numbers and texts as the page shows them, in sentences, cells and figures."""

from __future__ import annotations

import math
from collections.abc import Iterable

from search.report.section import Cell
from search.results.text import printable


def label(text: str, most: int = 80) -> str:
    """Return a text for a figure: plotly reads a little HTML there, so nothing in it may look like any."""
    return printable(text, most).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


MINUS = "\N{MINUS SIGN}"  # a hyphen is taken for a dash, and lines are broken after it


def figures(value: float | None, digits: int = 4, sign: bool = False) -> str:
    """Return a number with this many significant digits; a dash for none."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:{'+' if sign else ''}.{digits}g}".replace("-", MINUS)


def estimate(fitness: float | None, error: float | None) -> str:
    """Return a fitness, with its standard error where that is known."""
    return figures(fitness) if error is None else f"{figures(fitness)} ± {figures(error, 2)}"


def number(value: float | None, digits: int = 4, sign: bool = False) -> Cell:
    """Return a cell with a number."""
    return Cell(figures(value, digits, sign), value)


def count(value: int) -> Cell:
    """Return a cell with a number of things."""
    return Cell(f"{value:,}", value)


def ordinal(value: int) -> Cell:
    """Return a cell with the number of one thing, such as an ID."""
    return Cell(str(value), value)


def words(value: str) -> Cell:
    """Return a cell with text."""
    return Cell(value[:300], value[:300])


def rounded(values: Iterable[float]) -> list[float]:
    """Return numbers with as many digits as a plot can show."""
    return [float(f"{value:.6g}") for value in values]


def share(part: float, whole: float) -> str:
    """Return a share in percent; a dash where there is no whole."""
    return f"{part / whole:.1%}" if whole else "–"


def plural(n: int, what: str, several: str = "") -> str:
    """Return `1 program`, `2 programs`; `several` is the plural where adding an s is wrong."""
    return f"{n:,} {what}" if n == 1 else f"{n:,} {several or f'{what}s'}"


def capitalized(text: str) -> str:
    """Return a sentence with its first letter large, and nothing else changed."""
    return f"{text[:1].upper()}{text[1:]}"
