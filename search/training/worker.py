"""What runs in a worker process."""

from __future__ import annotations

import faulthandler
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import ray

from programs.errors import InputError
from programs.user_functions import define

from proxy_tasks import Resources, Task, configure_process, configured_process
from proxy_tasks.devices import open_backend
from proxy_tasks.named import reason_of
from proxy_tasks.outcome import Outcome
from proxy_tasks.runtime import peak_memory_mib

from search.training.jobs import Job, Trainer


class Place(NamedTuple):
    """Where a worker runs: name and address of its node, and its process there."""

    node: str
    address: str
    pid: int

    def __str__(self) -> str:
        return f"worker {self.pid} on {self.node} ({self.address})"


class Worker:
    """Trains jobs, one at a time.

    Args:
        resources: how much to train at once.
        trainer: what to do with a job.
        memory_limit_mib: the most that the process may allocate beyond what it holds now; None for no limit.
        folders: where the driver looks for modules; those unknown here come last.

    Raises:
        InputError: the device to train on is missing.
    """

    def __init__(
        self, resources: Resources, trainer: Trainer, memory_limit_mib: float | None, folders: Sequence[str]
    ) -> None:
        sys.path += [folder for folder in folders if folder not in sys.path]
        configure_process()
        faulthandler.enable()
        self._device = open_backend(resources.device).device
        self._resources = resources
        self._trainer = trainer
        if memory_limit_mib is not None:
            limit_memory(memory_limit_mib)

    def place(self, tasks: Sequence[Task]) -> Place:
        """Return where the worker runs, once it is ready and has loaded these tasks.

        So loading does not count as training time. A task that cannot be loaded is reported when it is trained on.
        """
        for task in tasks:
            with suppress(Exception):
                task.load(self._device)
        return Place(platform.node(), str(ray.util.get_node_ip_address()), os.getpid())  # type: ignore[no-untyped-call]

    def train(self, job: Job, expected: str, functions: Mapping[str, str]) -> list[Outcome]:
        """Return the outcomes of a job.

        Args:
            job: what to train.
            expected: the fingerprint of its task in the driver's process.
            functions: the user-defined functions that its programs may call.

        Raises:
            InputError: it has another meaning here, or the task cannot be loaded.
        """
        define(functions, "functions")
        if _meaning(job) != expected:
            raise InputError(
                f"task '{job.task.name}' is not what it is where the search runs: other versions of optsearch or torch,"
                " or other data; install the same everywhere"
            )
        with configured_process():  # a user's module may have changed it
            return self._trainer(job, self._resources)

    def peak_memory(self) -> float:
        """Return the peak memory of this process, in MiB."""
        return peak_memory_mib()


def _meaning(job: Job) -> str:
    """Return the fingerprint of the job's task, with the data as they are here.

    Raises:
        InputError: they cannot be loaded here. The driver could load them, so no program is the cause.
    """
    try:
        return job.task.fingerprint
    except MemoryError:
        raise
    except Exception as error:
        said = str(error) if isinstance(error, InputError) else reason_of(error)
        raise InputError(
            f"task '{job.task.name}' cannot be loaded here as where the search runs: {said};"
            " its data and modules must be on the same path on every node"
        ) from None


def limit_memory(mib: float) -> None:
    """Let allocations fail that would take the process `mib` beyond what it holds now; Linux only.

    The limit is on memory that is written to (RLIMIT_DATA), not on addresses: those that Ray and torch reserve without
    using them do not count.
    """
    if sys.platform != "linux":
        return
    import resource

    held = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData:"))
    limit = int(held.split()[1]) * 2**10 + int(mib * 2**20)
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    if most != resource.RLIM_INFINITY:
        limit = min(limit, most)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, most))


def is_memory(error: BaseException) -> bool:
    """Return whether an exception says that memory has run out; the process cannot be trusted after that."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or "allocate memory" in text or "out of memory" in text


def is_of_gpu(error: BaseException) -> bool:
    """Return whether a GPU has failed: everything that the process does on it afterwards fails too."""
    return any(text in str(error) for text in ("CUDA error", "CUDA driver error", "INTERNAL ASSERT"))
