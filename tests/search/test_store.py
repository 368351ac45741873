"""The store: what it refuses, what it keeps, and views against the same figures worked out in Python."""

from __future__ import annotations

import math
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from searches import PretendingEvaluator, opened, pretended, run, settings_of
from sqlalchemy import create_engine, text
from sqlalchemy.exc import IntegrityError

from programs import zoo
from programs.errors import InputError

from proxy_tasks import Outcome, get_task

from search.evaluation import EvaluationKey
from search.store import BaselineRow, IndividualRow, Store, open_store, schema
from search.store.versions import CURRENT
from search.store.views import VIEWS

TASK = get_task("digits_mlp")
OK = Outcome("ok", -0.25, [2.0, 1.0, 0.1], 500, 1.5)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with opened(path) as store:
        yield store


def refusal(location: object, create: bool = False) -> str:
    with pytest.raises(InputError) as raised:
        open_store(str(location), create)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def key(name: str, seed: int = 0) -> EvaluationKey:
    return EvaluationKey(name, TASK.fingerprint, seed)


def individual(birth: int, fitness: float | None = None, **changes: object) -> IndividualRow:
    status, reason = ("ok", None) if fitness is not None else ("diverged", "too large")
    row = IndividualRow(
        birth, birth // 3, birth - 1 if birth else None, "insert", "update = abs(w)", f"hash{birth}", f"key{birth}",
        "training", 4, 3, 1, status, fitness, reason, 1, None,
    )  # fmt: skip
    return row._replace(**changes)


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
    assert "cannot be used as a database" in refusal(path)


def test_an_empty_file_is_filled_by_a_run_only(path: Path) -> None:
    path.touch()
    assert "`optsearch run`" in refusal(path)
    with opened(path) as store:
        assert store.rows("SELECT * FROM v_leaderboard") == []


@pytest.mark.parametrize("location", ["sqlite:////sys/x.db", "sqlite:////proc/x.db", "/absent/folder/x.db"])
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


def test_opening_twice_changes_nothing(path: Path) -> None:
    with opened(path) as store:
        store.create_search("a", {})
        before = store.rows("SELECT * FROM sqlite_master ORDER BY name")
    with opened(path) as store:
        assert store.rows("SELECT * FROM sqlite_master ORDER BY name") == before
        assert store.find_search("a") is not None


def test_the_journal_is_a_wal(store: Store) -> None:
    assert store.rows("PRAGMA journal_mode") == [{"journal_mode": "wal"}]
    assert store.rows("PRAGMA foreign_keys") == [{"foreign_keys": 1}]


# --- schema ----------------------------------------------------------------------------------------------------------


def test_migrations_make_the_tables_of_the_schema(store: Store) -> None:
    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata) == []
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == CURRENT


def test_the_tables_of_migrations_and_schema_have_the_same_constraints(path: Path, tmp_path: Path) -> None:
    """Autogeneration does not compare everything; SQLite's own description of the tables does."""
    with opened(path):
        pass
    engine = create_engine(f"sqlite:///{tmp_path / 'direct.db'}")
    schema.metadata.create_all(engine)
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
    names = {row["name"] for row in store.rows("SELECT name FROM sqlite_master WHERE type = 'view'")}
    assert names == set(VIEWS) == {"v_leaderboard", "v_progress", "v_failures", "v_funnel", "v_lineage"}


# --- evaluations -----------------------------------------------------------------------------------------------------


def test_evaluations_come_back_as_they_were(store: Store) -> None:
    failed = Outcome("diverged", None, [], 25, 0.5, "training loss is not finite by step 25")
    kept = {key("a"): OK, key("a", 1): failed, key("b"): OK._replace(fitness=-1 / 3)}
    store.add_evaluations(TASK, kept.items())
    assert store.evaluations(TASK.fingerprint, ["a", "b", "c"], [0, 1]) == kept
    assert store.evaluations(TASK.fingerprint, ["a"], [1]) == {key("a", 1): failed}
    assert store.evaluations("another task", ["a"], [0]) == {}


def test_of_two_evaluations_with_one_key_the_first_is_kept(store: Store) -> None:
    store.add_evaluations(TASK, [(key("a"), OK)])
    store.add_evaluations(TASK, [(key("a"), OK._replace(fitness=-9.0)), (key("b"), OK)])
    assert store.evaluations(TASK.fingerprint, ["a", "b"], [0]) == {key("a"): OK, key("b"): OK}
    assert store.rows("SELECT COUNT(*) AS n FROM evaluation") == [{"n": 2}]


def test_very_many_keys_at_once(store: Store) -> None:
    names = [f"k{i}" for i in range(3001)]
    store.add_evaluations(TASK, [(key(name), OK) for name in names])
    assert len(store.evaluations(TASK.fingerprint, names, [0])) == 3001


def test_a_curve_comes_back(store: Store) -> None:
    store.add_evaluations(TASK, [(key("a"), OK)])
    assert store.curve(1) == OK.curve


# --- births ----------------------------------------------------------------------------------------------------------


def test_births_come_back_in_order(store: Store) -> None:
    search_id, other = store.create_search("a", {}), store.create_search("b", {})
    rows = [individual(birth, -0.5 if birth % 2 else None) for birth in range(7)]
    store.add_births(search_id, rows[4:], 1.0)
    store.add_births(other, rows[:1], 1.0)
    store.add_births(search_id, rows[:4], 0.5)
    assert list(store.births(search_id)) == rows
    assert store.rows("SELECT seconds FROM search ORDER BY id") == [{"seconds": 1.5}, {"seconds": 1.0}]


def test_births_are_committed_all_or_none(store: Store) -> None:
    search_id = store.create_search("a", {})
    store.add_births(search_id, [individual(2, -1.0)], 1.0)
    with pytest.raises(IntegrityError):
        store.add_births(search_id, [individual(0, -1.0), individual(1, -1.0), individual(2, -1.0)], 1.0)
    assert [row.birth for row in store.births(search_id)] == [2]
    assert store.rows("SELECT seconds FROM search") == [{"seconds": 1.0}]


@pytest.mark.parametrize("number", [0, 3, -1, 2**63, 10**30])
def test_an_unknown_program_is_named(store: Store, number: int) -> None:
    store.add_births(store.create_search("a", {}), [individual(0, -1.0), individual(1, -1.0)], 0.0)
    with pytest.raises(InputError, match=f"no program {number}; IDs go from 1 to 2"):
        store.individual(number)


def test_a_program_comes_with_its_search(store: Store) -> None:
    store.add_births(store.create_search("a", {"seed": 1}), [individual(0, -1.0)], 0.0)
    row = store.individual(1)
    assert (row["search"], row["settings"], row["birth"], row["fitness"]) == ("a", {"seed": 1}, 0, -1.0)


def test_baselines_come_back(store: Store) -> None:
    search_id = store.create_search("a", {})
    baseline = BaselineRow("adamw", str(zoo.load("adamw")), "k", 0.1, 0.0, -0.5, 28)
    store.add_baseline(search_id, baseline)
    assert store.baselines(search_id) == {"adamw": baseline}
    assert store.baselines(search_id + 1) == {}


# --- views, over a real history --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Two searches with baselines, pretended training."""
    with opened(tmp_path_factory.mktemp("filled") / "results.db") as store:
        for name, seed in (("small", 3), ("other", 4)):
            evaluator = PretendingEvaluator()
            run(
                settings_of(name=name, seed=seed, budget={"programs": 200}, baselines=["adamw", "lion"]),
                store,
                evaluator,
            )
        yield store


@pytest.fixture(scope="module")
def births(filled: Store) -> dict[str, list[IndividualRow]]:
    return {name: list(filled.births(i)) for i, name in enumerate(("small", "other"), start=1)}


def test_leaderboard(filled: Store, births: dict[str, list[IndividualRow]]) -> None:
    for i, (name, rows) in enumerate(births.items(), start=1):
        first: dict[str, IndividualRow] = {}
        for row in rows:
            first.setdefault(row.key, row)
        expected = sorted(
            (r for r in first.values() if r.fitness is not None), key=lambda r: (-(r.fitness or 0), r.birth)
        )
        shown = filled.rows("SELECT * FROM v_leaderboard WHERE search = :name", name=name)
        assert [(r["birth"], r["key"], r["fitness"]) for r in shown] == [(r.birth, r.key, r.fitness) for r in expected]
        baselines = filled.baselines(i)
        adamw, best = baselines["adamw"].fitness, max(b.fitness or -math.inf for b in baselines.values())
        assert adamw is not None
        for ours, row in zip(shown, expected, strict=True):
            assert row.fitness is not None
            assert ours["over_adamw"] == pytest.approx(row.fitness - adamw)
            assert ours["over_best_baseline"] == pytest.approx(row.fitness - best)
            for column in ("statements", "live_statements", "state_slots", "mutation", "parent_birth", "genome"):
                assert ours[column] == getattr(row, column)


def test_leaderboard_without_a_baseline_shows_no_margin(store: Store) -> None:
    store.add_births(store.create_search("a", {}), [individual(0, -1.0)], 0.0)
    (row,) = store.rows("SELECT * FROM v_leaderboard")
    assert row["fitness"] == -1.0 and row["over_adamw"] is None and row["over_best_baseline"] is None


def test_progress(filled: Store, births: dict[str, list[IndividualRow]]) -> None:
    for name, rows in births.items():
        shown = filled.rows("SELECT * FROM v_progress WHERE search = :name ORDER BY batch", name=name)
        assert [r["batch"] for r in shown] == sorted({row.batch for row in rows})
        for r in shown:
            of_batch = [row for row in rows if row.batch == r["batch"]]
            so_far = [row for row in rows if row.batch <= r["batch"]]
            for suffix, some in (("", of_batch), ("_so_far", so_far)):
                count = Counter(row.answered_by for row in some)
                assert r[f"births{suffix}"] == len(some)
                assert r[f"trained{suffix}"] == count["training"] + count["reevaluation"]
                assert r[f"by_hash{suffix}"] == count["hash"]
                assert r[f"by_fingerprint{suffix}"] == count["fingerprint"]
                assert r[f"in_flight{suffix}"] == count["in_flight"]
                assert r[f"rejected{suffix}"] == count["rejection"]
            assert r["best_so_far"] == max((x.fitness for x in so_far if x.fitness is not None), default=None)
            live = sum(x.live_statements for x in of_batch) / sum(x.statements for x in of_batch)
            assert r["redundant_share"] == pytest.approx(1 - live)


def test_failures(filled: Store, births: dict[str, list[IndividualRow]]) -> None:
    for name, rows in births.items():
        failed = [r for r in rows if r.fitness is None and r.answered_by in ("training", "rejection")]
        expected = Counter((row.status, row.reason) for row in failed)
        shown = filled.rows("SELECT * FROM v_failures WHERE search = :name", name=name)
        assert {(r["status"], r["reason"]): r["programs"] for r in shown} == expected
        assert [r["programs"] for r in shown] == sorted(expected.values(), reverse=True)
        for r in shown:
            example = filled.individual(r["example_id"])
            assert (example["search"], example["reason"]) == (name, r["reason"])
            assert example["birth"] == min(row.birth for row in failed if row.reason == r["reason"])


def test_lineage(filled: Store, births: dict[str, list[IndividualRow]]) -> None:
    for name, rows in births.items():
        shown = filled.rows("SELECT * FROM v_lineage WHERE search = :name", name=name)
        assert [r["birth"] for r in shown] == [row.birth for row in rows]
        for r, row in zip(shown, rows, strict=True):
            parent = None if row.parent_birth is None else rows[row.parent_birth]
            assert (r["parent_birth"], r["mutation"], r["genome"]) == (row.parent_birth, row.mutation, row.genome)
            assert r["parent_fitness"] == (parent.fitness if parent else None)
            if parent and parent.fitness is not None and row.fitness is not None:
                assert r["gain"] == pytest.approx(row.fitness - parent.fitness)
            else:
                assert r["gain"] is None


def test_funnel(store: Store) -> None:
    store.add_births(store.create_search("a", {}), [individual(0, -1.0)], 0.0)
    with store.engine.begin() as connection:
        connection.execute(
            text("""INSERT INTO selection (individual_id, stage, task, task_fingerprint, seeds, fitness, standard_error,
                    baseline_fitness, passed, created) VALUES (1, 2, 't', 'f', 3, -1.0, 0.1, -1.5, 1, '2020-01-01')""")
        )
    (row,) = store.rows("SELECT * FROM v_funnel")
    assert (row["search"], row["stage"], row["over_baseline"], row["passed"]) == ("a", 2, 0.5, 1)


def test_scores_are_the_means_of_what_was_pretended(births: dict[str, list[IndividualRow]]) -> None:
    """Guards the figures above: they come from an evaluator whose answers are known."""
    for row in births["small"]:
        assert row.fitness == (None if row.status == "rejected" else pretended(row.key, 0).fitness)
