"""The connection to Ray: an instance of one's own on this machine, or a cluster that is already there.

Ray writes what its processes have to say to the terminal. Here it goes to the log instead, and what is remembered of it
tells why a worker died.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray._private import ray_constants, services
from ray._private import worker as ray_worker

from search.errors import RunError
from search.training import guard
from search.training.ray_cluster import answers, connect

log = logging.getLogger("optsearch.ray")

OBJECT_STORE_BYTES = 128 * 2**20  # jobs and outcomes are small; the default would reserve a third of the memory
LONGEST_FOLDER = 40  # letters: Ray's sockets lie in the folder, and the path of a socket has 107 at most
LOOK_SECONDS = 5.0  # between two looks at the head of the cluster
SILENCE_SECONDS = 30.0  # of the head until the run ends; Ray itself waits 60, then kills the driver
REMEMBERED = 1000  # processes whose last words are kept
_LAST_WORDS = re.compile(r"\*\*\* (SIG[A-Z]+) received|^Fatal Python error: (.+)")


class WorkerOutput:
    """Takes what Ray would print: logs it, and remembers the last words of processes that crashed."""

    def __init__(self) -> None:
        self._last_words: OrderedDict[tuple[str, str], str] = OrderedDict()  # by address of the node, and process

    def __call__(self, data: dict[str, Any], ignore_prefix: bool = False) -> None:  # noqa: ARG002 - as Ray calls it
        node, pid = str(data.get("ip", "")), str(data.get("pid", ""))
        if pid == "autoscaler":
            return
        for line in data["lines"]:
            log.info("%s: %s", " on ".join(filter(None, (pid, node))) or "ray", line.rstrip())
            if found := _LAST_WORDS.search(line):
                self._last_words[node, pid] = found[1] or found[2]
                if len(self._last_words) > REMEMBERED:
                    self._last_words.popitem(last=False)

    def last_words(self, address: str, pid: int, patience: float) -> str | None:
        """What a process of that node said as it crashed, waiting so many seconds for it to arrive."""
        deadline, process = time.monotonic() + patience, (address, str(pid))
        while process not in self._last_words and time.monotonic() < deadline:
            time.sleep(0.05)
        return self._last_words.get(process)


OUTPUT = WorkerOutput()

_CLUSTERS = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


class RaySession:
    """A connection to Ray, for as long as it is open; where this process has one already, that one is used.

    Args:
        address: of a cluster, `auto` for the one of this machine; None for an instance of one's own that listens on
            this machine alone and ends with this process, however that ends.
        cpus: of an instance of one's own.

    Raises:
        InputError: there is no such cluster, or none that can be used from here.
    """

    def __init__(self, address: str | None, cpus: int) -> None:
        self._guard: subprocess.Popen[bytes] | None = None
        self._is_ours = not ray.is_initialized()
        if self._is_ours:
            self._open(address, cpus)
        context = ray.get_runtime_context()
        self._head, self._node = str(context.gcs_address), str(context.get_node_id())
        self._heard = self._looked = time.monotonic()

    def _open(self, address: str | None, cpus: int) -> None:
        started = time.monotonic()
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # silences a notice of changes to come
        ray_worker.print_to_stdstream = OUTPUT
        with _handlers_kept():
            if address is None:
                self._start(cpus)
            else:
                connect(address, _COMMON)
        log.info("connected to Ray within %.1f s", time.monotonic() - started)

    def _start(self, cpus: int) -> None:
        folder = _folder()
        self._guard = subprocess.Popen(  # noqa: S603 - our own file
            [sys.executable, "-P", guard.__file__, str(folder)], stdin=subprocess.PIPE, start_new_session=True
        )
        with _on_loopback(), _daemons_apart():
            ray.init(
                num_cpus=cpus,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                _temp_dir=str(folder),
                **_COMMON,
            )

    def last_words(self, address: str, pid: int, patience: float) -> str | None:
        """What a worker on that node said as it crashed."""
        return OUTPUT.last_words(address, pid, patience)

    def check(self) -> None:
        """Look from time to time whether Ray is still there.

        Raises:
            RunError: its head has been silent for long, and Ray would soon end this process without a chance to say
                so; or it has lost this machine, and would have us wait for workers forever.
        """
        now = time.monotonic()
        if now < self._looked + LOOK_SECONDS:
            return
        self._looked = now
        if answers(self._head):
            self._heard = now
            self._check_node()
        elif now - self._heard > SILENCE_SECONDS:
            raise RunError(
                f"the head of Ray, {self._head}, has not answered for {now - self._heard:.0f} s; start it again, and"
                " `optsearch run` with the same settings goes on"
            )

    def _check_node(self) -> None:
        nodes = ray.nodes()  # type: ignore[no-untyped-call]
        if not any(node["Alive"] for node in nodes if node["NodeID"] == self._node):
            raise RunError(
                f"this machine is no longer a node of the cluster at {self._head}; start Ray here again, and"
                " `optsearch run` with the same settings goes on"
            )

    def close(self) -> None:
        """End the connection, and with it an instance of one's own."""
        if self._is_ours and ray.is_initialized():
            ray.shutdown()
        if self._guard is not None:
            self._guard.communicate()
            self._guard = None


_COMMON: dict[str, Any] = {
    "logging_level": logging.ERROR,
    "log_to_driver": True,  # to OUTPUT
    "runtime_env": {"env_vars": {"OMP_NUM_THREADS": "1"}},
}


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Have Ray do what it does by itself on other systems than Linux: use the loopback address, listen nowhere else.

    Only what it starts meanwhile is told so by its environment: clusters started later are no business of ours.
    """
    before = os.environ.get(_CLUSTERS)
    os.environ[_CLUSTERS] = "0"
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        del os.environ[_CLUSTERS]
        if before is not None:
            os.environ[_CLUSTERS] = before


def _folder() -> Path:
    """An empty folder for Ray's files, with a short path."""
    usual = Path(tempfile.gettempdir())
    return Path(tempfile.mkdtemp(prefix="optsearch-", dir=usual if len(str(usual)) <= LONGEST_FOLDER else "/tmp"))  # noqa: S108


@contextmanager
def _daemons_apart() -> Iterator[None]:
    """Ray's processes get a session of their own: a SIGTERM to our group, such as `timeout` sends, is not for them."""
    popen = services.ConsolePopen
    services.ConsolePopen = partial(popen, start_new_session=True)  # type: ignore[assignment, misc]
    try:
        yield
    finally:
        services.ConsolePopen = popen  # type: ignore[misc]


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Ray puts a handler of its own in the place of ours."""
    on_termination = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, on_termination)
