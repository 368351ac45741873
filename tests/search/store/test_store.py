"""The store on both kinds of database: what it keeps, and views against the same figures worked out in Python."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from programs import zoo
from programs.errors import InputError

from proxy_tasks import Outcome, get_task

from search.evidence.verdict import judge_search
from search.results.results import Results
from search.store import (
    BaselineRow,
    Lease,
    LeaseLost,
    ProgramRow,
    ProposalRow,
    SelectionRow,
    Store,
    StoreError,
    connections,
    integrity,
    lease,
)
from search.store.evidence_views import FunnelEntry
from search.store.keys import CIRCUMSTANCES, SearchState, TrainingKey
from search.store.rows import VIEWS, metadata
from search.store.store import StoredSearch
from search.store.tables import MetaValidationRow
from search.store.versions import CURRENT
from search.store.views import TrainingEntry

from tests.support.searches import (
    PretendingEvaluator,
    history_of,
    opened,
    pretended,
    rows_of_query,
    run,
    settings_of,
    stop_at,
    uninterrupted,
)

TASK = get_task("digits_mlp")
OK = Outcome("ok", -0.25, [2.0 - n / 20 for n in range(20)], 500, 1.5)


@pytest.fixture(params=["sqlite", "postgres"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a database may be made."""
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_server").database())
    return str(tmp_path / "results.db")


@pytest.fixture
def store(location: str) -> Iterator[Store]:
    with opened(location) as store:
        yield store


def key(name: str, seed: int = 0) -> TrainingKey:
    return TrainingKey(name, TASK.fingerprint, seed)


RACED = settings_of(
    name="raced", strategy={"kind": "evolution"}, baselines=["adamw", "lion"],
    tasks=[{"name": "digits_mlp", "steps": 5, "seeds": {"first": 1, "most": 4}}],
)  # fmt: skip


def program(birth: int, fitness: float | None = None, **changes: object) -> ProgramRow:
    status, reason = ("ok", None) if fitness is not None else ("diverged", "too large")
    row = ProgramRow(
        birth, birth // 3, birth - 1 if birth else None, "insert", "update = abs(w)", f"hash{birth}", f"key{birth}",
        "training", 4, 3, 1, status, fitness, reason, 1, None, 20,
    )  # fmt: skip
    return replace(row, **changes)  # type: ignore[arg-type]


def taken(store: Store, name: str = "a") -> tuple[int, Lease]:
    """A new search and the token to write it with."""
    search_id = store.create_search(name, {"seed": 1})
    held = Lease(store, search_id)
    held.take()
    return search_id, held


# --- schema ----------------------------------------------------------------------------------------------------------


def test_the_tables_are_those_declared(store: Store) -> None:
    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == CURRENT


# --- evaluations -----------------------------------------------------------------------------------------------------


def test_evaluations_come_back_as_they_were(store: Store) -> None:
    failed = Outcome("diverged", None, [], 25, 0.5, "training loss is not finite by step 25")
    kept = {key("a"): OK, key("a", 1): failed, key("b"): OK._replace(fitness=-1 / 3)}
    store.add_trainings(TASK, kept.items())
    assert store.trainings(TASK.fingerprint, ["a", "b", "c"], [0, 1]) == kept
    assert store.trainings(TASK.fingerprint, ["a"], [1]) == {key("a", 1): failed}
    assert store.trainings("another task", ["a"], [0]) == {}


def test_of_two_evaluations_with_one_key_the_first_is_kept(store: Store) -> None:
    store.add_trainings(TASK, [(key("a"), OK)])
    store.add_trainings(TASK, [(key("a"), OK._replace(fitness=-9.0)), (key("b"), OK)])
    assert store.trainings(TASK.fingerprint, ["a", "b"], [0]) == {key("a"): OK, key("b"): OK}
    assert rows_of_query(store, "SELECT COUNT(*) AS n FROM training") == [{"n": 2}]


@pytest.mark.parametrize("status", ["timeout", "lost", "error"])
def test_failures_of_circumstance_are_no_answer_and_give_way(store: Store, status: str) -> None:
    failed = Outcome(status, None, [], 0, 0.5, "why")  # type: ignore[arg-type]
    store.add_trainings(TASK, [(key("a"), failed)])
    assert store.trainings(TASK.fingerprint, ["a"], [0]) == {}
    store.add_trainings(TASK, [(key("a"), failed._replace(reason="again"))])
    assert rows_of_query(store, "SELECT status, reason FROM training") == [{"status": status, "reason": "again"}]
    store.add_trainings(TASK, [(key("a"), OK)])
    assert store.trainings(TASK.fingerprint, ["a"], [0]) == {key("a"): OK}
    store.add_trainings(TASK, [(key("a"), failed)])
    assert store.trainings(TASK.fingerprint, ["a"], [0]) == {key("a"): OK}, "an answer stays"


def test_a_training_broken_off_gives_way_to_a_longer_one_alone(store: Store) -> None:
    short = Outcome("dropped", None, [2.0], 50, 0.5, "hurdle")
    store.add_trainings(TASK, [(key("a"), short)])
    store.add_trainings(TASK, [(key("a"), Outcome("error", None, [], 80, 0.5, "why"))])
    store.add_trainings(TASK, [(key("a"), short._replace(steps=25, curve=[]))])
    assert store.trainings(TASK.fingerprint, ["a"], [0]) == {key("a"): short}
    store.add_trainings(TASK, [(key("a"), OK)])
    assert store.trainings(TASK.fingerprint, ["a"], [0]) == {key("a"): OK}


def test_reasons_may_hold_anything(store: Store) -> None:
    """PostgreSQL takes no null characters, neither kind takes half a character, and nobody wants a megabyte."""
    failed = Outcome("diverged", None, [], 25, 0.5, "a\0b\ud800" + "c" * 10**6)
    store.add_trainings(TASK, [(key("a"), failed)])
    (found,) = store.trainings(TASK.fingerprint, ["a"], [0]).values()
    assert found.reason is not None and found.reason.startswith("a\ufffdb?ccc") and len(found.reason) == 2000
    search_id, held = taken(store)
    held.add_births([program(0, reason="a\0b\ud800")], 0.0)
    assert [row.reason for row in store.births(search_id)] == ["a\ufffdb?"]


@pytest.mark.parametrize("fitness", [math.nan, math.inf])
def test_numbers_that_are_none_are_not_kept(store: Store, fitness: float) -> None:
    store.add_trainings(TASK, [(key("a"), Outcome("diverged", fitness, [1.0], 25, 0.5, "why"))])
    (found,) = store.trainings(TASK.fingerprint, ["a"], [0]).values()
    assert found.fitness is None
    search_id = store.create_search("a", {"seed": fitness})
    found_search = store.find_search("a")
    assert found_search == StoredSearch(search_id, "a", {"seed": None})


def test_very_many_keys_at_once(store: Store) -> None:
    names = [f"k{i}" for i in range(3001)]
    store.add_trainings(TASK, [(key(name), OK) for name in names])
    assert len(store.trainings(TASK.fingerprint, names, [0])) == 3001


def test_a_curve_comes_back(store: Store) -> None:
    store.add_trainings(TASK, [(key("a"), OK)])
    assert [row.curve for row in store.select(TrainingEntry)] == [OK.curve]


# --- births ----------------------------------------------------------------------------------------------------------


def test_births_come_back_in_order(store: Store) -> None:
    (search_id, held), (_, others) = taken(store), taken(store, "b")
    rows = [program(birth, -0.5 if birth % 2 else None) for birth in range(7)]
    held.add_births(rows[4:], 1.0)
    others.add_births(rows[:1], 1.0)
    held.add_births(rows[:4], 0.5)
    assert list(store.births(search_id)) == rows
    assert rows_of_query(store, "SELECT seconds FROM search ORDER BY id") == [{"seconds": 1.5}, {"seconds": 1.0}]


def test_births_are_committed_all_or_none(store: Store) -> None:
    search_id, held = taken(store)
    held.add_births([program(0, -1.0)], 1.0)
    with pytest.raises(StoreError, match="cannot be written"):
        held.add_births([program(1, -1.0), program(2, -1.0), program(0, -1.0)], 1.0)
    assert [row.birth for row in store.births(search_id)] == [0]
    assert rows_of_query(store, "SELECT seconds FROM search") == [{"seconds": 1.0}]


def test_whoever_has_no_lease_writes_nothing(store: Store) -> None:
    search_id, held = taken(store)
    held.add_births([program(0, -1.0)], 1.0)
    before = rows_of_query(store, "SELECT * FROM search")
    baseline = BaselineRow("adamw", "update = abs(w)", "k", 0.1, 0.0, -0.5, 28)
    another, elsewhere = Lease(store, search_id), Lease(store, search_id + 1)
    elsewhere.token = held.token
    for write in (
        lambda: another.add_births([program(1, -1.0)], 1.0),
        lambda: another.add_births([], 1.0),
        lambda: another.update(SearchState.FINISHED),
        lambda: another.add_baseline(baseline),
        lambda: another.add_meta_validation(MetaValidationRow(1, 0, -1.0, None)),
        lambda: elsewhere.add_births([program(1, -1.0)], 1.0),
    ):
        with pytest.raises(LeaseLost, match="another run has taken this search over"):
            write()
    assert rows_of_query(store, "SELECT * FROM search") == before
    assert [row.birth for row in store.births(search_id)] == [0] and store.baselines(search_id) == {}


def test_a_search_is_made_once(store: Store) -> None:
    store.create_search("a", {"seed": 1})
    with pytest.raises(InputError, match="another run has just started search 'a'"):
        store.create_search("a", {"seed": 2})
    assert store.find_search("a") == StoredSearch(1, "a", {"seed": 1})
    with pytest.raises(InputError, match="201 characters, expected at most 200"):
        store.create_search("a" * 201, {})


@pytest.mark.parametrize("number", [0, 3, -1, 2**63, 10**30])
def test_an_unknown_program_is_named(store: Store, number: int) -> None:
    _, held = taken(store)
    held.add_births([program(0, -1.0), program(1, -1.0)], 0.0)
    with pytest.raises(InputError, match=f"no program {number}; IDs go from 1 to 2"):
        Results(store).program(number)


def test_a_program_comes_with_its_search(store: Store) -> None:
    _, held = taken(store)
    held.add_births([program(0, -1.0)], 0.0)
    row = Results(store).program(1)
    assert (row.search, row.birth, row.fitness) == ("a", 0, -1.0)
    assert Results(store).search(row.search).settings == {"seed": 1}


def test_baselines_come_back(store: Store) -> None:
    search_id, held = taken(store)
    baseline = BaselineRow("adamw", str(zoo.load("adamw")), "k", 0.1, 0.0, -0.5, 28)
    held.add_baseline(baseline)
    assert store.baselines(search_id) == {"adamw": baseline}
    assert store.baselines(search_id + 1) == {}


# --- views, over a real history --------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Two searches with baselines, pretended training."""
    if request.param == "postgres":
        location = request.getfixturevalue("postgres_server").database()
    else:
        location = tmp_path_factory.mktemp("filled") / "results.db"
    with opened(location) as store:
        for name, seed in (("small", 3), ("other", 4)):
            evaluator = PretendingEvaluator()
            run(
                settings_of(name=name, seed=seed, budget={"programs": 200}, baselines=["adamw", "lion"]),
                store,
                evaluator,
            )
        yield store


@pytest.fixture(scope="module")
def births(filled: Store) -> dict[str, list[ProgramRow]]:
    return {name: list(filled.births(i)) for i, name in enumerate(("small", "other"), start=1)}


def test_leaderboard(filled: Store, births: dict[str, list[ProgramRow]]) -> None:
    for i, (name, rows) in enumerate(births.items(), start=1):
        first: dict[str, ProgramRow] = {}
        for row in rows:
            first.setdefault(row.key, row)
        expected = sorted(
            (r for r in first.values() if r.fitness is not None), key=lambda r: (-(r.fitness or 0), r.birth)
        )
        shown = rows_of_query(filled, "SELECT * FROM v_leaderboard WHERE search = :name", name=name)
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


def test_leaderboard_of_programs_trained_again(store: Store) -> None:
    """The fitness on all seeds counts, as the last of them left it, less its error; who failed on one is out."""
    _, held = taken(store)
    rows = [
        program(0, -1.0, key="a"),
        program(1, -2.0, key="b"),
        program(2, -3.0, key="c"),
        program(3, -2.5, key="a", answered_by="reevaluation", trainings=2, standard_error=0.5),
        program(4, -2.6, key="a", answered_by="reevaluation", trainings=3, standard_error=0.4),
        program(5, -2.6, key="a", answered_by="hash", trainings=3, standard_error=0.4),
        program(6, None, key="c", answered_by="reevaluation", trainings=2, status="diverged"),
    ]
    held.add_births(rows, 0.0)
    found = rows_of_query(store, "SELECT * FROM v_leaderboard")
    columns = ("key", "birth", "fitness", "trainings", "standard_error", "lower_bound")
    assert [tuple(r[column] for column in columns) for r in found] == [
        ("b", 1, -2.0, 1, None, -2.0), ("a", 0, -2.6, 3, 0.4, -3.0),
    ]  # fmt: skip


def test_races_are_no_generations_and_correct_what_was_known(store: Store) -> None:
    """Gains compare a child with its parent as both are known by now; the best so far is what led at the time."""
    _, held = taken(store)
    rows = [
        program(0, -1.0, key="a", batch=0),
        program(1, -0.5, key="b", parent_birth=0, standard_error=0.1, batch=0),
        program(2, -0.7, key="b", parent_birth=1, mutation="race", answered_by="reevaluation", trainings=2,
                standard_error=0.05, batch=1),
        program(3, -0.8, key="d", parent_birth=1, batch=1),
        program(4, -1.5, key="b", parent_birth=1, mutation="race", answered_by="reevaluation", trainings=4,
                standard_error=0.25, batch=2),
        program(5, None, key="d", parent_birth=3, mutation="race", answered_by="reevaluation", trainings=2, batch=3),
        program(6, -9.0, key="e", parent_birth=1, batch=4),
    ]  # fmt: skip
    held.add_births(rows, 0.0)
    lineage = rows_of_query(store, "SELECT * FROM v_lineage")
    columns = ("birth", "status", "fitness", "standard_error", "trainings", "parent_fitness", "gain")
    assert [tuple(row[column] for column in columns) for row in lineage] == [
        (0, "ok", -1.0, None, 1, None, None),
        (1, "ok", -1.5, 0.25, 4, -1.0, -0.5),
        (3, "diverged", None, None, 2, -1.5, None),
        (6, "ok", -9.0, None, 1, -1.5, -7.5),
    ]
    progress = rows_of_query(store, "SELECT * FROM v_progress")
    assert [row["best_so_far"] for row in progress] == pytest.approx([-0.6, -0.75, -0.8, -1.0, -1.0])
    assert [(row["trained"], row["raced"], row["raced_so_far"]) for row in progress] == [
        (2, 0, 0), (2, 1, 1), (1, 1, 2), (1, 1, 3), (1, 0, 3),
    ]  # fmt: skip
    (search,) = rows_of_query(store, "SELECT * FROM v_searches")
    assert (search["best"], search["raced"], search["replica_steps"]) == (-1.0, 3, 140)
    results = Results(store)
    ids = [row["id"] for row in rows_of_query(store, "SELECT id FROM program ORDER BY birth")]
    assert [row.birth for row in results.lineage(ids[4])] == [row.birth for row in results.lineage(ids[1])] == [0, 1]
    assert results.program(ids[1]).fitness == results.program(ids[2]).fitness == -1.5
    assert [row.birth for row in results.races(results.program(ids[1]))] == [2, 4]
    assert [row.birth for row in results.children("a", [1])] == [3, 6], "races are no children"
    assert results.duplicates(results.program(ids[1])) == [] and results.with_key("a", "b", 9) == [ids[1]]


def test_leaderboard_without_a_baseline_shows_no_margin(store: Store) -> None:
    _, held = taken(store)
    held.add_births([program(0, -1.0)], 0.0)
    (row,) = rows_of_query(store, "SELECT * FROM v_leaderboard")
    assert row["fitness"] == -1.0 and row["over_adamw"] is None and row["over_best_baseline"] is None


def test_progress(filled: Store, births: dict[str, list[ProgramRow]]) -> None:
    for name, rows in births.items():
        shown = rows_of_query(filled, "SELECT * FROM v_progress WHERE search = :name ORDER BY batch", name=name)
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


def test_failures(filled: Store, births: dict[str, list[ProgramRow]]) -> None:
    for name, rows in births.items():
        failed = [r for r in rows if r.fitness is None and r.answered_by in ("training", "rejection")]
        expected = Counter((row.status, row.reason) for row in failed)
        shown = rows_of_query(filled, "SELECT * FROM v_failures WHERE search = :name", name=name)
        assert {(r["status"], r["reason"]): r["programs"] for r in shown} == expected
        assert [r["programs"] for r in shown] == sorted(expected.values(), reverse=True)
        for r in shown:
            example = Results(filled).program(r["example_id"])
            assert (example.search, example.reason) == (name, r["reason"])
            assert example.birth == min(row.birth for row in failed if row.reason == r["reason"])


def test_lineage(filled: Store, births: dict[str, list[ProgramRow]]) -> None:
    for name, rows in births.items():
        shown = rows_of_query(filled, "SELECT * FROM v_lineage WHERE search = :name", name=name)
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
    """A stage that is decided anew takes the place of what was there, and of what followed from it."""
    _, held = taken(store)
    held.add_births([program(0, -1.0)], 0.0)
    row = SelectionRow(
        "f", "a", 1, 2, "t", "t1", "program 1", 1, True, 2.0, 0.1, 0.2, 0.1, "adamw", -1.0, 0.1, 8, 28, 0.1, 0.0,
        "update = g",
    )  # fmt: skip
    baseline = replace(row, competitor="adamw", program_id=None, ahead=None, ahead_error=None, z=None, p=None)
    for stage in (1, 2):
        store.set_selection([replace(one, stage=stage) for one in (baseline, row)])
    store.set_selection([replace(row, funnel="other", stage=2)])
    store.set_selection([replace(row, fitness=None)])
    found = rows_of_query(store, "SELECT * FROM v_funnel")
    assert [(r["funnel"], r["search"], r["stage"], r["fitness"]) for r in found] == [
        ("other", "a", 2, -1.0), ("f", "a", 1, None),
    ]  # fmt: skip
    assert store.select(FunnelEntry)[0].as_columns() == replace(row, funnel="other", stage=2).as_columns()


def test_scores_are_the_means_of_what_was_pretended(births: dict[str, list[ProgramRow]]) -> None:
    """Guards the figures above: they come from an evaluator whose answers are known."""
    for row in births["small"]:
        assert row.fitness == (None if row.status == "rejected" else pretended(row.key, 0).fitness)


def test_both_kinds_of_database_hold_and_show_the_same(
    tmp_path: Path,
    postgres_server: "postgres.Server",  # noqa: UP037, F821 - of a helper beside this file
) -> None:
    """The same search, births and views, number for number and row for row."""
    found = []
    for location in (tmp_path / "results.db", postgres_server.database()):
        with opened(location) as store:
            for name, seed in (("small", 3), ("Other", 4)):
                judge_search(run(settings_of(name=name, seed=seed, baselines=["adamw"]), store, PretendingEvaluator()))
                search = store.find_search(name)
                assert search is not None
                texts = [ProposalRow(5, 0, 0, "update = g * lr", None), ProposalRow(5, 0, 1, "import os", "no program")]
                with store.writing() as connection:
                    store.insert(connection, texts, search_id=search.id)
            run(RACED, store, PretendingEvaluator())
            shown = {view: [_timeless(row) for row in rows_of_query(store, f"SELECT * FROM {view}")] for view in VIEWS}
            found.append((history_of(store, "small"), history_of(store, "Other"), shown))
    assert found[0] == found[1]
    assert any(row["raced"] for row in found[0][2]["v_searches"])
    empty = ("v_funnel", "v_meta_validation", "v_openings", "v_proof", "v_noise", "v_simplification", "v_workers",
             "v_data_sheets", "v_proxies")  # fmt: skip
    assert all(found[0][2][view] for view in VIEWS if view not in empty)


def _timeless(row: dict[str, Any]) -> dict[str, Any]:
    """Without what the clock says."""
    clock = {"started", "last_written", "written", "answered", "began", "ended"} | (
        {"seconds"} if "started" in row else set()
    )
    return {name: value for name, value in row.items() if name not in clock}


def test_a_search_interrupted_goes_on_the_same(location: str, tmp_path: Path) -> None:
    whole = uninterrupted(settings_of(), tmp_path / "whole.db")
    with opened(location) as store:
        run(settings_of(), store, PretendingEvaluator(), stop_at(9))
    with opened(location) as store:
        run(settings_of(), store, PretendingEvaluator(1))
        assert history_of(store) == whole


def test_the_page_about_the_store_is_complete() -> None:
    page = (Path(__file__).parents[3] / "docs" / "store.md").read_text()
    for figure in (
        f"renewed every {lease.HEARTBEAT_SECONDS:g} s",
        f"{lease.LEASE_SECONDS:g} s after its last heartbeat",
        f"{lease.WATCH_SECONDS:g} s without one",
        f"up to {connections.BUSY_SECONDS} s",
        f"up to {integrity.FULL_BYTES // 2**20} MiB",
        f"more than {connections.LONGEST_VALUE // 2**20} MiB",
        *(f"`{status}`" for status in CIRCUMSTANCES),
    ):
        assert figure in page
