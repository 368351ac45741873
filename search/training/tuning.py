"""Tuning of learning rate and weight decay, by the same service that searches train with.

All competitors are tuned alike: the same number of trials, on the same tasks and seeds, at the same quasi-random points
of their ranges. A trial is a learning rate and a weight decay; a quarter of the trials has no decay. Four trials in
seven cover the ranges where the competitor begins. The others follow in three equal rounds, each where the best so far
points to:

- beyond the edge, if it lies within half a decade of one: one more decade, which counts as covered from then on;
- around it otherwise, closer from round to round.

So a competitor that needs other ranges gets them, three decades beyond at most, and all get the same number of trials.

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
from proxy_tasks.outcome import TorchOptimizer

from search.settings.baselines import TRIALS, Competitor, Range
from search.settings.seeds import fresh_seeds
from search.settings.settings import Aggregate
from search.settings.tasks import TaskSeeds
from search.store import BaselineRow, NoiseRow
from search.training.service import Candidate, Score, TrainingService

ROUNDS = 3  # after the first
SHARE = 1 / 7  # of the trials, in each of these rounds
WITHOUT_DECAY = 0.25  # share of the trials
EDGE = 10**0.5  # the best is at an edge when it is within this factor of it
STEP = 10.0  # by which a range is widened
NOISE_SEEDS = 20
_POINTS = 0  # the scrambling of the points


class Point(NamedTuple):
    """The two numbers that are tuned."""

    learning_rate: float
    weight_decay: float


class Box(NamedTuple):
    """Where points are drawn: `decays` is None for no decay, `without` the share of points that have none anyway."""

    rates: Range
    decays: Range | None
    without: float


class Trial(NamedTuple):
    """A competitor at a point, as it is trained."""

    learning_rate: float
    weight_decay: float
    candidate: Candidate

    @property
    def point(self) -> Point:
        """Where it is."""
        return Point(self.learning_rate, self.weight_decay)


class TrialResult(NamedTuple):
    """The fitness of a trial on all seeds, None unless it was trained on all and well, and whether training failed."""

    fitness: float | None
    failed: bool


class TunedCompetitor(NamedTuple):
    """The best trial of a competitor; its fitness is None if none trained well. Of the trials, `failures` failed."""

    name: str
    best: Trial
    fitness: float | None
    trials: int
    failures: int

    @property
    def program(self) -> Program | TorchOptimizer:
        """The competitor with its best constants."""
        return self.best.candidate.program

    @property
    def row(self) -> BaselineRow:
        """The row that the store keeps of a baseline."""
        rate, decay, (key, program, _) = self.best
        return BaselineRow(self.name, str(program), key, rate, decay, self.fitness, self.trials)


def trainings_of_tuning(tasks: Sequence[TaskSeeds], trials: int = TRIALS) -> int:
    """Return how many trainings the tuning of one competitor takes where every trial trains well."""
    return sum(_trainings(number, tasks).new for number in _rounds(trials))


def tune(
    competitors: Sequence[Competitor],
    service: TrainingService,
    tasks: Sequence[TaskSeeds],
    aggregate: Aggregate = "mean",
    trials: int = TRIALS,
    stopped: Callable[[], bool] = lambda: False,
) -> list[TunedCompetitor]:
    """Tune all side by side; what the store knows is not trained again, so a tuning that ended early goes on.

    Args:
        competitors: what is tuned.
        service: that trains.
        tasks: the tasks with their seeds.
        aggregate: what decides over several tasks.
        trials: for each competitor.
        stopped: asked before each round.

    Returns:
        In the order of the competitors; nothing if stopped.
    """
    plans = [_Plan(one, service) for one in competitors]
    asked_for = sum(_trainings(number, tasks).asked_for for number in _rounds(trials))
    with service.counting(len(competitors) * asked_for):
        for number in _rounds(trials):
            if stopped():
                return []
            drawn = [plan.draw(number) for plan in plans]
            for plan, results in zip(plans, _halved(drawn, service, tasks, aggregate), strict=True):
                plan.take(results)
    return [plan.tuned() for plan in plans]


def _rounds(trials: int) -> list[int]:
    """Return how many of the trials each round has."""
    later = int(trials * SHARE)
    return [trials - ROUNDS * later, *[later] * ROUNDS]


class _Trainings(NamedTuple):
    """Of a round of one competitor: those that are new on their rung, and all that are asked for there."""

    new: int
    asked_for: int


def _trainings(trials: int, tasks: Sequence[TaskSeeds]) -> _Trainings:
    new, asked_for, before = 0, 0, 0
    for seeds in _rungs(tasks):
        on_rung, known = (sum(len(on.seeds[:count]) for on in tasks) for count in (seeds, before))
        new += trials * (on_rung - known)
        asked_for += trials * on_rung
        trials, before = (trials + 1) // 2, seeds
    return _Trainings(new, asked_for)


def first_trials(one: Competitor, trials: int, service: TrainingService) -> list[Trial]:
    """Return the trials of the first round, which are the same on every task."""
    return _Plan(one, service).draw(_rounds(trials)[0])


def _halved(
    drawn: Sequence[Sequence[Trial]], service: TrainingService, tasks: Sequence[TaskSeeds], aggregate: Aggregate
) -> list[list[TrialResult]]:
    """Train the trials of each competitor, half as many on twice as many seeds, and return their results."""
    results = [dict.fromkeys((trial.candidate.key for trial in trials), TrialResult(None, False)) for trials in drawn]
    running = [[trial.candidate for trial in trials] for trials in drawn]
    rungs = _rungs(tasks)
    for seeds in rungs:
        cut = [on._replace(seeds=on.seeds[:seeds]) for on in tasks]
        scores = service.evaluate([candidate for candidates in running for candidate in candidates], cut, aggregate)
        for candidates, by_key in zip(running, results, strict=True):
            for key, fitness in ((c.key, scores[c.key].fitness) for c in candidates):
                by_key[key] = TrialResult(fitness if seeds == rungs[-1] else None, fitness is None)
        running = [_better_half(candidates, scores) for candidates in running]
    return [[of[trial.candidate.key] for trial in trials] for trials, of in zip(drawn, results, strict=True)]


def _rungs(tasks: Sequence[TaskSeeds]) -> list[int]:
    """Return numbers of seeds: 1, 2, 4 and so on, and at last all."""
    seeds = max(len(on.seeds) for on in tasks)
    return [2**rung for rung in range((seeds - 1).bit_length())] + [seeds]


def _better_half(candidates: Sequence[Candidate], scores: Mapping[str, Score]) -> list[Candidate]:
    ranked = sorted(candidates, key=lambda one: _rank(scores[one.key].fitness), reverse=True)
    return ranked[: (len(ranked) + 1) // 2]


def _rank(fitness: float | None) -> float:
    return -math.inf if fitness is None else fitness


class _Plan:
    """The trials of one competitor so far, and where the next are to be."""

    def __init__(self, one: Competitor, service: TrainingService) -> None:
        self._competitor = one
        self._service = service
        self._covered = self._box = Box(one.rates, one.decays, WITHOUT_DECAY)
        self._engine = SobolEngine(2, scramble=True, seed=_POINTS)  # type: ignore[no-untyped-call]
        self._reach = STEP
        self._trials: list[Trial] = []
        self._results: list[TrialResult] = []

    def draw(self, number: int) -> list[Trial]:
        """Return `number` new trials."""
        new = []
        for u, v in self._engine.draw(number, dtype=torch.float64).tolist():
            at = point(self._box, u, v)
            new.append(Trial(*at, self._service.candidate(self._competitor.make(*at))))
        self._trials += new
        return new

    def take(self, results: Sequence[TrialResult]) -> None:
        """Take in the results of the last trials."""
        self._results += results
        best = self.tuned()
        self._box, self._covered = following(
            self._covered, None if best.fitness is None else best.best.point, self._reach
        )
        self._reach **= 0.5

    def tuned(self) -> TunedCompetitor:
        """Return the best trial so far."""
        ranks = [_rank(result.fitness) for result in self._results]
        best = ranks.index(max(ranks))
        failures = sum(result.failed for result in self._results)
        return TunedCompetitor(
            self._competitor.name, self._trials[best], self._results[best].fitness, len(ranks), failures
        )


def point(box: Box, u: float, v: float) -> Point:
    """Return the learning rate and weight decay at a point of the unit square, to three digits."""
    decay = 0.0
    if box.decays is not None and v >= box.without:
        decay = _between(box.decays, (v - box.without) / (1 - box.without))
    return Point(_between(box.rates, u), decay)


def _between(ends: Range, share: float) -> float:
    return float(f"{ends.low * (ends.high / ends.low) ** share:.3g}")


def following(covered: Box, best: Point | None, reach: float) -> tuple[Box, Box]:
    """Return where the next round looks, and what has been covered then.

    Args:
        covered: until now.
        best: the best trial; None if none trained well, since then, as a rule, the learning rates were too high.
        reach: factor by which to go to each side of a best that is at no edge.
    """
    rate, decay = best or Point(covered.rates.low, 0.0)
    rates, wider = _next_range(covered.rates, rate, reach)
    if wider != covered.rates:
        return covered._replace(rates=rates), covered._replace(rates=wider)
    if covered.decays is None or decay == 0:  # no decay is below the lowest one, and is tried anyway
        return Box(rates, None, 1.0), covered
    decays, higher = _next_range(Range(0.0, covered.decays.high), decay, reach)
    return Box(rates, decays, 0.0), covered._replace(decays=covered.decays._replace(high=higher.high))


def _next_range(ends: Range, best: float, reach: float) -> tuple[Range, Range]:
    """Return the part of one axis to look at next, and the range covered then."""
    if best < ends.low * EDGE:
        return Range(ends.low / STEP, ends.low), ends._replace(low=ends.low / STEP)
    if best > ends.high / EDGE:
        return Range(ends.high, ends.high * STEP), ends._replace(high=ends.high * STEP)
    return Range(best / reach, best * reach), ends


def measure_noise(
    program: Program | TorchOptimizer, task: Task, service: TrainingService, seeds: int = NOISE_SEEDS
) -> NoiseRow:
    """Measure how much the fitness of a program varies on a task, on `seeds` seeds that no search trains on."""
    ((trained,),) = service.train([program], [TaskSeeds(task, fresh_seeds(seeds))])
    several = len(trained.by_seed) > 1
    return NoiseRow(
        task.name, task.fingerprint, service.candidate(program).key, str(program), seeds, len(trained.failures),
        trained.mean if several else None, stdev(trained.fitness) if several else None,
    )  # fmt: skip
