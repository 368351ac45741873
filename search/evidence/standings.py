"""What arms of a comparison have found, on seeds that no search trains on.

The best program of every population, after so many programs and at the end, is trained on fresh seeds, and so is the
tuned AdamW of its search. Populations are the independent repetitions: means and their standard errors are over these.
A training that fails counts as the model does without any training, and so does a population that has found nothing
that trains: leaving it out would be kind to arms that often find nothing.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

from programs.program import parse

from search.evidence.populations import MARKS, Found, Run
from search.settings.seeds import fresh_seeds
from search.settings.settings import Aggregate
from search.settings.tasks import TaskSeeds
from search.store import BaselineRow
from search.store.rows import Row, columns_of
from search.training.service import Trainings, TrainingService
from search.training.statistics import combined, difference, limited, standard_error

FRESH_SEEDS = 16
UNTRAINED = parse("update = g - g")


@columns_of
class BestEntry(Row):
    """The best program of a population of an arm, after so many programs or at the end."""

    task: str
    """What the arms were run on."""
    arm: str
    """The arm."""
    population: int
    """The population, from 0."""
    mark: int | None
    """The programs after which it was the best; none for the end."""
    programs: int
    """The programs that the population had evaluated by then: each once, rejected ones not at all."""
    birth: int | None
    """Its last birth that was trained; none where nothing had trained well."""
    fitness: float | None
    """What the search knew of it then."""
    standard_error: float | None
    """The standard error of that."""
    fresh: float
    """Its fitness on fresh seeds; that of the untrained model where nothing had trained well."""
    failed: int
    """Trainings on fresh seeds that failed: each counts as the untrained model."""
    adamw: float | None
    """The fitness on fresh seeds of the tuned AdamW of its search."""

    @property
    def lead(self) -> float | None:
        """What it is ahead of AdamW."""
        return None if self.adamw is None else self.fresh - self.adamw


@columns_of
class ArmEntry(Row):
    """An arm on the tasks of a contest. Means and standard errors are over its populations."""

    task: str
    """What the arms were run on."""
    arm: str
    """The arm."""
    search: str
    """The search."""
    populations: int
    """Its populations."""
    without: int
    """Those that have found nothing that trains: they have no fitness and no gap, and count as the untrained model."""
    births: int
    """Births of all of them."""
    programs: float
    """Programs that a population has evaluated: each once, rejected ones not at all."""
    replica_steps: int
    """Training steps of all trainings, of all populations."""
    fitness: float | None
    """The fitness of the best programs as the search sees it."""
    fitness_error: float | None
    """Its standard error."""
    fresh: float
    """The fitness of these programs on fresh seeds."""
    fresh_error: float | None
    """Its standard error."""
    failed: int
    """Their trainings on fresh seeds that failed."""
    gap: float | None
    """How much less they are on fresh seeds than the search thought."""
    gap_error: float | None
    """Its standard error."""
    gap_in_errors: float | None
    """The gap of each in standard errors of what the search thought, mean."""
    adamw_fitness: float | None
    """The tuned AdamW of the search, as the search sees it."""
    adamw_fresh: float | None
    """The same on fresh seeds."""
    lead_128: float | None
    """What the best programs after 128 are ahead of it on fresh seeds; none where not all populations got so far."""
    lead_128_error: float | None
    """Its standard error."""
    lead_512: float | None
    """The same after 512."""
    lead_512_error: float | None
    """Its standard error."""
    lead_2048: float | None
    """The same after 2,048."""
    lead_2048_error: float | None
    """Its standard error."""
    lead: float | None
    """The same at the end."""
    lead_error: float | None
    """Its standard error."""
    ahead: float | None
    """What the first arm is ahead of this one on fresh seeds, at the end."""
    ahead_error: float | None
    """Its standard error."""
    z: float | None
    """The normal deviate as improbable as that difference (Welch); at most 40."""


@columns_of
class OverallEntry(Row):
    """An arm over all tasks on which it and the first arm have run."""

    arm: str
    """The arm."""
    tasks: int
    """Those tasks, or contests."""
    replica_steps: int
    """Training steps of all trainings there."""
    gap_in_errors: float | None
    """The mean over these of the gap in standard errors."""
    ahead_on: int | None
    """On how many the first arm is ahead; none for the first arm itself."""
    z: float | None
    """How far the first arm is ahead over all (Stouffer), where there is a z on each."""


class Measured(NamedTuple):
    """The fitness of a program on fresh seeds, and how many of its trainings failed."""

    fitness: float
    failed: int


class FreshSeeds:
    """Trains programs on fresh seeds.

    Args:
        service: trains them, each once.
        tasks: of the contest; their seeds do not matter.
        aggregate: what decides over several tasks.
    """

    def __init__(self, service: TrainingService, tasks: Sequence[TaskSeeds], aggregate: Aggregate) -> None:
        self._service = service
        self._tasks = [on._replace(seeds=fresh_seeds(FRESH_SEEDS), first=None) for on in tasks]
        self._aggregate = aggregate

    def measure(self, genomes: Iterable[str]) -> dict[str, Measured]:
        """Return the fitness of programs, by their texts."""
        texts = sorted(set(genomes))
        trained = self._service.train([parse(text) for text in texts], self._tasks)
        return {text: self._measured(of_tasks) for text, of_tasks in zip(texts, trained, strict=True)}

    @cached_property
    def untrained(self) -> Measured:
        """The models as they are before training."""
        return self._measured(self._untrained)._replace(failed=0)

    @cached_property
    def _untrained(self) -> list[Trainings]:
        return self._service.train([UNTRAINED], self._tasks)[0]

    def _measured(self, of_tasks: Sequence[Trainings]) -> Measured:
        scores, failed = [], 0
        for place, (on, found) in enumerate(zip(self._tasks, of_tasks, strict=True)):
            by_seed = found.by_seed
            if found.failures:
                worst = dict.fromkeys(on.seeds, -on.task.loss_bound)  # where even the untrained model is beyond it
                by_seed = worst | self._untrained[place].by_seed | by_seed
                failed += len(found.failures)
            scores.append(on.place(-statistics.fmean(by_seed.values())))
        return Measured(min(scores) if self._aggregate == "worst" else statistics.fmean(scores), failed)


class Tried(NamedTuple):
    """An arm that has run on the tasks of a contest, and the tuned AdamW of its search, if there is one."""

    arm: str
    search: str
    run: Run
    adamw: BaselineRow | None


def best_entries(task: str, tried: Sequence[Tried], seeds: FreshSeeds) -> list[BestEntry]:
    """Train the best programs of all populations, and the tuned AdamW, on fresh seeds.

    Args:
        task: what the contest is called.
        tried: the arms that have run there.
        seeds: trains.
    """
    found = [(one, *place) for one in tried for place in _places(one.run)]
    genomes = {best.best.genome for _, _, _, best in found if best.best is not None}
    measured = seeds.measure(genomes | {one.adamw.genome for one in tried if one.adamw is not None})
    entries = []
    for one, population, mark, (programs, best) in found:
        fresh = seeds.untrained if best is None else measured[best.genome]
        entries.append(
            BestEntry(
                task=task,
                arm=one.arm,
                population=population,
                mark=mark,
                programs=programs,
                birth=None if best is None else best.birth,
                fitness=None if best is None else best.fitness,
                standard_error=None if best is None else best.standard_error,
                fresh=fresh.fitness,
                failed=fresh.failed,
                adamw=None if one.adamw is None else measured[one.adamw.genome].fitness,
            )
        )
    return entries


def _places(run: Run) -> Iterable[tuple[int, int | None, Found]]:
    for number, population in enumerate(run.populations):
        yield from ((number, mark, found) for mark, found in population.marks.items())
        yield number, None, population.end


def arm_entries(tried: Sequence[Tried], entries: Sequence[BestEntry], first: str) -> list[ArmEntry]:
    """Return how the arms of a contest stand.

    Args:
        tried: the arms that have run.
        entries: the best programs of their populations.
        first: the arm that is compared with the others.
    """
    of_arms = {one.arm: [e for e in entries if e.arm == one.arm] for one in tried}
    rivals = [e.fresh for e in of_arms.get(first, ()) if e.mark is None]
    return [_arm_entry(one, of_arms[one.arm], [] if one.arm == first else rivals) for one in tried]


def _arm_entry(one: Tried, entries: Sequence[BestEntry], first: Sequence[float]) -> ArmEntry:
    ends = [e for e in entries if e.mark is None]
    seen = [e.fitness for e in ends if e.fitness is not None]
    fresh = [e.fresh for e in ends]
    gaps = [e.fitness - e.fresh for e in ends if e.fitness is not None]
    in_errors = [(e.fitness - e.fresh) / e.standard_error for e in ends if e.fitness is not None and e.standard_error]
    fitness, fitness_error = _mean(seen)
    gap, gap_error = _mean(gaps)
    leads = {mark: _leads([e for e in entries if e.mark == mark], len(ends)) for mark in (*MARKS, None)}
    ahead, ahead_error, z = _ahead(first, fresh)
    return ArmEntry(
        task=ends[0].task,
        arm=one.arm,
        search=one.search,
        populations=len(ends),
        without=len(ends) - len(seen),
        births=one.run.births,
        programs=statistics.fmean(e.programs for e in ends),
        replica_steps=one.run.replica_steps,
        fitness=fitness,
        fitness_error=fitness_error,
        fresh=statistics.fmean(fresh),
        fresh_error=_error(fresh),
        failed=sum(e.failed for e in ends),
        gap=gap,
        gap_error=gap_error,
        gap_in_errors=_mean(in_errors)[0],
        adamw_fitness=None if one.adamw is None else one.adamw.fitness,
        adamw_fresh=ends[0].adamw,
        lead_128=leads[128][0],
        lead_128_error=leads[128][1],
        lead_512=leads[512][0],
        lead_512_error=leads[512][1],
        lead_2048=leads[2048][0],
        lead_2048_error=leads[2048][1],
        lead=leads[None][0],
        lead_error=leads[None][1],
        ahead=ahead,
        ahead_error=ahead_error,
        z=z,
    )


def _leads(entries: Sequence[BestEntry], populations: int) -> tuple[float | None, float | None]:
    """Return the mean lead with its error; none unless all populations got so far."""
    leads = [e.lead for e in entries if e.lead is not None]
    return _mean(leads) if len(leads) == populations else (None, None)


def _mean(values: Sequence[float]) -> tuple[float | None, float | None]:
    return (statistics.fmean(values), _error(values)) if values else (None, None)


def _error(values: Sequence[float]) -> float | None:
    return standard_error(values) if len(values) > 1 else None


def _ahead(first: Sequence[float], other: Sequence[float]) -> tuple[float | None, float | None, float | None]:
    if not first:
        return None, None, None
    mean = statistics.fmean(first) - statistics.fmean(other)
    # Populations of two arms have nothing in common: numbered apart, they are not taken for pairs.
    found = difference(dict(enumerate(first)), dict(enumerate(other, start=len(first))))
    return (mean, None, None) if found is None else (mean, found.standard_error, limited(found.z))


def overall_entries(arms: Mapping[str, Sequence[ArmEntry]], first: str) -> list[OverallEntry]:
    """Return how arms stand over all contests.

    Args:
        arms: what is known of each, on all contests where it has run.
        first: the arm that is compared with the others.
    """
    run = {entry.task for entry in arms.get(first, ())}
    found = []
    for arm, entries in arms.items():
        shared = [entry for entry in entries if entry.task in run]
        zs = [entry.z for entry in shared if entry.z is not None]
        found.append(
            OverallEntry(
                arm,
                len(shared),
                sum(entry.replica_steps for entry in shared),
                _mean([entry.gap_in_errors for entry in shared if entry.gap_in_errors is not None])[0],
                None if arm == first else sum((entry.ahead or 0) > 0 for entry in shared),
                combined(zs) if zs and len(zs) == len(shared) else None,
            )
        )
    return found
