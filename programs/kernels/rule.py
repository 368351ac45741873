"""One program as values in C, cut into phases at its sums.

The total of a sum is known one phase after what is summed. Outputs are written in the last phase, so that each phase
can compute what it needs again from the weights, gradients and states.
"""

from __future__ import annotations

from programs.graph import INPUTS, LR, W
from programs.ops import OPS, Op
from programs.phases import CONSTANT, LEAF, RATE, SUM, TOTAL, TREE, Value, levels
from programs.run.sharing import OPEN, Skeleton, Skeletons

SCALE = len(INPUTS)  # the value that updates are multiplied with

_RANKS = (TOTAL, LEAF, TREE)  # by kind


class KernelRule:
    """A program with its constants left open.

    Attributes:
        values: in order of computation, called `w`, `g`, `m`, `v`, `lr`, `scale`; `c0`, ... for constants, `x0`, ...
            for statements, `total0`, ... and `leaf_total0`, ... for the totals of sums.
        levels: the phase from which each value is known.
        sums: the pairs of values whose products are added up, leaf by leaf or altogether.
        outputs: the values that are written, by what they are written to: `W` (to be subtracted), `M`, `V`.
    """

    def __init__(self, skeletons: Skeletons, skeleton: Skeleton) -> None:
        self.values = [Value("", f"{name}_row[i]", (), TREE, name) for name in INPUTS[:LR]]
        self.values += [Value("", "at.rates[0]", (), RATE, "lr"), Value("", "at.rates[1]", (), RATE, "scale")]
        self.sums: list[tuple[int, int]] = []
        self._constants = 0
        self._totals: dict[str, int] = {}
        places = {number: number for number in range(len(INPUTS))}
        for rank, number in enumerate(skeleton.constants):
            node = skeletons.nodes[number]
            args = [self._constant() if arg == OPEN else places[arg] for arg in node.args]
            kinds = skeletons.kinds(number)
            op = OPS[node.function].of_kind(kinds[0]) if kinds else OPS[node.function]
            places[number] = self._call(op, args, _RANKS[node.kind], f"x{rank}")
        self.outputs = {slot: places[number] for slot, number in skeleton.outputs.items()}
        self.levels = levels(self.values)

    @property
    def phases(self) -> int:
        """The number of phases."""
        return 1 + max(self.levels[number] for number in self.outputs.values())

    def sums_of(self, phase: int) -> list[int]:
        """Return the numbers of the sums that are added up in a phase."""
        return [n for n, pair in enumerate(self.sums) if max(self.levels[a] for a in pair) == phase]

    def needed(self, phase: int) -> list[int]:
        """Return the values that a phase computes, in order; the totals of earlier phases are known."""
        if phase == self.phases - 1:
            stack = [W, SCALE, *self.outputs.values()]
        else:
            stack = [number for n in self.sums_of(phase) for number in self.sums[n]]
        found: set[int] = set()
        while stack:
            number = stack.pop()
            if number not in found:
                found.add(number)
                stack += self.values[number].args if self.values[number].function != SUM else ()
        return sorted(found)

    def text(self, template: str, args: tuple[int, ...]) -> str:
        """Return a template with the names of values in it."""
        return template.format(*(self.values[a].name for a in args))

    def _add(self, value: Value) -> int:
        self.values.append(value)
        return len(self.values) - 1

    def _constant(self) -> int:
        self._constants += 1
        rank = self._constants - 1
        return self._add(Value("", f"at.constants[{rank}]", (), CONSTANT, f"c{rank}"))

    def _call(self, op: Op, args: list[int], rank: int, name: str) -> int:
        """Add the value of a statement, after the totals that it needs; the sum of a single number is that number."""
        texts = [f"{{{place}}}" for place in range(len(args))]
        for i, j in op.sums:
            if max(self.values[args[i]].rank, self.values[args[j]].rank) <= TOTAL:
                texts.append(f"({texts[i]} * {texts[j]})")
            else:
                texts.append(f"{{{len(args)}}}")
                args.append(self._total((args[i], args[j]), "leaf_total" if op.within == "leaf" else "total"))
        return self._add(Value(op.name, op.c.format(*texts), tuple(args), rank, name).with_used_args())

    def _total(self, pair: tuple[int, int], function: str) -> int:
        if pair not in self.sums:
            self.sums.append(pair)
        n = self.sums.index(pair)
        name = f"{function}{n}"
        if name not in self._totals:
            rank = TOTAL if function == "total" else LEAF
            self._totals[name] = self._add(Value(SUM, f"{function}(at, {n})", pair, rank, name))
        return self._totals[name]
