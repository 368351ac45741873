"""Evaluations: asked for, looked up in the store, trained if they are not there, and never trained twice.

The store's table of trainings is consulted before anything is trained, and written as soon as something has been, so
that work once done serves every later request, in this search or another.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

from programs.fingerprint import fingerprint
from programs.hashing import dataflow_hash
from programs.program import Program

from proxy_tasks import Hurdle, Replica, Task
from proxy_tasks.outcome import Outcome, Status, TorchOptimizer, TorchReplica, apply_hurdles
from proxy_tasks.preflight import check_task

from search.errors import RunError
from search.settings.settings import Aggregate, Dedup
from search.settings.tasks import TaskSeeds
from search.store import Store
from search.store.keys import CIRCUMSTANCES, TrainingKey
from search.training.jobs import Evaluator, Job
from search.training.statistics import Difference, difference, standard_error

log = logging.getLogger("optsearch.trainings")

POLL_SECONDS = 0.2  # how long to wait for the evaluator before signals are handled again


# --- what is asked for -----------------------------------------------------------------------------------------------


class Identity(NamedTuple):
    """The key under which a program's trainings are kept, and why it need not be trained, if so."""

    key: str
    rejection: str | None


def identify(program: Program, dataflow_key: str, dedup: Dedup) -> Identity:
    """Return the fingerprint of a program, or its dataflow hash where fingerprints are off.

    Args:
        program: a checked program.
        dataflow_key: its `dataflow_hash`, which callers have at hand.
        dedup: the settings that decide.
    """
    if not dedup.fingerprint:
        return Identity(dataflow_key, None)
    found = fingerprint(program, dedup.bits)
    return Identity(found.key, found.rejection)


class Candidate(NamedTuple):
    """A program, or an optimizer of torch, with the key of its trainings; `rung` says which seeds it is trained on."""

    key: str
    program: Program | TorchOptimizer
    rung: int = 0

    def replica(self, seed: int) -> Replica | TorchReplica:
        """Return one training of it."""
        if isinstance(self.program, TorchOptimizer):
            return TorchReplica(self.program, seed)
        return Replica(self.program, seed)


@dataclass
class Request:
    """Trainings asked for together, on these tasks. Complete when `missing` is empty."""

    tasks: Sequence[TaskSeeds]
    wanted: list[TrainingKey] = field(default_factory=list)
    outcomes: dict[TrainingKey, Outcome] = field(default_factory=dict)
    missing: set[TrainingKey] = field(default_factory=set)


# --- what comes back -------------------------------------------------------------------------------------------------


class Score(NamedTuple):
    """What the trainings of a program say of it: its fitness over tasks and seeds, None unless all of them were ok.

    `trainings` is the number of trainings that it rests on, `standard_error` that of the fitness, None where nothing is
    known of the noise. `replica_steps` are the training steps that this evaluation took, over all its trainings.
    `hurdle_losses` are the losses at the search's hurdles, task by task, the highest among seeds. `by_seed` has the
    fitness of every training, rung by rung and, within a rung, task by task.
    """

    status: str
    fitness: float | None
    reason: str | None = None
    trainings: int = 0
    standard_error: float | None = None
    replica_steps: int = 0
    hurdle_losses: tuple[float, ...] | None = None
    by_seed: tuple[float, ...] | None = None


class Trainings(NamedTuple):
    """How a program fared on several seeds of one task: fitness by seed where training was ok, and what failed.

    `metrics` are those of the trainings that were ok, where the task has one, `gradient_norms` theirs of each step,
    where it asks for them.
    """

    task: str
    by_seed: dict[int, float]
    failures: list[str]
    metrics: Sequence[float] = ()
    gradient_norms: Sequence[Sequence[float]] = ()

    @property
    def fitness(self) -> list[float]:
        """The fitness of the trainings that were ok."""
        return list(self.by_seed.values())

    @property
    def mean(self) -> float:
        """The mean fitness, NaN without any."""
        return math.fsum(self.by_seed.values()) / len(self.by_seed) if self.by_seed else math.nan

    @property
    def standard_error(self) -> float:
        """The standard error of the mean fitness, NaN for fewer than two trainings."""
        return standard_error(self.fitness)

    def ahead_of(self, other: Trainings) -> Difference | None:
        """Return how far the mean fitness is above another's; None where trainings failed: what is left is no fair
        sample."""
        return None if self.failures or other.failures else difference(self.by_seed, other.by_seed)

    def losses(self, seeds: Sequence[int]) -> list[float]:
        """Return the loss on each seed, infinite where training failed."""
        return [-self.by_seed.get(seed, -math.inf) for seed in seeds]


class TrainingService:
    """Answers requests from the store where it can and trains the rest in batches.

    Args:
        store: where trainings are kept.
        evaluator: trains; the caller closes it.
        batch_size: trainings of a job.
        dedup: decides which programs have one key.

    Attributes:
        trained: trainings done by this service.
        on_progress: called with the trainings known so far and their total, while a `counting` is under way.
    """

    def __init__(self, store: Store, evaluator: Evaluator, batch_size: int, dedup: Dedup) -> None:
        self._store = store
        self._evaluator = evaluator
        self._batch_size = batch_size
        self._dedup = dedup
        self._numbers = count()
        self._said: set[str] = set()
        self._jobs: dict[int, tuple[Request, Task, list[TrainingKey]]] = {}
        self._has_succeeded = False
        self.trained = 0
        self.on_progress: Callable[[int, int], None] | None = None
        self._known = self._total = 0

    def candidate(self, program: Program | TorchOptimizer) -> Candidate:
        """Return a program, or an optimizer of torch, with the key of its trainings."""
        if isinstance(program, TorchOptimizer):
            return Candidate(program.key, program)
        return Candidate(identify(program, dataflow_hash(program), self._dedup).key, program)

    # --- asking ------------------------------------------------------------------------------------------------------

    def request(
        self, candidates: Sequence[Candidate], tasks: Sequence[TaskSeeds], hurdles: Sequence[Sequence[Hurdle]] = ()
    ) -> Request:
        """Ask for the candidates' outcomes on every task and seed of their rung; training starts at once.

        Args:
            candidates: what to evaluate; of equal keys, the last.
            tasks: the tasks with their seeds.
            hurdles: of each task, or none. They hold for first rungs only: what is trained again has passed them.
        """
        request = Request(tasks)
        for number, task in enumerate(tasks):
            for first in (True, False):
                asked = {c.key: c for c in candidates if (c.rung == 0) is first}
                self._ask(request, asked, task, tuple(hurdles[number]) if hurdles and first else ())
        self._advance(_trainings(candidates, tasks) - len(request.missing))
        return request

    def _ask(self, request: Request, asked: dict[str, Candidate], on: TaskSeeds, hurdles: tuple[Hurdle, ...]) -> None:
        """Answer from the store what it knows, as these hurdles would have it, and have the rest trained."""
        task = on.task
        self._say(check_task(task))
        wanted = [TrainingKey(key, task.fingerprint, seed) for key, _, rung in asked.values() for seed in on.rung(rung)]
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

    def _say(self, remark: str) -> None:
        """Say once what of a user's model costs more time than it might."""
        if remark and remark not in self._said:
            self._said.add(remark)
            log.warning(remark)

    def poll(self) -> None:
        """Take in what the evaluator has finished by now or finishes within a moment."""
        for number, outcomes in self._evaluator.collect(POLL_SECONDS):
            request, task, keys = self._jobs.pop(number)
            self._check_first_batch(number, task, keys, outcomes)
            self._store.add_trainings(task, zip(keys, outcomes, strict=True))
            self.trained += len(keys)
            request.outcomes.update(zip(keys, outcomes, strict=True))
            request.missing.difference_update(keys)
            self._advance(len(keys))

    def _check_first_batch(
        self, number: int, task: Task, keys: Sequence[TrainingKey], outcomes: Sequence[Outcome]
    ) -> None:
        """Refuse to go on if nothing has ever been trained on a task, and a whole batch has failed for one reason.

        Raises:
            RunError: what is wrong with every program is not in the programs.
        """
        causes = {(o.status, o.reason) for o in outcomes}
        (status, reason), *others = causes
        self._has_succeeded |= bool(others) or status not in CIRCUMSTANCES
        if self._has_succeeded or len({key.key for key in keys}) == 1 or any(other < number for other in self._jobs):
            return
        self._has_succeeded = self._store.has_trained(task.fingerprint)
        if not self._has_succeeded:
            raise RunError(
                f"all {len(keys)} trainings of the first batch failed on task '{task.name}', {status}: {reason}; the"
                " same command starts again when this is mended"
            )

    def wait(self, request: Request) -> Request:
        """Return the request when it is complete."""
        while request.missing:
            self.poll()
        return request

    # --- asking and waiting ------------------------------------------------------------------------------------------

    def evaluate(
        self, candidates: Sequence[Candidate], tasks: Sequence[TaskSeeds], aggregate: Aggregate = "mean"
    ) -> dict[str, Score]:
        """Return the scores of candidates by key."""
        return scores(self.wait(self.request(candidates, tasks)), aggregate)

    def train(
        self, programs: Sequence[Program | TorchOptimizer | Candidate], tasks: Sequence[TaskSeeds]
    ) -> list[list[Trainings]]:
        """Return for each program its trainings on every task, each seed by itself."""
        candidates = [p if isinstance(p, Candidate) else self.candidate(p) for p in programs]
        with self.counting(_trainings(candidates, tasks)):
            request = self.wait(self.request(candidates, tasks))
        return [[_trainings_of(candidate, on, request) for on in tasks] for candidate in candidates]

    # --- progress ----------------------------------------------------------------------------------------------------

    @contextmanager
    def counting(self, total: int) -> Iterator[None]:
        """Report to `on_progress`, until the context ends, how many of the trainings asked for within it are known.

        Args:
            total: candidates x tasks x seeds of all requests that will be made; equal candidates count each.
        """
        self._known, self._total = 0, total
        try:
            yield
        finally:
            self._total = 0

    def _advance(self, trainings: int) -> None:
        self._known += trainings
        if self._total and self.on_progress is not None:
            self.on_progress(self._known, self._total)


def _trainings(candidates: Sequence[Candidate], tasks: Sequence[TaskSeeds]) -> int:
    return sum(len(on.rung(candidate.rung)) for candidate in candidates for on in tasks)


def _trainings_of(candidate: Candidate, on: TaskSeeds, request: Request) -> Trainings:
    keys = [TrainingKey(candidate.key, on.task.fingerprint, seed) for seed in on.seeds]
    outcomes = {key.seed: request.outcomes[key] for key in keys}
    fitness = {seed: outcome.fitness for seed, outcome in outcomes.items() if outcome.fitness is not None}
    failures = [f"{outcome.status}: {outcome.reason}" for outcome in outcomes.values() if outcome.fitness is None]
    metrics = [outcome.metric for outcome in outcomes.values() if outcome.metric is not None]
    norms = [outcome.gradient_norms for outcome in outcomes.values() if outcome.gradient_norms is not None]
    return Trainings(on.task.name, fitness, failures, metrics, norms)


# --- scores ----------------------------------------------------------------------------------------------------------


def scores(request: Request, aggregate: Aggregate = "mean", points: Sequence[int] = ()) -> dict[str, Score]:
    """Return the scores by key of a complete request.

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
    """Return the first failure, or without one the mean over seeds of each task, aggregated over tasks.

    Args:
        outcomes: by task fingerprint, one for each seed.
        tasks: all of them.
        aggregate: what decides over several tasks.
        points: twentieths of the steps, for `hurdle_losses`.
    """
    placed, hurdle_losses, by_seed = [], [], list[float]()
    trainings = sum(len(outcomes[on.task.fingerprint]) for on in tasks if on.task.fingerprint in outcomes)
    steps = sum(outcome.steps for of_task in outcomes.values() for outcome in of_task)
    for on in tasks:
        of_task = outcomes.get(on.task.fingerprint, ())
        failed = next((o for o in of_task if o.fitness is None), None)
        if failed is not None:
            return Score(failed.status, None, failed.reason, trainings, replica_steps=steps)
        if not of_task:  # the rung adds no seeds of this task
            continue
        losses = [-o.fitness for o in of_task if o.fitness is not None]
        placed.append(on.place(math.fsum(losses) / len(of_task)))
        by_seed += [on.place(loss) for loss in losses]
        hurdle_losses += [max(outcome.curve[point - 1] for outcome in of_task) for point in points]
    fitness = min(placed) if aggregate == "worst" else math.fsum(placed) / len(placed)
    return Score(Status.OK, fitness, None, trainings, None, steps, tuple(hurdle_losses) or None, tuple(by_seed))
