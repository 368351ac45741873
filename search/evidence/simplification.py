"""Simplification of a program: algebra, ablation on tasks, rounding of constants, names.

What algebra cannot decide (`programs.simplify`), training does: a change stands if on every task the loss, with the
standard error of the paired difference, is within the tolerance of the loss of the original program, not of the last
one, so that small losses do not add up. Most changes do harm, and much: they race, with few seeds first, and those that
are beyond the tolerance by far get no more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from programs.export.named_constants import named_constants
from programs.hashing import dataflow_hash
from programs.lowering import lower
from programs.program import Program
from programs.simplify import Step as AlgebraStep
from programs.simplify import simplify_algebra

from search.evidence.scaled_tasks import LossIncrease, ScaledTask, differences
from search.evidence.variants import Rounding, ablations, price, rounded, roundings
from search.training.service import TrainingService

ABLATION, CONSTANT, NAMES = "ablation", "constant", "names"
_RULE = "rule"
_FIRST_SEEDS = 4  # of a race; twice as many in each further round
_BEYOND = 3.0  # standard errors by which a change is beyond the tolerance that gets no more seeds


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

    def judged(self, original: Program, changed: Sequence[Program]) -> dict[Program, Judgement]:
        """Return what training says of changed programs, each on as many of the seeds as it takes to refuse it."""
        judgements: dict[Program, Judgement] = {}
        racing = list(changed)
        for count in self._rounds():
            found = differences(original, racing, self.tasks, self.seeds, count, self.service)
            judgements |= {p: Judgement(count, of_tasks) for p, of_tasks in zip(racing, found, strict=True)}
            racing = [p for p in racing if not self._beyond(judgements[p].differences)]
            if not racing:
                break
        return judgements

    def _rounds(self) -> Iterator[int]:
        count = _FIRST_SEEDS
        while count < len(self.seeds):
            yield count
            count *= 2
        yield len(self.seeds)

    def _beyond(self, found: Sequence[LossIncrease]) -> bool:
        return any(d.mean - _BEYOND * d.standard_error > self.tolerance for d in found)

    def allows(self, judgement: Judgement) -> bool:
        """Return whether the differences on all tasks are within the tolerance, their standard errors included."""
        on_all = judgement.seeds == len(self.seeds)
        return on_all and all(d.bound <= self.tolerance for d in judgement.differences)


class Judgement(NamedTuple):
    """What training says of a changed program: the seeds it had, and the differences on every task."""

    seeds: int
    differences: list[LossIncrease]


@dataclass
class Simplification:
    """A program on its way: `steps` so far, where it has got to, and how far algebra alone got."""

    original: Program
    program: Program
    report: Callable[[str], None]
    steps: list[SimplificationStep] = field(default_factory=list)
    by_algebra: Program | None = None
    _tried: set[str] = field(default_factory=set)
    _refused: set[str] = field(default_factory=set)
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
        allowed = self._allowed(ABLATION, {v.program: v.what for v in ablations(self.program)}, training)
        if not allowed:
            return False
        self._take(min(allowed.values(), key=lambda step: price(simplify_algebra(step.after).program)))
        return True

    def _round(self, training: TrainingEvidence) -> bool:
        """Try every number that may be shorter; of the best for each, as many stand together as may."""
        found = {rounded(self.program, [r]): r for r in roundings(self.program, self._rounded)}
        allowed = self._allowed(CONSTANT, {program: str(r) for program, r in found.items()}, training)
        if not allowed:
            return False
        best: dict[float, Rounding] = {}
        for rounding in sorted((found[program] for program in allowed), key=lambda r: (-r.saved, r.distance)):
            best.setdefault(rounding.old, rounding)
        numbers = list(best.values())
        together = {rounded(self.program, some): some for some in _halves(numbers)}
        variants = {program: ", ".join(map(str, some)) for program, some in together.items() if len(some) > 1}
        allowed |= self._allowed(CONSTANT, variants, training)
        most = next(program for program in together if program in allowed)
        self._rounded |= {rounding.new for rounding in together[most]}
        self._take(allowed[most])
        return True

    def _allowed(
        self, kind: str, variants: Mapping[Program, str], training: TrainingEvidence
    ) -> dict[Program, SimplificationStep]:
        """Train variants, given with what is changed in each, record those that are refused, and return the others.

        Changes that were refused when the program was another are tried only if none of the others may stand.
        """
        untried = {program: what for program, what in variants.items() if dataflow_hash(program) not in self._tried}
        first = {program: what for program, what in untried.items() if what not in self._refused}
        again = {program: what for program, what in untried.items() if what in self._refused}
        return self._judged(kind, first, training) or self._judged(kind, again, training)

    def _judged(
        self, kind: str, variants: Mapping[Program, str], training: TrainingEvidence
    ) -> dict[Program, SimplificationStep]:
        """Train variants together, record those that are refused, and return the others."""
        if not variants:
            return {}
        allowed = {}
        for program, judgement in training.judged(self.original, list(variants)).items():
            what = variants[program]
            evidence = {"change": what, "tolerance": training.tolerance, "seeds": judgement.seeds}
            evidence["differences"] = {
                d.task: [_plain(d.mean), _plain(d.standard_error)] for d in judgement.differences
            }
            step = SimplificationStep(kind, self.program, program, evidence, training.allows(judgement))
            if step.accepted:
                allowed[program] = step
            else:
                self.steps.append(step)
                self._tried.add(dataflow_hash(program))
                self._refused.add(what)
        self.report(f"{kind}: {len(allowed)} of {len(variants)} within the tolerance")
        return allowed

    def _take(self, step: SimplificationStep) -> None:
        self.steps.append(step)
        self.program = step.after
        self.report(f"    {step.evidence['change']}")

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


def _halves(numbers: Sequence[Rounding]) -> Iterator[Sequence[Rounding]]:
    """Yield all, the first half, the first quarter and so on, down to the first alone."""
    count = len(numbers)
    while count:
        yield numbers[:count]
        count //= 2


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
