"""Training in the driver's own process: simple, for tests, debugging and small runs.

A program that hangs or ends its process does the same to the run; processes of their own (`ray_pool`) prevent that.
"""

from __future__ import annotations

from proxy_tasks import DEFAULT_RESOURCES, Resources, configured_process
from proxy_tasks.outcome import Status

from search.training.jobs import FinishedJob, Job, Pieces, Trainer, train_job


class InlineEvaluator:
    """Trains one job, or a piece of one that raised an exception, at each `collect`."""

    def __init__(self, resources: Resources = DEFAULT_RESOURCES, trainer: Trainer = train_job) -> None:
        self._resources = resources
        self._trainer = trainer
        self._pieces = Pieces()

    def submit(self, job: Job) -> None:
        self._pieces.submit(job)

    def collect(self, timeout: float) -> list[FinishedJob]:  # noqa: ARG002 - of the interface; training is not cut short
        piece = self._pieces.take()
        if piece is None:
            return []
        try:
            with configured_process():
                outcomes = self._trainer(piece.work, self._resources)
        except Exception as error:
            return self._pieces.failed(piece, Status.ERROR, f"{type(error).__name__}: {error}")
        return self._pieces.succeeded(piece, outcomes)

    def peak_memory(self) -> list[float]:
        return []

    def close(self) -> None:
        self._pieces.clear()
