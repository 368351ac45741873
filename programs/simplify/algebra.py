"""Simplification by algebra alone: a sequence of steps, each with its change, its reason, and what was checked.

Programs become simpler with every step (`programs.simplify.cost`), so the sequence ends. A step after which the program
no longer moves weights as before is undone, kept in the record, and not tried again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from programs.liveness import live_program
from programs.program import Program
from programs.run.reference import Recording
from programs.simplify.cost import Cost, cost, is_simpler
from programs.simplify.evidence import Checker, Evidence, sample_recordings
from programs.simplify.graph import Graph, Roots, read
from programs.simplify.linear import Forms, extractions
from programs.simplify.rewriting import Rewrite, rewritings
from programs.simplify.rules import DOMAIN, EXACT, ROUNDING, TAGS
from programs.simplify.states import combinations, multiples, same_states, units, unwritten_states, zero_values
from programs.simplify.writing import write

DEAD, COPIES = "dead", "copies"

_FEW = 12  # statements; in larger programs it takes too long to see where other units of a state lead


@dataclass(frozen=True)
class Step:
    """One change of a program.

    Attributes:
        before, after: the programs; `after` is what the step leads to even if it was undone.
        kind: "dead", "copies" (equal expressions computed once), "numbers" (computed beforehand), "linear", the rule
            that was used, or what happened to a state.
        tag: "exact", "rounding" or "domain", see `programs.simplify.rules`.
        evidence: what was checked. A step whose evidence did not pass has been undone.
    """

    before: Program
    after: Program
    kind: str
    tag: str
    evidence: Evidence

    @property
    def applied(self) -> bool:
        """Whether the step stands."""
        return self.evidence.passed


@dataclass(frozen=True)
class Simplified:
    """The simplest program found, and the steps that lead to it, with those that were tried and undone."""

    program: Program
    steps: tuple[Step, ...]

    @property
    def undone(self) -> tuple[Step, ...]:
        """The steps whose evidence did not pass."""
        return tuple(step for step in self.steps if not step.applied)


def simplify_algebra(
    program: Program, tags: Collection[str] = TAGS, recordings: Sequence[Recording] | None = None
) -> Simplified:
    """Make a program as small as algebra can: dead statements, rules, linear forms and states.

    Args:
        program: a checked program.
        tags: which kinds of rules may be used, of `exact`, `rounding`, `domain`.
        recordings: gradients on which each step is checked; random ones if none are given.

    Returns:
        A program with no more live statements and state slots, and the steps. The same program gives the same steps.
    """
    return _Simplification(program, frozenset(tags), recordings or sample_recordings()).run()


class _Simplification:
    def __init__(self, program: Program, tags: frozenset[str], recordings: Sequence[Recording]) -> None:
        self._original, self._tags = program, tags
        self._checker = Checker(recordings)
        self._graph, self._roots, self._names = read(live_program(program))
        self._forms = Forms(self._graph)
        self._steps: list[Step] = []
        self._tried_units = False
        self._refused: set[tuple[Roots, Roots]] = set()
        self._better: dict[Roots, Rewrite | None] = {}

    def run(self) -> Simplified:
        program = self._tidied()
        while (step := self._next(program)) is not None:
            program = step.after
        return Simplified(program, tuple(self._steps))

    def _tidied(self) -> Program:
        """Return the program without dead statements, and with equal expressions computed once."""
        alive = live_program(self._original)
        if len(alive) < len(self._original):
            self._record(self._original, alive, Rewrite(DEAD, EXACT, self._roots))
        written = write(self._graph, self._roots, self._names)
        if len(written) < len(alive):
            self._record(alive, written, Rewrite(COPIES, EXACT, self._roots))
            return written
        return alive

    def _next(self, program: Program) -> Step | None:
        """Return the next step that is kept."""
        now = cost(self._graph, self._roots)
        for candidate in self._candidates(now):
            change = (self._roots, candidate.roots)
            if change not in self._refused:
                after = write(self._graph, candidate.roots, self._names)
                step = self._record(program, after, candidate)
                if step.applied:
                    self._roots = candidate.roots
                    return step
                self._refused.add(change)
        return None

    def _record(self, before: Program, after: Program, candidate: Rewrite) -> Step:
        evidence = self._checker.check(before, after, candidate.tag, candidate.differs)
        self._steps.append(Step(before, after, candidate.kind, candidate.tag, evidence))
        return self._steps[-1]

    def _candidates(self, now: Cost) -> Iterator[Rewrite]:
        """Yield simpler programs, those that are sure to do the same first."""
        better = self._better.get(self._roots) if self._tried_units else None
        if better is not None:
            yield better
        if better is not None or not self._tried_units or self._roots not in self._better:
            yield from self._sure(now)
        if ROUNDING in self._tags:
            yield from self._in_other_units()
        if DOMAIN in self._tags:
            yield from self._worthwhile(now)

    def _sure(self, now: Cost) -> Iterator[Rewrite]:
        graph, roots, forms = self._graph, self._roots, self._forms
        yield from _simpler(graph, now, _by_rules(graph, roots, forms, self._tags - {DOMAIN}))
        if ROUNDING in self._tags:
            if not self._tried_units:  # before linear forms settle for the units as they are
                self._tried_units = True
                yield from self._in_other_units()
            yield from _simpler(graph, now, extractions(graph, roots, forms, now.statements))

    def _in_other_units(self) -> Iterator[Rewrite]:
        """Yield states in other units, with all that follows, where this saves more statements than other steps."""
        candidates = list(units(self._graph, self._roots, self._forms))
        if candidates and cost(self._graph, self._roots).statements <= _FEW:
            otherwise = cost(self._graph, self._settled(self._roots))
            for candidate in candidates:
                roots = self._settled(candidate.roots)
                after = cost(self._graph, roots)
                if after[:2] < otherwise[:2] and after.statements < otherwise.statements:
                    yield candidate._replace(roots=roots)

    def _worthwhile(self, now: Cost) -> Iterator[Rewrite]:
        """Yield uses of rules with a domain that save a statement or a slot in the end."""
        for candidate in rewritings(self._graph, self._roots, {DOMAIN}):
            if is_simpler(self._graph, candidate.roots, now):
                roots = self._settled(candidate.roots)
                if cost(self._graph, roots)[:2] < now[:2]:
                    yield candidate

    def _settled(self, roots: Roots) -> Roots:
        """Return the program after every simplification that is sure to do the same, taken in order."""
        while True:
            if roots not in self._better:
                self._better[roots] = self._first_sure(roots)
            better = self._better[roots]
            if better is None:
                return roots
            roots = better.roots

    def _first_sure(self, roots: Roots) -> Rewrite | None:
        graph, forms, now = self._graph, self._forms, cost(self._graph, roots)
        rules = _by_rules(graph, roots, forms, self._tags - {DOMAIN})
        linear = extractions(graph, roots, forms, now.statements) if ROUNDING in self._tags else ()
        return next(_simpler(graph, now, chain(rules, linear)), None)


def _simpler(graph: Graph, now: Cost, candidates: Iterable[Rewrite]) -> Iterator[Rewrite]:
    for candidate in candidates:
        if is_simpler(graph, candidate.roots, now):
            yield candidate


def _by_rules(graph: Graph, roots: Roots, forms: Forms, tags: Collection[str]) -> Iterator[Rewrite]:
    """Yield what rules and inductions over the steps offer."""
    yield from unwritten_states(graph, roots)
    yield from same_states(graph, roots)
    if ROUNDING in tags:
        yield from zero_values(graph, roots)
    yield from rewritings(graph, roots, tags)
    if ROUNDING in tags:
        yield from multiples(graph, roots, forms)
        yield from combinations(graph, roots, forms)
