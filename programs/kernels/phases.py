"""One program as C expressions, cut into phases at its sums.

The total of a sum is known one phase after what is summed. Outputs are written in the last phase, so that each phase
can compute what it needs again from the weights, gradients and states.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from programs.dataflow import LR, G, M, V, W
from programs.ops import LEAF, OPS, SCALAR, TREE
from programs.run.sharing import Expression, Skeleton, Skeletons

_SUM = re.compile(r"\b(leaf_)?sum\(([^()]*)\)")
_NAME = re.compile(r"\b[a-z_]+\d*\b")


class Term(NamedTuple):
    """A value of a rule: an expression over the names of others, its kind, and the phase from which it is known."""

    text: str
    kind: int
    needs: tuple[str, ...] = ()
    phase: int = 0


class Rule:
    """A program with its constants left open.

    Attributes:
        terms: by name, in order of computation: `w`, `g`, `m`, `v`, `lr`, `scale`; `c0`, ... the constants; `x0`, ...
            the values of statements; `total0`, ... and `leaf_total0`, ... the totals of the sums.
        sums: what is added up, leaf by leaf or altogether, in the phase from which it is known.
        outputs: names of what is written, by what it is written to: `w` (to be subtracted), `m`, `v`.
    """

    def __init__(self, skeletons: Skeletons, skeleton: Skeleton) -> None:
        places = {W: "w", G: "g", M: "m", V: "v"}
        self.terms = {name: Term(f"{name}_row[i]", TREE) for name in places.values()}
        self.terms |= {"lr": Term("at.rates[0]", SCALAR), "scale": Term("at.rates[1]", SCALAR)}
        self.sums: list[Term] = []
        self._constants = 0
        names = {**places, LR: "lr"}
        for rank, number in enumerate(skeleton.constants):
            names[number] = f"x{rank}"
            self._add(names[number], skeletons[number], names)
        self.outputs = {places[place]: names[number] for place, number in skeleton.outputs.items()}

    @property
    def phases(self) -> int:
        """How many there are."""
        return 1 + max(self.terms[name].phase for name in self.outputs.values())

    def needed(self, phase: int) -> set[str]:
        """Names of the terms that a phase computes."""
        if phase == self.phases - 1:
            wanted = {"w", "scale", *self.outputs.values()}
        else:
            wanted = {name for s in self.sums if s.phase == phase for name in s.needs}
        left, seen = list(wanted), set(wanted)
        while left:
            new = set(self.terms[left.pop()].needs) - seen
            seen |= new
            left += new
        return seen

    def _add(self, name: str, expression: Expression, names: dict[int, str]) -> None:
        """The term of a statement, after those of its constants and totals."""
        args = [self._constant() if arg is None else names[arg] for arg in expression.args]
        of_numbers = expression.op.uses_leaves and expression.kinds[0] != TREE  # the norm of single numbers
        template = OPS["abs"].c if of_numbers else expression.op.c
        text = _SUM.sub(self._total, template.format(*args))
        needs, phase = self._needs(text)
        self.terms[name] = Term(text, expression.kinds[-1], needs, phase)

    def _constant(self) -> str:
        name = f"c{self._constants}"
        self.terms[name] = Term(f"at.constants[{self._constants}]", SCALAR)
        self._constants += 1
        return name

    def _total(self, match: re.Match[str]) -> str:
        """What stands for a sum: the name of its total, or what is summed where that is one number."""
        of_leaf, text = match[1] or "", match[2]
        needs, phase = self._needs(text)
        summed = Term(text, max(self.terms[name].kind for name in needs), needs, phase)
        if summed.kind == SCALAR:
            return f"({text})"
        if summed not in self.sums:
            self.sums.append(summed)
        rank = self.sums.index(summed)
        name = f"{of_leaf}total{rank}"
        self.terms[name] = Term(f"{of_leaf}total(at, {rank})", LEAF if of_leaf else SCALAR, (), phase + 1)
        return name

    def _needs(self, text: str) -> tuple[tuple[str, ...], int]:
        """The terms that an expression reads, and the phase from which all are known."""
        names = tuple(name for name in dict.fromkeys(_NAME.findall(text)) if name in self.terms)
        return names, max((self.terms[name].phase for name in names), default=0)
