"""LaTeX as `programs.simplify.equations` writes it, as MathML, which browsers draw without any library."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from typing import NamedTuple

DEEPEST = 60  # levels of brackets; browsers cut off what is nested a few times deeper

_PIECE = re.compile(r"\\(?:left|right)(?:\\[A-Za-z]+|[^A-Za-z])|\\[A-Za-z]+|\\.|\d+(?:\.\d+)?|\S")
_IDENTIFIERS = {
    r"\beta": "β", r"\lambda": "λ", r"\mu": "μ", r"\theta": "θ", r"\varepsilon": "ε", r"\eta": "η", r"\pi": "π",
    r"\infty": "∞", r"\ln": "ln", r"\log": "log",
}  # fmt: skip
_SIGNS = {r"\cdot": "·", "-": "\N{MINUS SIGN}", r"\lVert": "‖", r"\rVert": "‖", r"\langle": "⟨", r"\rangle": "⟩"}
_SPACES = {r"\,": "0.17em", "\\ ": "0.3em", r"\quad": "1em", r"\qquad": "2em"}


class Equations(NamedTuple):
    """Equations as one element `math`, and those that give hyperparameters their values, an element for each."""

    rows: str
    values: list[str]


def equations_as_mathml(latex: str) -> Equations | None:
    """The equations of a program; None where they are nested too deeply for a browser.

    Args:
        latex: what `equations` returns.
    """
    lines = [line.strip().removesuffix(r"\\").strip() for line in latex.splitlines()]
    if any(_depth(line) > DEEPEST for line in lines):
        return None
    rows = [_row(*line.split("&=", 1)) for line in lines if "&=" in line]
    values = [
        _math(value)
        for line in lines
        if line.startswith(r"\qquad")
        for value in line.removeprefix(r"\qquad").split(r",\quad")
    ]
    return Equations(f'<math display="block"><mtable>{"".join(rows)}</mtable></math>', values)


def _row(left: str, right: str) -> str:
    cells = (("right", _mathml(left)), ("center", "<mo>=</mo>"), ("left", _mathml(right)))
    return f"<mtr>{''.join(f'<mtd class={side}>{inside}</mtd>' for side, inside in cells)}</mtr>"


def _math(latex: str) -> str:
    return f"<math>{_mathml(latex)}</math>"


def _mathml(latex: str) -> str:
    return "".join(_Reader(latex).expression(None))


def _depth(latex: str) -> int:
    deepest = depth = 0
    for piece in _PIECE.findall(latex):
        depth += piece == "{" or piece.startswith(r"\left")
        depth -= piece == "}" or piece.startswith(r"\right")
        deepest = max(deepest, depth)
    return deepest


class _Reader:
    """Reads pieces from the left; every method returns elements."""

    def __init__(self, latex: str) -> None:
        self._pieces = _PIECE.findall(latex)
        self._at = 0

    def expression(self, end: str | None) -> list[str]:
        """All up to a piece that begins so, which is passed over, or to the end of the text."""
        return list(self._items(end))

    def _items(self, end: str | None) -> Iterator[str]:
        while (piece := self._next()) is not None:
            if end is not None and piece.startswith(end):
                return
            yield self._with_scripts(self._atom(piece))

    def _next(self) -> str | None:
        self._at += 1
        return self._pieces[self._at - 1] if self._at <= len(self._pieces) else None

    def _with_scripts(self, base: str) -> str:
        scripts = {}
        while self._at < len(self._pieces) and self._pieces[self._at] in ("^", "_"):
            kind = self._next()
            scripts[kind] = self._argument()
        if len(scripts) == 2:
            return f"<msubsup>{base}{scripts['_']}{scripts['^']}</msubsup>"
        for kind, inside in scripts.items():
            name = "msub" if kind == "_" else "msup"
            return f"<{name}>{base}{inside}</{name}>"
        return base

    def _argument(self) -> str:
        """What a script, a root or a fraction takes: a group or one piece."""
        return self._atom(self._next() or "")

    def _atom(self, piece: str) -> str:
        if piece == "{":
            return f"<mrow>{''.join(self.expression('}'))}</mrow>"
        if piece == r"\frac":
            return f"<mfrac>{self._argument()}{self._argument()}</mfrac>"
        if piece == r"\sqrt":
            return self._root()
        if piece.startswith(r"\left"):
            return self._brackets(piece.removeprefix(r"\left"))
        if piece in (r"\operatorname", r"\mathrm"):
            return self._upright()
        return _plain(piece)

    def _root(self) -> str:
        if self._pieces[self._at : self._at + 1] != ["["]:
            return f"<msqrt>{self._argument()}</msqrt>"
        self._next()
        degree = "".join(self.expression("]"))
        return f"<mroot>{self._argument()}<mrow>{degree}</mrow></mroot>"

    def _brackets(self, opening: str) -> str:
        inside = "".join(self.expression(r"\right"))
        closing = self._pieces[self._at - 1].removeprefix(r"\right")
        return f"<mrow>{_sign(opening)}{inside}{_sign(closing)}</mrow>"

    def _upright(self) -> str:
        """A name in upright letters."""
        self._next()
        name = ""
        while (piece := self._next()) not in ("}", None):
            name += str(piece).removeprefix("\\")
        return f'<mi mathvariant="normal">{escape(name)}</mi>'


def _plain(piece: str) -> str:
    if piece in _SPACES:
        return f'<mspace width="{_SPACES[piece]}"/>'
    if piece in _IDENTIFIERS or piece.isalpha():
        return f"<mi>{escape(_IDENTIFIERS.get(piece, piece))}</mi>"
    if piece[:1].isdigit():
        return f"<mn>{piece}</mn>"
    return _sign(piece)


def _sign(piece: str) -> str:
    return f"<mo>{escape(_SIGNS.get(piece, piece.removeprefix(chr(92))))}</mo>"
