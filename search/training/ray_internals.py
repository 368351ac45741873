"""Everything that reaches into Ray beyond its public interface, in one file. Tested with Ray 2.60.

Ray has no public setting for any of this: `_node_ip_address` is translated from the loopback address to another one of
the machine, `log_to_driver` sends output to the terminal or nowhere, and daemons always join the group of the driver.

Run as a script with the address of a cluster and the seconds for its head to answer, the file prints `HEAD` once that
has answered, ends without an error if it could connect, and with one line on the standard output if not.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray._private import ray_constants, services
from ray._private import worker as ray_worker

_CLUSTERS = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


def redirect_output(take: Callable[..., None]) -> None:
    """Have a function take what Ray would print of its processes' output."""
    ray_worker.print_to_stdstream = take


def running_cluster() -> str:
    """Return the address of the cluster of this machine.

    Raises:
        ConnectionError: there is none.
    """
    return str(services.get_ray_address_from_environment("auto", None))


def own_address() -> str:
    """Return the address of this machine under which clusters listen."""
    return str(services.get_node_ip_address())  # type: ignore[no-untyped-call]


def errors_of(pid: int) -> str:
    """Return what a worker process of this node has written to its standard error."""
    node: Any = ray_worker._global_node
    logs = Path(node.get_logs_dir_path())
    return "".join(path.read_text("utf-8", "replace") for path in logs.glob(f"worker-*-{pid}.err"))


def keep_loopback() -> None:
    """Keep Ray from translating the loopback address to another one of this machine, where the head may not listen."""
    ray_constants.ENABLE_RAY_CLUSTER = False


@contextmanager
def on_loopback() -> Iterator[None]:
    """Have Ray do what it does by itself on other systems than Linux: use the loopback address, listen nowhere else.

    Only what it starts until the context ends is told so by its environment, not clusters started later.
    """
    before = os.environ.get(_CLUSTERS)
    os.environ[_CLUSTERS] = "0"
    keep_loopback()
    try:
        yield
    finally:
        del os.environ[_CLUSTERS]
        if before is not None:
            os.environ[_CLUSTERS] = before


@contextmanager
def daemons_apart() -> Iterator[None]:
    """Start Ray's processes in a session of their own, so that a SIGTERM to our group, as of `timeout`, spares them."""
    popen = services.ConsolePopen
    services.ConsolePopen = partial(popen, start_new_session=True)  # type: ignore[assignment, misc]
    try:
        yield
    finally:
        services.ConsolePopen = popen  # type: ignore[misc]


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Restore our handler of SIGTERM, which Ray replaces by its own."""
    on_termination = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, on_termination)


def use_token() -> None:
    """Have Ray show this machine's token, if there is one, as it does with clusters that it finds by itself."""
    try:
        from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available
    except ImportError:  # a version of Ray without tokens
        return
    maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


# --- a process that connects to a cluster and leaves again, so that the driver need not wait for a missing one --------
# Ray tries for minutes to reach a cluster, and writes on the terminal meanwhile; a process can be ended.

HEAD = "head"  # printed once the head of the cluster has answered


def probe(address: str, seconds: int, is_found: bool) -> None:
    """Connect to a cluster and leave.

    Args:
        address: host:port.
        seconds: for the head to answer; after that the process ends by SIGALRM.
        is_found: whether the cluster was found by itself; then Ray uses the token of this machine unasked.
    """
    from ray._raylet import GcsClient  # type: ignore[attr-defined]

    if is_found:
        use_token()
    signal.alarm(seconds)  # Ray itself waits longer, and cannot be told otherwise
    GcsClient(address=address)
    signal.alarm(0)
    print(HEAD, flush=True)
    keep_loopback()  # what is given is an address already, even if it is the loopback address
    ray.init(address=address, logging_level=logging.CRITICAL, log_to_driver=False, configure_logging=False)


if __name__ == "__main__":
    try:
        probe(sys.argv[1], int(sys.argv[2]), "found" in sys.argv[3:])
    except Exception as error:
        print(f"{type(error).__name__}: {' '.join(str(error).split())}", flush=True)
        sys.exit(1)
