"""Searches with hurdles: one history however they are run, and evaluations that serve searches with other hurdles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from search.evolution.hurdles import FinishedProgram, learned_hurdles
from search.settings.settings import Settings
from search.store import Store
from search.training.inline import InlineEvaluator
from search.training.session import open_evaluator

from tests.support.searches import history_of, opened, run, settings_of, stop_at

HURDLES = {"at": [0.1, 0.5], "after": 10}


def settings(**changes: Any) -> Settings:
    """Real training of 20 steps, enough of it for hurdles to rise."""
    return settings_of(**{"hurdles": HURDLES, "tasks": [{"name": "digits_mlp", "steps": 20, "seeds": 2}]} | changes)


def hurdle_losses_of(store: Store, name: str = "small") -> list[Any]:
    query = """SELECT hurdle_losses FROM program WHERE search_id = (SELECT id FROM search WHERE name = :name)
               ORDER BY birth"""
    return [row["hurdle_losses"] for row in store.rows(query, name=name)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[tuple[Any, ...]], list[Any]]:
    """History and hurdle_losses of the search, run in one go."""
    with opened(tmp_path_factory.mktemp("hurdles") / "r.db") as store:
        run(settings(), store, InlineEvaluator())
        history, hurdle_losses = history_of(store), hurdle_losses_of(store)
        steps = {row["steps"] for row in store.rows("SELECT steps FROM training WHERE status = 'dropped'")}
        assert steps <= {2, 10} and steps
    statuses = [row[8] for row in history]
    assert statuses.count("dropped") > 3 and statuses.count("ok") > 10
    assert any(mark is not None for mark in hurdle_losses)
    return history, hurdle_losses


@pytest.mark.parametrize("births", [5, 30, 61])
def test_an_interruption_leaves_no_trace(tmp_path: Path, whole: tuple[Any, Any], births: int) -> None:
    """Hurdles are learned again from what is in the store."""
    with opened(tmp_path / "r.db") as store:
        run(settings(), store, InlineEvaluator(), stop_at(births))
        run(settings(), store, InlineEvaluator())
        assert (history_of(store), hurdle_losses_of(store)) == whole


def test_small_parts_of_a_batch_change_nothing(tmp_path: Path, whole: tuple[Any, Any]) -> None:
    """Two trainings at once, the others wait and fill the rows that hurdles free."""
    evaluator = {"kind": "inline", "batch": 4, "lookahead": 3, "rows": 2}
    with opened(tmp_path / "r.db") as store:
        chosen = settings(evaluator=evaluator)
        run(chosen, store, open_evaluator(chosen.evaluator))
        assert (history_of(store), hurdle_losses_of(store)) == whole


def test_evaluations_serve_searches_with_other_hurdles(tmp_path: Path, whole: tuple[Any, Any]) -> None:
    """What one search dropped another trains to the end, and then the first would still have dropped it."""
    with opened(tmp_path / "r.db") as store, opened(tmp_path / "alone.db") as alone:
        run(settings(), store, InlineEvaluator())
        broken_off = store.rows("SELECT COUNT(*) AS n FROM training WHERE status = 'dropped'")[0]["n"]
        full = settings(name="full", hurdles=None)
        run(full, store, InlineEvaluator())
        run(full, alone, InlineEvaluator())
        assert history_of(store, "full") == history_of(alone, "full")
        assert store.rows("SELECT COUNT(*) AS n FROM training WHERE status = 'dropped'")[0]["n"] < broken_off
        driver = run(settings(name="again"), store, InlineEvaluator())
        assert driver.service.trained == 0
        assert (history_of(store, "again"), hurdle_losses_of(store, "again")) == whole


def test_hurdles_are_the_worst_of_the_better_half() -> None:
    """Fitness falls with the number; losses rise at the first hurdle and fall at the second."""
    finished = [FinishedProgram(-float(i), (float(i), float(100 - i))) for i in range(60)]
    chosen = settings().hurdles
    assert chosen is not None
    assert learned_hurdles(finished[:9], chosen) == []
    assert learned_hurdles(finished, chosen) == [[(2, 29.0), (10, 100.0)]]
    assert learned_hurdles(finished[::-1], chosen) == [[(2, 29.0), (10, 100.0)]]


def test_short_trainings_have_no_hurdles(tmp_path: Path) -> None:
    with opened(tmp_path / "r.db") as store:
        run(settings(tasks=[{"name": "digits_mlp", "steps": 19}]), store, InlineEvaluator())
        assert set(hurdle_losses_of(store)) == {None}
        assert "dropped" not in {row[8] for row in history_of(store)}
