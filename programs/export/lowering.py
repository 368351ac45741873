"""A program made ready for export: live values only, constants folded, reductions taken apart into sums and phases.

Each value has a rank, which says how many numbers it is and when they are known: a constant, a function of the learning
rate, a total over all parameters, one number for each parameter tensor, or a tree. Ranks are ordered as kinds are: an
elementwise function gives the largest rank of its arguments.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from programs.dataflow import LR, N_INPUTS, G, M, V, W
from programs.liveness import live
from programs.ops import OPS, Op
from programs.program import Program

CONSTANT, RATE, TOTAL, LEAF, TREE = range(5)

INPUT, NUMBER, SUM = "input", "number", "sum"  # in place of the name of a function

# The sums over all parameters that a function needs, as pairs of arguments to multiply, and what it makes of both.
_REDUCTIONS = {
    "global_norm": (((0, 0),), "torch.sqrt({1})"),
    "dot": (((0, 1),), "{2}"),
    "cosine_sim": (((0, 1), (0, 0), (1, 1)), "{2} / (torch.sqrt({3}) * torch.sqrt({4}))"),
    "clip": (((0, 0),), "{0} * torch.clamp({1} / torch.sqrt({2}), max=1.0)"),
}
# Python's own words for numbers, so that functions of the learning rate need no tensor.
_OF_NUMBERS = {"abs": "abs({0})", "norm": "abs({0})", "global_norm": "abs({0})", "square": "{0} * {0}"}
_CLIP_OF_NUMBER = "{0} * torch.clamp({1} / abs({0}), max=1.0)"
_LERP, _LERP_BACK, _LERP_OF_NUMBERS = (
    "torch.lerp({0}, {1}, {2})",
    "torch.lerp({1}, {0}, 1 - {2})",
    "(1 - {2}) * {0} + {2} * {1}",
)
_BOUNDS = {"maximum": "torch.clamp({0}, min={1})", "minimum": "torch.clamp({0}, max={1})"}


class Value(NamedTuple):
    """`function` with `template` over `args`, which are other values; `name` is what the program calls the result."""

    function: str
    template: str
    args: tuple[int, ...]
    rank: int
    name: str


@dataclass(frozen=True)
class Rule:
    """A lowered program. Values 0..4 are the inputs w, g, m, v, lr.

    Attributes:
        values: in order of computation; values that nothing uses are possible among inputs and constants only.
        constants: the numbers among the values; each becomes a hyperparameter or a literal.
        update: the value to subtract from the weights.
        states: the slots in use, `M` or `V`, each with the value that it holds afterwards.
        lr: the default of the exported learning rate.
        needs_tensor_lr: whether functions of the learning rate need it as a tensor.
        of_node: where the nodes of the dataflow went.
        literals: the values of the constants in each statement, by node, in order.
    """

    values: list[Value]
    constants: dict[int, float]
    update: int
    states: dict[int, int]
    lr: float
    needs_tensor_lr: bool
    of_node: dict[int, int]
    literals: dict[int, list[int]]

    @property
    def is_global(self) -> bool:
        """Whether values of different parameters meet."""
        return any(value.function == SUM for value in self.values)

    def users(self) -> dict[int, list[tuple[int, int]]]:
        """For each value that uses it, and the place among its arguments."""
        users: dict[int, list[tuple[int, int]]] = {n: [] for n in range(len(self.values))}
        for n, value in enumerate(self.values):
            for place, arg in enumerate(value.args):
                users[arg].append((n, place))
        return users

    def is_read(self, value: int) -> bool:
        return value in (self.update, *self.states.values()) or any(value in v.args for v in self.values)


def lower(program: Program) -> Rule:
    """The live part of a program in the form that exporters write down."""
    return _Lowering(program).rule()


class _Lowering:
    def __init__(self, program: Program) -> None:
        self._flow = program.dataflow
        self._targets = [s.target for s in program.statements]
        self._nodes, slots = live(self._flow)
        self._slots = {s: {M: self._flow.m, V: self._flow.v}[s] for s in slots}
        self._values = [
            Value(INPUT, "", (), RATE if n == LR else TREE, "wgmv"[n] if n != LR else "lr") for n in range(N_INPUTS)
        ]
        self._constants: dict[int, float] = {}
        self._sums: dict[tuple[int, int], int] = {}
        self._of = {n: n for n in (W, G, M, V, LR)}
        self._literals: dict[int, list[int]] = {}
        self._lr = 1.0

    def rule(self) -> Rule:
        for slot in (M, V):
            if slot in self._nodes and slot not in self._slots:  # read but never written: zero for ever
                self._of[slot] = self._add(Value("zeros", "torch.zeros_like({0})", (G,), TREE, "zeros"))
        peak = self._peak_node()
        for node in self._nodes:
            if node == peak:
                self._of[node] = LR
            elif node >= N_INPUTS:
                self._of[node] = self._statement(node)
        states = {slot: self._of[node] for slot, node in self._slots.items()}
        needs_tensor = any(self._needs_tensor_lr(value) for value in self._values)
        update = self._of[self._flow.update]
        return Rule(self._values, self._constants, update, states, self._lr, needs_tensor, self._of, self._literals)

    def _peak_node(self) -> int | None:
        """The node `lr * c`, if nothing else reads lr: its constant is the exported learning rate."""
        users = [n for n in self._nodes if n >= N_INPUTS and any(map(_is_lr, self._flow.args[n - N_INPUTS]))]
        if len(users) != 1 or self._flow.ops[users[0] - N_INPUTS].name != "mul":
            return None
        numbers = [self._number(a) for a in self._flow.args[users[0] - N_INPUTS] if not _is_lr(a)]
        if len(numbers) != 1 or numbers[0] is None or not 0 < numbers[0] < math.inf:
            return None
        self._lr = numbers[0]
        return users[0]

    def _number(self, arg: int | float) -> float | None:
        """The value of an argument that depends on constants alone."""
        if type(arg) is float:
            return arg
        if arg < N_INPUTS:
            return None
        op = self._flow.ops[int(arg) - N_INPUTS]
        numbers = [self._number(a) for a in self._flow.args[int(arg) - N_INPUTS]]
        return None if None in numbers else _evaluate(op, [n for n in numbers if n is not None])

    def _statement(self, node: int) -> int:
        op, refs, name = (
            self._flow.ops[node - N_INPUTS],
            self._flow.args[node - N_INPUTS],
            self._targets[node - N_INPUTS],
        )
        number = self._number(node)
        if number is not None:
            return self._constant(number, name, op.name if op.arity == 0 else NUMBER)
        args = [self._constant(a, "", NUMBER) if type(a) is float else self._of[int(a)] for a in refs]
        self._literals[node] = [n for n, a in zip(args, refs, strict=True) if type(a) is float]
        ranks = [self._values[a].rank for a in args]
        if op.reduces:
            return self._reduction(op, args, ranks, name)
        if op.name == "interp" and self._is_next_state(node, args[1]) and ranks == [TREE, TREE, CONSTANT]:
            return self._add(Value(op.name, _LERP_BACK, tuple(args), TREE, name))
        template, args = _elementwise(op, args, ranks)
        return self._add(Value(op.name, template, tuple(args), max(ranks), name))

    def _is_next_state(self, node: int, arg: int) -> bool:
        return arg in self._slots and self._slots[arg] == node

    def _reduction(self, op: Op, args: list[int], ranks: list[int], name: str) -> int:
        rank = ranks[0]
        if op.name == "norm" and rank == TREE:
            return self._add(Value(op.name, "_norm({0})", tuple(args), LEAF, name))
        if op.name == "norm" or rank <= TOTAL:
            template = _CLIP_OF_NUMBER if op.name == "clip" else _OF_NUMBERS[op.name]
            return self._add(Value(op.name, template, tuple(args), max(ranks), name))
        pairs, template = _REDUCTIONS[op.name]
        places = [*args, *(self._sum(args[i], args[j]) for i, j in pairs)]
        if op.name == "dot":
            return places[-1]
        return self._add(
            _with_used_args(Value(op.name, template, tuple(places), rank if op.name == "clip" else TOTAL, name))
        )

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


def _is_lr(arg: int | float) -> bool:
    return type(arg) is int and arg == LR  # a constant may equal the number of the node


def _elementwise(op: Op, args: list[int], ranks: list[int]) -> tuple[str, list[int]]:
    """The torch code, shorter than the table's where it can be, and its arguments."""
    if op.name in _BOUNDS and CONSTANT in ranks:
        first, bound = sorted(range(2), key=lambda i: -ranks[i])
        return _BOUNDS[op.name], [args[first], args[bound]]
    if op.name == "interp":
        return (_LERP if ranks == [TREE, TREE, CONSTANT] else _LERP_OF_NUMBERS), args
    if op.name == "sign":
        return "torch.sign({0})", args  # 0 for NaN, as people expect of torch
    if max(ranks) <= RATE and op.name in _OF_NUMBERS:
        return _OF_NUMBERS[op.name], args
    return op.torch, args


def _with_used_args(value: Value) -> Value:
    """Without the arguments that the template does not mention."""
    used = [i for i in range(len(value.args)) if f"{{{i}}}" in value.template]
    template = value.template
    for new, old in enumerate(used):
        template = template.replace(f"{{{old}}}", f"{{{new}}}")
    return value._replace(template=template, args=tuple(value.args[i] for i in used))


def _evaluate(op: Op, numbers: Sequence[float]) -> float:
    function = OPS["abs"].numpy if op.uses_leaves else op.numpy  # the norm of a number
    with np.errstate(all="ignore"):
        return float(np.ravel(function(*(np.full(1, n) for n in numbers)))[0])


# --- phases: the loops over parameters between one reduction over all of them and the next ------------------------


class Phase(NamedTuple):
    """`order`: values to compute; a sum means the share of each parameter. `kept`: those that later phases read."""

    order: list[int]
    kept: list[int]


def phases(rule: Rule) -> list[Phase]:
    """The loops of a rule. Trees are computed once, as late as they can be; numbers again wherever they are needed."""
    last = max(_levels(rule))
    place = _places(rule, last)
    return [Phase(_order(rule, place, p), _kept(rule, place, p)) for p in range(last + 1)]


def _levels(rule: Rule) -> list[int]:
    """The number of reductions that come before each value."""
    levels: list[int] = []
    for value in rule.values:
        before = max((levels[a] for a in value.args), default=0)
        levels.append(before + (value.function == SUM))
    return levels


def _places(rule: Rule, last: int) -> dict[int, int]:
    """The phase of each tree, leaf and share of a sum."""
    levels, users = _levels(rule), rule.users()
    place: dict[int, int] = {}
    needed: dict[int, int] = {}  # the earliest phase in which a value is needed
    outputs = (rule.update, *rule.states.values())
    for n in reversed(range(len(rule.values))):
        value = rule.values[n]
        phases_of_users = [needed[u] for u, _ in users[n] if u in needed] + [last] * (n in outputs)
        if value.function == SUM:
            needed[n] = place[n] = levels[n] - 1
        elif phases_of_users:
            needed[n] = min(phases_of_users)
            if value.rank >= LEAF and value.function != INPUT:
                place[n] = needed[n]
    return place


def _order(rule: Rule, place: dict[int, int], phase: int) -> list[int]:
    """What stands in a phase, with the numbers that it needs."""
    order = {n for n, p in place.items() if p == phase}
    stack = list(order)
    while stack:
        for arg in rule.values[stack.pop()].args:
            value = rule.values[arg]
            if value.rank in (RATE, TOTAL) and value.function not in (INPUT, SUM) and arg not in order:
                order.add(arg)
                stack.append(arg)
    return sorted(order)


def _kept(rule: Rule, place: dict[int, int], phase: int) -> list[int]:
    users, outputs = rule.users(), (rule.update, *rule.states.values())
    last = max(place.values())
    return [
        n
        for n, p in sorted(place.items())
        if p == phase and rule.values[n].function != SUM
        and (any(place.get(u, phase) > phase for u, _ in users[n]) or (n in outputs and phase < last))
    ]  # fmt: skip
