"""One program as values in C, cut into phases at its sums, and where it hands values over.

The total of a sum is known one phase after what is summed. So is what a kernel does not compute itself, functions of
matrices and sums along rows and columns: it hands over what they are of, and torch computes them between two phases.
Outputs are written in the last phase, so that each phase can compute what it needs again from the weights, gradients
and states.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from programs.graph import INPUTS, LR, W
from programs.kinds import COLUMN, ROW
from programs.kinds import TREE as TREE_KIND
from programs.ops import OPS, Op
from programs.phases import CONSTANT, HANDED, LEAF, RATE, SUM, TOTAL, TREE, Value, levels
from programs.run.sharing import OPEN, Skeleton, Skeletons

SCALE = len(INPUTS)  # the value that updates are multiplied with
OF_TRAINING = {"step": SCALE + 1, "steps": SCALE + 2}  # the values that tell of the training

INDEX = {ROW: "at.batch->row_of[i]", COLUMN: "at.batch->column_of[i]", TREE_KIND: "i"}
"""Which number stands for place i of a row, by the kind that it is kept as."""

_RANKS = (TOTAL, LEAF, TREE, TREE, TREE)  # by kind


class HandOver(NamedTuple):
    """A value that torch computes.

    `code` is torch code of one argument `{0}`, which may call what is in `programs.run.matrices`; `args` are the values
    whose product the argument is, `kind` is that of the result.
    """

    code: str
    args: tuple[int, ...]
    kind: int


class KernelRule:
    """A program with its constants left open.

    Attributes:
        values: in order of computation, called `w`, `g`, `m`, `v`, `lr`, `scale`, `step`, `steps`; `c0`, ... for
            constants, `x0`, ... for statements, `total0`, ... and `leaf_total0`, ... for the totals of sums, `handed0`,
            ... for what was handed over.
        levels: the phase from which each value is known.
        sums: the values whose products are added up, leaf by leaf or altogether.
        handed: what is computed between phases.
        outputs: the values that are written, by what they are written to: `W` (to be subtracted), `M`, `V`.
        states: the kinds of the slots that are read or written.
    """

    def __init__(self, skeletons: Skeletons, skeleton: Skeleton) -> None:
        self.values = [Value("", f"{name}_row[i]", (), TREE, name) for name in INPUTS[:LR]]
        rates = ("lr", "scale", "step", "steps")
        self.values += [Value("", f"at.rates[{n}]", (), RATE, name) for n, name in enumerate(rates)]
        self.sums: list[tuple[int, ...]] = []
        self.handed: list[HandOver] = []
        self._constants = 0
        self._awaited: dict[str, int] = {}
        self.states = {slot: skeletons.nodes[n].kind for slot, n in skeleton.outputs.items() if slot != W}
        places = {number: number for number in range(len(INPUTS))}
        for rank, number in enumerate(skeleton.constants):
            node = skeletons.nodes[number]
            for arg in node.args:
                slot = skeletons.slot_of(arg)
                if slot is not None:
                    places[arg] = self._state(slot, skeletons.nodes[arg].kind)
            args = [self._constant() if arg == OPEN else places[arg] for arg in node.args]
            kinds = skeletons.kinds(number)
            op = OPS[node.function].of_kind(kinds[0]) if kinds else OPS[node.function]
            places[number] = self._call(op, args, node.kind, f"x{rank}")
        self.outputs = {slot: places[number] for slot, number in skeleton.outputs.items()}
        self.levels = levels(self.values)

    @property
    def last(self) -> int:
        """The last phase that computes anything."""
        return max(self.levels[number] for number in self.outputs.values())

    @property
    def small(self) -> dict[int, int]:
        """The slots that are written and kept by rows or columns, and where their new values wait."""
        slots = [slot for slot in self.outputs if self.states.get(slot, TREE_KIND) != TREE_KIND]
        return {slot: len(self.handed) + n for n, slot in enumerate(slots)}

    @property
    def phases(self) -> int:
        """The number of phases.

        Small states are written in one of their own: each of their numbers is read in many places until then.
        """
        return self.last + 1 + bool(self.small)

    def sums_of(self, phase: int) -> list[int]:
        """Return the numbers of the sums that are added up in a phase."""
        return [n for n, args in enumerate(self.sums) if self._known(args) == phase]

    def handed_in(self, phase: int) -> list[int]:
        """Return the numbers of the values that are handed over in a phase."""
        return [n for n, handed in enumerate(self.handed) if self._known(handed.args) == phase]

    def needed(self, phase: int) -> list[int]:
        """Return the values that a phase computes, in order; what was awaited of earlier phases is known."""
        stack = [number for n in self.sums_of(phase) for number in self.sums[n]]
        stack += [number for n in self.handed_in(phase) for number in self.handed[n].args]
        if phase == self.last:
            stack += [W, SCALE, *self.outputs.values()]
        found: set[int] = set()
        while stack:
            number = stack.pop()
            if number not in found:
                found.add(number)
                stack += self.values[number].args if self.values[number].function not in (SUM, HANDED) else ()
        return sorted(found)

    def text(self, template: str, args: tuple[int, ...]) -> str:
        """Return a template with the names of values in it."""
        return template.format(*(self.values[a].name for a in args))

    def product(self, args: tuple[int, ...]) -> str:
        """Return the product of values."""
        return " * ".join(self.values[a].name for a in args)

    def _known(self, args: tuple[int, ...]) -> int:
        return max(self.levels[a] for a in args)

    def _add(self, value: Value) -> int:
        self.values.append(value)
        return len(self.values) - 1

    def _state(self, slot: int, kind: int) -> int:
        """Return the value of a state, which is kept as this kind."""
        self.states[slot] = kind
        self.values[slot] = self.values[slot]._replace(template=f"{INPUTS[slot]}_row[{INDEX[kind]}]")
        return slot

    def _constant(self) -> int:
        self._constants += 1
        rank = self._constants - 1
        return self._add(Value("", f"at.constants[{rank}]", (), CONSTANT, f"c{rank}"))

    def _call(self, op: Op, args: list[int], kind: int, name: str) -> int:
        """Return the value of a statement, after what it waits for; the sum of a single number is that number."""
        if op.of_training:
            return OF_TRAINING[op.of_training]
        if op.of_matrices and not op.sums:
            return self._hand_over(HandOver(op.torch, tuple(args), kind))
        texts = [f"{{{place}}}" for place in range(len(args))]
        for one in op.sums:
            of = tuple(args[i] for i in one)
            if max(self.values[a].rank for a in of) <= TOTAL:
                texts.append(f"({' * '.join(texts[i] for i in one)})")
                continue
            awaited = f"{{{len(args)}}}"
            texts.append(f"({awaited} / {self._count(op, of)})" if op.averages and not op.of_matrices else awaited)
            args.append(self._sum(op, of))
        return self._add(Value(op.name, op.c.format(*texts), tuple(args), _RANKS[kind], name).with_used_args())

    def _sum(self, op: Op, args: tuple[int, ...]) -> int:
        """Return what the products of values come to, within what the function sums."""
        if op.within in ("row", "column"):
            code = f"{op.within}_{'mean' if op.averages else 'sum'}({{0}})"
            return self._hand_over(HandOver(code, args, ROW if op.within == "row" else COLUMN))
        return self._total(args, "leaf_total" if op.within == "leaf" else "total")

    def _count(self, op: Op, args: tuple[int, ...]) -> str:
        """Return how many numbers a sum is of."""
        if op.within == "leaf":
            return "places(at, at.head, at.next)"
        is_tree = any(self.values[a].rank == TREE for a in args)
        return "places(at, 0, at.n_slices)" if is_tree else "(float)at.batch->n_leaves"

    def _total(self, args: tuple[int, ...], function: str) -> int:
        n = _place(self.sums, args)
        rank = TOTAL if function == "total" else LEAF
        return self._await(Value(SUM, f"{function}(at, {n})", args, rank, f"{function}{n}"))

    def _hand_over(self, value: HandOver) -> int:
        n = _place(self.handed, value)
        return self._await(Value(HANDED, f"handed(at, {n})[{INDEX[value.kind]}]", value.args, TREE, f"handed{n}"))

    def _await(self, value: Value) -> int:
        """Return the number of a value that is known one phase later, which is the same wherever it is needed."""
        if value.name not in self._awaited:
            self._awaited[value.name] = self._add(value)
        return self._awaited[value.name]


def _place(values: list[Any], value: object) -> int:
    """Return where a value stands in a list, at its end if it was not there."""
    if value not in values:
        values.append(value)
    return values.index(value)
