"""What the engine expects of an evaluator, and what all evaluators do with a job."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from proxy_tasks import Hurdle, Replica, Resources, Task, train
from proxy_tasks.outcome import Outcome
from proxy_tasks.torch_optimizers import TorchReplica, train_torch_optimizer

from search.settings.settings import EvaluatorSettings


class Job(NamedTuple):
    """Replicas to be trained together. Plain data: it travels to workers. Hurdles hold for programs only."""

    number: int
    task: Task
    replicas: tuple[Replica | TorchReplica, ...]
    hurdles: tuple[Hurdle, ...] = ()


class Finished(NamedTuple):
    """A job's number and its outcomes in the order of its replicas."""

    number: int
    outcomes: list[Outcome]


Trainer = Callable[[Job, Resources], list[Outcome]]  # what a worker does with a job


def train_job(job: Job, resources: Resources) -> list[Outcome]:
    """Train the programs of a job together, and optimizers of torch one after another."""
    programs = [replica for replica in job.replicas if isinstance(replica, Replica)]
    outcomes = iter(train(job.task, programs, job.hurdles, resources))
    return [
        next(outcomes) if isinstance(replica, Replica) else train_torch_optimizer(job.task, replica, resources.device)
        for replica in job.replicas
    ]


def resources_of(settings: EvaluatorSettings) -> Resources:
    """The resources of a worker."""
    return Resources(settings.rows, settings.memory_mib, settings.device, min(1.0, settings.gpus_per_worker or 1.0))


def failed(job: Job, status: str, reason: str) -> list[Outcome]:
    """The same failure for every replica, its reason cut to one line."""
    line = one_line(reason)
    return [Outcome(status, None, [], 0, 0.0, line) for _ in job.replicas]


def one_line(reason: str) -> str:
    """The first line of a reason, as far as anyone wants to read it."""
    return (reason.splitlines() or [""])[0][:500]


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
