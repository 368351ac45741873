"""What the engine expects of an evaluator."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from proxy_tasks import Replica, Task
from proxy_tasks.trainer import Outcome


class Job(NamedTuple):
    """Replicas to be trained together. Plain data: it travels to workers."""

    number: int
    task: Task
    replicas: tuple[Replica, ...]


class Finished(NamedTuple):
    """A job's number and its outcomes in the order of its replicas."""

    number: int
    outcomes: list[Outcome]


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
