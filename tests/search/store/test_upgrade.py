"""The upgrade of older databases, proved on a next version that is made up here: one more column of the baselines."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer

from programs.errors import InputError

from search.store import BaselineRow, open_store, versions
from search.store.store import table_of

from tests.support.searches import (
    PretendingEvaluator,
    history_of,
    opened,
    rows_of_query,
    run,
    settings_of,
    stop_at,
    uninterrupted,
)

NEXT = """
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    with op.batch_alter_table("baseline") as table:
        table.add_column(sa.Column("trials_failed", sa.Integer))
    op.execute("UPDATE baseline SET trials_failed = trials - 1")
    {more}
"""
SETTINGS = settings_of(baselines=["adamw", "lion"])


@pytest.fixture(params=["sqlite", "postgres"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a database may be made."""
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_server").database())
    return str(tmp_path / "results.db")


@pytest.fixture
def old(location: str) -> str:
    """A database of this version, with a search that was stopped."""
    with opened(location) as store:
        run(SETTINGS, store, PretendingEvaluator(), stop_at(30))
    return location


@pytest.fixture
def next_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The code of the next version: a migration, and the column among those declared; gives the migration's file."""
    folder = tmp_path / "migrations"
    shutil.copytree(versions.MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    migration = folder / "versions" / "v0002_trials.py"
    migration.write_text(NEXT.format(more=""))
    monkeypatch.setattr(versions, "MIGRATIONS", folder)
    monkeypatch.setattr(versions, "CURRENT", "0002")
    table, column = table_of(BaselineRow), Column("trials_failed", Integer)
    table.append_column(column)
    yield migration
    table._columns.remove(column)  # type: ignore[attr-defined]  # a table has no other way to lose a column


def version_of(location: str) -> str:
    with closing(sqlite3.connect(location)) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def test_an_older_database_is_refused_for_reading_and_upgraded_by_a_run(old: str, next_version: Path) -> None:
    with pytest.raises(InputError, match="schema 0001, expected 0002; `optsearch run` upgrades it in place"):
        open_store(old)
    with opened(old) as store:
        assert rows_of_query(store, "SELECT trials_failed FROM baseline") == [{"trials_failed": 27}] * 2
        assert rows_of_query(store, "SELECT COUNT(*) AS n FROM v_leaderboard")[0]["n"] > 0
    open_store(old).close()


def test_a_search_goes_on_after_the_upgrade_as_if_there_had_been_none(
    old: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    whole = uninterrupted(SETTINGS, tmp_path / "whole.db")
    request.getfixturevalue("next_version")
    with opened(old) as store:
        run(SETTINGS, store, PretendingEvaluator(1))
        assert history_of(store) == whole


def test_a_new_database_begins_at_the_newest_version(next_version: Path, tmp_path: Path) -> None:
    with opened(tmp_path / "new.db") as store:
        assert rows_of_query(store, "SELECT trials_failed FROM baseline") == []
    assert version_of(str(tmp_path / "new.db")) == "0002"


@pytest.mark.parametrize("more", ["raise ValueError('no such thing')", "op.execute('SELECT * FROM nothing')"])
def test_an_upgrade_that_fails_leaves_the_file_as_it_was(
    request: pytest.FixtureRequest, tmp_path: Path, more: str
) -> None:
    path = tmp_path / "results.db"
    with opened(path) as store:
        run(SETTINGS, store, PretendingEvaluator(), stop_at(30))
    content = path.read_bytes()
    request.getfixturevalue("next_version").write_text(NEXT.format(more=more))
    with pytest.raises(InputError):
        open_store(str(path), create=True)
    assert version_of(str(path)) == "0001" and path.read_bytes() == content


def test_a_trigger_in_an_older_database_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "results.db"
    with opened(path) as store:
        run(SETTINGS, store, PretendingEvaluator(), stop_at(30))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TRIGGER t AFTER UPDATE ON baseline BEGIN DELETE FROM program; END")
        connection.commit()
    monkeypatch.setattr(versions, "CURRENT", "0002")
    with pytest.raises(InputError, match="a trigger"):
        open_store(str(path), create=True)


def test_a_newer_database_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "results.db"
    open_store(str(path), create=True).close()
    monkeypatch.setattr(versions, "CURRENT", "0000")
    for create in (False, True):
        with pytest.raises(InputError, match=r"written by a newer optsearch \(schema 0001, this one reads 0000\)"):
            open_store(str(path), create=create)
