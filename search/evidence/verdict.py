"""Is what a search has found better than the best baseline? One answer, on seeds that no search trains on.

The best structures of the search, by its own bound, and all tuned baselines are trained on `CHOICE` fresh seeds: these
choose one candidate, and which baselines may be the best. Other fresh seeds judge them, more of them as long as the
answer is open and costs little beside the search. Every look is a chance to be wrong, so each asks for more than a
single one would (looks with equal bounds: Pocock, Biometrika 1977).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from programs.hashing import structure_hash
from programs.program import Program, parse

from proxy_tasks.outcome import TorchOptimizer

from search.evolution.driver import Driver
from search.settings.baselines import BASELINES
from search.settings.seeds import fresh_seeds
from search.settings.settings import Aggregate
from search.settings.tasks import TaskSeeds
from search.store import BaselineRow, Store
from search.store.keys import Judgement
from search.store.tables import VerdictRow
from search.store.views import LeaderboardEntry
from search.training.service import Trainings, TrainingService
from search.training.statistics import Difference, difference, limited

CANDIDATES = 4
CHOICE = 8  # fresh seeds that choose
LOOKS = (8, 16, 32, 64)  # fresh seeds that have judged at each look
BOUND = 2.42  # of z at each look: together they call what is no better ahead in 2.5 % of cases; by simulation
CHEAP = 0.1  # share of the search's training steps that a verdict may take beyond its first look

BySeed = Mapping[int, float]


def judge_search(driver: Driver) -> VerdictRow:
    """Judge the search of a driver that has come to the end of its budget, and write the verdict.

    Raises:
        StoreError: the store can no longer be written.
    """
    settings, progress = driver.settings, driver.progress
    judge = Judge(driver.store, driver.service, driver.tasks, settings.aggregate)
    verdict = judge.judge(settings.name, progress.births, progress.replica_steps)
    driver.store.set_verdict(settings.name, verdict)
    return verdict


class Contestant(NamedTuple):
    """What is trained on fresh seeds: a program of the search, by its ID, or a tuned baseline, by its name."""

    name: int | str
    program: Program | TorchOptimizer


class Judge:
    """Judges searches.

    Args:
        store: that holds them.
        service: that trains.
        tasks: of the search; their seeds do not matter.
        aggregate: what decides over several tasks.
    """

    def __init__(
        self, store: Store, service: TrainingService, tasks: Sequence[TaskSeeds], aggregate: Aggregate
    ) -> None:
        self._store = store
        self._service = service
        self._tasks = tasks
        self._aggregate = aggregate

    def judge(self, search: str, births: int, replica_steps: int) -> VerdictRow:
        """Train what has not been trained, and return the verdict; nothing but trainings is written.

        Args:
            search: the name of the search.
            births: that it has had.
            replica_steps: that it has spent.
        """
        found = self._store.find_search(search)
        assert found is not None
        tuned = [row for row in self._store.baselines(found.id).values() if row.fitness is not None]
        candidates = self._candidates(search, [row.key for row in tuned])
        if not candidates:
            return VerdictRow(births, Judgement.NOTHING, None, None, 0, 0, None, None, None, None, None)
        baselines = [_contestant(row) for row in tuned]
        with self._service.counting((len(candidates) + len(baselines)) * CHOICE * len(self._tasks)):
            chosen = self._fitness([*candidates, *baselines], fresh_seeds(CHOICE))
        best = max(candidates, key=lambda one: _mean(chosen[one.name]))
        return self._look(births, best, _hardest(baselines, chosen), CHEAP * replica_steps)

    def _candidates(self, search: str, known: Sequence[str]) -> list[Contestant]:
        """Return the best program of each of the best structures, without what the keys of baselines stand for."""
        found: dict[str, Contestant] = {}
        for row in self._store.iterate(LeaderboardEntry, "search = :search", search=search):
            program = parse(row.genome, f"program {row.id}")
            if row.key not in known:
                found.setdefault(structure_hash(program), Contestant(row.id, program))
            if len(found) == CANDIDATES:
                break
        return list(found.values())

    def _look(self, births: int, candidate: Contestant, rivals: Sequence[Contestant], allowance: float) -> VerdictRow:
        """Judge a candidate on more and more seeds until the answer is clear, or more would cost too much."""
        all_seeds = fresh_seeds(CHOICE + LOOKS[-1])[CHOICE:]
        steps_of_seed = sum(on.task.steps for on in self._tasks) * (1 + len(rivals))
        judged: dict[int | str, dict[int, float]] = {one.name: {} for one in (candidate, *rivals)}
        for before, seeds in pairwise((0, *LOOKS)):
            for name, by_seed in self._fitness([candidate, *rivals], all_seeds[before:seeds]).items():
                judged[name] |= by_seed
            verdict = _verdict(births, candidate, rivals, judged, seeds)
            is_open = verdict.judgement == Judgement.UNDECIDED and verdict.baseline is not None
            if not is_open or 2 * seeds * steps_of_seed > allowance:
                break
        return verdict

    def _fitness(self, contestants: Sequence[Contestant], seeds: tuple[int, ...]) -> dict[int | str, dict[int, float]]:
        """Return the fitness of each by seed, over all tasks; without the seeds on which training failed."""
        tasks = [on._replace(seeds=seeds, first=None) for on in self._tasks]
        trained = self._service.train([one.program for one in contestants], tasks)
        return {one.name: self._by_seed(of_tasks, seeds) for one, of_tasks in zip(contestants, trained, strict=True)}

    def _by_seed(self, of_tasks: Sequence[Trainings], seeds: Sequence[int]) -> dict[int, float]:
        found = {}
        for seed in seeds:
            if all(seed in trained.by_seed for trained in of_tasks):
                scores = [on.place(-one.by_seed[seed]) for on, one in zip(self._tasks, of_tasks, strict=True)]
                found[seed] = min(scores) if self._aggregate == "worst" else statistics.fmean(scores)
        return found


def _contestant(row: BaselineRow) -> Contestant:
    return Contestant(row.name, BASELINES[row.name].make(row.learning_rate, row.weight_decay))


def _mean(by_seed: BySeed) -> float:
    """Return the mean fitness, minus infinity where training failed on a seed that chooses."""
    return statistics.fmean(by_seed.values()) if len(by_seed) == CHOICE else -math.inf


def _hardest(baselines: Sequence[Contestant], chosen: Mapping[int | str, BySeed]) -> list[Contestant]:
    """Return the baseline that did best, and those that are not clearly behind it.

    They count on the seeds where they train, at least two, as in funnels and proofs.
    """
    trained = [one for one in baselines if len(chosen[one.name]) > 1]
    if not trained:
        return []
    best = max(trained, key=lambda one: statistics.fmean(chosen[one.name].values()))
    return [one for one in trained if _ahead(chosen[best.name], chosen[one.name]).z < BOUND]


def _ahead(ours: BySeed, theirs: BySeed) -> Difference:
    found = difference(ours, theirs)
    assert found is not None
    return found


def _verdict(
    births: int, candidate: Contestant, rivals: Sequence[Contestant], judged: Mapping[int | str, BySeed], seeds: int
) -> VerdictRow:
    """Return the verdict on so many seeds."""
    assert isinstance(candidate.name, int)
    ours = judged[candidate.name]
    trained = [one.name for one in rivals if len(judged[one.name]) > 1]
    rival = max(trained, key=lambda name: statistics.fmean(judged[name].values()), default=None)
    theirs = {} if rival is None else judged[rival]
    ahead = _ahead(ours, theirs) if len(ours) == seeds and rival is not None else None
    judgement = Judgement.UNDECIDED
    if rival is not None and (ahead is None or ahead.z <= -BOUND):
        judgement = Judgement.BEHIND
    elif ahead is not None and ahead.z >= BOUND:
        judgement = Judgement.AHEAD
    return VerdictRow(
        births,
        judgement,
        program_id=candidate.name,
        baseline=None if rival is None else str(rival),
        seeds=seeds,
        seeds_failed=seeds - len(ours),
        fitness=statistics.fmean(ours.values()) if ours else None,
        baseline_fitness=statistics.fmean(theirs.values()) if theirs else None,
        ahead=None if ahead is None else ahead.mean,
        ahead_error=None if ahead is None else ahead.standard_error,
        z=None if ahead is None else limited(ahead.z),
    )
