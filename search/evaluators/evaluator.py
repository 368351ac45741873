"""What the engine expects of an evaluator, and what all evaluators do with a job."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from proxy_tasks import Hurdle, Replica, Task, train
from proxy_tasks.outcome import Outcome, Status
from proxy_tasks.trainer import MEMORY_MIB


class Job(NamedTuple):
    """Replicas to be trained together. Plain data: it travels to workers."""

    number: int
    task: Task
    replicas: tuple[Replica, ...]
    hurdles: tuple[Hurdle, ...] = ()


class Finished(NamedTuple):
    """A job's number and its outcomes in the order of its replicas."""

    number: int
    outcomes: list[Outcome]


class Room(NamedTuple):
    """How much a worker may train at once: replicas (None: as many as fit), and memory in MiB."""

    rows: int | None
    memory_mib: float


ANY_ROOM = Room(None, MEMORY_MIB)


def train_job(job: Job, room: Room) -> list[Outcome]:
    """Train the replicas; if that raises, halves of them, until the guilty are alone and recorded as errors."""
    try:
        return train(job.task, job.replicas, job.hurdles, room.rows, room.memory_mib)
    except Exception as error:
        if len(job.replicas) == 1:
            return failed(job, "error", f"{type(error).__name__}: {error}")
    half = len(job.replicas) // 2
    return [
        outcome
        for replicas in (job.replicas[:half], job.replicas[half:])
        for outcome in train_job(job._replace(replicas=replicas), room)
    ]


def failed(job: Job, status: Status, reason: str) -> list[Outcome]:
    """The same failure for every replica, its reason cut to one line."""
    line = (reason.splitlines() or [""])[0][:500]
    return [Outcome(status, None, [], 0, 0.0, line) for _ in job.replicas]


class Evaluator(Protocol):
    """Trains jobs, in whatever order. Knows no database."""

    def submit(self, job: Job) -> None:
        """Take a job; returns at once or after training it."""

    def collect(self, timeout: float) -> list[Finished]:
        """The jobs finished since the last call, waiting up to `timeout` seconds for the first."""

    def peak_memory(self) -> list[float]:
        """Peak resident memory of each worker process, in MiB."""

    def close(self) -> None:
        """End all workers."""
