"""A database with something for every section, and the page about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.pages import ParsedPage, fill
from tests.support.report_pages import made


@pytest.fixture(scope="session")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with something for every section, always the same."""
    path = tmp_path_factory.mktemp("report") / "results.db"
    fill(path)
    return path


@pytest.fixture(scope="session")
def page(path: Path) -> ParsedPage:
    return made(path)
