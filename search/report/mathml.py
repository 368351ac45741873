"""LaTeX as `programs.simplify.equations` writes it, as MathML, which browsers draw without any library."""

from __future__ import annotations

import re
from typing import NamedTuple

from latex2mathml.converter import convert

DEEPEST = 60  # levels of brackets; browsers cut off what is nested a few times deeper

_BRACKET = re.compile(r"\\left|\\right|[{}]")
_CLOSING = (r"\right", "}")
# A minus after a bracket, a sign of equality or another operator is a sign and no subtraction.
_SIGN = re.compile(r"(?P<before>^|<mrow>|</mo>)<mo>(?P<minus>&#x02212;|\u2212|-)</mo>")
_NAME = re.compile(r"\\operatorname\{([^}]*)\}")


class Equations(NamedTuple):
    """Equations as one element `math`, and an element for each equation that gives a hyperparameter its value."""

    rows: str
    values: list[str]


def equations_as_mathml(latex: str) -> Equations | None:
    """Return the equations of a program; None where they are nested too deeply for a browser.

    Args:
        latex: what `equations` returns: lines of an `aligned` environment, which the library does not know, and values.
    """
    lines = [line.strip().removesuffix(r"\\").strip() for line in latex.splitlines()]
    if any(_depth(line) > DEEPEST for line in lines):
        return None
    rows = [_row(*line.split("&=", 1)) for line in lines if "&=" in line]
    values = [
        f"<math>{_mathml(value)}</math>"
        for line in lines
        if line.startswith(r"\qquad")
        for value in line.removeprefix(r"\qquad").split(r",\quad")
    ]
    return Equations(f'<math display="block"><mtable>{"".join(rows)}</mtable></math>', values)


def _row(left: str, right: str) -> str:
    cells = (("right", _mathml(left)), ("center", "<mo>=</mo>"), ("left", _mathml(right)))
    return f"<mtr>{''.join(f'<mtd class={side}>{inside}</mtd>' for side, inside in cells)}</mtr>"


def _mathml(latex: str) -> str:
    """Return what stands between the tags of the element `math`."""
    upright = _NAME.sub(lambda name: f"\\text{{{name[1].replace(chr(92), '')}}}", latex)  # else `_` would split a name
    drawn = convert(upright, display="block").partition(">")[2].removesuffix("</math>")
    return _SIGN.sub(r'\g<before><mo form="prefix">\g<minus></mo>', drawn)


def _depth(latex: str) -> int:
    deepest = depth = 0
    for bracket in _BRACKET.findall(latex):
        depth += -1 if bracket in _CLOSING else 1
        deepest = max(deepest, depth)
    return deepest
