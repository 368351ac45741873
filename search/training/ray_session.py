"""The connection to Ray: an instance started on this machine, or a cluster that is already there.

Ray writes what its processes print to the terminal. Here it goes to the log instead, and what is remembered of it tells
why a worker died. Whatever is wrong with a cluster is said in one line, within seconds.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from programs.errors import InputError

from search.errors import RunError
from search.training import guard, ray_internals
from search.training.jobs import one_line

log = logging.getLogger("optsearch.ray")

OBJECT_STORE_BYTES = 128 * 2**20  # jobs and outcomes are small; the default would reserve a third of the memory
LONGEST_FOLDER = 18  # bytes: the path of a socket has 103 at most on macOS, of which Ray's names take 66 and ours 19
CHECK_SECONDS = 5.0  # between two checks of the cluster's head
SILENCE_SECONDS = 30.0  # of the head until the run ends; Ray itself waits 60, then kills the driver
ANSWER_SECONDS = 5.0  # for the head to take a connection
HEAD_SECONDS = 15  # for a head to answer; what is none never does
PROBE_SECONDS = 300.0  # to connect as a driver, which takes one or two, and minutes on a busy machine
REMEMBERED = 1000  # processes whose last words are kept
_LAST_WORDS = re.compile(r"\*\*\* (SIG[A-Z]+) received|^Fatal Python error: (.+)", re.MULTILINE)
_LOCAL = ("localhost", "127.0.0.1", "::1")
_COMMON: dict[str, Any] = {
    "logging_level": logging.ERROR,
    "log_to_driver": True,  # to OUTPUT
    "runtime_env": {"env_vars": {"OMP_NUM_THREADS": "1"}},
}
# Where others are busy too, workers as nice as Ray has them (15) hardly run: those that start would be taken for dead,
# and trainings for endless. `nice optsearch run` makes them give way. Those that Ray would start beforehand, one for
# each processor, lack the environment of ours: they would be waited for and never be used.
_WORKERS = {"worker_niceness": 0, "worker_register_timeout_seconds": 300, "prestart_worker_first_driver": False}


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
            if words := _last_words(line):
                self._last_words[node, pid] = words
                if len(self._last_words) > REMEMBERED:
                    self._last_words.popitem(last=False)

    def last_words(self, address: str, pid: int, patience: float) -> str | None:
        """Return what a process of that node printed as it crashed, waiting up to `patience` seconds for it."""
        deadline, process = time.monotonic() + patience, (address, str(pid))
        while process not in self._last_words and time.monotonic() < deadline:
            time.sleep(0.05)
        return self._last_words.get(process)


def _last_words(text: str) -> str | None:
    found = _LAST_WORDS.search(text)
    return (found[1] or found[2]) if found else None


OUTPUT = WorkerOutput()


class _Connection:
    """This process's one connection to Ray, and the process that clears up after a Ray that was started here."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.sessions = 0  # that use it, in any threads
        self._address: str | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    def open(self, address: str | None, cpus: int) -> None:
        """Connect, or join the sessions that are connected to the same Ray.

        Raises:
            InputError: there is no such cluster, it cannot be used from here, or another thread uses another.
            RunError: no Ray can be started here.
        """
        if self.sessions and address != self._address:
            raise InputError(
                f"evaluator.address: another run of this process uses {_named(self._address)}, not {_named(address)};"
                " a process has one Ray at a time"
            )
        if not self.sessions:
            started = time.monotonic()
            try:
                self._connect(address, cpus)
            except BaseException:  # what has been started would end this process when its guard ends
                self._disconnect()
                raise
            self._address = address
            log.info("connected to Ray within %.1f s", time.monotonic() - started)
        self.sessions += 1

    def close(self) -> None:
        """Leave, and disconnect with the last session."""
        self.sessions -= 1
        if not self.sessions:
            self._disconnect()

    def _connect(self, address: str | None, cpus: int) -> None:
        ray_internals.redirect_output(OUTPUT)
        with ray_internals.handlers_kept():
            if address is None:
                try:
                    self._start(cpus)
                except Exception as error:  # Ray raises many kinds
                    raise RunError(
                        f"Ray cannot be started on this machine ({type(error).__name__}: {one_line(str(error))});"
                        " evaluator.kind=inline does without it"
                    ) from error
            else:
                with ray_internals.connecting():
                    connect(address, _COMMON | {"job_config": ray_internals.Job()})

    def _start(self, cpus: int) -> None:
        folder = _folder()
        self._guard = subprocess.Popen(  # noqa: S603 - our own file
            [sys.executable, "-P", guard.__file__, str(folder)], stdin=subprocess.PIPE, start_new_session=True
        )
        token = folder / "token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))
        with ray_internals.own_instance(token):
            ray.init(
                address="local",
                num_cpus=cpus,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                _system_config=dict(_WORKERS),  # Ray adds to it where this instance has its files
                _temp_dir=str(folder / "r"),  # Ray makes it writable for all users (0777); our folder shuts others out
                job_config=ray_internals.Job(),
                **_COMMON,
            )

    def _disconnect(self) -> None:
        ray.shutdown()
        if self._guard is not None:
            self._guard.communicate()
            self._guard = None
        ray_internals.read_settings()


_CONNECTION = _Connection()


def _named(address: str | None) -> str:
    return "a Ray of its own" if address is None else f"the cluster '{address}'"


class RaySession:
    """A connection to Ray, for as long as it is open.

    Sessions of one process share what the first of them opens, and the last one closes it. Where the program that we
    are part of has a connection of its own, that one is used.

    Args:
        address: of a cluster, `auto` for the one of this machine; None for an instance that is started here, listens
            on this machine alone, and ends with this process, however that ends.
        cpus: of an instance that is started here.

    Raises:
        InputError: there is no such cluster, it cannot be used from here, or another session uses another.
        RunError: no Ray can be started here.
    """

    def __init__(self, address: str | None, cpus: int) -> None:
        with _CONNECTION.lock:
            self._is_open = _CONNECTION.sessions > 0 or not ray.is_initialized()
            if self._is_open:
                _CONNECTION.open(address, cpus)
        context = ray.get_runtime_context()
        self._head, self._node = str(context.gcs_address), str(context.get_node_id())
        self._address = str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]
        self._heard = self._checked = time.monotonic()

    def last_words(self, address: str, pid: int, patience: float) -> str | None:
        """Return what a worker on that node printed as it crashed, waiting up to `patience` seconds if that is far."""
        if address == self._address:
            return _last_words(ray_internals.errors_of(pid))
        return OUTPUT.last_words(address, pid, patience)

    def check(self) -> None:
        """Check from time to time whether Ray is still there.

        Raises:
            RunError: its head has been silent for long, and Ray would soon end this process without a message; or it
                has lost this machine, and workers would be waited for forever.
        """
        now = time.monotonic()
        if now < self._checked + CHECK_SECONDS:
            return
        self._checked = now
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
        """End the connection, and with it an instance that was started here, unless another session uses them."""
        with _CONNECTION.lock:
            if self._is_open:
                self._is_open = False
                _CONNECTION.close()


def _folder() -> Path:
    """Return an empty folder that only this user can enter, with a path short enough for sockets in it."""
    usual = tempfile.gettempdir()
    place = usual if len(os.fsencode(usual)) <= LONGEST_FOLDER else "/tmp"  # noqa: S108 - mkdtemp makes a safe one there
    return Path(tempfile.mkdtemp(prefix="optsearch-", dir=place))


# --- clusters --------------------------------------------------------------------------------------------------------


def connect(address: str, settings: dict[str, Any]) -> None:
    """Connect this process to a cluster.

    Args:
        address: host:port of its head, or `auto` for the one of this machine.
        settings: more arguments for `ray.init`.

    Raises:
        InputError: there is none, it refuses this process, or it cannot be used from this machine.
    """
    head = _answering(_found(), address) if address == "auto" else _answering(address, address)
    _probe(head, address)
    logging.getLogger("ray").setLevel(logging.ERROR)
    if address == "auto":
        ray_internals.use_token()
    if head.rpartition(":")[0].strip("[]") in _LOCAL:
        ray_internals.keep_loopback()
    try:
        ray.init(address=head, **settings)
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        raise InputError(_reason(address, f"{type(error).__name__}: {error}", is_head=True)) from None


def _found() -> str:
    try:
        return ray_internals.running_cluster()
    except ConnectionError:
        raise InputError(
            "evaluator.address: no Ray cluster on this machine; start one with `ray start --head`"
        ) from None


def _answering(head: str, address: str) -> str:
    """Return the head as host:port, or in place of this machine's loopback address the one where it listens.

    Raises:
        InputError: nothing listens there.
    """
    host, _, port = head.rpartition(":")
    host = host.strip("[]")
    reason = ""
    for candidate in [ray_internals.own_address(), host] if host in _LOCAL else [host]:
        reason = _refusal(candidate, port)
        if not reason:
            return f"[{candidate}]:{port}" if ":" in candidate else f"{candidate}:{port}"
    raise InputError(_absent(address, f"{head}: {reason}"))


def answers(head: str) -> bool:
    """Return whether anything listens at host:port."""
    host, _, port = head.rpartition(":")
    return not _refusal(host.strip("[]"), port)


def _refusal(host: str, port: str) -> str:
    """Return why a connection is refused, "" if it is not."""
    try:
        socket.create_connection((host, int(port)), ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        return getattr(error, "strerror", None) or str(error) or type(error).__name__
    return ""


def _probe(head: str, address: str) -> None:
    """Try in another process what may hang in this one.

    Raises:
        InputError: it does not work.
    """
    found = ["found"] if address == "auto" else []
    command = [sys.executable, "-P", ray_internals.__file__, head, str(HEAD_SECONDS), *found]
    environment = os.environ | {"RAY_NUM_REDIS_GET_RETRIES": "1"}
    process = subprocess.Popen(  # noqa: S603 - our own file
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    )
    with process:
        try:
            said, _ = process.communicate(timeout=PROBE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            said, _ = process.communicate()
    if process.returncode != 0:
        lines = said.split("\n")
        is_head = lines[0] == ray_internals.HEAD
        raise InputError(_reason(address, "\n".join(lines[is_head:]).strip(), is_head))


def _reason(address: str, error: str, is_head: bool) -> str:
    """Return what is wrong and the fix, from Ray's message and whether the head of a cluster had answered before."""
    error = " ".join(error.split())
    if "AuthenticationError" in error:
        return (
            f"evaluator.address: the cluster at '{address}' requires its token: run with RAY_AUTH_MODE=token, and with"
            " the token of its head in ~/.ray/auth_token"
        )
    if "Version mismatch" in error:
        return f"evaluator.address: {error.partition(': ')[2]}; use the same versions on every node of the cluster"
    if not is_head:
        return _absent(address, "what listens there is not the head of a cluster, or has another version")
    if not error or "No node info found" in error:
        return (
            f"evaluator.address: this machine is not a node of the cluster at '{address}';"
            f" `ray start --address={address}` makes it one"
        )
    return f"evaluator.address: the cluster at '{address}' cannot be used ({error[:300]})"


def _absent(address: str, why: str) -> str:
    return f"evaluator.address: no Ray cluster at '{address}' ({why}); start one with `ray start --head`"
