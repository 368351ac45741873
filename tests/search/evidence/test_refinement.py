"""Refined schedules against their formula, and the comparison on fresh seeds."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from programs import zoo
from programs.schedules import NAMES

from proxy_tasks import get_task
from proxy_tasks.task import Norm

from search.errors import RunError
from search.evidence import refinement
from search.evidence.refinement import (
    MOST_REACH,
    POINTS,
    Refinement,
    as_points,
    refine,
    refined,
    suitable_norm,
)
from search.settings.settings import Dedup
from search.settings.yaml_text import read_yaml
from search.store import Store
from search.training.inline import InlineEvaluator
from search.training.service import TrainingService

from tests.support.commands import command
from tests.support.searches import opened

TASK = replace(get_task("digits_mlp"), steps=40)
NORMS = st.sampled_from(["l1", "l2"])
SEQUENCES = st.lists(st.floats(0.01, 100), min_size=2, max_size=120)


def by_the_formula(norms: list[float], norm: str) -> list[float]:
    """Algorithms 1 and 2 of arXiv 2310.07831, sum by sum, with medians of windows."""
    steps = len(norms)
    half = int(0.1 * steps) // 2
    beyond = [2 * (steps - 1) - place for place in range(steps, steps + half)]  # reflected at the end
    at = [0] * half + list(range(steps)) + beyond  # continued at the start
    smooth = [statistics.median(norms[place] for place in at[t : t + 2 * half + 1]) for t in range(steps)]
    weights = [g**-2 if norm == "l2" else 1 / g for g in smooth]
    rates = [weights[t] * sum(weights[t + 1 :]) for t in range(steps)]
    return [rate / max(rates) for rate in rates]


@given(norms=SEQUENCES, norm=NORMS)
def test_a_refined_schedule_is_that_of_the_formula(norms: list[float], norm: Norm) -> None:
    rates = refined(norms, norm)
    np.testing.assert_allclose(rates, by_the_formula(norms, norm), rtol=1e-6, atol=1e-9)
    assert rates.min() == rates[-1] == 0 and rates.max() == 1
    np.testing.assert_allclose(refined([8 * g for g in norms], norm), rates, rtol=1e-9)


@given(level=st.floats(1e-6, 1e6), steps=st.integers(2, 200), norm=NORMS)
def test_equal_norms_ask_for_a_linear_decay(level: float, steps: int, norm: Norm) -> None:
    np.testing.assert_allclose(refined([level] * steps, norm), 1 - np.arange(steps) / (steps - 1), atol=1e-9)


def test_high_norms_ask_for_low_rates_and_one_outlier_for_nothing() -> None:
    warm = refined([10.0] * 40 + [1.0] * 160, "l2")
    assert warm[0] < 0.02 and warm[45] > 0.9, "a warm-up"
    calm, hit = [1.0] * 200, [1.0] * 100 + [1e4] + [1.0] * 99
    np.testing.assert_allclose(refined(hit, "l2"), refined(calm, "l2"))


@given(norms=SEQUENCES, norm=NORMS)
def test_points_are_a_schedule(norms: list[float], norm: Norm) -> None:
    points = as_points(refined(norms, norm))
    assert len(points) == POINTS and max(points) == 1 and points[-1] == 0
    replace(TASK, schedule=points)


@pytest.mark.parametrize(
    ("name", "norm"),
    [("sgd", "l2"), ("sgd_momentum", "l2"), ("nesterov", "l2"), ("adamw", "l1"), ("lion", "l1"), ("muon", "l1")],
)
def test_the_norm_suits_the_program(name: str, norm: str) -> None:
    assert suitable_norm(zoo.load(name)) == norm


# --- the comparison ---------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path / "refine.db") as opened_store:
        yield opened_store


def made(store: Store, name: str = "lion", rounds: int = 2, schedule: str = "cosine") -> tuple[Refinement, int]:
    service = TrainingService(store, InlineEvaluator(), 32, Dedup())
    task = replace(TASK, schedule=schedule)
    found = refine(zoo.load(name), task, "l1", rounds, 3, service, tuning=1)
    return found, service.trained


def test_schedules_are_compared_at_the_same_rates_and_nothing_is_trained_twice(store: Store) -> None:
    found, trained = made(store)
    assert [one.name for one in found.compared] == [*NAMES, "refined 1", "refined 2"]
    assert all(len(one.trained.by_seed) == 3 for one in found.compared)
    assert found.compared[0].ahead is None
    for one in found.compared[1:]:
        base = found.compared[0].trained
        assert one.ahead is not None and one.ahead.paired
        assert one.ahead.mean == pytest.approx(one.trained.mean - base.mean)
    first, second = (one.form for one in found.compared[-2:])
    assert len(first) == len(second) == POINTS and first != second
    again, more = made(store)
    assert trained > 0 and more == 0 and again.compared == found.compared


def test_differences_are_to_the_schedule_of_the_task(store: Store) -> None:
    found, _ = made(store, rounds=1, schedule="wsd")
    assert found.base == "wsd" and found.compared[0].name == "wsd" and found.compared[0].ahead is None
    assert sorted(one.name for one in found.compared[:-1]) == sorted(NAMES)


def test_there_is_no_difference_where_a_training_failed(store: Store) -> None:
    first, second, *_ = made(store, rounds=1)[0].compared
    failed = second.trained._replace(failures=["diverged: as it was told"])
    assert second.trained.ahead_of(first.trained) == second.ahead is not None
    assert failed.ahead_of(first.trained) is first.trained.ahead_of(failed) is None


def test_rates_are_widened_until_the_best_is_no_edge(store: Store) -> None:
    far = made(store, "sgd", rounds=1)[0].compared
    assert max(abs(np.log2(one.factor)) for one in far) > refinement.REACH
    assert all(abs(np.log2(one.factor)) < MOST_REACH and not one.is_edge for one in far)


def test_a_program_that_never_trains_is_said_in_one_line(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refinement, "MOST_REACH", 3)
    service = TrainingService(store, InlineEvaluator(), 32, Dedup())
    task = replace(TASK, loss_bound=1e-3)
    with pytest.raises(RunError, match="with schedule cosine the program fails at every learning rate"):
        refine(zoo.load("lion"), task, "l1", 1, 2, service, tuning=1)


def test_the_command_prints_writes_and_gives_json(tmp_path: Path) -> None:
    line = "refine lion --task digits_mlp --steps 30 --seeds 2"
    code, out, _ = command(tmp_path / "x.db", f"{line} -o found.yaml")
    assert code == 0 and max(map(len, out.splitlines()[:-1])) < 500
    text = (tmp_path / "found.yaml").read_text()
    assert text in out and "ahead of cosine" in out and "l1 norms" in out
    schedule = read_yaml(text, "found.yaml").data["schedule"]
    code, out, _ = command(tmp_path / "x.db", f"{line} --json")
    tables = json.loads(out)["tables"]
    assert code == 0 and list(tables) == ["compared", "schedules"]
    assert [row["schedule"] for row in tables["compared"]] == [*NAMES, "refined 1"]
    of_last = [row["factor"] for row in tables["schedules"] if row["schedule"] == "refined 1"]
    expected = replace(TASK, steps=30, schedule=schedule).learning_rates()
    assert of_last == pytest.approx(expected.tolist())
