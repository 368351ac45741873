"""Update rules as values ready to be written as source code, and cut into phases at their sums over all parameters.

Each value has a rank, which says how many numbers it is and when they are known: a constant, a function of the learning
rate and the length of the training, a total over all parameters, a function of the step, one number for each parameter
tensor, for each of its rows or columns, or a tree. An elementwise function gives the rank of `rank_of_all`. Functions
of the step are numbers to the language; but each parameter of an exported optimizer has a count of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

CONSTANT, RATE, TOTAL, STEP, LEAF, ROW, COLUMN, TREE = range(8)

# In place of the name of a function, and no name that a user may give to one; such values are complete one phase after
# what they are of.
SUM, HANDED = "<sum>", "<handed>"


def rank_of_all(ranks: Sequence[int]) -> int:
    """Return the rank of an elementwise function of values of these ranks."""
    return TREE if ROW in ranks and COLUMN in ranks else max(ranks)


class Value(NamedTuple):
    """`function`, as source text with `{0}`, `{1}`, ... for `args`, which are other values; `name` is a variable's.

    What is given rather than computed has no text.
    """

    function: str
    template: str
    args: tuple[int, ...]
    rank: int
    name: str

    def with_used_args(self) -> Value:
        """Return the value without the arguments that the template does not mention."""
        used = [i for i in range(len(self.args)) if f"{{{i}}}" in self.template]
        template = self.template
        for new, old in enumerate(used):
            template = template.replace(f"{{{old}}}", f"{{{new}}}")
        return self._replace(template=template, args=tuple(self.args[i] for i in used))


def levels(values: Sequence[Value]) -> list[int]:
    """Return how many sums, one after another, must be complete before each value is known.

    A sum of level n is added up in phase n - 1, and everything of level n can be computed from phase n on. What a
    kernel hands over to be computed elsewhere counts as a sum does.
    """
    found: list[int] = []
    for value in values:
        found.append(max((found[a] for a in value.args), default=0) + (value.function in (SUM, HANDED)))
    return found


def users(values: Sequence[Value]) -> list[list[tuple[int, int]]]:
    """Return, for each value, the values that read it and the place among their arguments."""
    found: list[list[tuple[int, int]]] = [[] for _ in values]
    for number, value in enumerate(values):
        for place, arg in enumerate(value.args):
            found[arg].append((number, place))
    return found


class Phase(NamedTuple):
    """A loop over parameters, between one sum over all of them and the next.

    `order`: values to compute; a sum means the share of each parameter. `kept`: those that later phases read.
    """

    order: list[int]
    kept: list[int]


def loops(values: Sequence[Value], outputs: Sequence[int]) -> list[Phase]:
    """Return the phases of a rule as loops in which each tree is computed once, as late as it can be.

    Numbers are computed again wherever they are needed.

    Args:
        values: of the rule.
        outputs: the values that a step returns.
    """
    last = max(levels(values))
    place = _places(values, outputs, last)
    readers = users(values)
    placed: list[list[int]] = [[] for _ in range(last + 1)]
    for n, phase in sorted(place.items()):
        placed[phase].append(n)
    phases = []
    for phase, here in enumerate(placed):
        order = sorted({*here, *_numbers_for(values, here)})
        kept = [
            n for n in here if values[n].function != SUM
            and (any(place.get(u, phase) > phase for u, _ in readers[n]) or (n in outputs and phase < last))
        ]  # fmt: skip
        phases.append(Phase(order, kept))
    return phases


def _numbers_for(values: Sequence[Value], readers: Sequence[int]) -> set[int]:
    """Return the functions of the learning rate and of totals that are needed to compute these values."""
    found, stack = set[int](), list(readers)
    while stack:
        for arg in values[stack.pop()].args:
            value = values[arg]
            is_number = value.rank in (RATE, TOTAL) and value.function != SUM and value.template
            if is_number and arg not in found:
                found.add(arg)
                stack.append(arg)
    return found


def _places(values: Sequence[Value], outputs: Sequence[int], last: int) -> dict[int, int]:
    """Return the phase of each share of a sum, and of each value that parameters have for themselves."""
    level, readers = levels(values), users(values)
    place: dict[int, int] = {}
    earliest: dict[int, int] = {}  # phase in which a value is needed
    for n in reversed(range(len(values))):
        value = values[n]
        of_readers = [earliest[u] for u, _ in readers[n] if u in earliest] + [last] * (n in outputs)
        if value.function == SUM:
            earliest[n] = place[n] = level[n] - 1
        elif of_readers:
            earliest[n] = min(of_readers)
            if value.rank >= STEP and value.template:
                place[n] = earliest[n]
    return place
