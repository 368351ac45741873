"""Correlations of measured tasks, and sets of proxies on data of which the answer is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from search.results.proxies import MeasuredTask, correlations, measured_tasks, spread
from search.results.proxy_sets import as_settings, choose_proxies, standardized
from search.results.results import Results
from search.settings.settings import Settings
from search.settings.tasks import Anchors
from search.store.evidence_views import ProxyEntry

from tests.support.searches import filled, opened

ENTRY = ProxyEntry(
    program_id=1, task="digits_mlp", task_fingerprint="f", steps=300, trials=4, tuning_seeds=3, seeds=8, seeds_failed=0,
    fitness=-0.1, standard_error=0.01, learning_rate=1.0, weight_decay=0.0, genome="update = g * lr", search="small",
)  # fmt: skip


def task(name: str, steps: int, fitness: Sequence[float | None], factor: float = 1.0) -> MeasuredTask:
    """A task on which the programs 1, 2, ... have this fitness."""
    rows = [
        replace(ENTRY, task=name, steps=steps, program_id=n, fitness=one, learning_rate=factor)
        for n, one in enumerate(fitness, start=1)
    ]
    return measured_tasks(rows)[0]


def drawn(seed: int, programs: int = 40) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=programs)


# --- correlations -----------------------------------------------------------------------------------------------------


def test_every_task_is_compared_with_every_larger_one() -> None:
    """On the programs that both have; what failed is the worst."""
    small, middle = task("small", 10, [-0.1, -0.2, None, -0.4, -0.5]), task("middle", 20, [-3.0, -1.0, None, None])
    large = task("large", 40, [-1.0, -2.0, -3.0, -4.0, -5.0])
    found = {(one.proxy, one.target): one for one in correlations([small, middle, large])}
    assert found.keys() == {("small", "middle"), ("small", "large"), ("middle", "large")}
    one = found["small", "middle"]
    assert (one.programs, one.failed, one.steps, one.share) == (4, 2, 10, 0.5)
    assert one.tau.tau == pytest.approx(kendalltau([-1, -2, -9, -4], [-3, -1, -9, -9]).statistic)
    assert found["small", "large"].tau.tau == pytest.approx(kendalltau([-1, -2, -9, -4, -5], [5, 4, 3, 2, 1]).statistic)


def test_the_best_proxy_of_each_target_comes_first() -> None:
    aim = drawn(0)
    tasks = [task("noise", 10, drawn(1)), task("near", 20, aim + 0.3 * drawn(2)), task("aim", 40, aim)]
    assert [(one.target, one.proxy) for one in correlations(tasks)] == [
        ("near", "noise"), ("aim", "near"), ("aim", "noise"),
    ]  # fmt: skip
    assert correlations([task("a", 10, aim), task("b", 10, aim)]) == []


# --- sets -------------------------------------------------------------------------------------------------------------


def test_tasks_that_complement_each_other_are_found_with_their_weights() -> None:
    first, second = drawn(1), drawn(2)
    tasks = [task("first", 10, first), task("second", 10, 5 * second - 7), task("noise", 5, drawn(3)),
             task("aim", 40, 0.7 * first + 0.3 * second)]  # fmt: skip
    found = choose_proxies(tasks, "aim")
    assert found.chosen is not None and found.programs == 40
    assert found.chosen.tasks == ("first", "second") and found.chosen.steps == 20
    assert found.chosen.weights == pytest.approx((0.7, 0.3), abs=0.05)
    assert found.judged.tau > 0.9 > found.singles[0].tau.tau
    assert found.singles[0].tasks == ("first",)


def test_of_sets_that_are_as_good_the_cheapest_is_chosen() -> None:
    aim = drawn(0)
    tasks = [task("dear", 30, aim + 0.30 * drawn(1)), task("cheap", 10, aim + 0.31 * drawn(2)), task("aim", 40, aim)]
    chosen = choose_proxies(tasks, "aim").chosen
    assert chosen is not None and chosen.tasks == ("cheap",) and chosen.weights == (1.0,)


def test_what_says_nothing_is_not_believed() -> None:
    """The best of some tasks of noise looks good; on programs that had no part in the choice it is not."""
    judged, looks = [], []
    for seed in range(10, 16):
        noise = [task(f"noise{n}", 10, drawn(100 * seed + n, 16)) for n in range(4)]
        found = choose_proxies([*noise, task("aim", 40, drawn(100 * seed + 99, 16))], "aim")
        judged.append(found.judged.tau)
        looks.append(max(one.tau.tau for one in (*found.singles, *found.grown)))
    assert np.mean(looks) > 0.15 > np.mean(judged) + 0.05


def test_a_proxy_that_is_wrong_throughout_gets_no_weight() -> None:
    aim = drawn(0)
    tasks = [task("wrong", 5, -aim + 0.5 * drawn(1)), task("weak", 10, aim + 2 * drawn(2)), task("aim", 40, aim)]
    chosen = choose_proxies(tasks, "aim").chosen
    assert chosen is not None and chosen.tasks == ("weak",)


def test_without_programs_or_proxies_there_is_no_set() -> None:
    tasks = [task("proxy", 10, drawn(1, 7)), task("aim", 40, drawn(2, 7))]
    assert choose_proxies(tasks, "aim").chosen is None and choose_proxies(tasks, "aim").programs == 7
    assert choose_proxies(tasks, "proxy").chosen is None


@given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), min_size=1, max_size=20))
def test_standardized_values_are_finite_and_in_order(fitness: list[float | None]) -> None:
    values = standardized(fitness).values
    assert np.isfinite(values).all() and np.abs(values).max() <= 3
    lowest = [-1e9 if one is None else one for one in fitness]
    for a, one in zip(lowest, values, strict=True):
        assert all(other <= one for b, other in zip(lowest, values, strict=True) if b < a)


def test_the_settings_score_programs_as_the_set_does() -> None:
    """Anchors make the mean score of several tasks the weighted sum; factors become update scales of mean 1."""
    first, second = drawn(1), 5 * drawn(2) - 7
    tasks = [task("digits_mlp@30", 30, first, 4.0), task("digits_mlp_short", 75, second, 0.25),
             task("aim", 300, 0.7 * first + 0.3 * (second + 7) / 5)]  # fmt: skip
    chosen = choose_proxies(tasks, "aim").chosen
    assert chosen is not None and chosen.tasks == ("digits_mlp@30", "digits_mlp_short")
    written = as_settings(chosen, tasks)
    assert [(one["name"], one.get("steps"), one["update_scale"]) for one in written] == [
        ("digits_mlp", 30, 4.0), ("digits_mlp_short", None, 0.25),
    ]  # fmt: skip
    Settings.model_validate({"name": "x", "budget": {"programs": 5}, "tasks": written})
    scores = [sum(Anchors(*one["anchors"]).place(-f) for one, f in zip(written, both, strict=True))
              for both in zip(first, second, strict=True)]  # fmt: skip
    units = [(f - np.median(f)) / standardized(list(f)).deviation for f in (first, second)]
    assert scores == pytest.approx(sum(w * u for w, u in zip(chosen.weights, units, strict=True)), abs=1e-3)


def test_one_task_needs_no_anchors() -> None:
    tasks = [task("digits_mlp_short", 75, drawn(0)), task("aim", 300, drawn(0))]
    chosen = choose_proxies(tasks, "aim").chosen
    assert chosen is not None and as_settings(chosen, tasks) == [{"name": "digits_mlp_short"}]


# --- which programs ---------------------------------------------------------------------------------------------------


def test_programs_are_taken_evenly_from_the_better_half_and_differ_in_structure(tmp_path: Path) -> None:
    filled(tmp_path / "r.db")
    with opened(tmp_path / "r.db") as store:
        rows = Results(store).leaderboard("small", None, pareto=False)
    moved = [replace(row, genome=row.genome.replace("0.", "0.1"), id=-row.id) for row in rows]  # constants alone
    chosen = spread([one for both in zip(rows, moved, strict=True) for one in both], 5)
    ids = [row.id for row in rows]
    places = [ids.index(row.id) for row in chosen]
    assert places[0] == 0 and places == sorted(places) and len(set(places)) == 5
    assert places[-1] <= len(rows) // 2
    assert len(spread(rows, 10_000)) <= len(rows)
