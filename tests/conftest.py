"""One hypothesis profile for all tests, reproducible and without a clock; one Ray instance in each test process."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

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

    session = RaySession(None, 4)
    yield
    session.close()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Any]:
    """A PostgreSQL server for all tests, each of which takes a database of its own."""
    from tests.support.postgres import (  # imported here: tests without one need not wait for SQLAlchemy
        Unavailable,
        server,
    )

    try:
        with server() as found:
            yield found
    except Unavailable as why:
        pytest.skip(f"no PostgreSQL server: {why}")
