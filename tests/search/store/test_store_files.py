"""SQLite files: what is refused, what damage is found, and what becomes of a run whose disk fails it."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from programs.errors import InputError

from search.results.programs import named_program
from search.store import Store, StoreError, open_store
from search.store.rows import VIEWS, metadata

from tests.support.mounts import small_disk
from tests.support.patience import Command
from tests.support.searches import (
    PretendingEvaluator,
    filled,
    history_of,
    opened,
    refusal,
    rows_of_query,
    run,
    settings_of,
    uninterrupted,
)

# --- opening ---------------------------------------------------------------------------------------------------------


def test_a_missing_database_is_refused_and_not_made(path: Path) -> None:
    message = refusal(path)
    assert message == f"{path}: no such database; `optsearch run CONFIG` writes one, --store names another"
    assert not path.exists()


def test_a_path_and_a_url_name_the_same_database(path: Path) -> None:
    with opened(path) as store:
        store.create_search("a", {})
    again = open_store(f"sqlite:///{path}")
    assert again.find_search("a") is not None
    assert again.location == str(path)
    again.close()


@pytest.mark.parametrize("create", [False, True])
def test_a_foreign_database_is_refused_and_stays_as_it_is(path: Path, create: bool) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.close()
    before = path.read_bytes()
    message = refusal(path, create)
    assert str(path) in message and "holds tables of another program" in message and "--store" in message
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["results.db"]


@pytest.mark.parametrize("create", [False, True])
def test_a_newer_database_is_refused_and_stays_as_it_is(path: Path, create: bool) -> None:
    with opened(path):
        pass
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    before = path.read_bytes()
    message = refusal(path, create)
    assert "written by a newer optsearch (schema 9999" in message and "upgrade optsearch" in message
    assert path.read_bytes() == before


@pytest.mark.parametrize("create", [False, True])
def test_a_file_that_is_no_database_is_refused_and_stays_as_it_is(path: Path, create: bool) -> None:
    path.write_text("name: quick\n" * 100)
    assert f"{path}: cannot be used as a database (file is not a database)" in refusal(path, create)
    assert path.read_text() == "name: quick\n" * 100


def test_a_damaged_database_is_refused(path: Path) -> None:
    with opened(path) as store:
        run(settings_of(), store, PretendingEvaluator())
    content = bytearray(path.read_bytes())
    content[100:4096] = b"\xff" * 3996
    path.write_bytes(bytes(content))
    assert "is damaged (database disk image is malformed" in refusal(path)


def test_an_empty_file_is_filled_by_a_run_only(path: Path) -> None:
    path.touch()
    assert "`optsearch run`" in refusal(path)
    with opened(path) as store:
        assert rows_of_query(store, "SELECT * FROM v_leaderboard") == []


@pytest.mark.parametrize("location", ["/absent/folder/x.db", "sqlite:////absent/folder/x.db"])
def test_a_folder_that_is_missing_is_named(location: str) -> None:
    message = "/absent/folder/x.db: no folder /absent/folder; make it, or name another database"
    assert refusal(location, create=True) == message


@pytest.mark.parametrize("location", ["~/x.db", "sqlite:///~/x.db"])
def test_a_location_may_be_in_the_home(location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    open_store(location, create=True).close()
    assert (tmp_path / "x.db").is_file()


@pytest.mark.parametrize("location", ["sqlite:////sys/x.db", "sqlite:////proc/x.db"])
def test_a_location_that_cannot_be_written_is_refused(location: str) -> None:
    message = refusal(location, create=True)
    assert "x.db: cannot be used as a database (unable to open database file)" in message
    assert "name a database in a folder that can be written" in message


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert str(tmp_path) in refusal(tmp_path)
    assert str(tmp_path) in refusal(tmp_path, create=True)


@pytest.mark.parametrize("location", ["nothing://x", "mysql+nodriver://x/y", "://"])
def test_a_url_that_is_none_is_refused(location: str) -> None:
    assert location in refusal(location, create=True)


def test_passwords_are_not_shown() -> None:
    for location in ("postgresql+absent://me:sesame@localhost/x", "mysql+pymysql://me:sesame@localhost/x"):
        assert "sesame" not in refusal(location, create=True)


@pytest.mark.parametrize("number", ["7", "9" * 30, "9" * 31, "9" * 5000])
def test_a_number_of_any_length_is_no_program(path: Path, number: str) -> None:
    with opened(path):
        pass
    with (
        pytest.raises(InputError, match=r"no program|neither an ID, nor a file"),
        named_program(number, str(path)),
    ):
        raise AssertionError("found")


def test_opening_twice_changes_nothing(path: Path) -> None:
    with opened(path) as store:
        store.create_search("a", {})
        before = rows_of_query(store, "SELECT * FROM sqlite_master ORDER BY name")
    with opened(path) as store:
        assert rows_of_query(store, "SELECT * FROM sqlite_master ORDER BY name") == before
        assert store.find_search("a") is not None


def test_the_journal_is_a_wal(store: Store) -> None:
    assert rows_of_query(store, "PRAGMA journal_mode") == [{"journal_mode": "wal"}]
    assert rows_of_query(store, "PRAGMA foreign_keys") == [{"foreign_keys": 1}]


# --- schema ----------------------------------------------------------------------------------------------------------


def test_the_tables_of_migrations_and_schema_have_the_same_constraints(path: Path, tmp_path: Path) -> None:
    """Autogeneration does not compare everything; SQLite's own description of the tables does."""
    with opened(path):
        pass
    engine = create_engine(f"sqlite:///{tmp_path / 'direct.db'}")
    metadata.create_all(engine)
    engine.dispose()
    described = []
    for file in (path, tmp_path / "direct.db"):
        connection = sqlite3.connect(file)
        tables = {}
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            if table != "alembic_version":
                indexes = connection.execute(f"PRAGMA index_list({table})").fetchall()
                tables[table] = (
                    connection.execute(f"PRAGMA table_info({table})").fetchall(),
                    sorted(row[2:] for row in connection.execute(f"PRAGMA foreign_key_list({table})")),
                    sorted((unique, [c[2] for c in connection.execute(f"PRAGMA index_info('{name}')")])
                           for _, name, unique, *_ in indexes),
                )  # fmt: skip
        connection.close()
        described.append(tables)
    assert described[0] == described[1]


def test_the_views_are_there(store: Store) -> None:
    names = {row["name"] for row in rows_of_query(store, "SELECT name FROM sqlite_master WHERE type = 'view'")}
    assert (
        names
        == set(VIEWS)
        == {
            "v_programs",
            "v_leaderboard",
            "v_progress",
            "v_failures",
            "v_meta_validation",
            "v_funnel",
            "v_lineage",
            "v_proof",
            "v_proposals",
            "v_proxies",
            "v_noise",
            "v_data_sheets",
            "v_searches",
            "v_baselines",
            "v_trainings",
            "v_verdicts",
            "v_pace",
            "v_workers",
            "v_openings",
            "v_simplification",
        }
    )


# --- several processes -----------------------------------------------------------------------------------------------


# Imports what takes seconds once; for each line it forks, and the children run the code that the line holds.
SERVER = """
import json, os, sys
import search.store, search.training.service
for line in sys.stdin:
    code, argument, out = json.loads(line)
    children = []
    for number, name in enumerate(out):
        children.append(os.fork())
        if children[-1] == 0:
            sys.stdout = sys.stderr = open(name, "w", buffering=1)
            exec(code, {"number": number, "argument": argument})
            os._exit(0)
    print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children], flush=True)
"""


@pytest.fixture(scope="module")
def forks() -> Iterator[Command]:
    with Command(sys.executable, "-c", SERVER, listens=True) as forks:
        yield forks


def forked(forks: Command, code: str, path: Path, processes: int = 1) -> list[str]:
    """What so many processes said that ran the code; all must end well."""
    out = [path.with_name(f"out{number}") for number in range(processes)]
    forks.say(json.dumps([textwrap.dedent(code), str(path), [str(name) for name in out]]))
    codes = json.loads(forks.answer())
    said = [name.read_text() for name in out]
    assert codes == [0] * processes, said
    return said


WRITER = """
    from proxy_tasks import Outcome, get_task
    from search.store.keys import TrainingKey
    from search.store import Lease, open_store
    for n in range(4):
        open_store(f"{argument}{n}", create=True).close()
    store = open_store(argument, create=True)
    task = get_task("digits_mlp")
    search_id = store.create_search(f"{number}", {})
    lease = Lease(store, search_id)
    lease.take()
    for n in range(30):
        store.trainings(task.fingerprint, [f"{n}"], [0, 1, 2])
        key = TrainingKey(f"{n}", task.fingerprint, number)
        store.add_trainings(task, [(key, Outcome("ok", -1.0, [], 1, 0.1))])
        lease.add_births([], 0.0)
    store.close()
"""


def test_processes_make_and_write_one_database_at_the_same_time(forks: Command, path: Path) -> None:
    """All open empty places at once, then write in turns: none is refused because another has the lock."""
    forked(forks, WRITER, path, processes=3)
    with opened(path) as store:
        assert rows_of_query(store, "SELECT COUNT(*) AS n FROM training") == [{"n": 90}]
        assert [row["name"] for row in rows_of_query(store, "SELECT name FROM search ORDER BY name")] == ["0", "1", "2"]


def test_who_reads_first_and_writes_then_waits_for_others(store: Store, path: Path) -> None:
    """A transaction that had read could not go on to write once another has written: it must begin as a writer."""
    with store.writing() as connection:
        assert connection.exec_driver_sql("SELECT COUNT(*) FROM search").scalar() == 0
        with closing(sqlite3.connect(path, timeout=0)) as other, pytest.raises(sqlite3.OperationalError):
            other.execute("BEGIN IMMEDIATE")
        connection.exec_driver_sql(
            "INSERT INTO search (name, settings, state, created, updated, seconds) VALUES ('a', '{}', '', '', '', 0)"
        )


# --- trouble during a run --------------------------------------------------------------------------------------------


def whole(path: Path) -> None:
    """The database is undamaged, and the search that it holds can be finished as if nothing had happened."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    with opened(path) as store:
        run(settings_of(), store, PretendingEvaluator())
        found = history_of(store)
    assert found == uninterrupted(settings_of(), path.parent / "whole.db")


def failing_run(store: Store, trouble: object = None, after: int = 20) -> str:
    """The error of a run whose database gets into trouble after so many births."""

    def report(_driver: object, progress: object) -> None:
        if progress.births >= after and callable(trouble):  # type: ignore[attr-defined]
            trouble()

    with pytest.raises(StoreError) as raised:
        run(settings_of(), store, PretendingEvaluator(), report)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_full_disk_is_one_line_and_nothing_committed_is_lost(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        path, filler = disk / "results.db", disk / "filler"
        with opened(path) as store:

            def fill() -> None:
                with suppress(OSError), filler.open("wb", buffering=0) as file:
                    while True:
                        file.write(b"\0" * 4096)

            message = failing_run(store, fill)
            assert f"{path}: cannot be written (database or disk is full)" in message
            assert "make room and run again: nothing committed is lost" in message
            births = len(list(store.births(1)))
            assert births >= 20
        assert len(opened_births(path)) == births, "what was committed can be read on the full disk"
        filler.unlink()
        with opened(path) as store:
            run(settings_of(), store, PretendingEvaluator())
            assert history_of(store) == uninterrupted(settings_of(), tmp_path / "whole.db")
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def opened_births(path: Path) -> list[object]:
    with closing(open_store(str(path))) as store:
        return list(store.births(1))


LIMITED = """
    import resource
    from proxy_tasks import Outcome, get_task
    from search.store.keys import TrainingKey
    from search.store import StoreError, open_store
    store = open_store(argument, create=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
    task = get_task("digits_mlp")
    outcome = Outcome("ok", -1.0, [0.5] * 20, 1, 0.1)
    try:
        for n in range(10_000):
            store.add_trainings(task, [(TrainingKey(f"{n}", task.fingerprint, seed), outcome) for seed in range(9)])
    except StoreError as error:
        print(n, error)
"""


def test_a_file_that_may_not_grow_is_one_line_and_nothing_committed_is_lost(forks: Command, path: Path) -> None:
    (said,) = forked(forks, LIMITED, path)
    number, _, message = said.strip().partition(" ")
    assert "cannot be written" in message and "and run again: nothing committed is lost" in message
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("SELECT COUNT(*) FROM training").fetchone() == (9 * int(number),)


def test_a_file_that_is_moved_away_is_one_line(path: Path, store: Store) -> None:
    aside = path.with_name("aside")

    def move() -> None:
        aside.mkdir()
        for file in path.parent.glob("results.db*"):
            file.rename(aside / file.name)

    message = failing_run(store, move)
    assert message.startswith(f"{path}: has been moved or deleted while in use; put it back")
    store.close()
    for file in aside.iterdir():
        file.rename(path.parent / file.name)
    whole(path)


def test_a_file_that_becomes_read_only_is_one_line(path: Path) -> None:
    filled(path)
    with closing(open_store(f"sqlite:///file:{path}?mode=ro&uri=true")) as store:
        assert rows_of_query(store, "SELECT COUNT(*) AS births FROM program") == [{"births": 100}]
        message = failing_run(store)
        assert f"{path}: cannot be written (attempt to write a readonly database)" in message
        assert "make the file and its folder writable and run again" in message
    assert "cannot be used as a database" in refusal(f"sqlite:///file:{path}.no?mode=ro&uri=true", create=True)


def test_a_lock_held_for_too_long_is_one_line(path: Path, store: Store) -> None:
    """The time to wait is shortened for the test alone, on the connections that the store has."""
    other = sqlite3.connect(path, isolation_level=None)

    def lock() -> None:
        with store.reading() as connection:
            connection.exec_driver_sql("PRAGMA busy_timeout = 100")
        other.execute("BEGIN IMMEDIATE")

    message = failing_run(store, lock)
    other.close()
    assert f"{path}: cannot be written (database is locked); another program has kept it locked for 30 s" in message
    whole(path)


def test_the_log_lies_beside_the_file(store: Store, path: Path) -> None:
    assert store.log_path == path.with_name("results.log")
    with closing(open_store(str(path.with_name("my.log")), create=True)) as called_log:
        assert called_log.log_path == path.with_name("my.log.log")
    assert open_store("sqlite://", create=True).log_path == Path(os.devnull)
