"""A program made ready for export: live values only, constants folded, functions that add up taken apart into sums."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from programs.graph import INPUTS, LR, N_INPUTS, G, M, Node, V
from programs.liveness import live
from programs.ops import OPS, SCALAR, Op
from programs.phases import CONSTANT, LEAF, RATE, SUM, TOTAL, TREE, Phase, Value, loops, users
from programs.program import Program

NUMBER = "number"  # in place of the name of a function

# Python's own words for numbers, so that functions of the learning rate need no tensor.
_OF_NUMBERS = {
    "abs": "abs({0})",
    "norm": "abs({0})",
    "global_norm": "abs({0})",
    "square": "{0} * {0}",
    "clip": "{0} * torch.clamp({1} / abs({0}), max=1.0)",
}
_LERP, _LERP_BACK, _LERP_OF_NUMBERS = (
    "torch.lerp({0}, {1}, {2})",
    "torch.lerp({1}, {0}, 1 - {2})",
    "(1 - {2}) * {0} + {2} * {1}",
)
_BOUNDS = {"maximum": "torch.clamp({0}, min={1})", "minimum": "torch.clamp({0}, max={1})"}


@dataclass(frozen=True)
class LoweredRule:
    """A lowered program. Values 0..4 are the inputs w, g, m, v, lr.

    Attributes:
        values: in order of computation; values that nothing uses are possible among inputs and constants only.
        constants: the numbers among the values; each becomes a hyperparameter or a literal.
        update: the value to subtract from the weights.
        states: the slots in use, `M` or `V`, each with the value that it holds afterwards.
        lr: the default of the exported learning rate.
        needs_tensor_lr: whether functions of the learning rate need it as a tensor.
        of_node: where the nodes of the program went; constants that were folded are missing.
    """

    values: list[Value]
    constants: dict[int, float]
    update: int
    states: dict[int, int]
    lr: float
    needs_tensor_lr: bool
    of_node: dict[int, int]

    @cached_property
    def is_global(self) -> bool:
        """Whether values of different parameters meet."""
        return bool(self.sums())

    def sums(self) -> list[int]:
        """Return the values that are sums over all parameters."""
        return [n for n, value in enumerate(self.values) if value.function == SUM]

    def phases(self) -> list[Phase]:
        """Return the loops over parameters."""
        return loops(self.values, [self.update, *self.states.values()], N_INPUTS)

    @cached_property
    def users(self) -> list[list[tuple[int, int]]]:
        """For each value, the values that read it and the place among their arguments."""
        return users(self.values)

    def is_read(self, number: int) -> bool:
        return number in (self.update, *self.states.values()) or any(number in v.args for v in self.values)


def lower(program: Program) -> LoweredRule:
    """Return the live part of a program in the form that exporters write down."""
    return _Lowering(program).rule()


class _Lowering:
    def __init__(self, program: Program) -> None:
        flow = program.dataflow
        self._nodes, self._update = flow.nodes, flow.update
        self._names = {number: s.target for number, s in zip(flow.statements, program.statements, strict=True)}
        self._alive, self._slots = live(flow)
        self._numbers = self._folded()
        self._values = [Value("", "", (), RATE if n == LR else TREE, name) for n, name in enumerate(INPUTS)]
        self._constants: dict[int, float] = {}
        self._sums: dict[tuple[int, int], int] = {}
        self._of = {n: n for n in range(N_INPUTS)}
        self._lr = 1.0

    def rule(self) -> LoweredRule:
        for slot in (M, V):
            if slot in self._alive and slot not in self._slots:  # read but never written: always zero
                self._of[slot] = self._add(Value("zeros", "torch.zeros_like({0})", (G,), TREE, "zeros"))
        peak = self._peak_node()
        for number in self._alive:
            if number == peak:
                self._of[number] = LR
            elif self._nodes[number].is_call:
                self._of[number] = self._statement(number)
        states = {slot: self._of[number] for slot, number in self._slots.items()}
        needs_tensor = any(self._needs_tensor_lr(value) for value in self._values)
        update = self._of[self._update]
        return LoweredRule(self._values, self._constants, update, states, self._lr, needs_tensor, self._of)

    def _folded(self) -> dict[int, float]:
        """Return the values of the nodes that depend on constants alone."""
        numbers: dict[int, float] = {}
        for n in self._alive:
            node = self._nodes[n]
            if node.is_constant:
                numbers[n] = node.value
            elif node.is_call and all(a in numbers for a in node.args):
                numbers[n] = OPS[node.function].number([numbers[a] for a in node.args])
        return numbers

    def _peak_node(self) -> int | None:
        """Return the node `lr * c`, if nothing else reads lr: its constant is the exported learning rate."""
        readers = [n for n in self._alive if LR in self._nodes[n].args]
        if len(readers) != 1 or self._nodes[readers[0]].function != "mul":
            return None
        factors = [self._numbers.get(a, 0.0) for a in self._nodes[readers[0]].args if a != LR]
        if len(factors) != 1 or not 0 < factors[0] < math.inf:
            return None
        self._lr = factors[0]
        return readers[0]

    def _statement(self, number: int) -> int:
        node, name = self._nodes[number], self._names[number]
        if number in self._numbers:
            return self._constant(self._numbers[number], name, NUMBER if node.args else node.function)
        args = [self._argument(a) for a in node.args]
        ranks = [self._values[a].rank for a in args]
        op = OPS[node.function]
        if op.reduces and ranks[0] > (LEAF if op.within == "leaf" else TOTAL):
            return self._reduction(node, args, ranks[0], name)
        if op.name == "interp" and self._slots.get(args[1]) == number and ranks == [TREE, TREE, CONSTANT]:
            template = _LERP_BACK
        else:
            template, args = _elementwise(op, args, ranks)
        return self._add(Value(op.name, template, tuple(args), max(ranks), name))

    def _argument(self, number: int) -> int:
        if number not in self._of:
            self._of[number] = self._constant(self._nodes[number].value, "", NUMBER)
        return self._of[number]

    def _reduction(self, node: Node, args: list[int], rank: int, name: str) -> int:
        op = OPS[node.function]
        if op.within == "leaf":
            return self._add(Value(op.name, "_norm({0})", tuple(args), LEAF, name))
        sums = [self._sum(args[i], args[j]) for i, j in op.sums]
        if op.torch == f"{{{op.arity}}}":
            return sums[0]
        result = TOTAL if node.kind == SCALAR else rank
        return self._add(Value(op.name, op.torch, (*args, *sums), result, name).with_used_args())

    def _sum(self, x: int, y: int) -> int:
        pair = (min(x, y), max(x, y))
        if pair not in self._sums:
            names = [self._values[a].name for a in pair]
            self._sums[pair] = self._add(Value(SUM, "_dot({0}, {1})", pair, TOTAL, f"{names[0]}_dot_{names[1]}"))
        return self._sums[pair]

    def _constant(self, number: float, name: str, function: str) -> int:
        self._constants[len(self._values)] = number
        return self._add(Value(function, "", (), CONSTANT, name))

    def _add(self, value: Value) -> int:
        self._values.append(value)
        return len(self._values) - 1

    def _needs_tensor_lr(self, value: Value) -> bool:
        reads_rate = any(self._values[a].rank == RATE for a in value.args)
        calls = "torch." in value.template
        return reads_rate and calls and (value.rank == RATE or value.function in _BOUNDS)


def _elementwise(op: Op, args: list[int], ranks: Sequence[int]) -> tuple[str, list[int]]:
    """Return the torch code, shorter than the table's where it can be, and its arguments."""
    if op.name in _BOUNDS and CONSTANT in ranks:
        first, bound = sorted(range(2), key=lambda i: -ranks[i])
        return _BOUNDS[op.name], [args[first], args[bound]]
    if op.name == "interp":
        return (_LERP if ranks == [TREE, TREE, CONSTANT] else _LERP_OF_NUMBERS), args
    if op.name == "sign":
        return "torch.sign({0})", args  # 0 for NaN, as people expect of torch
    if op.name in _OF_NUMBERS and (max(ranks) <= RATE or op.reduces):
        return _OF_NUMBERS[op.name], args
    texts = [f"{{{place}}}" for place in range(op.arity)]
    return op.torch.format(*texts, *(f"({texts[i]} * {texts[j]})" for i, j in op.sums)), args
