"""A small database, always the same, for the tests of commands that look at results."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text

from search.commands.terminal import console
from search.results.results import Results

from tests.support.commands import SETTINGS
from tests.support.searches import CurvedEvaluator, opened, run


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small database, always the same."""
    path = tmp_path_factory.mktemp("terminal") / "results.db"
    with opened(path) as store:
        run(SETTINGS, store, CurvedEvaluator())
        with store.writing() as connection:
            connection.execute(text("UPDATE search SET seconds = 4, heartbeat = NULL"))
    return path


@pytest.fixture(scope="module")
def ids(path: Path) -> dict[str, int]:
    """Of the best program, of one that failed, and of one of those with most ancestors."""
    with opened(path) as store:
        results = Results(store)
        late = max(range(1, 201), key=lambda program_id: len(results.lineage(program_id)))
        failed = results.failed("diverged", limit=None)[-1]
        return {"best": results.leaderboard(limit=1)[0].id, "failed": failed.id, "late": late}


@pytest.fixture(autouse=True)
def _piped(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the output is piped, whatever the tests themselves run in."""
    monkeypatch.setattr(console, "width", 100)
    monkeypatch.setattr(console, "_color_system", None)
