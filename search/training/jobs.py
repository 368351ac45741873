"""Jobs: what the engine expects of an evaluator, and what is retried, halved or given up when training fails.

Whatever ends a worker (a signal, the memory, a node that is taken away) or takes too long cannot be attributed to one
program as long as others were trained with it. So a piece of a job that fails is halved until the program that causes
the failure is alone; the others get their outcomes. `Pieces` keeps account of this: it knows no workers and no clock.
"""

from __future__ import annotations

import logging
import os
import platform
from collections import deque
from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

from proxy_tasks import Hurdle, Replica, Resources, Task, train
from proxy_tasks.outcome import Outcome, Status, TorchReplica
from proxy_tasks.torch_optimizers import train_torch_optimizer

from search.settings.settings import EvaluatorSettings

log = logging.getLogger("optsearch.pieces")

DEATHS_TOGETHER = 2  # workers that may die on a piece before it is halved
DEATHS_ALONE = 3  # workers that may die on one program before it is lost

Failure = Literal[Status.TIMEOUT, Status.LOST, Status.ERROR]


class Job(NamedTuple):
    """Replicas to be trained together. Plain data: it travels to workers. Hurdles hold for programs only."""

    number: int
    task: Task
    replicas: tuple[Replica | TorchReplica, ...]
    hurdles: tuple[Hurdle, ...] = ()


class FinishedJob(NamedTuple):
    """A job's number and its outcomes in the order of its replicas."""

    number: int
    outcomes: list[Outcome]


Trainer = Callable[[Job, Resources], list[Outcome]]  # what a worker does with a job


class Evaluator(Protocol):
    """Trains jobs, in whatever order. Knows no database."""

    def submit(self, job: Job) -> None:
        """Take a job; returns at once or after training it."""

    def collect(self, timeout: float) -> list[FinishedJob]:
        """Return the jobs finished since the last call, waiting up to `timeout` seconds for the first."""

    def peak_memory(self) -> list[float]:
        """Return the peak resident memory of each worker process, in MiB."""

    def close(self) -> None:
        """End all workers."""


def train_job(job: Job, resources: Resources) -> list[Outcome]:
    """Train the programs of a job together, and optimizers of torch one after another."""
    programs = [replica for replica in job.replicas if isinstance(replica, Replica)]
    outcomes = iter(train(job.task, programs, job.hurdles, resources))
    found = [
        next(outcomes) if isinstance(replica, Replica) else train_torch_optimizer(job.task, replica, resources.device)
        for replica in job.replicas
    ]
    return [outcome._replace(host=platform.node(), pid=os.getpid()) for outcome in found]


def resources_of(settings: EvaluatorSettings) -> Resources:
    """Return the resources of a worker."""
    return Resources(settings.rows, settings.memory_mib, settings.device, min(1.0, settings.gpus_per_worker or 1.0))


def failed(job: Job, status: Failure, reason: str) -> list[Outcome]:
    """Return the same failure for every replica, its reason cut to one line."""
    line = one_line(reason)
    return [Outcome(status, None, [], 0, 0.0, line) for _ in job.replicas]


def one_line(reason: str) -> str:
    """Return the first line of a reason, cut to 500 characters."""
    return (reason.splitlines() or [""])[0][:500]


class Piece(NamedTuple):
    """Replicas of a job that are trained together. `deaths`: workers that have died on these or a larger piece."""

    job: Job
    start: int
    stop: int
    deaths: int = 0

    @property
    def work(self) -> Job:
        """What a worker gets."""
        return self.job._replace(replicas=self.job.replicas[self.start : self.stop])

    @property
    def is_alone(self) -> bool:
        """Whether one program is left."""
        return self.stop - self.start == 1

    @property
    def is_last_chance(self) -> bool:
        """Whether the program is lost if one more worker dies."""
        return self.is_alone and self.deaths + 1 >= DEATHS_ALONE

    def __str__(self) -> str:
        return f"job {self.job.number}, trainings {self.start} to {self.stop - 1}"


class Pieces:
    """The jobs of one evaluator, each one piece at first; a piece that fails is retried, halved or given up."""

    def __init__(self) -> None:
        self._waiting: deque[Piece] = deque()
        self._outcomes: dict[int, dict[int, Outcome]] = {}

    def submit(self, job: Job) -> None:
        """Take a job; it waits behind the others."""
        self._outcomes[job.number] = {}
        self._waiting.append(Piece(job, 0, len(job.replicas)))

    def take(self) -> Piece | None:
        """Return the next piece to train, None if none is waiting."""
        return self._waiting.popleft() if self._waiting else None

    def give_back(self, piece: Piece) -> None:
        """Put a piece that was not trained, for no fault of its own, at the front of the queue."""
        self._waiting.appendleft(piece)

    def succeeded(self, piece: Piece, outcomes: list[Outcome]) -> list[FinishedJob]:
        """Note the outcomes of a piece; return its job if that is complete now."""
        known = self._outcomes[piece.job.number]
        known.update(zip(range(piece.start, piece.stop), outcomes, strict=True))
        if len(known) < len(piece.job.replicas):
            return []
        del self._outcomes[piece.job.number]
        return [FinishedJob(piece.job.number, [known[number] for number in range(len(known))])]

    def failed(self, piece: Piece, status: Failure, reason: str) -> list[FinishedJob]:
        """Retry a piece, halve it, or give up the one program that is left; return its job if that is complete now.

        Only pieces whose workers died are retried unchanged: workers may be killed for reasons outside the program.
        """
        reason = one_line(reason)
        deaths = piece.deaths + (status == Status.LOST)
        if status == Status.LOST and deaths < (DEATHS_ALONE if piece.is_alone else DEATHS_TOGETHER):
            log.info("%s: %s; trained again", piece, reason)
            self.give_back(piece._replace(deaths=deaths))
            return []
        if not piece.is_alone:
            log.info("%s: %s: %s; halved", piece, status, reason)
            middle = (piece.start + piece.stop) // 2
            # The next death of a half halves it at once; a program alone has one more try.
            part = piece._replace(deaths=min(deaths, DEATHS_TOGETHER - 1))
            self.give_back(part._replace(start=middle))
            self.give_back(part._replace(stop=middle))
            return []
        if status == Status.LOST:
            reason = f"its worker died {deaths} times: {reason}"
        log.info("%s: %s: %s\n%s", piece, status, reason, piece.work.replicas[0].program)
        return self.succeeded(piece, failed(piece.work, status, reason))

    def clear(self) -> None:
        """Forget everything."""
        self._waiting.clear()
        self._outcomes.clear()
