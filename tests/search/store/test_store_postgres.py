"""What is PostgreSQL's own: URLs, old schemas, and a server that goes away."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from programs.errors import InputError

from search.commands.cli import main
from search.store import LeaseLost, Store, StoreError, open_store, versions
from search.store.store import StoredSearch

from tests.support.postgres import Server, Unavailable
from tests.support.postgres import server as running_server
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


@pytest.fixture
def url(postgres_server: Server) -> str:
    """Of an empty database."""
    return postgres_server.database()


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with opened(url) as store:
        yield store


# --- opening ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_usual_urls_name_the_same_database(store: Store, url: str, scheme: str) -> None:
    store.create_search("a", {})
    with closing(open_store(url.replace("postgresql+psycopg", scheme))) as again:
        assert again.find_search("a") == StoredSearch(1, "a", {})
        assert again.log_path == Path(f"{again.engine.url.database}.log")


def test_opening_twice_changes_nothing(url: str) -> None:
    with opened(url) as store:
        store.create_search("a", {})
    with opened(url) as store:
        assert store.find_search("a") == StoredSearch(1, "a", {})


def test_an_empty_database_is_filled_by_a_run_only(url: str) -> None:
    with pytest.raises(InputError, match=r"schema missing, expected .* `optsearch run` upgrades it"):
        open_store(url)


def test_a_foreign_database_is_refused(url: str) -> None:
    with opened(url) as store, store.writing() as connection:
        connection.exec_driver_sql("DROP TABLE alembic_version")
    for create in (False, True):
        with pytest.raises(InputError, match="holds tables of another program"):
            open_store(url, create)


@pytest.mark.parametrize(
    "statement",
    [
        "DROP VIEW v_failures",
        "ALTER TABLE program DROP COLUMN trainings CASCADE",
        "ALTER TABLE search ALTER COLUMN holder_pid TYPE text",
        "ALTER TABLE baseline ADD COLUMN more text",
        """CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
           CREATE TRIGGER t BEFORE INSERT ON program FOR EACH ROW EXECUTE FUNCTION f()""",
        "DROP VIEW v_funnel; CREATE TABLE v_funnel (id integer)",
    ],
)
def test_another_shape_is_refused(url: str, statement: str) -> None:
    with opened(url) as store, store.writing() as connection:
        for part in statement.split("; " if "FUNCTION" not in statement else ";\n"):
            connection.exec_driver_sql(part)
    for create in (False, True):
        with pytest.raises(InputError, match="holds something that optsearch did not write"):
            open_store(url, create)


@pytest.mark.parametrize("place", ["nowhere.invalid:5432/x", "127.0.0.1:1/x", "127.0.0.1:1/x?password=sesame"])
def test_a_server_that_cannot_be_reached_is_one_line(place: str) -> None:
    with pytest.raises(InputError) as raised:
        open_store(f"postgresql://me:sesame@{place}", create=True)
    message = str(raised.value)
    assert "cannot be used as a database" in message and "\n" not in message and "sesame" not in message


def test_a_driver_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(InputError, match=r"is missing; pip install 'optsearch\[postgres\]'"):
        open_store("postgresql://localhost/x")


def test_several_that_make_one_database_at_the_same_time(url: str) -> None:
    """One makes it; the others wait and find everything made."""
    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(lambda _: open_store(url, create=True), range(4)))
    for store in stores:
        assert rows_of_query(store, "SELECT version_num FROM alembic_version") == [{"version_num": versions.CURRENT}]
        store.close()


# --- users ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def reader(store: Store, url: str) -> str:
    """The URL of the database for a user who has no rights yet, a search in it."""
    run(settings_of(baselines=["adamw"]), store, PretendingEvaluator())
    with store.writing() as connection:
        exists = connection.exec_driver_sql("SELECT 1 FROM pg_roles WHERE rolname = 'reader'").scalar()
        if not exists:
            connection.exec_driver_sql("CREATE ROLE reader LOGIN")
        connection.exec_driver_sql("REVOKE ALL ON SCHEMA public FROM public")
    return url.replace("tester@", "reader@")


def command(monkeypatch: pytest.MonkeyPatch, line: str, url: str) -> int:
    monkeypatch.setattr(sys, "argv", ["optsearch", *line.split(), "--store", url])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_a_user_who_may_only_read_reads(
    store: Store, reader: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with store.writing() as connection:
        connection.exec_driver_sql("GRANT USAGE ON SCHEMA public TO reader")
        connection.exec_driver_sql("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
        connection.exec_driver_sql("ALTER ROLE reader SET default_transaction_read_only = on")
    for line in ("status", "leaderboard", "failures", "show 4", "lineage 4", "export 4"):
        assert command(monkeypatch, line, reader) == 0, (line, capsys.readouterr())
    with opened(reader) as limited, pytest.raises(StoreError, match=r"cannot be written .*; let this user write there"):
        run(settings_of(baselines=["adamw"]), limited, PretendingEvaluator())
    for line in ("simplify 4 --no-training", "verify --search small"):
        capsys.readouterr()
        assert command(monkeypatch, line, reader) == 1
        said = capsys.readouterr()
        assert "let this user write there" in said.err and said.out == "" and said.err.count("\n") == 1


def test_a_user_who_may_not_even_read_is_told_so(store: Store, reader: str) -> None:
    with pytest.raises(InputError, match="this user may use no schema of its search path; grant usage of one"):
        open_store(reader)
    with store.writing() as connection:
        connection.exec_driver_sql("GRANT USAGE ON SCHEMA public TO reader")
    with pytest.raises(InputError, match=r"permission denied for table alembic_version\); let this user read there"):
        open_store(reader)
    with store.writing() as connection:
        connection.exec_driver_sql("GRANT SELECT ON alembic_version, search TO reader")
    with (
        closing(open_store(reader)) as limited,
        pytest.raises(StoreError, match=r"cannot be read .permission denied for table program.; let this user read"),
    ):
        list(limited.births(1))


# --- a run -----------------------------------------------------------------------------------------------------------


def test_commands_work_on_a_server(
    store: Store, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(settings_of(baselines=["adamw"]), store, PretendingEvaluator())
    for args in (["status"], ["leaderboard"], ["failures"], ["show", "4"], ["export", "4"],
                 ["simplify", "4", "--no-training"]):  # fmt: skip
        monkeypatch.setattr(sys, "argv", ["optsearch", *args, "--store", url])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0, (args, capsys.readouterr())


def test_a_successor_shuts_out_a_driver_that_slept(store: Store) -> None:
    def sleep(driver: object, progress: object) -> None:
        if progress.births >= 20 and rows_of_query(store, "SELECT holder FROM search")[0]["holder"] != "another":  # type: ignore[attr-defined]
            with store.writing() as connection:
                connection.execute(text("UPDATE search SET holder = 'another', holder_token = 'another'"))

    with pytest.raises(LeaseLost):
        run(settings_of(), store, PretendingEvaluator(), sleep)
    births = len(list(store.births(1)))
    assert 20 <= births < 100 and rows_of_query(store, "SELECT holder FROM search") == [{"holder": "another"}]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["closed", "killed"])
def test_a_server_that_goes_away_is_one_line_and_nothing_committed_is_lost(tmp_path: Path, how: signal.Signals) -> None:
    try:
        with running_server() as server:
            url = server.database()
            with opened(url) as store:
                with pytest.raises(StoreError) as raised:
                    run(settings_of(), store, PretendingEvaluator(),
                        lambda _driver, progress: server.stop(how) if progress.births >= 20 else None)  # fmt: skip
                message = str(raised.value)
                assert "cannot be written" in message or "cannot be read" in message
                assert "see that the server runs and can be reached and run again: nothing committed is lost" in message
                assert "\n" not in message
                with pytest.raises(StoreError, match="see that the server runs"):
                    rows_of_query(store, "SELECT name FROM search")
                server.start()
                with pytest.MonkeyPatch.context() as patched:  # the process of the run lives, as another machine's may
                    patched.setattr("search.store.lease.machine", lambda: "another")
                    patched.setattr("search.store.lease.LEASE_SECONDS", 0.0)
                    patched.setattr("search.store.lease.WATCH_SECONDS", 0.0)
                    run(settings_of(), store, PretendingEvaluator())
                assert history_of(store) == uninterrupted(settings_of(), tmp_path / "whole.db")
    except Unavailable as why:
        pytest.skip(f"no PostgreSQL server: {why}")


def test_a_server_that_was_restarted_between_writes_is_reached_again(tmp_path: Path) -> None:
    try:
        with running_server() as server, opened(server.database()) as store:
            run(settings_of(), store, PretendingEvaluator(), stop_at(20))
            server.stop()
            server.start()
            run(settings_of(), store, PretendingEvaluator())
            assert history_of(store) == uninterrupted(settings_of(), tmp_path / "whole.db")
    except Unavailable as why:
        pytest.skip(f"no PostgreSQL server: {why}")
