"""A small database, always the same, for the tests of commands that look at results."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text

from search.commands.lineage import line_of
from search.commands.terminal import console

from tests.support.commands import SETTINGS, Evaluator
from tests.support.searches import opened, run


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small database, always the same."""
    path = tmp_path_factory.mktemp("terminal") / "results.db"
    with opened(path) as store:
        run(SETTINGS, store, Evaluator())
        with store.writing() as connection:
            connection.execute(text("UPDATE search SET seconds = 4, heartbeat = NULL"))
    return path


@pytest.fixture(scope="module")
def ids(path: Path) -> dict[str, int]:
    """Of the best program, of one that failed, and of one of those with most ancestors."""
    with opened(path) as store:
        (best,) = store.rows("SELECT id FROM v_leaderboard LIMIT 1")
        (failed,) = store.rows("SELECT MIN(id) AS id FROM program WHERE status = 'diverged'")
        late = max(range(200), key=lambda birth: len(line_of(store, 1, birth)))
    return {"best": best["id"], "failed": failed["id"], "late": late + 1}


@pytest.fixture(autouse=True)
def _piped(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the output is piped, whatever the tests themselves run in."""
    monkeypatch.setattr(console, "width", 100)
    monkeypatch.setattr(console, "_color_system", None)
