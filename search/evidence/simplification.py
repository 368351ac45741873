"""Simplification of a program: algebra, ablation on tasks, rounding of constants, names.

What algebra cannot decide (`programs.simplify`), training does: a change stands if on every task the loss, with the
standard error of the paired difference, is within the tolerance of the loss of the original program, not of the last
one, so that small losses do not add up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from programs.export.named_constants import named_constants
from programs.hashing import dataflow_hash
from programs.lowering import lower
from programs.program import Program
from programs.simplify import Step as AlgebraStep
from programs.simplify import simplify_algebra

from search.evidence.scaled_tasks import LossIncrease, ScaledTask, differences
from search.evidence.variants import ablations, price, roundings
from search.training.service import TrainingService

ABLATION, CONSTANT, NAMES = "ablation", "constant", "names"
_RULE = "rule"


class SimplificationStep(NamedTuple):
    """One change of a program that was tried.

    `kind`: dead, copies, numbers, rule, linear, what became of a state, ablation, constant, or names. `evidence` is
    plain data: what was changed, and the differences found. Unless `accepted`, it has been undone.
    """

    kind: str
    before: Program
    after: Program
    evidence: dict[str, Any]
    accepted: bool


@dataclass
class TrainingEvidence:
    """What changes are judged by: scaled tasks, seeds, and by how many standard deviations a loss may grow."""

    service: TrainingService
    tasks: Sequence[ScaledTask]
    seeds: Sequence[int]
    tolerance: float

    def allows(self, found: Sequence[LossIncrease]) -> bool:
        """Return whether the differences on all tasks are within the tolerance, their standard errors included."""
        return all(d.bound <= self.tolerance for d in found)


@dataclass
class Simplification:
    """A program on its way: `steps` so far, where it has got to, and how far algebra alone got."""

    original: Program
    program: Program
    report: Callable[[str], None]
    steps: list[SimplificationStep] = field(default_factory=list)
    by_algebra: Program | None = None
    _tried: set[str] = field(default_factory=set)
    _rounded: set[float] = field(default_factory=set)

    def run(self, training: TrainingEvidence | None) -> None:
        """Return all steps; without training only those that need none."""
        self._algebra()
        self.by_algebra = self.program
        if training is not None:
            while self._ablate(training):
                self._algebra()
            while self._round(training):
                self._algebra()
        self._name()

    def _algebra(self) -> None:
        result = simplify_algebra(self.program)
        self.steps += [_of_algebra(step) for step in result.steps]
        self.program = result.program

    def _ablate(self, training: TrainingEvidence) -> bool:
        """Try everything that is left; what costs least stands, if anything may."""
        variants = self._untried([(v.what, v.program) for v in ablations(self.program)])
        allowed = self._allowed(ABLATION, variants, training)
        if not allowed:
            return False
        return self._take(min(allowed, key=lambda step: price(simplify_algebra(step.after).program)))

    def _round(self, training: TrainingEvidence) -> bool:
        """Try every number that may be shorter; what saves most digits stands, and of equals what changes least."""
        found = {r.program: r for r in roundings(self.program, self._rounded)}
        variants = self._untried([(r.what, r.program) for r in found.values()])
        allowed = self._allowed(CONSTANT, variants, training)
        if not allowed:
            return False
        best = min(allowed, key=lambda step: (-found[step.after].saved, found[step.after].distance))
        self._rounded.add(found[best.after].new)
        return self._take(best)

    def _untried(self, variants: Sequence[tuple[str, Program]]) -> list[tuple[str, Program]]:
        """Return the variants that training has not refused before."""
        return [(what, program) for what, program in variants if dataflow_hash(program) not in self._tried]

    def _allowed(
        self, kind: str, variants: Sequence[tuple[str, Program]], training: TrainingEvidence
    ) -> list[SimplificationStep]:
        """Train all variants together, record those that are refused, and return the others."""
        if not variants:
            return []
        found = differences(self.original, [p for _, p in variants], training.tasks, training.seeds, training.service)
        allowed = []
        for (what, program), of_tasks in zip(variants, found, strict=True):
            evidence = {"change": what, "tolerance": training.tolerance, "seeds": len(training.seeds)}
            evidence["differences"] = {d.task: [_plain(d.mean), _plain(d.standard_error)] for d in of_tasks}
            step = SimplificationStep(kind, self.program, program, evidence, training.allows(of_tasks))
            if step.accepted:
                allowed.append(step)
            else:
                self.steps.append(step)
                self._tried.add(dataflow_hash(program))
        self.report(f"{kind}: {len(variants)} variants trained, {len(allowed)} within the tolerance")
        return allowed

    def _take(self, step: SimplificationStep) -> bool:
        self.steps.append(step)
        self.program = step.after
        self.report(f"    {step.evidence['change']}")
        return True

    def _name(self) -> None:
        names = {h.name: h.default for h in named_constants(lower(self.program)).values()}
        self.steps.append(SimplificationStep(NAMES, self.program, self.program, {"names": names}, True))


def simplify(
    program: Program, training: TrainingEvidence | None = None, report: Callable[[str], None] = lambda _: None
) -> Simplification:
    """Make a program as simple as algebra and, if wanted, training allow.

    Args:
        program: a checked program.
        training: on what changes are tried that algebra cannot decide; None for algebra alone.
        report: gets a line for what is being done.
    """
    simplification = Simplification(program, program, report)
    simplification.run(training)
    return simplification


def _of_algebra(step: AlgebraStep) -> SimplificationStep:
    """Rules have their text for a kind there, which here is what was changed."""
    is_rule = "->" in step.kind
    evidence = {name: _plain(value) for name, value in step.evidence._asdict().items()}
    change = {"change": step.kind} if is_rule else {}
    return SimplificationStep(
        _RULE if is_rule else step.kind, step.before, step.after, change | {"tag": step.tag} | evidence, step.applied
    )


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: infinities as text."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
