"""Between which numbers values stay: intervals, for all gradients and weights.

What only holds between values, such as that a first moment is bounded by the root of the second, intervals do not know.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from programs.analysis.interpretation import interpret
from programs.graph import LR, Dataflow, Node
from programs.kinds import TREE
from programs.liveness import live
from programs.ops import OPS


class Interval(NamedTuple):
    """All numbers from `low` to `high`."""

    low: float
    high: float

    @property
    def largest(self) -> float:
        """The largest magnitude in it."""
        return max(abs(self.low), abs(self.high))


ANYTHING = Interval(-math.inf, math.inf)
_RANGES = {
    **dict.fromkeys(("sin", "cos", "cosine_sim"), Interval(-1.0, 1.0)),
    "arcsin": Interval(-math.pi / 2, math.pi / 2),
    "arccos": Interval(0.0, math.pi),
    **dict.fromkeys(
        ("norm", "global_norm", "row_norm", "column_norm", "cosh", "arccosh"),
        Interval(0.0, math.inf),
    ),
}
_RISING = (
    "sign", "tanh", "arctan", "sinh", "arcsinh", "cube", "cbrt", "exp", "exp2", "exp10", "expm1", "maximum", "minimum",
)  # fmt: skip
_EVEN = ("abs", "sqrt", "square", "rms")  # and rising on positive numbers; the root of a mean square is a mean of those
_ROUNDING = 1e-9
_EXTRAPOLATED = 3  # how often a state is seen before its limit is guessed


def bound_of_update(flow: Dataflow) -> float:
    """Return what no update of a weight exceeds at a schedule in 0..1, whatever the gradients; infinite if unknown."""
    return interpret(flow, Intervals())[flow.update].largest


def never_negative_states(flow: Dataflow) -> set[int]:
    """Return the state slots in use whose numbers are known never to be negative, such as averages of squares."""
    found = interpret(flow, Intervals())
    return {slot for slot in live(flow).states if found[slot].low >= 0}


def per_weight_states(flow: Dataflow) -> dict[int, bool]:
    """Return the state slots in use that have a number for each weight, each with whether none is ever negative."""
    unsigned = never_negative_states(flow)
    return {slot: slot in unsigned for slot in live(flow).states if flow.nodes[slot].kind == TREE}


class Intervals:
    """The domain of intervals."""

    def input(self, slot: int) -> Interval:
        return Interval(0.0, 1.0) if slot == LR else ANYTHING

    def constant(self, value: float) -> Interval:
        return Interval(value, value)

    def weaken(self, seen: Sequence[Interval], new: Interval) -> Interval:
        """Guess the limit of an average; what goes on growing then has none."""
        last = seen[-1]
        slack = _ROUNDING * max(1.0, last.largest) if math.isfinite(last.largest) else 0.0
        low, high = (new.low < last.low - slack, new.high > last.high + slack)
        if len(seen) == _EXTRAPOLATED:
            ends = ([s.low for s in (*seen, new)], [s.high for s in (*seen, new)])
            limits = [_limit(*end[-3:]) for end in ends]
            return Interval(min(last.low, limits[0]), max(last.high, limits[1]))
        if len(seen) > _EXTRAPOLATED:
            return Interval(-math.inf if low else last.low, math.inf if high else last.high)
        return Interval(new.low if low else last.low, new.high if high else last.high)

    def call(self, node: Node, args: Sequence[Interval], nodes: Sequence[Node]) -> Interval:  # noqa: ARG002 - of the interface
        function = "square" if node.function == "mul" and node.args[0] == node.args[1] else node.function
        if function in _RANGES:
            return _RANGES[function]
        if OPS[function].of_training:
            return Interval(1.0, math.inf)  # numbers of steps
        if function in _EVEN:
            magnitude = Interval(0.0 if args[0].low <= 0 <= args[0].high else min(map(abs, args[0])), args[0].largest)
            return magnitude if function == "rms" else _hull(OPS[function].number([end]) for end in magnitude)
        if function in _RISING:
            return _hull(OPS[function].number(ends) for ends in zip(*args, strict=True))
        if function in ("row_mean", "column_mean", "negative"):
            return Interval(-args[0].high, -args[0].low) if function == "negative" else args[0]
        return _arithmetic(function, args)


def _arithmetic(function: str, args: Sequence[Interval]) -> Interval:
    match function:
        case "add":
            return _hull((args[0].low + args[1].low, args[0].high + args[1].high))
        case "sub":
            return _hull((args[0].low - args[1].high, args[0].high - args[1].low))
        case "mul":
            return _hull(_times(x, y) for x, y in itertools.product(*args))
        case "div" | "reciprocal":
            x, y = (Interval(1.0, 1.0), args[0]) if function == "reciprocal" else args
            if y.low <= 0:  # a divisor that may be next to minus the guard
                return ANYTHING
            return _hull(_times(a, 0.0 if math.isinf(b) else 1 / b) for a, b in itertools.product(x, y))
        case "interp":
            return _between(*args)
        case "clip":
            return Interval(min(args[0].low, 0.0), max(args[0].high, 0.0)) if args[1].low >= 0 else ANYTHING
        case "power":
            is_share = 0 <= args[0].low and args[0].high <= 1 and args[1].low >= 0
            return Interval(0.0, 1.0) if is_share else ANYTHING
    return _hull([OPS[function].number([])]) if not OPS[function].arity else ANYTHING


def _between(x: Interval, y: Interval, share: Interval) -> Interval:
    if share.low == share.high:
        parts = ((1 - share.low, x), (share.low, y))
        return _arithmetic("add", [_hull(_times(factor, end) for end in part) for factor, part in parts])
    return _hull((*x, *y)) if 0 <= share.low and share.high <= 1 else ANYTHING


def _times(x: float, y: float) -> float:
    return 0.0 if 0.0 in (x, y) else x * y


def _hull(values: Iterable[float]) -> Interval:
    found = list(values)
    return ANYTHING if any(map(math.isnan, found)) else Interval(min(found), max(found))


def _limit(first: float, second: float, third: float) -> float:
    """Return the limit of a sequence whose differences fall by a common factor, infinite if they do not fall."""
    before, after = second - first, third - second
    if not math.isfinite(third) or not after:
        return third
    ratio = after / before if before else math.inf
    return third + after * ratio / (1 - ratio) if 0 <= ratio < 1 else math.copysign(math.inf, after)
