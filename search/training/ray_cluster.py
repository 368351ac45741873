"""Connecting to a Ray cluster that is already there. Whatever is wrong is said in one line, within seconds."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from typing import Any

import ray
from ray._private import ray_constants, services
from ray.exceptions import RayError

from programs.errors import InputError

from search.training import probe

ANSWER_SECONDS = 5.0  # for the head to take a connection
PROBE_SECONDS = 15.0  # to connect as a driver, which takes one or two; a busy machine may need more
_LOCAL = ("localhost", "127.0.0.1", "::1")


def connect(address: str, settings: dict[str, Any]) -> None:
    """Connect this process to a cluster.

    Args:
        address: host:port of its head, or `auto` for the one of this machine.
        settings: more arguments for `ray.init`.

    Raises:
        InputError: there is none, it does not let this process in, or it cannot be used from this machine.
    """
    head = _answering(_found(), address) if address == "auto" else _answering(address, address)
    _probe(head, address)
    logging.getLogger("ray").setLevel(logging.ERROR)
    if address == "auto":
        probe.use_token()
    if head.rpartition(":")[0].strip("[]") in _LOCAL:
        # Ray would translate the loopback address to another one of this machine, where the head does not listen.
        ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        ray.init(address=head, **settings)
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        raise InputError(_reason(address, f"{type(error).__name__}: {error}", is_head=True)) from None


def _found() -> str:
    """The address of the cluster of this machine."""
    try:
        return str(services.get_ray_address_from_environment("auto", None))
    except ConnectionError:
        raise InputError(
            "evaluator.address: no Ray cluster on this machine; start one with `ray start --head`"
        ) from None


def _answering(head: str, address: str) -> str:
    """The head as host:port, or in place of this machine's loopback address the one where it listens.

    Raises:
        InputError: nothing listens there.
    """
    host, _, port = head.rpartition(":")
    host = host.strip("[]")
    hosts = [host]
    if host in _LOCAL:
        hosts.insert(0, str(services.get_node_ip_address()))  # type: ignore[no-untyped-call]
    reason = ""
    for candidate in hosts:
        try:
            with socket.create_connection((candidate, int(port)), ANSWER_SECONDS):
                return f"[{candidate}]:{port}" if ":" in candidate else f"{candidate}:{port}"
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
    raise InputError(_absent(address, f"{head}: {reason}"))


def answers(head: str) -> bool:
    """Whether anything listens at host:port."""
    host, _, port = head.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS).close()
    except OSError:
        return False
    return True


def _probe(head: str, address: str) -> None:
    """Try in another process what may hang in this one.

    Raises:
        InputError: it does not work.
    """
    command = [sys.executable, "-P", probe.__file__, head, *(["found"] if address == "auto" else [])]
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
        is_head = lines[0] == probe.HEAD
        raise InputError(_reason(address, "\n".join(lines[is_head:]).strip(), is_head))


def _reason(address: str, error: str, is_head: bool) -> str:
    """What is wrong and the mend, from what Ray said and whether the head of a cluster had answered before."""
    error = " ".join(error.split())
    if "AuthenticationError" in error:
        return (
            f"evaluator.address: the cluster at '{address}' wants its token: run with RAY_AUTH_MODE=token, and with"
            " the token of its head in ~/.ray/auth_token"
        )
    if "Version mismatch" in error:
        return f"evaluator.address: {error.partition(': ')[2]}; use the same versions on every node of the cluster"
    if not is_head:
        return _absent(address, "what listens there is not the head of one, or of another version")
    if not error or "No node info found" in error:
        return (
            f"evaluator.address: this machine is not a node of the cluster at '{address}';"
            f" `ray start --address={address}` makes it one"
        )
    return f"evaluator.address: the cluster at '{address}' cannot be used ({error[:300]})"


def _absent(address: str, why: str) -> str:
    return f"evaluator.address: no Ray cluster at '{address}' ({why}); start one with `ray start --head`"
