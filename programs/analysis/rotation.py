"""Under which rotations of weights and gradients updates turn with them.

The groups are nested: rotations of all weights as one vector; of each parameter tensor as one vector; of the rows and
of the columns of each matrix (`U X V`, of which `orthogonalize` knows nothing else).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from programs.analysis.interpretation import interpret
from programs.graph import LR, Dataflow, Node
from programs.kinds import SCALAR
from programs.ops import OPS

Group = Literal["all", "tensor", "matrix"]
GROUPS: tuple[Group, ...] = ("all", "tensor", "matrix")
Fact = Literal["zero", "fixed", "turns", "none"]
"""Whether a value turns with weights and gradients, or stays as it is, one number for all that is rotated as one."""

_OF_PRODUCTS = ("global_norm", "dot", "cosine_sim", "norm", "rms")  # sums of products of two values in one place


def rotations(flow: Dataflow) -> Group | None:
    """Return the largest group under which updates turn with weights and gradients, None for none of them."""
    return next((group for group in GROUPS if interpret(flow, _Turns(group))[flow.update] in ("turns", "zero")), None)


class _Turns:
    """The domain of values that turn."""

    def __init__(self, group: Group) -> None:
        self._group = group

    def input(self, slot: int) -> Fact:
        return "fixed" if slot == LR else "turns"

    def constant(self, value: float) -> Fact:
        return "fixed" if value else "zero"

    def weaken(self, seen: Sequence[Fact], new: Fact) -> Fact:
        return _same(seen[-1], new)

    def call(self, node: Node, args: Sequence[Fact], nodes: Sequence[Node]) -> Fact:  # noqa: ARG002 - of the interface
        function, op = node.function, OPS[node.function]
        if "none" in args:
            return "none"
        if function in ("add", "sub", "negative") or (function == "interp" and args[2] != "turns"):
            return _same(*args[:2])
        if function in ("mul", "div") and args[0] == "zero":
            return "zero"
        if (function == "mul" and sorted(args) == ["fixed", "turns"]) or (function == "div" and args[1] != "turns"):
            return _same(*(arg for arg in args if arg == "turns")) if "turns" in args else "fixed"
        if function == "mul" and "zero" in args:
            return "zero"
        if "turns" in args:
            return self._of_turning(function, args)
        if op.reduces and node.kind != SCALAR and (self._group == "all" or not op.sums):
            return "none"  # the value may differ within what is rotated as one
        return "zero" if op.arity == 1 and args[0] == "zero" and (op.sums or op.number([0.0]) == 0.0) else "fixed"

    def _of_turning(self, function: str, args: Sequence[Fact]) -> Fact:
        within = OPS[function].within if OPS[function].sums else ""
        if function in _OF_PRODUCTS and set(args) == {"turns"} and (within == "all" or self._group != "all"):
            return "fixed"
        if function == "clip" and args[1] != "turns":
            return "turns"
        return "turns" if function == "orthogonalize" and self._group == "matrix" else "none"


def _same(*facts: Fact) -> Fact:
    found = {fact for fact in facts if fact != "zero"}
    return "zero" if not found else found.pop() if len(found) == 1 else "none"
