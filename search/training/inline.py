"""Training in the driver's own process: simple, for tests, debugging and small runs.

What hangs or ends the process hangs or ends the run: isolation needs processes, see `ray_pool`.
"""

from __future__ import annotations

from proxy_tasks import DEFAULT_RESOURCES, Resources, configured_process

from search.training.jobs import Finished, Job, Trainer, train_job
from search.training.pieces import Pieces


class InlineEvaluator:
    """Trains one job, or a piece of one that raised, at each `collect`."""

    def __init__(self, resources: Resources = DEFAULT_RESOURCES, trainer: Trainer = train_job) -> None:
        self._resources = resources
        self._trainer = trainer
        self._pieces = Pieces()

    def submit(self, job: Job) -> None:
        self._pieces.submit(job)

    def collect(self, timeout: float) -> list[Finished]:  # noqa: ARG002 - of the interface; training is not cut short
        piece = self._pieces.take()
        if piece is None:
            return []
        try:
            with configured_process():
                outcomes = self._trainer(piece.work, self._resources)
        except Exception as error:
            return self._pieces.failed(piece, "error", f"{type(error).__name__}: {error}")
        return self._pieces.succeeded(piece, outcomes)

    def peak_memory(self) -> list[float]:
        return []

    def close(self) -> None:
        self._pieces.clear()
