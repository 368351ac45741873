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
import sysconfig
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from importlib.machinery import PathFinder
from itertools import takewhile
from pathlib import Path
from typing import Any

import ray
from ray._private import client_mode_hook, ray_constants, services
from ray._private import worker as ray_worker
from ray._raylet import Config, GcsClient  # type: ignore[attr-defined]
from ray.job_config import JobConfig

_OWN_SETTINGS = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # silences a notice of changes to come
    "RAY_AUTH_MODE": "token",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}

_ROOT = Path(__file__).parents[2]  # where our packages are

if client_mode_hook.is_client_mode_enabled_by_default:  # RAY_CLIENT_MODE, which was read when Ray was imported
    client_mode_hook.is_client_mode_enabled = client_mode_hook.is_client_mode_enabled_by_default = False


def redirect_output(take: Callable[..., None]) -> None:
    """Have a function take what Ray would print of its processes' output."""
    ray_worker.print_to_stdstream = take


def running_cluster() -> str:
    """Return the address of the cluster of this machine.

    Raises:
        ConnectionError: there is none.
    """
    with _variables({"RAY_ADDRESS": None}):  # which may name another
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
def own_instance(token: Path) -> Iterator[None]:
    """Have the Ray that is started until the context ends do as its arguments say, whatever the environment says.

    No variable `RAY_*` counts: those say where clusters are, and what jobs on them are to do. On other systems than
    Linux Ray does by itself what is wanted here: it uses the loopback address and listens nowhere else. Its daemons
    have a session of their own, so that a SIGTERM to our group, as of `timeout`, spares them.

    Args:
        token: a file with the token that this Ray is to ask for.
    """
    uses_uv, popen = ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV, services.ConsolePopen
    with _variables(dict.fromkeys(_set_variables()) | _OWN_SETTINGS | {"RAY_AUTH_TOKEN_PATH": str(token)}):
        read_settings()
        keep_loopback()
        ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV = False  # it would copy the folder in which `uv run` was called
        services.ConsolePopen = partial(popen, start_new_session=True)  # type: ignore[assignment, misc]
        try:
            yield
        finally:
            ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV = uses_uv
            services.ConsolePopen = popen  # type: ignore[misc]


def connecting() -> AbstractContextManager[None]:
    """Have Ray's settings of a job that we are part of give way to ours where both set the same, until it ends."""
    return _variables({"RAY_OVERRIDE_JOB_RUNTIME_ENV": "1", "RAY_USAGE_STATS_ENABLED": "0"})


@contextmanager
def _variables(values: Mapping[str, str | None]) -> Iterator[None]:
    """Set variables `RAY_*`, take away those that are None, and restore all of them when the context ends."""
    before = {name: os.environ[name] for name in _set_variables()}
    for name in before.keys() & values.keys():
        del os.environ[name]
    os.environ.update({name: value for name, value in values.items() if value is not None})
    try:
        yield
    finally:
        for name in _set_variables():
            del os.environ[name]
        os.environ.update(before)


def _set_variables() -> list[str]:
    return [name for name in os.environ if name.startswith("RAY_")]


def read_settings() -> None:
    """Have Ray read the variables `RAY_*` and the token again, which it remembers for the process."""
    Config.initialize("")
    with suppress(ImportError):  # a version of Ray without tokens
        from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]

        AuthenticationTokenLoader.instance().reset_cache()


class Job(JobConfig):
    """What workers are told of this process: where it looks for modules before it looks among what is installed.

    Ray would have them look in the working directory first, even if this process does not, and there may be files of
    the user's that are called as modules of ours or of Python. What comes later in the path, workers are told by us.
    """

    def __init__(self) -> None:
        super().__init__()
        standard = sysconfig.get_path("stdlib")
        first = [str(Path(folder).absolute()) for folder in takewhile(lambda folder: folder != standard, sys.path)]
        candidates = (str(Path.cwd()), str(Path(sys.argv[0]).resolve().parent))
        self._py_driver_sys_path = [folder for folder in candidates if folder in first and not _hides_us(folder)]

    def _runtime_env_has_working_dir(self) -> bool:
        return True  # then Ray adds nothing


def _hides_us(folder: str) -> bool:
    """Return whether a folder has a module `search` of the user's, which a worker would take for ours."""
    found = PathFinder.find_spec("search", [folder])
    return found is not None and found.origin is not None and not Path(found.origin).is_relative_to(_ROOT)


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Restore our handler of SIGTERM, which Ray replaces by its own; not in other threads than the main one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
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
