"""Training on Ray actors: one process for each worker, ended when it takes too long, replaced when it dies."""

from __future__ import annotations

import logging
import math
import os
import re
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayError, RayTaskError

from programs.errors import InputError
from programs.user_functions import user_definitions

from proxy_tasks import Task
from proxy_tasks.outcome import Status

from search.settings.settings import EvaluatorSettings
from search.training.jobs import FinishedJob, Job, Piece, Pieces, Trainer, one_line, resources_of, train_job
from search.training.ray_session import RaySession
from search.training.worker import Place, Worker, is_memory, is_of_gpu

log = logging.getLogger("optsearch.workers")

MOST_STARTS = 5  # failed starts in a row before a worker is given up
STARTING_NOTICE_SECONDS = 30.0  # without any worker of a cluster before it is said that there is none
LAST_WORDS_SECONDS = 1.0  # until what a crashing process of another node wrote has come here
ANSWER_SECONDS = 5.0  # to say how much memory was used


class _Starting(NamedTuple):
    """A worker that has not answered yet, and how often it has been tried."""

    actor: Any
    starts: int


class _Member(NamedTuple):
    """A worker of the pool."""

    actor: Any
    place: Place


class _Run(NamedTuple):
    """A piece in training. `deadline`: of the monotonic clock."""

    piece: Piece
    member: _Member
    deadline: float


class RayEvaluator:
    """A pool of workers, started with the first job.

    Args:
        settings: of the evaluator.
        trainer: what workers do with a job; it travels to them.
    """

    def __init__(self, settings: EvaluatorSettings, trainer: Trainer = train_job) -> None:
        self._settings = settings
        self._trainer = trainer
        self._session: RaySession | None = None
        self._pieces = Pieces()
        self._tasks: dict[str, Task] = {}
        self._starting: dict[Any, _Starting] = {}
        self._idle: list[_Member] = []
        self._running: dict[Any, _Run] = {}
        self._without_workers_since = time.monotonic()

    # --- jobs ----------------------------------------------------------------------------------------------------

    def submit(self, job: Job) -> None:
        self._tasks.setdefault(job.task.fingerprint, job.task)
        if self._session is None:
            self._open()
        self._pieces.submit(job)
        self._assign()

    def _assign(self) -> None:
        while self._idle and (piece := self._pieces.take()) is not None:
            member, work = self._idle.pop(), piece.work
            reference = member.actor.train.remote(work, work.task.fingerprint, user_definitions())
            self._running[reference] = _Run(piece, member, time.monotonic() + self._settings.timeout_s)

    def collect(self, timeout: float) -> list[FinishedJob]:
        """Return the jobs finished since the last call, waiting up to `timeout` seconds for the first.

        Raises:
            InputError: there is no worker on which the task can be trained.
            RunError: Ray is gone.
        """
        if self._session is not None:
            self._session.check()
        finished = self._end_overdue()
        for reference in self._ready(0.0 if finished else timeout):
            if reference in self._starting:
                self._welcome(reference)
            else:
                finished += self._take(reference)
        self._assign()
        self._notice_absence()
        return finished

    def _ready(self, timeout: float) -> Sequence[Any]:
        references = [*self._running, *self._starting]
        if not references:
            return []
        ready, others = ray.wait(references, timeout=timeout, num_returns=1)
        if ready and others:
            ready += ray.wait(others, timeout=0, num_returns=len(others))[0]
        return ready

    def _take(self, reference: Any) -> list[FinishedJob]:
        piece, member, _ = self._running.pop(reference)
        try:
            outcomes = ray.get(reference)
        except RayTaskError as error:
            return self._raised(piece, member, error.cause)
        except RayError as error:
            reason = self._cause_of_death(
                member.place, error, patience=LAST_WORDS_SECONDS if piece.is_last_chance else 0
            )
            self._replace(member, reason)
            return self._pieces.failed(piece, Status.LOST, reason)
        self._idle.append(member)
        return self._pieces.succeeded(piece, outcomes)

    def _raised(self, piece: Piece, member: _Member, cause: BaseException) -> list[FinishedJob]:
        """Take in that training raised: because of the node, a lack of memory, or the program."""
        if isinstance(cause, InputError):
            self._pieces.give_back(piece)
            self._give_up(member.actor, f"{member.place}: {cause}")
            return []
        reason = f"{type(cause).__name__}: {cause}"
        if is_memory(cause):
            reason = (
                f"out of memory (evaluator.memory_limit_mib is {self._settings.memory_limit:g}): {one_line(reason)}"
            )
            self._replace(member, reason)
        elif is_of_gpu(cause):
            self._replace(member, reason)
        else:
            self._idle.append(member)
        return self._pieces.failed(piece, Status.ERROR, reason)

    def _end_overdue(self) -> list[FinishedJob]:
        now, finished = time.monotonic(), []
        for reference, run in list(self._running.items()):
            if now > run.deadline and not ray.wait([reference], timeout=0)[0]:
                del self._running[reference]
                self._replace(run.member, f"ended after {self._settings.timeout_s:g} s")
                reason = f"took longer than evaluator.timeout_s, {self._settings.timeout_s:g} s"
                finished += self._pieces.failed(run.piece, Status.TIMEOUT, reason)
        return finished

    # --- workers -------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        settings = self._settings
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        wanted = 0 if settings.workers == "auto" else math.ceil(settings.workers * settings.cpus_per_worker)
        self._session = RaySession(settings.address, max(cpus, wanted))
        resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
        for _ in range(self._number(resources)):
            self._start(1)
        self._without_workers_since = time.monotonic()

    def _number(self, resources: dict[str, float]) -> int:
        """Return how many workers to start; on a cluster, those that do not fit wait for nodes to join.

        Raises:
            InputError: this machine lacks the resources for any.
        """
        settings = self._settings
        if settings.address is not None:
            return settings.lookahead if settings.workers == "auto" else settings.workers
        room = int(resources.get("CPU", 0) / settings.cpus_per_worker)
        if settings.gpus_per_worker:
            gpus = resources.get("GPU", 0)
            room = min(room, int(gpus / settings.gpus_per_worker))
            if room == 0:
                raise InputError(
                    f"evaluator.gpus_per_worker is {settings.gpus_per_worker:g} and Ray sees {gpus:g} GPUs here;"
                    " lower it, train on the device cpu, or give the address of a cluster"
                )
        return max(1, min(room, settings.lookahead)) if settings.workers == "auto" else settings.workers

    def _start(self, starts: int) -> None:
        settings = self._settings
        resources: dict[str, Any] = {"num_cpus": settings.cpus_per_worker, "num_gpus": settings.gpus_per_worker}
        if settings.address is not None:
            resources["memory"] = int(settings.memory_limit * 2**20)
        actor_class: Any = ray.remote(max_restarts=0, **resources)(Worker)
        limit = None if settings.gpus_per_worker else settings.memory_limit  # CUDA maps far more than it uses
        folders = [str(Path(folder).absolute()) for folder in sys.path]
        actor = actor_class.remote(resources_of(settings), self._trainer, limit, folders)
        self._starting[actor.place.remote(list(self._tasks.values()))] = _Starting(actor, starts)

    def _welcome(self, reference: Any) -> None:
        """Take in that a new worker has answered, or died before it could."""
        actor, starts = self._starting.pop(reference)
        try:
            place = ray.get(reference)
        except RayError as error:
            reason = _start_failure(error)
            if starts >= MOST_STARTS:
                self._give_up(actor, f"a worker did not start {starts} times: {reason}")
            else:
                log.info("a worker did not start: %s", reason)
                self._end(actor)
                self._start(starts + 1)
            return
        log.info("%s is ready", place)
        self._idle.append(_Member(actor, place))

    def _replace(self, member: _Member, reason: str) -> None:
        log.info("%s: %s; replaced", member.place, reason)
        self._end(member.actor)
        self._start(1)

    def _give_up(self, actor: Any, reason: str) -> None:
        """Go on with one worker less.

        Raises:
            InputError: it was the last one.
        """
        self._end(actor)
        if not self._idle and not self._running and not self._starting:
            raise InputError(reason)
        log.warning("%s; going on without it", reason)

    def _end(self, actor: Any) -> None:
        with suppress(RayError, ValueError):
            ray.kill(actor)

    def _cause_of_death(self, place: Place, error: RayError, patience: float) -> str:
        text = " ".join(str(error).split())
        assert self._session is not None
        if words := self._session.last_words(place.address, place.pid, patience):
            return words
        if found := re.search(r"exit code (\d+)", text):
            return f"exit code {found[1]}"
        if "running low on memory" in text:
            return "its machine ran out of memory"
        if "its node has died" in text:
            return "its node died"
        return "killed, or it ended itself, without a message"

    def _notice_absence(self) -> None:
        now = time.monotonic()
        if self._idle or self._running or not self._starting:
            self._without_workers_since = now
        elif self._settings.address is not None and now - self._without_workers_since > STARTING_NOTICE_SECONDS:
            self._without_workers_since = now
            log.warning(
                "no worker has started; does the cluster have room for %g CPUs, %g GPUs and %g MiB for each?",
                self._settings.cpus_per_worker, self._settings.gpus_per_worker, self._settings.memory_limit,
            )  # fmt: skip

    def peak_memory(self) -> list[float]:
        told = []
        for reference in [member.actor.peak_memory.remote() for member in self._idle]:
            with suppress(RayError):  # a worker may have died meanwhile
                told.append(float(ray.get(reference, timeout=ANSWER_SECONDS)))
        return told

    def close(self) -> None:
        members = [*self._idle, *(run.member for run in self._running.values())]
        for actor in [*(member.actor for member in members), *(start.actor for start in self._starting.values())]:
            self._end(actor)
        self._idle.clear()
        self._running.clear()
        self._starting.clear()
        self._pieces.clear()
        if self._session is not None:
            self._session.close()
            self._session = None


def _start_failure(error: RayError) -> str:
    """Return why a worker did not start: the last line of Python's message, if there is one."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    missing = next((line for line in lines if line.startswith("ModuleNotFoundError")), None)
    if missing is not None:
        node = re.search(r"ip=([^,)\s]+)", str(error))
        where = f"on {node[1]}: " if node else ""
        return f"{where}{missing}; install the same version of optsearch on every node"
    return one_line(lines[-1]) if lines else type(error).__name__
