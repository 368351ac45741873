"""Evaluations: what is asked of the evaluator, what comes back, and never asking twice.

The store's evaluation table is consulted before anything is trained and written as soon as something has been, so that
work once done serves every later request, in this search or another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from programs.program import Program

from proxy_tasks import Replica, Task
from proxy_tasks.outcome import Outcome

from search.evaluators.evaluator import Evaluator, Job

if TYPE_CHECKING:
    from search.store import Store

POLL_SECONDS = 0.2  # how long to wait for the evaluator before looking at signals again


class Candidate(NamedTuple):
    """A program and the key under which its evaluations are kept. `round` counts its earlier evaluations."""

    key: str
    program: Program
    round: int = 0


class TaskSeeds(NamedTuple):
    """A task and the seeds to train with."""

    task: Task
    seeds: tuple[int, ...]


class Score(NamedTuple):
    """What evaluations say of a program: the mean fitness over tasks and seeds, None unless every training was ok.

    A program evaluated in several `rounds`, each on seeds of its own, has their mean, and `variance` between them.
    """

    status: str
    fitness: float | None
    reason: str | None = None
    rounds: int = 1
    variance: float | None = None

    def joined(self, new: Score) -> Score:
        """With one more round; a failure in any round is a failure (running moments after Welford, 1962)."""
        rounds = self.rounds + 1
        if self.fitness is None or new.fitness is None:
            failed = self if self.fitness is None else new
            return failed._replace(rounds=rounds)
        step = new.fitness - self.fitness
        mean = self.fitness + step / rounds
        squares = (self.variance or 0.0) * (self.rounds - 1) + step * (new.fitness - mean)
        return Score("ok", mean, None, rounds, squares / (rounds - 1))


class EvaluationKey(NamedTuple):
    """Two trainings with equal keys give equal outcomes."""

    key: str
    task_fingerprint: str
    seed: int


@dataclass
class Request:
    """Evaluations asked for together. Complete when `missing` is empty."""

    wanted: list[EvaluationKey]
    outcomes: dict[EvaluationKey, Outcome] = field(default_factory=dict)
    missing: set[EvaluationKey] = field(default_factory=set)


def score(outcomes: Iterable[Outcome]) -> Score:
    """The first failure decides; without one, the mean fitness."""
    total, number = 0.0, 0
    for outcome in outcomes:
        if outcome.fitness is None:
            return Score(outcome.status, None, outcome.reason)
        total += outcome.fitness
        number += 1
    return Score("ok", total / number)


class EvaluationService:
    """Answers requests from the store where it can and trains the rest in batches."""

    def __init__(self, store: Store, evaluator: Evaluator, batch_size: int) -> None:
        self._store = store
        self._evaluator = evaluator
        self._batch_size = batch_size
        self._numbers = count()
        self._jobs: dict[int, tuple[Request, Task, list[EvaluationKey]]] = {}
        self.trained = 0

    def request(self, candidates: Sequence[Candidate], tasks: Sequence[TaskSeeds]) -> Request:
        """Ask for the candidates' outcomes on every task and seed of their round; trainings start at once."""
        asked = {candidate.key: candidate for candidate in candidates}
        request = Request([])
        for task, seeds in tasks:
            wanted = [
                EvaluationKey(key, task.fingerprint, seed + number * len(seeds))
                for key, _, number in asked.values()
                for seed in seeds
            ]
            known = self._store.evaluations(task.fingerprint, list(asked), sorted({key.seed for key in wanted}))
            missing = [key for key in wanted if key not in known]
            request.wanted += wanted
            request.outcomes.update({key: known[key] for key in wanted if key in known})
            request.missing.update(missing)
            for start in range(0, len(missing), self._batch_size):
                keys = missing[start : start + self._batch_size]
                job = Job(next(self._numbers), task, tuple(Replica(asked[key.key].program, key.seed) for key in keys))
                self._jobs[job.number] = request, task, keys
                self._evaluator.submit(job)
        return request

    def poll(self) -> None:
        """Take in what the evaluator has finished by now or finishes within a moment."""
        for number, outcomes in self._evaluator.collect(POLL_SECONDS):
            request, task, keys = self._jobs.pop(number)
            self._store.add_evaluations(task, zip(keys, outcomes, strict=True))
            self.trained += len(keys)
            request.outcomes.update(zip(keys, outcomes, strict=True))
            request.missing.difference_update(keys)

    def evaluate(self, candidates: Sequence[Candidate], tasks: Sequence[TaskSeeds]) -> dict[str, Score]:
        """Ask and wait; scores by key."""
        return scores(self.wait(self.request(candidates, tasks)))

    def wait(self, request: Request) -> Request:
        """Return when the request is complete."""
        while request.missing:
            self.poll()
        return request


def scores(request: Request) -> dict[str, Score]:
    """Scores by key of a complete request."""
    by_key: dict[str, list[Outcome]] = {}
    for wanted in request.wanted:
        by_key.setdefault(wanted.key, []).append(request.outcomes[wanted])
    return {key: score(outcomes) for key, outcomes in by_key.items()}
