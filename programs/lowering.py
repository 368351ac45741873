"""A program made ready for export: live values only, constants folded, functions that add up taken apart into sums."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from programs import kinds
from programs.analysis.bounds import never_negative_states
from programs.graph import INPUTS, LR, N_INPUTS, G, M, Node, V
from programs.kinds import SCALAR
from programs.liveness import live
from programs.ops import OPS, USER, Op
from programs.phases import (
    COLUMN,
    CONSTANT,
    LEAF,
    RATE,
    ROW,
    STEP,
    SUM,
    TOTAL,
    TREE,
    Phase,
    Value,
    loops,
    rank_of_all,
    users,
)
from programs.program import Program

NUMBER = "<number>"  # in place of the name of a function, and no name that a user may give to one

SPREAD = "<spread>"  # the same of a value by rows or columns that becomes a tree

_RANKS = {kinds.LEAF: LEAF, kinds.ROW: ROW, kinds.COLUMN: COLUMN, kinds.TREE: TREE}
_ZEROS = {
    TREE: "torch.zeros_like({0})",
    ROW: "torch.zeros_like(_row_sum({0})).to({0}.dtype)",
    COLUMN: "torch.zeros_like(_column_sum({0})).to({0}.dtype)",
}

# Python's own words for numbers, so that functions of the learning rate need no tensor.
_OF_NUMBERS = {
    "abs": "abs({0})",
    "norm": "abs({0})",
    "global_norm": "abs({0})",
    "rms": "abs({0})",
    "square": "{0} * {0}",
    "clip": "{0} * torch.clamp({1} / abs({0}), max=1.0)",
}
# The same for functions of the step, which serve where all are finite: they raise errors where torch gives infinities.
_OF_STEP = {"power": "{0} ** {1}", "reciprocal": "1 / {0}", "sqrt": "abs({0}) ** 0.5"}
_STEPS_TRIED = np.unique([*range(1, 1001), *np.geomspace(1e3, 1e7, 100).round()])[:, None]

_LERP, _LERP_BACK, _LERP_OF_NUMBERS = (
    "torch.lerp({0}, {1}, {2})",
    "torch.lerp({1}, {0}, 1 - {2})",
    "(1 - {2}) * {0} + {2} * {1}",
)
_SUMS = {ROW: "_row_sum", COLUMN: "_column_sum"}
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
        tensors: the learning rate, the length of the training, the step, and functions of these, as far as they must be
            tensors: those that functions of torch are called with.
        step: the number of the step, steps: the length of the training, if the rule reads it.
        of_node: where the nodes of the program went; constants that were folded are missing.
        never_negative: the slots in use whose states never are, such as averages of squares.
    """

    values: list[Value]
    constants: dict[int, float]
    update: int
    states: dict[int, int]
    lr: float
    tensors: frozenset[int]
    step: int | None
    steps: int | None
    of_node: dict[int, int]
    never_negative: set[int]

    @property
    def needs_tensor_lr(self) -> bool:
        return LR in self.tensors

    @cached_property
    def helpers(self) -> set[str]:
        """The functions beyond torch's that the values call, and what allocates small states."""
        called = {name for value in self.values for name in re.findall(r"(?<!\w)_[a-z_]+(?=\()", value.template)}
        return called | {_SUMS[self.values[s].rank] for s in self.states if self.values[s].rank in _SUMS}

    @cached_property
    def is_global(self) -> bool:
        """Whether values of different parameters meet."""
        return bool(self.sums())

    def sums(self) -> list[int]:
        """Return the values that are sums over all parameters."""
        return [n for n, value in enumerate(self.values) if value.function == SUM]

    def phases(self) -> list[Phase]:
        """Return the loops over parameters."""
        return loops(self.values, [self.update, *self.states.values()])

    @cached_property
    def users(self) -> list[list[tuple[int, int]]]:
        """For each value, the values that read it and the place among their arguments."""
        return users(self.values)

    def is_read(self, number: int) -> bool:
        return number in (self.update, *self.states.values()) or any(number in v.args for v in self.values)


def lower(program: Program, total_steps: int | None = None) -> LoweredRule:
    """Return the live part of a program in the form that exporters write down.

    Args:
        program: whose dead statements are left out.
        total_steps: the length of the training; a constant that is NaN where it is not known.
    """
    return _Lowering(program, total_steps).rule()


class _Lowering:
    def __init__(self, program: Program, total_steps: int | None) -> None:
        flow = program.dataflow
        self._nodes, self._update = flow.nodes, flow.update
        self._names = {number: s.target for number, s in zip(flow.statements, program.statements, strict=True)}
        self._alive, self._slots = live(flow)
        self._never_negative = never_negative_states(flow)
        self._numbers = self._folded()
        self._total_steps = math.nan if total_steps is None else float(total_steps)
        self._told: dict[str, int] = {}
        self._of_step: dict[int, np.ndarray] = {}
        self._roots: dict[int, set[int]] = {LR: {LR}}
        self._values = [Value("", "", (), _RANKS.get(flow.nodes[n].kind, RATE), s) for n, s in enumerate(INPUTS)]
        self._constants: dict[int, float] = {}
        self._sums: dict[tuple[int, ...], int] = {}
        self._counts: dict[int, int] = {}
        self._of = {n: n for n in range(N_INPUTS)}
        self._lr = 1.0

    def rule(self) -> LoweredRule:
        for slot in (M, V):
            if slot in self._alive and slot not in self._slots:  # read but never written: always zero
                rank = self._values[slot].rank
                self._of[slot] = self._add(Value("<zeros>", _ZEROS[rank], (G,), rank, "zeros"))
        peak = self._peak_node()
        for number in self._alive:
            if number == peak:
                self._of[number] = LR
            elif self._nodes[number].is_call:
                self._of[number] = self._statement(number)
        states = {slot: self._of[number] for slot, number in self._slots.items()}
        update = self._of[self._update]
        step, steps = (self._told.get(what) for what in ("step", "steps"))
        tensors = self._tensors()
        return LoweredRule(
            self._values,
            self._constants,
            update,
            states,
            self._lr,
            tensors,
            step,
            steps,
            self._of,
            self._never_negative,
        )

    def _folded(self) -> dict[int, float]:
        """Return the values of the nodes that depend on constants alone."""
        numbers: dict[int, float] = {}
        for n in self._alive:
            node = self._nodes[n]
            if node.is_constant:
                numbers[n] = node.value
            elif node.is_call and not OPS[node.function].of_training and all(a in numbers for a in node.args):
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
        op = OPS[node.function]
        if op.of_training:
            return self._of_training(op)
        args = [self._argument(a) for a in node.args]
        ranks = [self._values[a].rank for a in args]
        if op.reduces and ranks[0] > (LEAF if op.within == "leaf" else STEP):
            return self._reduction(node, args, name)
        if op.name == "interp" and self._slots.get(args[1]) == number and _is_lerp(ranks):
            template = _LERP_BACK
        else:
            template, args = _elementwise(op, args, ranks)
        rank = max(rank_of_all(ranks), RATE)  # of a constant and the length of the training
        if rank == STEP:
            template = self._of_numbers_of_step(op, args, template)
        return self._add(Value(op.name, template, tuple(args), rank, name))

    def _of_training(self, op: Op) -> int:
        """Return the number of the step, or the length of the training: one value, however often it is asked for."""
        if op.of_training not in self._told:
            if op.of_training == "steps":
                number = self._constant(self._total_steps, "total_steps", op.name)
            else:
                number = self._add(Value(op.name, "", (), STEP, "step"))
                self._of_step[number] = _STEPS_TRIED
            self._told[op.of_training] = number
            self._roots[number] = {number}
        return self._told[op.of_training]

    def _of_numbers_of_step(self, op: Op, args: list[int], template: str) -> str:
        """Return the template, in Python's own words where its values are known to be finite at each of many steps."""
        rows = [self._of_step.get(a, self._constants.get(a)) for a in args]
        if all(row is not None for row in rows):
            with np.errstate(all="ignore"):
                found = op.of_kind(SCALAR).numpy(*(np.asarray(row, np.float64).reshape(-1, 1) for row in rows))
            if np.isfinite(found).all():
                self._of_step[len(self._values)] = found
                return _OF_STEP.get(op.name, template)
        return template

    def _argument(self, number: int) -> int:
        if number not in self._of:
            self._of[number] = self._constant(self._nodes[number].value, "", NUMBER)
        return self._of[number]

    def _reduction(self, node: Node, args: list[int], name: str) -> int:
        op, args = OPS[node.function], [self._spread(a) for a in args]
        ranks = [self._values[a].rank for a in args]
        if op.name == "norm":
            return self._add(Value(op.name, "_norm({0})", tuple(args), LEAF, name))
        if op.within == "all" and not op.of_matrices:
            sums = [self._sum(*(args[i] for i in one)) for one in op.sums]
            if op.averages:
                sums = [self._mean(total, args[one[0]]) for total, one in zip(sums, op.sums, strict=True)]
            if op.torch == f"{{{op.arity}}}":
                return sums[0]
            result = TOTAL if node.kind == SCALAR else rank_of_all(ranks)
            return self._add(Value(op.name, op.torch, (*args, *sums), result, name).with_used_args())
        texts = [f"{{{place}}}" for place in range(op.arity)]
        what = "mean" if op.averages else "sum"
        sums_here = [f"_{op.within}_{what}({', '.join(texts[i] for i in one)})" for one in op.sums]
        template = op.torch.format(*texts, *sums_here)
        if op.within in ("row", "column"):  # numbers of tensors alone leave the dtype of others as it is
            template = f"({template}).to({{0}}.dtype)"
        template = template.replace("orthogonalize(", "_orthogonalize(")
        return self._add(Value(op.name, template, tuple(args), _RANKS[node.kind], name))

    def _spread(self, n: int) -> int:
        """Return the tree that a value by rows or columns stands for; any other value as it is."""
        if self._values[n].rank not in (ROW, COLUMN):
            return n
        return self._add(Value(SPREAD, "_spread({0}, {1})", (n, G), TREE, self._values[n].name))

    def _sum(self, *factors: int) -> int:
        one = tuple(sorted(factors))
        if one not in self._sums:
            template = "_dot({0}, {1})" if len(one) == 2 else "_dot({0}, torch.ones_like({0}))"
            name = "_dot_".join(self._values[a].name for a in one)
            self._sums[one] = self._add(Value(SUM, template, one, TOTAL, name))
        return self._sums[one]

    def _mean(self, total: int, of: int) -> int:
        """Return a sum over as many numbers as a value is, divided by how many these are."""
        if of not in self._counts:
            ones = "torch.ones_like({0})"
            name = f"{self._values[of].name}_numel"
            self._counts[of] = self._add(Value(SUM, f"_dot({ones}, {ones})", (of,), TOTAL, name))
        of_all = total, self._counts[of]
        return self._add(Value("div", "{0} / {1}", of_all, TOTAL, f"mean_{self._values[total].name}"))

    def _constant(self, number: float, name: str, function: str) -> int:
        self._constants[len(self._values)] = number
        return self._add(Value(function, "", (), CONSTANT, name))

    def _add(self, value: Value) -> int:
        self._values.append(value)
        return len(self._values) - 1

    def _tensors(self) -> frozenset[int]:
        """Return the numbers that must be tensors, because functions of torch are called with them."""
        needed = set[int]()
        for n, value in enumerate(self._values):
            numbers = [a for a in value.args if a in self._roots]
            if value.rank in (RATE, STEP) and value.template:
                self._roots[n] = set().union(*(self._roots[a] for a in numbers))
            elif value.function in _BOUNDS or _is_users(value.function):
                numbers = [a for a in numbers if self._values[a].rank != CONSTANT]
            else:
                continue
            if "torch." in value.template:
                needed = needed.union(*(self._roots[a] for a in numbers))
        return frozenset(n for n, roots in self._roots.items() if not needed.isdisjoint(roots))


def _is_users(function: str) -> bool:
    return function in OPS and OPS[function].set == USER


def _is_lerp(ranks: Sequence[int]) -> bool:
    """Return whether an interpolation is torch's own: with a constant, between values that are kept alike."""
    return ranks[0] == ranks[1] >= ROW and ranks[2] == CONSTANT


def _elementwise(op: Op, args: list[int], ranks: Sequence[int]) -> tuple[str, list[int]]:
    """Return the torch code, shorter than the table's where it can be, and its arguments."""
    if op.name in _BOUNDS and CONSTANT in ranks:
        first, bound = sorted(range(2), key=lambda i: -ranks[i])
        return _BOUNDS[op.name], [args[first], args[bound]]
    if op.name == "interp":
        return (_LERP if _is_lerp(ranks) else _LERP_OF_NUMBERS), args
    if op.name == "sign":
        return "torch.sign({0})", args  # 0 for NaN, as people expect of torch
    if op.name in _OF_NUMBERS and (max(ranks) in (CONSTANT, RATE, STEP) or op.reduces):
        return _OF_NUMBERS[op.name], args
    texts = [f"{{{place}}}" for place in range(op.arity)]
    if op.set == USER and CONSTANT in ranks:  # inside its code, functions of torch are called with its arguments
        like = None if max(ranks) == CONSTANT else texts[ranks.index(max(ranks))]
        texts = [_as_tensor(t, like) if r == CONSTANT else t for t, r in zip(texts, ranks, strict=True)]
    return op.torch.format(*texts, *(f"({' * '.join(texts[i] for i in one)})" for one in op.sums)), args


def _as_tensor(number: str, like: str | None) -> str:
    return f"torch.as_tensor({number}, dtype=torch.float32)" if like is None else f"torch.full_like({like}, {number})"
