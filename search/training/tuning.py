"""Tuning, and training outside the evolution, by the same service.

Everybody is tuned alike: the same number of trials, on the same tasks and seeds, at the same quasi-random points of the
ranges. A trial is a learning rate and a weight decay; a quarter of the trials has no decay. Four trials in seven cover
the ranges where the competitor begins. The others follow in three equal rounds, each where the best so far points to:

- beyond the edge, if it lies within half a decade of one: one more decade, which counts as covered from then on;
- around it otherwise, closer from round to round.

So whoever needs other ranges gets them, three decades beyond at most, and nobody gets more trials than another.

Within a round trials are halved (successive halving, Jamieson and Talwalkar, arXiv:1502.07943): all are trained on the
first seed, the better half of each competitor's on the second too, the better half of these on twice as many, until
the last are trained on all seeds. Only these can be the best.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import stdev
from typing import NamedTuple

import torch
from torch.quasirandom import SobolEngine

from programs.program import Program

from proxy_tasks import Task
from proxy_tasks.torch_optimizers import TorchOptimizer

from search.settings.baselines import Competitor, Range
from search.settings.settings import FRESH_SEED, Aggregate, Dedup
from search.store import BaselineRow, NoiseRow
from search.training.identity import candidate
from search.training.service import Candidate, Score, TaskSeeds, TrainingService
from search.training.statistics import standard_error

TRIALS = 28
ROUNDS = 3  # after the first
SHARE = 1 / 7  # of the trials, in each of these rounds
WITHOUT_DECAY = 0.25  # share of the trials
EDGE = 10**0.5  # the best is at an edge when it is within this factor of it
STEP = 10.0  # by which a range is widened
NOISE_SEEDS = 20
_POINTS = 0  # the scrambling of the points


class Box(NamedTuple):
    """Where points are drawn: `decays` is None for no decay, `without` the share of points that have none anyhow."""

    rates: Range
    decays: Range | None
    without: float


class Trial(NamedTuple):
    """A competitor with its constants, as it is trained."""

    learning_rate: float
    weight_decay: float
    candidate: Candidate


class Tuned(NamedTuple):
    """The best trial of a competitor; its fitness is None if none trained well. `failures` of the trials did not."""

    name: str
    best: Trial
    fitness: float | None
    trials: int
    failures: int

    @property
    def program(self) -> Program | TorchOptimizer:
        return self.best.candidate.program

    @property
    def row(self) -> BaselineRow:
        rate, decay, (key, program, _) = self.best
        return BaselineRow(self.name, str(program), key, rate, decay, self.fitness, self.trials)


def tune(
    competitors: Sequence[Competitor],
    service: TrainingService,
    tasks: Sequence[TaskSeeds],
    dedup: Dedup,
    aggregate: Aggregate = "mean",
    trials: int = TRIALS,
    stopped: Callable[[], bool] = lambda: False,
) -> list[Tuned]:
    """Tune all side by side; what the store knows is not trained again, so a tuning that ended early goes on.

    Args:
        competitors: who is tuned.
        service: that trains.
        tasks: on which, with the seeds.
        dedup: how keys are made.
        aggregate: what decides over several tasks.
        trials: for each competitor.
        stopped: asked before each round.

    Returns:
        In the order of the competitors; nothing if stopped.
    """
    plans = [_Plan(one) for one in competitors]
    for number in _rounds(trials):
        if stopped():
            return []
        drawn = [plan.draw(number, dedup) for plan in plans]
        for plan, fates in zip(plans, _halved(drawn, service, tasks, aggregate), strict=True):
            plan.take(fates)
    return [plan.tuned() for plan in plans]


def _rounds(trials: int) -> list[int]:
    """How many of the trials each round has."""
    later = int(trials * SHARE)
    return [trials - ROUNDS * later, *[later] * ROUNDS]


def first_trials(one: Competitor, trials: int, dedup: Dedup) -> list[Trial]:
    """The trials of the first round, which are the same on every task."""
    return _Plan(one).draw(_rounds(trials)[0], dedup)


def _halved(
    drawn: Sequence[Sequence[Trial]], service: TrainingService, tasks: Sequence[TaskSeeds], aggregate: Aggregate
) -> list[list[_Fate]]:
    """Train the trials of each competitor, half as many on twice as many seeds; what became of each of them."""
    fates = [dict.fromkeys((trial.candidate.key for trial in trials), _Fate(None, False)) for trials in drawn]
    running = [[trial.candidate for trial in trials] for trials in drawn]
    counts = _rungs(max(len(on.seeds) for on in tasks))
    for seeds in counts:
        cut = [on._replace(seeds=on.seeds[:seeds]) for on in tasks]
        scores = service.evaluate([candidate for candidates in running for candidate in candidates], cut, aggregate)
        for candidates, of_each in zip(running, fates, strict=True):
            for key, fitness in ((c.key, scores[c.key].fitness) for c in candidates):
                of_each[key] = _Fate(fitness if seeds == counts[-1] else None, fitness is None)
        running = [_better_half(candidates, scores) for candidates in running]
    return [[of_each[trial.candidate.key] for trial in trials] for trials, of_each in zip(drawn, fates, strict=True)]


def _rungs(seeds: int) -> list[int]:
    """1, 2, 4 and so on, and all seeds at last."""
    return [2**rung for rung in range((seeds - 1).bit_length())] + [seeds]


def _better_half(candidates: Sequence[Candidate], scores: Mapping[str, Score]) -> list[Candidate]:
    ranked = sorted(candidates, key=lambda one: _rank(scores[one.key].fitness), reverse=True)
    return ranked[: (len(ranked) + 1) // 2]


def _rank(fitness: float | None) -> float:
    return -math.inf if fitness is None else fitness


class _Fate(NamedTuple):
    """Of a trial: its fitness on all seeds, None unless it was trained on all and well, and whether training failed."""

    fitness: float | None
    failed: bool


class _Plan:
    """The trials of one competitor so far, and where the next are to be."""

    def __init__(self, one: Competitor) -> None:
        self._competitor = one
        self._covered = self._box = Box(one.rates, one.decays, WITHOUT_DECAY)
        self._engine = SobolEngine(2, scramble=True, seed=_POINTS)  # type: ignore[no-untyped-call]
        self._reach = STEP
        self._trials: list[Trial] = []
        self._fates: list[_Fate] = []

    def draw(self, number: int, dedup: Dedup) -> list[Trial]:
        """So many new trials."""
        new = []
        for u, v in self._engine.draw(number, dtype=torch.float64).tolist():
            rate, decay = point(self._box, u, v)
            new.append(Trial(rate, decay, candidate(self._competitor.make(rate, decay), dedup)))
        self._trials += new
        return new

    def take(self, fates: Sequence[_Fate]) -> None:
        """Take in how the last trials fared."""
        self._fates += fates
        best = self.tuned()
        at = None if best.fitness is None else best.best[:2]
        self._box, self._covered = following(self._covered, at, self._reach)
        self._reach **= 0.5

    def tuned(self) -> Tuned:
        ranks = [_rank(fate.fitness) for fate in self._fates]
        best = ranks.index(max(ranks))
        failures = sum(fate.failed for fate in self._fates)
        return Tuned(self._competitor.name, self._trials[best], self._fates[best].fitness, len(ranks), failures)


def point(box: Box, u: float, v: float) -> tuple[float, float]:
    """The learning rate and weight decay at a point of the unit square, to three digits."""
    decay = 0.0
    if box.decays is not None and v >= box.without:
        decay = _between(box.decays, (v - box.without) / (1 - box.without))
    return _between(box.rates, u), decay


def _between(ends: Range, share: float) -> float:
    return float(f"{ends.low * (ends.high / ends.low) ** share:.3g}")


def following(covered: Box, best: tuple[float, float] | None, reach: float) -> tuple[Box, Box]:
    """Where the next round looks, and what has been covered then.

    Args:
        covered: until now.
        best: learning rate and weight decay of the best trial; None if none trained well, since then, as a rule, the
            learning rates were too high.
        reach: factor by which to go to each side of a best that is at no edge.
    """
    rate, decay = best or (covered.rates.low, 0.0)
    rates, wider = _along(covered.rates, rate, reach)
    if wider != covered.rates:
        return covered._replace(rates=rates), covered._replace(rates=wider)
    if covered.decays is None or decay == 0:  # below the lowest decay there is none, which is tried anyhow
        return Box(rates, None, 1.0), covered
    decays, higher = _along(Range(0.0, covered.decays.high), decay, reach)
    return Box(rates, decays, 0.0), covered._replace(decays=covered.decays._replace(high=higher.high))


def _along(ends: Range, best: float, reach: float) -> tuple[Range, Range]:
    """The part of one axis to look at next, and the range covered then."""
    if best < ends.low * EDGE:
        return Range(ends.low / STEP, ends.low), ends._replace(low=ends.low / STEP)
    if best > ends.high / EDGE:
        return Range(ends.high, ends.high * STEP), ends._replace(high=ends.high * STEP)
    return Range(best / reach, best * reach), ends


class Trainings(NamedTuple):
    """How a program fared on several seeds of one task: fitness by seed where training was ok, and what failed."""

    task: str
    by_seed: dict[int, float]
    failures: list[str]

    @property
    def fitness(self) -> list[float]:
        return list(self.by_seed.values())

    @property
    def mean(self) -> float:
        return math.fsum(self.by_seed.values()) / len(self.by_seed) if self.by_seed else math.nan

    @property
    def standard_error(self) -> float:
        return standard_error(self.fitness)


def train_programs(
    programs: Sequence[Program | TorchOptimizer], service: TrainingService, tasks: Sequence[TaskSeeds], dedup: Dedup
) -> list[list[Trainings]]:
    """For each program its trainings on every task, each seed apart."""
    candidates = [candidate(program, dedup) for program in programs]
    request = service.wait(service.request(candidates, tasks))
    results = []
    for key in (c.key for c in candidates):
        of_program = []
        for task, seeds, _ in tasks:
            outcomes = {
                w.seed: request.outcomes[w]
                for w in request.wanted
                if w[:2] == (key, task.fingerprint) and w.seed in seeds
            }
            fitness = {seed: o.fitness for seed, o in outcomes.items() if o.fitness is not None}
            failures = [f"{o.status}: {o.reason}" for o in outcomes.values() if o.fitness is None]
            of_program.append(Trainings(task.name, fitness, failures))
        results.append(of_program)
    return results


def measure_noise(
    program: Program | TorchOptimizer, task: Task, service: TrainingService, dedup: Dedup, seeds: int = NOISE_SEEDS
) -> NoiseRow:
    """How much the fitness of a program varies on a task, from so many seeds that no search trains on."""
    fresh = TaskSeeds(task, tuple(range(FRESH_SEED, FRESH_SEED + seeds)))
    ((trained,),) = train_programs([program], service, [fresh], dedup)
    many = len(trained.by_seed) > 1
    return NoiseRow(
        task.name, task.fingerprint, candidate(program, dedup).key, str(program), seeds, len(trained.failures),
        trained.mean if many else None, stdev(trained.fitness) if many else None,
    )  # fmt: skip
