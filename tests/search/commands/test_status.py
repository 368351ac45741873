"""`optsearch status`: who drives a search, and since when nobody does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from search.commands.output import Form
from search.commands.status import write_status
from search.commands.terminal import console
from search.results.results import Results
from search.store import Lease, Store, lease

from tests.support.searches import PretendingEvaluator, opened, rows_of_query, run, settings_of


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    location = tmp_path / "r.db"
    if request.param == "postgres":
        location = request.getfixturevalue("postgres_server").database()
    with opened(location) as store:
        yield store


def said(store: Store) -> str:
    with console.capture() as captured:
        write_status(Results(store), None, Form.TEXT)
    return captured.get()


def row_of(text: str, search: str) -> list[str]:
    return next(line.split() for line in text.splitlines() if line.strip().startswith(search))


def silent(store: Store, seconds: float) -> None:
    with store.writing() as connection:
        connection.execute(text("UPDATE search SET heartbeat = :then"), {"then": store.clock() - seconds})


def test_a_driven_search_is_running_and_names_its_driver(store: Store) -> None:
    Lease(store, store.create_search("a", {"budget": {"programs": 10}})).take()
    shown = said(store)
    assert row_of(shown, "a")[:3] == ["a", "running", "0"] and row_of(shown, "a")[-1] == "10"
    assert f"a is driven by {rows_of_query(store, 'SELECT holder FROM search')[0]['holder']}" in shown


@pytest.mark.parametrize(("seconds", "ago"), [(40, "40 s"), (600, "10 minutes"), (7300, "2 hours"), (9e5, "10 days")])
def test_without_a_heartbeat_it_is_stopped(
    store: Store, seconds: float, ago: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Lease(store, store.create_search("a", {})).take()
    now = store.clock()
    monkeypatch.setattr(store, "clock", lambda: now)  # which stands while the lines below take their time
    silent(store, seconds)
    shown = said(store)
    assert row_of(shown, "a")[:2] == ["a", "stopped"]
    assert f"a was stopped without having ended, last heartbeat {ago} ago; `optsearch run`" in shown


def test_without_its_process_it_is_stopped_at_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Lease(store, store.create_search("a", {}))
    held.take()
    monkeypatch.setattr(lease, "_held", set())
    assert row_of(said(store), "a")[:2] == ["a", "stopped"]


def test_a_search_of_an_older_schema_that_says_running_is_stopped(store: Store) -> None:
    store.create_search("a", {})
    shown = said(store)
    assert row_of(shown, "a")[:2] == ["a", "stopped"] and "a was stopped without having ended; `optsearch" in shown


def test_a_search_that_ended_says_so(store: Store) -> None:
    run(settings_of(), store, PretendingEvaluator())
    shown = said(store)
    assert row_of(shown, "small")[:3] == ["small", "finished", "100"]
    assert "driven" not in shown and "stopped" not in shown
    assert "how births were answered" in shown
