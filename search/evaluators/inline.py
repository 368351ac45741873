"""Training in the driver's own process: simple, for tests, debugging and small runs."""

from __future__ import annotations

from collections import deque

from proxy_tasks import configured_process

from search.evaluators.evaluator import ANY_ROOM, Finished, Job, Room, train_job


class InlineEvaluator:
    """Trains one job at each `collect`."""

    def __init__(self, room: Room = ANY_ROOM) -> None:
        self._room = room
        self._jobs: deque[Job] = deque()

    def submit(self, job: Job) -> None:
        self._jobs.append(job)

    def collect(self, timeout: float) -> list[Finished]:  # noqa: ARG002 - of the interface; training is not cut short
        if not self._jobs:
            return []
        job = self._jobs.popleft()
        with configured_process():
            return [Finished(job.number, train_job(job, self._room))]

    def peak_memory(self) -> list[float]:
        return []

    def close(self) -> None:
        self._jobs.clear()
