"""How values change when inputs are scaled or change their sign: parity and degree of homogeneity.

A value follows a `Law` if scaling the inputs by a factor scales it by a power of this factor, its degree, and if it
keeps or changes its sign with them. Which inputs are scaled, and as which powers, is the `Direction`. Guards of
divisions count as infinitesimal, as in fingerprints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Literal, NamedTuple

from programs.analysis.interpretation import interpret
from programs.graph import Dataflow, G, Node, W
from programs.ops import OPS


class Law(NamedTuple):
    """A value changes its sign with the inputs if `is_odd`, and is scaled by `degree` powers of their factor."""

    is_odd: bool
    degree: Fraction


INVARIANT = Law(False, Fraction(0))
Fact = Law | Literal["zero", "none"]
"""The law of a value; `zero` if it is always zero, which follows every law; `none` if it follows none that is known."""
ZERO: Literal["zero"] = "zero"
NONE: Literal["none"] = "none"

Direction = Mapping[int, Fact]
_ODD, _LINEAR, _INVERSE = Law(True, Fraction(0)), Law(False, Fraction(1)), Law(False, Fraction(-1))
SIGN_OF_G: Direction = {G: _ODD}
SIGN_OF_G_AND_W: Direction = {G: _ODD, W: _ODD}
SCALE_OF_G: Direction = {G: _LINEAR}
SCALE_OF_W: Direction = {W: _LINEAR}
UNITS_OF_W: Direction = {W: _LINEAR, G: _INVERSE}
"""Weights in other units: what they are multiplied with, gradients are divided by."""
NO_GRADIENTS: Direction = {G: ZERO, W: _LINEAR}
"""Gradients that are always zero, and weights of any scale."""

KEEPS, EVEN = "keeps", "even"  # the sign of the argument; no sign
# Functions of one value: the factor on the degree, None where they have no law but for what is invariant; and parity.
_OF_ONE: dict[str, tuple[Fraction | None, str | None]] = {
    **dict.fromkeys(("abs", "norm", "global_norm", "rms", "row_norm", "column_norm"), (Fraction(1), EVEN)),
    **dict.fromkeys(("negative", "row_mean", "column_mean"), (Fraction(1), KEEPS)),
    **dict.fromkeys(("sign", "orthogonalize"), (Fraction(0), KEEPS)),
    "square": (Fraction(2), EVEN),
    "cube": (Fraction(3), KEEPS),
    "sqrt": (Fraction(1, 2), EVEN),
    "cbrt": (Fraction(1, 3), KEEPS),
    "reciprocal": (Fraction(-1), KEEPS),
    **dict.fromkeys(("sin", "tan", "arcsin", "arctan", "sinh", "tanh", "arcsinh", "arctanh"), (None, KEEPS)),
    **dict.fromkeys(("cos", "cosh", "log", "log2", "log10"), (None, EVEN)),
}


def law_of_update(flow: Dataflow, direction: Direction) -> Fact:
    """Return the law that the update of every step follows, weights and gradients of all steps being scaled alike."""
    return laws(flow, direction)[flow.update]


def laws(flow: Dataflow, direction: Direction) -> dict[int, Fact]:
    """Return the laws of all live values, those of states before the step."""
    return interpret(flow, _Laws(direction))


def same(*facts: Fact) -> Fact:
    """Return the law that values have in common, whatever of them is zero."""
    laws = {fact for fact in facts if fact != ZERO}
    return ZERO if not laws else laws.pop() if len(laws) == 1 else NONE


class _Laws:
    """The domain of laws."""

    def __init__(self, direction: Direction) -> None:
        self._direction = direction

    def input(self, slot: int) -> Fact:
        return self._direction.get(slot, INVARIANT)

    def constant(self, value: float) -> Fact:
        return INVARIANT if value else ZERO

    def weaken(self, seen: Sequence[Fact], new: Fact) -> Fact:
        return same(seen[-1], new)

    def call(self, node: Node, args: Sequence[Fact], nodes: Sequence[Node]) -> Fact:
        match node.function:
            case "add" | "sub":
                return same(*args)
            case "interp":
                return same(*args[:2]) if args[2] in (INVARIANT, ZERO) else NONE
            case "maximum" | "minimum":
                found = same(*args)
                return found if not isinstance(found, Law) or not found.is_odd else NONE
            case "mul" | "dot":
                return _product(args[0], args[1], 1)
            case "div":
                return args[0] if args[1] == ZERO else _product(args[0], args[1], -1)
            case "cosine_sim":
                found = _product(args[0], args[1], 1)
                return found._replace(degree=Fraction(0)) if isinstance(found, Law) else found
            case "clip":
                return _clipped(args[0], args[1])
            case "power":
                return _power(args[0], args[1], nodes[1])
        return _of_one(node.function, args)


def _product(one: Fact, other: Fact, power: int) -> Fact:
    if ZERO in (one, other):
        return ZERO
    if isinstance(one, Law) and isinstance(other, Law):
        return Law(one.is_odd != other.is_odd, one.degree + power * other.degree)
    return NONE


def _clipped(x: Fact, bound: Fact) -> Fact:
    if ZERO in (x, bound):
        return ZERO
    is_alike = isinstance(x, Law) and isinstance(bound, Law) and x.degree == bound.degree and not bound.is_odd
    return x if is_alike else NONE


def _power(base: Fact, exponent: Fact, node: Node) -> Fact:
    if exponent == ZERO or (base == INVARIANT and exponent == INVARIANT):
        return INVARIANT
    if not node.is_constant:
        return NONE
    if not isinstance(base, Law):
        return base if base == NONE or node.value > 0 else INVARIANT
    if base.is_odd and node.value % 1:  # of numbers that may be negative
        return NONE
    return Law(base.is_odd and node.value % 2 == 1, base.degree * Fraction(node.value))


def _of_one(function: str, args: Sequence[Fact]) -> Fact:
    """Return the law of a function by its row, or of one without: what depends on invariant values is invariant."""
    if NONE in args:
        return NONE
    if list(args) == [ZERO]:
        op = OPS[function]
        return ZERO if op.of_matrices or op.number([0.0]) == 0.0 else INVARIANT
    factor, parity = _OF_ONE.get(function, (None, None))
    if len(args) == 1 and isinstance(law := args[0], Law):
        if (law.degree and factor is None) or (law.is_odd and parity is None):
            return NONE
        return Law(law.is_odd and parity == KEEPS, law.degree * (factor or 0))
    return INVARIANT if all(arg in (INVARIANT, ZERO) for arg in args) else NONE
