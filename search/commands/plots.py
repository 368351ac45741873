"""Loss curves drawn with characters, so that they can be told apart without colours."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from rich.text import Text

HEIGHT = 8  # lines of the drawing itself
LABEL = 9  # columns left of it
LOG_RANGE = 5.0  # highest over lowest loss from which on the axis is logarithmic

# A character of the Unicode block of Braille patterns has two columns of four dots.
_ACROSS, _DOWN = 2, 4
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BLANK = 0x2800
_DASH, _GAP = 2, 3  # dots drawn and left out along the dashed line
OURS, THEIRS = "bold cyan", "magenta"


class Curve(NamedTuple):
    """Finite losses over equal shares of a training, from its start, and how many shares a whole training has."""

    losses: Sequence[float]
    shares: int


class Marks(NamedTuple):
    """The characters of a plot: curves are dots of Braille patterns, or one character for each curve."""

    sample: str
    dashed_sample: str
    axes: str
    characters: tuple[str, str] | None = None


DOTS = Marks("⠤⠤⠤⠤", "⠤ ⠤ ", "│└─")
ASCII = Marks("****", "o o ", "|+-", ("*", "o"))


def plot(title: str, ours: Curve, theirs: Curve | None, width: int, marks: Marks = DOTS) -> list[Text]:
    """Return a plot of two curves over the share of the training steps: ours solid, theirs dashed.

    Args:
        title: the heading, to which `log scale` is added where the axis is logarithmic.
        ours: the solid curve.
        theirs: the dashed one, if any; one of the two has a loss.
        width: columns of every line, 25 at least.
        marks: the characters to draw with.
    """
    curves = [ours] if theirs is None else [ours, theirs]
    scale = _Scale([loss for curve in curves for loss in curve.losses])
    across = width - LABEL - 1
    drawn = [list(_path(curve, scale, across * _ACROSS)) for curve in curves]
    dashed = [dot for n, dot in enumerate(drawn[1]) if n % (_DASH + _GAP) < _DASH] if theirs is not None else []
    bits = [_characters(dots) for dots in (drawn[0], dashed)]
    heading = Text(f"{title}{', log scale' if scale.is_log else ''}")
    heading.truncate(width, overflow="ellipsis", pad=True)
    lines = [heading]
    for row in range(HEIGHT):
        label = f"{scale.at(row):.2g}" if row in (0, HEIGHT // 2, HEIGHT - 1) else ""
        cells = [_cell(bits[0].get((row, n), 0), bits[1].get((row, n), 0), marks) for n in range(across)]
        lines.append(Text.assemble(f"{label:>{LABEL}}{marks.axes[0]}", *cells))
    lines.append(Text(" " * LABEL + marks.axes[1] + marks.axes[2] * across))
    lines.append(Text(f"{'0 %':>{LABEL + 3}}{'50 %':^{across - 7}}100 %"))
    return lines


class _Scale:
    """An axis from the lowest loss to the highest."""

    def __init__(self, losses: Sequence[float]) -> None:
        lowest, highest = min(losses), max(losses)
        self.is_log = lowest > 0 and highest / lowest > LOG_RANGE
        self._unit = 1.0 if self.is_log else max(abs(lowest), abs(highest), 1e-300)  # so that no difference overflows
        self._low, self._high = self._moved(lowest), self._moved(highest)

    def _moved(self, loss: float) -> float:
        return math.log(loss) if self.is_log else loss / self._unit

    def dot(self, loss: float) -> int:
        """Return the line of dots on which a loss lies; 0 is the top."""
        reach = self._high - self._low
        place = (self._high - self._moved(loss)) / reach if reach > 0 else 0.5
        return round(place * (HEIGHT * _DOWN - 1))

    def at(self, row: int) -> float:
        """Return the loss at a line of the drawing: the highest at the first, the lowest at the last."""
        moved = self._high - (self._high - self._low) * row / (HEIGHT - 1)
        return math.exp(moved) if self.is_log else moved * self._unit


def _path(curve: Curve, scale: _Scale, across: int) -> Iterator[tuple[int, int]]:
    """Yield the dots of a curve, line and column, from left to right; each loss lies at the middle of its share."""
    shares = max(curve.shares, len(curve.losses))
    points = [(scale.dot(loss), round((n + 0.5) / shares * (across - 1))) for n, loss in enumerate(curve.losses)]
    yield from points[:1]
    for (line, column), (next_line, next_column) in pairwise(points):
        steps = max(abs(next_line - line), abs(next_column - column))
        for step in range(1, steps + 1):
            part = step / steps
            yield round(line + part * (next_line - line)), round(column + part * (next_column - column))


def _characters(dots: Sequence[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """Return the bits of each character that has any dots, by line and column."""
    bits: dict[tuple[int, int], int] = {}
    for line, column in dots:
        at = line // _DOWN, column // _ACROSS
        bits[at] = bits.get(at, 0) | _DOTS[line % _DOWN][column % _ACROSS]
    return bits


def _cell(ours: int, theirs: int, marks: Marks) -> tuple[str, str]:
    if not ours | theirs:
        return " ", ""
    style = OURS if ours else THEIRS
    return (chr(_BLANK | ours | theirs) if marks.characters is None else marks.characters[0 if ours else 1]), style
