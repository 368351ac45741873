"""A search with a schedule of points, averaged weights and fitness by accuracy: it goes on, and its outputs say so."""

from __future__ import annotations

from pathlib import Path

import pytest

from programs.errors import InputError
from programs.schedules import DEFAULT_SCHEDULE, Schedule

from search.report.source import ReportedSearch
from search.results.results import Results
from search.results.trained_tasks import error_of, remarks_on_fitness, schedule_of
from search.settings.settings import Settings
from search.store import Store
from search.training.inline import InlineEvaluator

from tests.support.commands import changed, said
from tests.support.searches import history_of, opened, run, settings_of, stop_at

POINTS = (0.5, 1.0, 0.25, 0.0)
CHANGED = {"schedule": list(POINTS), "average": 0.9, "fitness": "accuracy"}
REMARK = "fitness of small is minus the validation error rate"


def settings(**changes: object) -> Settings:
    task = {"name": "digits_mlp", "steps": 20, "seeds": 2} | CHANGED | changes
    return settings_of(tasks=[task], budget={"programs": 24})


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of a search that was stopped twice."""
    path = tmp_path_factory.mktemp("search") / "results.db"
    for births in (4, 12, 24):
        with opened(path) as store:
            run(settings(), store, InlineEvaluator(), stop_at(births))
    return path


def best(store: Store) -> int:
    return Results(store).leaderboard("small", 1)[0].id


def test_a_search_goes_on_to_the_last_bit(path: Path, tmp_path: Path) -> None:
    with opened(tmp_path / "whole.db") as whole, opened(path) as store:
        run(settings(), whole, InlineEvaluator())
        assert len(history_of(store)) == 24 and history_of(store) == history_of(whole)
        trained = [row[8] for row in history_of(store)]
        assert trained.count("ok") > 4


def test_it_does_not_go_on_with_another_schedule(path: Path) -> None:
    with opened(path) as store, pytest.raises(InputError, match="started with other settings"):
        run(settings(schedule="linear"), store, InlineEvaluator())


def test_exports_bring_the_schedule_of_the_task(path: Path) -> None:
    with opened(path) as store:
        number = best(store)
        found = Results(store).named_program(number)
        assert found.schedule == Schedule(POINTS)
    source = said(path, f"export {number} --to torch")
    assert "def warmup_points(" in source and "_POINTS = (\n    0.5, 1, 0.25, 0\n)" in source


def test_outputs_say_what_fitness_is(path: Path) -> None:
    assert REMARK in said(path, "status") and REMARK in said(path, "leaderboard")
    with opened(path) as store:
        number = best(store)
        source = ReportedSearch(Results(store))
        assert source.meaning_of_fitness == "negative validation error rate"
        fitness = [row.fitness for row in Results(store).leaderboard("small", 30)]
    assert REMARK in " ".join(said(path, f"show {number}").split()), "which is folded"
    assert all(-1 <= value <= 0 for value in fitness)


def test_the_usual_needs_no_remark(tmp_path: Path) -> None:
    with opened(tmp_path / "usual.db") as store:
        run(settings(schedule=None, fitness=None), store, InlineEvaluator(), stop_at(4))
        (row,) = Results(store).searches()
        assert (error_of(row), remarks_on_fitness([row]), schedule_of(row)) == ("validation loss", [], DEFAULT_SCHEDULE)


@pytest.mark.parametrize("schedule", ['"cosin"', "5", "[1, [2]]", '{"a": 1}', "[]"])
def test_a_schedule_that_nobody_wrote_is_not_believed(path: Path, tmp_path: Path, schedule: str) -> None:
    meant = f"json_set(settings, '$.versions.tasks.digits_mlp.schedule', json('{schedule}'))"
    copy = changed(path, tmp_path, f"UPDATE search SET settings = {meant}")
    with opened(copy) as store:
        assert schedule_of(Results(store).searches()[0]) == DEFAULT_SCHEDULE
