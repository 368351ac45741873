"""Training on Ray actors: one process for each worker, replaced when it dies."""

from __future__ import annotations

import logging
import os
import signal
from collections import deque
from contextlib import suppress
from typing import Any

import ray
from ray._private import ray_constants
from ray.exceptions import RayActorError, RayError

from proxy_tasks import configure_process
from proxy_tasks.outcome import Outcome

from search.config import EvaluatorSettings
from search.evaluators.evaluator import Finished, Job, Room, failed, train_job
from search.memory import peak_memory_mib

OBJECT_STORE_BYTES = 128 * 2**20  # jobs and outcomes are small; the default would reserve a third of the memory
RETRIES = 2  # further attempts for a job whose worker died


class Worker:
    """What runs in each worker process."""

    def __init__(self, room: Room) -> None:
        configure_process()
        self._room = room

    def train(self, job: Job) -> list[Outcome]:
        return train_job(job, self._room)

    def peak_memory(self) -> float:
        return peak_memory_mib()


def start_ray(cpus: int) -> bool:
    """Start a local Ray instance that listens on this machine alone; False where one runs in this process already."""
    if ray.is_initialized():
        return False
    on_termination = signal.getsignal(signal.SIGTERM)  # Ray puts a handler of its own in its place
    # What Ray does by itself on other systems than Linux: use the loopback address, so that nothing listens elsewhere.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    ray_constants.ENABLE_RAY_CLUSTER = False
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # silences a notice of changes to come
    ray.init(
        num_cpus=cpus,
        include_dashboard=False,
        object_store_memory=OBJECT_STORE_BYTES,
        logging_level=logging.ERROR,
        log_to_driver=False,
        runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}},
    )
    signal.signal(signal.SIGTERM, on_termination)
    return True


class RayEvaluator:
    """A pool of actors, started with the first job. A job waits for an idle one; if that dies, it is tried again."""

    def __init__(self, settings: EvaluatorSettings) -> None:
        self._settings = settings
        self._started_ray = False
        self._actor_class = ray.remote(num_cpus=1, max_restarts=0)(Worker)
        self._idle: list[Any] = []
        self._waiting: deque[tuple[Job, int]] = deque()
        self._running: dict[Any, tuple[Job, int, Any]] = {}

    def _start(self) -> None:
        settings = self._settings
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        workers = min(cpus, settings.lookahead) if settings.workers == "auto" else settings.workers
        self._started_ray = start_ray(max(cpus, workers))
        self._idle = [self._new_actor() for _ in range(workers)]

    def _new_actor(self) -> Any:
        return self._actor_class.remote(Room(self._settings.rows, self._settings.memory_mib))

    def submit(self, job: Job) -> None:
        if not self._idle and not self._running:
            self._start()
        self._waiting.append((job, 0))
        self._assign()

    def _assign(self) -> None:
        while self._waiting and self._idle:
            (job, attempt), actor = self._waiting.popleft(), self._idle.pop()
            self._running[actor.train.remote(job)] = job, attempt, actor

    def collect(self, timeout: float) -> list[Finished]:
        if not self._running:
            return []
        ready, _ = ray.wait(list(self._running), timeout=timeout, num_returns=1)
        finished = [done for reference in ready if (done := self._take(reference)) is not None]
        self._assign()
        return finished

    def _take(self, reference: Any) -> Finished | None:
        job, attempt, actor = self._running.pop(reference)
        try:
            outcomes = ray.get(reference)
        except RayActorError as error:
            self._idle.append(self._new_actor())
            if attempt < RETRIES:
                self._waiting.appendleft((job, attempt + 1))
                return None
            outcomes = failed(job, "lost", f"its worker died {attempt + 1} times: {_cause(error)}")
        except RayError as error:
            self._idle.append(actor)
            outcomes = failed(job, "error", _cause(error))
        else:
            self._idle.append(actor)
        return Finished(job.number, outcomes)

    def peak_memory(self) -> list[float]:
        told = []
        for reference in [actor.peak_memory.remote() for actor in self._idle]:
            with suppress(RayError):  # a worker that died meanwhile tells nothing
                told.append(float(ray.get(reference)))
        return told

    def close(self) -> None:
        for actor in [*self._idle, *(actor for _, _, actor in self._running.values())]:
            ray.kill(actor)
        if self._started_ray:
            ray.shutdown()


def _cause(error: Exception) -> str:
    cause = getattr(error, "cause", None) or error
    return f"{type(cause).__name__}: {cause}"
