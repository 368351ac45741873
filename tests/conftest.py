"""For all tests: no test hangs for ever or leaves a process; one hypothesis profile, reproducible and without a clock;
one Ray instance in each test process."""

import faulthandler
import os
import signal
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from types import FrameType
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.support.forked import ForkServer
from tests.support.patience import LONGEST_TEST, MARK, left_running, unmarked
from tests.support.scratch import prefer_memory

os.environ[MARK] = str(os.getpid())
prefer_memory()
os.environ["OMP_NUM_THREADS"] = "1"  # before torch and NumPy start more, which wait for each other in busy loops
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as shells have it for what they start in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile(
    "optsearch",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def pytest_collectstart() -> None:
    """Before each file: importing torch's own tests, as one file does, loads a profile of theirs for all after it."""
    settings.load_profile("optsearch")


_terminal = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    """Keep the standard error: that of a test is captured, and what ends the process at last is to be seen."""
    config.stash[_terminal] = os.dup(2)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, bool, bool]:
    """A test that hangs fails where it is, and so does tidying up; if that ends neither, the process ends."""

    def fail(_number: int, _frame: FrameType | None) -> None:
        faulthandler.dump_traceback(item.config.stash[_terminal])
        pytest.fail(f"{item.nodeid} hangs: it has not ended within {LONGEST_TEST:g} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.setitimer(signal.ITIMER_REAL, LONGEST_TEST, LONGEST_TEST / 4)
    faulthandler.dump_traceback_later(2 * LONGEST_TEST, exit=True, file=item.config.stash[_terminal])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module", autouse=True)
def _nothing_is_left_running() -> Iterator[None]:
    """After the last test of a file and the end of what its tests share."""
    yield
    assert not (left := left_running()), "\n".join(left)


@pytest.fixture(scope="session", autouse=True)
def _notes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A place for what is noted between commands that is not the user's, for processes of tests, too."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(os.environ, "XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """Ray with room for four workers; starting it takes seconds, so it stays up until the last test."""

    from search.training.ray_session import RaySession  # imported here: tests without Ray need not wait for it

    with unmarked():
        session = RaySession(None, 4)
    yield
    session.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    """Runs commands without the seconds that importing torch takes each time."""
    with unmarked():
        server = ForkServer(tmp_path_factory.mktemp("forked"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Any]:
    """A PostgreSQL server for all tests, each of which takes a database of its own."""
    from tests.support.postgres import (  # imported here: tests without one need not wait for SQLAlchemy
        Unavailable,
        server,
    )

    with ExitStack() as stack:
        try:
            with unmarked():
                found = stack.enter_context(server())
        except Unavailable as why:
            pytest.skip(f"no PostgreSQL server: {why}")
        yield found
