"""Nodes of a Ray cluster on loopback addresses of this machine (Linux), one CPU each, which can be killed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import psutil

from tests.support.patience import PATIENCE, wait_for
from tests.support.processes import Run, history
from tests.support.scratch import SCRATCH

NODES = 4
HEAD = "127.0.0.2"  # not 127.0.0.1, which Ray replaces by another address of the machine
ATTEMPTS = 3  # to start a node: Ray gives it up after 30 seconds, which it may need on a busy machine
BUSY = {  # for machines that have other things to do: workers get their share, and time to start
    "RAY_worker_niceness": "0",
    "RAY_worker_register_timeout_seconds": "300",
    "RAY_health_check_period_ms": "500",  # five times that until a killed node is known to be dead; Ray waits 3000
}
CONFIG = """\
name: nodes
strategy: {{population: 50, tournament: 3, start: adamw}}
budget: {{programs: {programs}}}
tasks: [{{name: digits_mlp, steps: {steps}, seeds: 1}}]
evaluator: {{batch: {batch}, lookahead: 6, workers: 4}}
baselines: []
"""


class Node:
    """Ray processes that make up a node, in a session of their own."""

    def __init__(self, ray: str, address: str, environment: Mapping[str, str], folder: Path, *options: str) -> None:
        self.address = address
        self._log = folder / f"{address}.log"
        command = [
            ray, "start", "--block", f"--node-ip-address={address}", "--min-worker-port=0", "--max-worker-port=0",
            "--object-store-memory=100000000", "--disable-usage-stats", "--dashboard-agent-listen-port=0", *options,
        ]  # fmt: skip
        with self._log.open("w") as file:
            self._process = subprocess.Popen(command, stdout=file, stderr=file, env=environment, start_new_session=True)

    def wait(self) -> None:
        """Return when it has joined its cluster.

        Raises:
            TimeoutError: it has not, with what Ray said.
        """
        wait_for(lambda: self._process.poll() is not None or self._has_joined(), "a node", self._log.read_text)
        if not self._has_joined():
            raise TimeoutError(self._log.read_text())

    def _has_joined(self) -> bool:
        return "Ray runtime started" in self._log.read_text()

    def workers(self) -> list[psutil.Process]:
        """The processes of optsearch that run on it."""
        found = []
        for process in self._family():
            with suppress(psutil.Error):
                if process.cmdline()[:1] and process.cmdline()[0].startswith("ray::Worker"):
                    found.append(process)
        return found

    def processes(self, name: str) -> list[psutil.Process]:
        """Those of Ray with this name, such as `raylet` or `gcs_server`."""
        return [process for process in self._family() if process.is_running() and process.name() == name]

    def _family(self) -> list[psutil.Process]:
        with suppress(psutil.Error):
            return psutil.Process(self._process.pid).children(recursive=True)
        return []

    def kill(self) -> None:
        """As if its plug was pulled."""
        family = self._family()
        with suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGKILL)
        for process in family:
            with suppress(psutil.Error):
                process.kill()
        self._process.wait()
        psutil.wait_procs(family, timeout=PATIENCE)


class Cluster:
    """A head without CPUs, and nodes; all end with the context.

    Args:
        ray: the command.
    """

    def __init__(self, ray: str | None = None) -> None:
        self._ray = ray or str(Path(sys.executable).parent / "ray")
        self._folder = Path(tempfile.mkdtemp(prefix="n", dir=SCRATCH))  # a short path, for sockets
        self._environment = {**os.environ, **BUSY, "RAY_AUTH_MODE": "disabled"}
        self.address = f"{HEAD}:{_free_port()}"
        self.nodes: list[Node] = []
        self._started = 0
        port = self.address.partition(":")[2]
        options = (f"--port={port}", f"--temp-dir={self._folder}", "--num-cpus=0", "--include-dashboard=false")
        self.head = Node(self._ray, HEAD, self._environment, self._folder, "--head", *options)
        try:
            self.head.wait()
        except BaseException:
            self.close()
            raise

    def add(self, environment: Mapping[str, str] | None = None, ray: str | None = None) -> Node:
        """One more node with a CPU, which has joined.

        Args:
            environment: variables that its workers see in addition.
            ray: the command, if it is another than that of the head.

        Raises:
            TimeoutError: it has not, with what Ray said.
        """
        for attempt in range(1, ATTEMPTS + 1):
            self._started += 1
            node = Node(
                ray or self._ray, f"127.0.1.{self._started}", {**self._environment, **(environment or {})},
                self._folder, f"--address={self.address}", "--num-cpus=1",
            )  # fmt: skip
            try:
                node.wait()
                break
            except TimeoutError:
                node.kill()
                if attempt == ATTEMPTS:
                    raise
        self.nodes.append(node)
        return node

    def remove(self, node: Node) -> None:
        """Kill a node."""
        self.nodes.remove(node)
        node.kill()

    def close(self) -> None:
        """Kill everything."""
        for node in [*self.nodes, self.head]:
            node.kill()
        self.nodes.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((HEAD, 0))
        return int(listener.getsockname()[1])


def begin(folder: Path, config: str, *overrides: str) -> Run:
    """`optsearch run` of a config in a folder of its own, which talks to clusters without tokens."""
    folder.mkdir(exist_ok=True)
    (folder / "nodes.yaml").write_text(config)
    os.environ["RAY_AUTH_MODE"] = "disabled"
    sets = [part for override in overrides for part in ("--set", override)]
    return Run(folder, "nodes.yaml", *sets, forked=True)


def births(folder: Path, name: str = "nodes") -> int:
    """Births that a run in this folder has committed."""
    with suppress(sqlite3.OperationalError):  # no database or no table yet
        return len(history(folder / "results.db", name)) if (folder / "results.db").exists() else 0
    return 0
