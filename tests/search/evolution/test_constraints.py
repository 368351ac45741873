"""Several starts, languages and constraints: what searches with them draw, train, refuse and go on with."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from programs import dataflow_hash, parse, zoo
from programs.errors import InputError
from programs.layout import Layout
from programs.liveness import live_statements, states_in_words, states_per_weight

from search.evolution.births import Genome
from search.evolution.constraints import Constraints
from search.evolution.history import History, HistorySettings
from search.evolution.population import Member, Populations
from search.results.examination import Examination
from search.results.results import Results
from search.settings.settings import Dedup, Strategy
from search.store import ProgramRow, Store
from search.training.service import Candidate, Score

from tests.support.searches import PretendingEvaluator, opened, run, settings_of, stop_at

EXTENDED = {"language": "extended", "strategy": {"start": ["sgd_momentum", "lion"], "repeats": 2}}
SMALL = {"strategy": {"start": ["sgd_momentum", "signum"], "max_states": 1, "max_live_statements": 6}}


def births(store: Store) -> list[ProgramRow]:
    return store.select(ProgramRow, order="birth")


def programs_of(store: Store) -> list[tuple[Any, ...]]:
    return [(row.genome, row.key, row.answered_by, row.status, row.reason, row.fitness) for row in births(store)]


# --- how large programs are ------------------------------------------------------------------------------------------


FACTORED = "x = square(g)\nx = row_mean(x)\nv = interp(x, v, 0.99)\nupdate = g / v"
LAYOUTS = [Layout(((2, 50), (10, 1))), Layout(((8, 10),))]


@pytest.mark.parametrize(
    ("text", "expected", "words"),
    [
        ("update = g * lr", 0.0, "0"),
        ("m = m + g\nupdate = m * lr", 1.0, "1"),
        ("m = m + g\nv = v + m\nupdate = v * lr", 2.0, "2"),
        ("m = m + g\nupdate = g * lr", 0.0, "0"),
        (FACTORED, max(12 / 110, 8 / 80), "1 (1 by rows)"),
        (f"m = interp(g, m, 0.9)\n{FACTORED}\nupdate = update + m", 1 + 12 / 110, "2 (1 by rows)"),
        ("x = column_norm(g)\nm = m + x\nupdate = g / m", max(51 / 110, 10 / 80), "1 (1 by columns)"),
    ],
)
def test_states_are_counted_as_small_as_they_are(text: str, expected: float, words: str) -> None:
    assert states_per_weight(parse(text), LAYOUTS) == pytest.approx(expected)
    assert states_in_words(parse(text)) == words
    assert Constraints(LAYOUTS, states=expected + 1e-9).broken_by(parse(text)) is None
    if expected:
        assert "strategy.max_states" in str(Constraints(LAYOUTS, states=expected - 0.01).broken_by(parse(text)))


# --- searches --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [EXTENDED, SMALL], ids=["extended", "small"])
def test_going_on_is_as_if_never_stopped(tmp_path: Path, changes: dict[str, Any]) -> None:
    settings = settings_of(**changes, budget={"programs": 50})
    with opened(tmp_path / "whole.db") as store:
        run(settings, store, PretendingEvaluator())
        whole = programs_of(store)
    with opened(tmp_path / "parts.db") as store:
        for stop in (3, 31):
            run(settings, store, PretendingEvaluator(stop), stop_at(stop))
        run(settings, store, PretendingEvaluator())
        assert programs_of(store) == whole
        assert list(Examination(store, lambda *_: None).findings()) == []


def test_all_starts_are_born_in_every_population(tmp_path: Path) -> None:
    with opened(tmp_path / "r.db") as store:
        run(settings_of(**EXTENDED), store, PretendingEvaluator())
        rows = births(store)
    first = [row.genome for row in rows if row.mutation == "start"]
    assert first == [str(zoo.load(name)) for name in ("sgd_momentum", "sgd_momentum", "lion", "lion")]
    assert {row.parent_birth for row in rows[4:30]} >= {0, 1, 2, 3}, "all of them have children"
    functions = {s.function for row in rows for s in parse(row.genome).statements}
    assert functions & {"orthogonalize", "row_mean", "row_norm", "column_mean", "column_norm", "rms", "get_step"}


def test_each_start_is_tuned(tmp_path: Path) -> None:
    with opened(tmp_path / "r.db") as store:
        strategy = {"start": ["lion", "adamw"], "start_tuned": True}
        run(settings_of(baselines=["adamw", "lion"], strategy=strategy), store, PretendingEvaluator())
        tuned = store.baselines(1)
        assert [row.key for row in births(store)[:2]] == [tuned["lion"].key, tuned["adamw"].key]


def test_populations_begin_and_restart_with_all_starts_in_turn() -> None:
    starts = [Member(0, Genome(zoo.load(name)), name) for name in ("sgd", "lion", "adamw")]
    populations = Populations(4, 2, starts, restart_after=5)
    for birth, numbers in ((0, [0, 2, 4, 0]), (1, [1, 3, 5, 1]), (10, [0, 2, 4, 0])):
        assert [member.birth for member in populations.parents_of(birth)._members] == numbers


def test_tuning_keeps_to_the_functions_of_its_starts(tmp_path: Path) -> None:
    with opened(tmp_path / "r.db") as store:
        strategy = {"kind": "tune", "start": ["sgd_momentum", "lion"]}
        run(settings_of(strategy=strategy), store, PretendingEvaluator())
        shapes = {tuple(s.function for s in parse(row.genome).statements) for row in births(store)}
    assert shapes == {tuple(s.function for s in zoo.load(name).statements) for name in strategy["start"]}


def test_what_is_too_large_is_not_trained_and_counted(tmp_path: Path) -> None:
    with opened(tmp_path / "r.db") as store:
        evaluator = PretendingEvaluator()
        run(settings_of(**SMALL), store, evaluator)
        rows = births(store)
        for job in evaluator.submitted:
            for replica in job.replicas:
                assert states_per_weight(replica.program, []) <= 1 and len(live_statements(replica.program)) <= 6
        large = [row for row in rows if row.answered_by == "constraint"]
        for row in rows:
            assert (row.state_slots > 1 or row.live_statements > 6) is (row in large)
        assert large and {(row.status, row.fitness) for row in large} == {("rejected", None)}
        results = Results(store)
        counted = {row.reason: row.programs for row in results.failures() if "strategy.max" in str(row.reason)}
        assert counted == Counter(row.reason for row in large)
        assert sum(row.rejected for row in results.progress("small")) >= len(large)


def test_a_smaller_program_that_does_the_same_is_trained() -> None:
    """Equal dataflow, once written with a statement more: the larger one leaves nothing in the cache."""
    large = parse("x = g * lr\ny = g * lr\nz = x + y\nupdate = z * 0.5")
    small = parse("x = g * lr\nz = x + x\nupdate = z * 0.5")
    assert dataflow_hash(large) == dataflow_hash(small)
    settings = HistorySettings(0, 1, 1, constraints=Constraints(live_statements=3))
    history = History(Strategy(kind="paper"), Dedup(), settings, [large, small])
    batch = history.draw(2)
    assert [birth.answered_by for birth in batch.births] == ["constraint", "training"]
    (candidate,) = batch.to_train()
    assert candidate == Candidate(batch.births[1].key, small)
    history.finish(batch, {candidate.key: Score("ok", -1.0)})
    history.fold()
    assert history.draw(3).births[0].number == 2


@pytest.mark.parametrize(
    ("strategy", "said"),
    [
        (
            {"start": ["sgd", "adamw"], "max_states": 1},
            "'adamw' has more states than strategy.max_states: 1 (it keeps 2",
        ),
        ({"start": "lion", "max_states": 0}, "'lion' has more states than strategy.max_states: 0 (it keeps 1 for"),
        ({"start": "lion", "max_live_statements": 3}, "more live statements than strategy.max_live_statements: 3"),
    ],
)
def test_a_start_that_is_too_large_is_refused_before_anything_is_trained(
    tmp_path: Path, strategy: dict[str, Any], said: str
) -> None:
    evaluator = PretendingEvaluator()
    with opened(tmp_path / "r.db") as store:
        with pytest.raises(InputError) as raised:
            run(settings_of(strategy=strategy, baselines=["adamw"]), store, evaluator)
        assert said in str(raised.value) and "\n" not in str(raised.value)
        assert not evaluator.submitted and store.find_search("small") is None


def test_random_programs_need_no_start_that_fits(tmp_path: Path) -> None:
    with opened(tmp_path / "r.db") as store:
        strategy = {"kind": "random", "max_states": 0, "lengths": [4, 8]}
        run(settings_of(strategy=strategy, language=["matrices"]), store, PretendingEvaluator())
        assert {row.answered_by for row in births(store) if row.state_slots > 0} <= {"constraint"}
