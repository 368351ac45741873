"""A database file that the tests of a store share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from search.store import Store

from tests.support.searches import opened


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a database may lie; there is none yet."""
    return tmp_path / "results.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    """An empty database, open."""
    with opened(path) as store:
        yield store
