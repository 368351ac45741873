"""Evaluations: what is asked of the evaluator, what comes back, and never asking twice.

The store's evaluation table is consulted before anything is trained and written as soon as something has been, so that
work once done serves every later request, in this search or another.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

from programs.program import Program

from proxy_tasks import Hurdle, Replica, Task
from proxy_tasks.outcome import Outcome, apply_hurdles
from proxy_tasks.torch_optimizers import TorchOptimizer, TorchReplica

from search.settings.settings import Aggregate
from search.store import Store
from search.store.keys import TrainingKey
from search.training.jobs import Evaluator, Job

POLL_SECONDS = 0.2  # how long to wait for the evaluator before looking at signals again


class Candidate(NamedTuple):
    """A program and the key under which its evaluations are kept. `round` counts its earlier evaluations.

    An optimizer of torch may stand in the place of a program.
    """

    key: str
    program: Program | TorchOptimizer
    round: int = 0

    def replica(self, seed: int) -> Replica | TorchReplica:
        """One training of it."""
        return (
            TorchReplica(self.program, seed)
            if isinstance(self.program, TorchOptimizer)
            else Replica(self.program, seed)
        )


class Anchors(NamedTuple):
    """Two losses on a task: that of a tuned baseline, which scores 0, and that of the best known, which scores 1."""

    baseline: float
    best: float

    def place(self, loss: float) -> float:
        """The score of a loss; tasks whose losses are placed so weigh alike."""
        return (self.baseline - loss) / (self.baseline - self.best)


class TaskSeeds(NamedTuple):
    """A task and the seeds to train with. Without anchors a score is minus the loss itself."""

    task: Task
    seeds: tuple[int, ...]
    anchors: Anchors | None = None


Hurdles = Sequence[Hurdle]


class Score(NamedTuple):
    """What evaluations say of a program: the fitness over tasks and seeds, None unless every training was ok.

    A program evaluated in several `rounds`, each on seeds of its own, has their mean, and `variance` between them.
    `hurdle_losses` are the losses at the search's hurdles, task by task, the highest among seeds.
    """

    status: str
    fitness: float | None
    reason: str | None = None
    rounds: int = 1
    variance: float | None = None
    hurdle_losses: tuple[float, ...] | None = None

    def joined(self, new: Score) -> Score:
        """With one more round; a failure in any round is a failure (running moments after Welford, 1962)."""
        rounds = self.rounds + 1
        if self.fitness is None or new.fitness is None:
            failed = self if self.fitness is None else new
            return failed._replace(rounds=rounds)
        step = new.fitness - self.fitness
        mean = self.fitness + step / rounds
        squares = (self.variance or 0.0) * (self.rounds - 1) + step * (new.fitness - mean)
        return Score("ok", mean, None, rounds, squares / (rounds - 1), self.hurdle_losses)


@dataclass
class Request:
    """Evaluations asked for together, on these tasks. Complete when `missing` is empty."""

    tasks: Sequence[TaskSeeds]
    wanted: list[TrainingKey] = field(default_factory=list)
    outcomes: dict[TrainingKey, Outcome] = field(default_factory=dict)
    missing: set[TrainingKey] = field(default_factory=set)


class TrainingService:
    """Answers requests from the store where it can and trains the rest in batches."""

    def __init__(self, store: Store, evaluator: Evaluator, batch_size: int) -> None:
        self._store = store
        self._evaluator = evaluator
        self._batch_size = batch_size
        self._numbers = count()
        self._jobs: dict[int, tuple[Request, Task, list[TrainingKey]]] = {}
        self.trained = 0

    def request(
        self, candidates: Sequence[Candidate], tasks: Sequence[TaskSeeds], hurdles: Sequence[Hurdles] = ()
    ) -> Request:
        """Ask for the candidates' outcomes on every task and seed of their round; trainings start at once.

        Args:
            candidates: what to evaluate; of equal keys, the last.
            tasks: on what.
            hurdles: of each task, or none. They hold for first rounds only: what is trained again has passed them.
        """
        request = Request(tasks)
        for number, task in enumerate(tasks):
            for first in (True, False):
                asked = {c.key: c for c in candidates if (c.round == 0) is first}
                self._ask(request, asked, task, tuple(hurdles[number]) if hurdles and first else ())
        return request

    def _ask(self, request: Request, asked: dict[str, Candidate], on: TaskSeeds, hurdles: tuple[Hurdle, ...]) -> None:
        """Answer from the store what it knows, as these hurdles would have it, and have the rest trained."""
        task, seeds = on.task, on.seeds
        wanted = [
            TrainingKey(key, task.fingerprint, seed + round_ * len(seeds))
            for key, _, round_ in asked.values()
            for seed in seeds
        ]
        known = self._store.trainings(task.fingerprint, list(asked), sorted({key.seed for key in wanted}))
        answers = {key: apply_hurdles(known[key], hurdles, task.steps) for key in wanted if key in known}
        request.wanted += wanted
        request.outcomes.update({key: outcome for key, outcome in answers.items() if outcome is not None})
        missing = [key for key in wanted if key not in request.outcomes]
        request.missing.update(missing)
        for start in range(0, len(missing), self._batch_size):
            keys = missing[start : start + self._batch_size]
            replicas = tuple(asked[key.key].replica(key.seed) for key in keys)
            job = Job(next(self._numbers), task, replicas, hurdles)
            self._jobs[job.number] = request, task, keys
            self._evaluator.submit(job)

    def poll(self) -> None:
        """Take in what the evaluator has finished by now or finishes within a moment."""
        for number, outcomes in self._evaluator.collect(POLL_SECONDS):
            request, task, keys = self._jobs.pop(number)
            self._store.add_trainings(task, zip(keys, outcomes, strict=True))
            self.trained += len(keys)
            request.outcomes.update(zip(keys, outcomes, strict=True))
            request.missing.difference_update(keys)

    def evaluate(
        self, candidates: Sequence[Candidate], tasks: Sequence[TaskSeeds], aggregate: Aggregate = "mean"
    ) -> dict[str, Score]:
        """Ask and wait; scores by key."""
        return scores(self.wait(self.request(candidates, tasks)), aggregate)

    def wait(self, request: Request) -> Request:
        """Return when the request is complete."""
        while request.missing:
            self.poll()
        return request


def scores(request: Request, aggregate: Aggregate = "mean", points: Sequence[int] = ()) -> dict[str, Score]:
    """Scores by key of a complete request.

    Args:
        request: whose trainings are all known.
        aggregate: what decides over several tasks.
        points: twentieths of the steps at which the search has hurdles, for `hurdle_losses`.
    """
    by_key: dict[str, dict[str, list[Outcome]]] = {}
    for wanted in request.wanted:
        of_program = by_key.setdefault(wanted.key, {})
        of_program.setdefault(wanted.task_fingerprint, []).append(request.outcomes[wanted])
    return {key: score(outcomes, request.tasks, aggregate, points) for key, outcomes in by_key.items()}


def score(
    outcomes: Mapping[str, Sequence[Outcome]], tasks: Sequence[TaskSeeds], aggregate: Aggregate, points: Sequence[int]
) -> Score:
    """The first failure decides; without one, the mean over seeds of each task, and these combined.

    Args:
        outcomes: by task fingerprint, one for each seed.
        tasks: all of them.
        aggregate: what decides over several tasks.
        points: for `hurdle_losses`.
    """
    placed, hurdle_losses = [], []
    for task, _, anchors in tasks:
        of_task = outcomes[task.fingerprint]
        failed = next((o for o in of_task if o.fitness is None), None)
        if failed is not None:
            return Score(failed.status, None, failed.reason)
        loss = -math.fsum(o.fitness for o in of_task if o.fitness is not None) / len(of_task)
        placed.append(-loss if anchors is None else anchors.place(loss))
        hurdle_losses += [max(outcome.curve[point - 1] for outcome in of_task) for point in points]
    fitness = min(placed) if aggregate == "worst" else math.fsum(placed) / len(placed)
    return Score("ok", fitness, hurdle_losses=tuple(hurdle_losses) or None)
