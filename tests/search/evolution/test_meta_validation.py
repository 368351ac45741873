"""Meta-validation: the best of a search on tasks that it never sees, and the end of searches that overfit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from proxy_tasks import Outcome, Replica, get_task

from search.commands.output import Form
from search.commands.status import write_status
from search.evolution.meta_validation import is_overfit
from search.results.results import Results
from search.settings.settings import Settings
from search.store import MetaValidationRow, Store
from search.training.jobs import Job

from tests.support.searches import (
    BIRTHS,
    PretendingEvaluator,
    history_of,
    key_of,
    opened,
    rows_of_query,
    run,
    settings_of,
    stop_at,
    uninterrupted,
)

SEED_THAT_OVERFITS = 12
META = {"tasks": [{"name": "noisy_quadratic_short", "seeds": 2}], "every": 10}


class TwoTasks(PretendingEvaluator):
    """Elsewhere programs fare in another way: as chance has it, or the worse the better they are in the search."""

    contrary = False

    def outcome(self, job: Job, replica: Replica) -> Outcome:
        known = super().outcome(job, replica)
        if job.task.name != "noisy_quadratic_short" or known.fitness is None:
            return known
        fitness = Random(key_of(replica.program)).random()
        return known._replace(fitness=-1.0 - known.fitness if self.contrary else fitness, curve=[1.0] * 20, steps=125)


class Contrary(TwoTasks):
    contrary = True


def curve_of(store: Store) -> list[tuple[Any, ...]]:
    query = "SELECT births, birth, fitness, meta_fitness FROM v_meta_validation ORDER BY births"
    return [tuple(row.values()) for row in rows_of_query(store, query)]


def with_meta(**changes: Any) -> Settings:
    return settings_of(**({"meta_validation": META} | changes))


def test_the_best_until_then_is_tried_after_every_so_many_births(tmp_path: Path) -> None:
    with opened(tmp_path / "r.db") as store:
        evaluator = TwoTasks()
        run(with_meta(), store, evaluator)
        births = rows_of_query(store, "SELECT birth, fitness, key FROM program ORDER BY birth")
        curve = curve_of(store)
    assert [row[0] for row in curve] == list(range(10, BIRTHS + 1, 10))
    for until, birth, fitness, meta in curve:
        known = [row for row in births[:until] if row["fitness"] is not None]
        best = max(known, key=lambda row: row["fitness"])
        assert (birth, fitness) == (best["birth"], best["fitness"])
        assert meta == Random(best["key"]).random()
    tried = [
        (key, seed) for key, task, seed in evaluator.trained() if task == get_task(META["tasks"][0]["name"]).fingerprint
    ]  # type: ignore[index]
    assert len(tried) == len(set(tried)) == 2 * len({row[1] for row in curve})


def test_it_leaves_the_history_as_it_is(tmp_path: Path) -> None:
    whole = uninterrupted(settings_of(), tmp_path / "whole.db")
    with opened(tmp_path / "r.db") as store:
        run(settings_of(), store, TwoTasks(), stop_at(30))
        run(with_meta(), store, TwoTasks(), stop_at(60))
        assert [row[0] for row in curve_of(store)][:3] == [10, 20, 30], "what was missed is caught up on"
        run(settings_of(), store, TwoTasks())
        assert history_of(store) == whole


@pytest.mark.parametrize("jobs", range(0, 14, 2))
def test_killed_and_continued(tmp_path: Path, jobs: int) -> None:
    with opened(tmp_path / "whole.db") as store:
        run(with_meta(), store, TwoTasks())
        history, curve = history_of(store), curve_of(store)
    with opened(tmp_path / "r.db") as store:
        with pytest.raises(KeyboardInterrupt):
            run(with_meta(), store, TwoTasks(order=jobs, limit=jobs))
        run(with_meta(), store, TwoTasks())
        assert (history_of(store), curve_of(store)) == (history, curve)


@pytest.mark.parametrize("jobs", [0, 2, 4, 6, 8])
def test_a_search_that_overfits_ends_at_a_birth_that_follows_from_its_settings(tmp_path: Path, jobs: int) -> None:
    settings = with_meta(stop_when="overfit", meta_validation=META | {"every": 2}, seed=SEED_THAT_OVERFITS)
    with opened(tmp_path / "whole.db") as store:
        run(settings, store, Contrary())
        history, curve = history_of(store), curve_of(store)
    assert len(history) < BIRTHS and is_overfit([MetaValidationRow(*row) for row in curve])
    with opened(tmp_path / "r.db") as store:
        with pytest.raises(KeyboardInterrupt):
            run(settings, store, Contrary(order=jobs, limit=jobs))
        for order in (1, 2):  # the second time there is nothing left to do
            run(settings, store, Contrary(order))
            assert (history_of(store), curve_of(store)) == (history, curve)
        assert rows_of_query(store, "SELECT state FROM search") == [{"state": "finished"}]


@pytest.mark.parametrize(
    ("fared", "expected"),
    [
        ([1, 2, 3, 4, 5], False),
        ([5, 4, 3, 2], True),
        ([5, 4, 3], False),
        ([1, 5, 4, 3, 5], False),
        ([1, 5, 4, 3, 4.9], True),
        ([1, None, None, None], True),
        ([None, None, None, None, None], False),
        ([], False),
    ],
)
def test_overfitting_is_three_new_bests_below_an_earlier_one(fared: list[float | None], expected: bool) -> None:
    curve = [MetaValidationRow(10 * n, n, float(n), meta) for n, meta in enumerate(fared)]
    assert is_overfit(curve) is expected
    repeated = [replace(row, births=row.births + extra) for row in curve for extra in (0, 5)]
    assert is_overfit(repeated) is expected, "a best that stays is one"


def test_status_shows_the_curve(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with opened(tmp_path / "r.db") as store:
        run(with_meta(), store, TwoTasks())
        write_status(Results(store), None, Form.TEXT)
        best = max(curve_of(store), key=lambda row: row[3])
    out = capsys.readouterr().out
    assert "new bests on the meta-validation tasks" in out and f"{best[3]:.5f}   best" in out


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"meta_validation": {"tasks": [{"name": "digits_mlp_long"}]}},
            "the search itself trains on 'digits_mlp_long'",
        ),
        ({"stop_when": "overfit"}, "stop_when: overfit needs meta_validation"),
        ({"meta_validation": {"tasks": []}}, "meta_validation.tasks"),
        ({"meta_validation": META, "stop_when": "tired"}, "stop_when"),
    ],
)
def test_settings_that_make_no_sense(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        settings_of(**changes)
