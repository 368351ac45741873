"""How updates depend on the weights themselves: weight decay by its coupling, and norms.

| way       | what it says                                                                        |
|-----------|-------------------------------------------------------------------------------------|
| decoupled | a multiple of the weights is added to the update (Loshchilov and Hutter, 1711.05101) |
| gradient  | weights enter like gradients: through states, or functions of each weight            |
| norm      | norms, or other sums over weights, scale or shift the update                         |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from programs.analysis.interpretation import interpret
from programs.graph import LR, Dataflow, Node, W
from programs.kinds import LEAF
from programs.ops import OPS, largest

Way = Literal["decoupled", "gradient", "norm"]


class Dependence(NamedTuple):
    """In which ways a value depends on the weights, and whether it is plain: made of constants, lr and steps alone."""

    ways: frozenset[Way]
    is_plain: bool = False


_PLAIN, _OF_GRADIENTS = Dependence(frozenset(), True), Dependence(frozenset())
_NORM, _GRADIENT = Dependence(frozenset({"norm"})), Dependence(frozenset({"gradient"}))


def coupling(flow: Dataflow) -> frozenset[Way]:
    """Return the ways in which the update depends on the weights; none where it does not."""
    ways = interpret(flow, _Couplings())[flow.update].ways
    return ways - {"decoupled"} if "gradient" in ways else ways


class _Couplings:
    """The domain of ways in which values depend on the weights."""

    def input(self, slot: int) -> Dependence:
        return Dependence(frozenset({"decoupled"})) if slot == W else _PLAIN if slot == LR else _OF_GRADIENTS

    def constant(self, value: float) -> Dependence:  # noqa: ARG002 - all are plain
        return _PLAIN

    def weaken(self, seen: Sequence[Dependence], new: Dependence) -> Dependence:
        ways = frozenset("gradient" if way == "decoupled" else way for way in new.ways)
        return _joined(seen[-1], Dependence(ways))

    def call(self, node: Node, args: Sequence[Dependence], nodes: Sequence[Node]) -> Dependence:
        if all(arg.is_plain for arg in args):
            return _PLAIN
        if not any(arg.ways for arg in args):
            return _OF_GRADIENTS
        function = node.function
        if function == "mul" and any(n.is_constant and n.value == 0 for n in nodes):
            return _PLAIN  # a decay that is set to zero
        is_linear = function in ("add", "sub", "negative") or (function == "interp" and args[2].is_plain)
        if is_linear or (function == "mul" and any(arg.is_plain for arg in args)):
            return _joined(*args)
        if function == "div" and args[1].is_plain:
            return args[0]
        return self._of_other(node, args, nodes)

    def _of_other(self, node: Node, args: Sequence[Dependence], nodes: Sequence[Node]) -> Dependence:
        """Return how a value depends that is no sum of multiples of its arguments."""
        if OPS[node.function].result is not largest or node.kind <= LEAF:
            return _NORM
        of_trees = [arg.ways for arg, n in zip(args, nodes, strict=True) if n.kind > LEAF]
        has_numbers = any(arg.ways for arg, n in zip(args, nodes, strict=True) if n.kind <= LEAF)
        if node.function in ("mul", "div") and has_numbers and len(of_trees) == 1:
            return Dependence(of_trees[0] - {"decoupled"} | {"norm"})
        ways = frozenset().union(*of_trees)
        if node.function in ("mul", "div") and len(of_trees) == 1:  # scaled by what gradients tell
            return Dependence(frozenset("gradient" if way == "decoupled" else way for way in ways))
        return _NORM if ways <= {"norm"} else _joined(_GRADIENT, Dependence(ways - {"decoupled"}))


def _joined(*all_of: Dependence) -> Dependence:
    return Dependence(frozenset().union(*(one.ways for one in all_of)), all(one.is_plain for one in all_of))
