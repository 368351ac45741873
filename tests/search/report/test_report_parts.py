"""Parts of the report alone, on what no usual search has: other seeds, losses below zero, finalists that fail."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from search.report.curves import _common_seeds, _figure
from search.report.data_sheet import _maps
from search.report.funnel import _stage_figure
from search.report.leaderboard import leaderboard
from search.report.source import ReportedSearch
from search.report.style import Mark
from search.results.results import Results

from tests.support.searches import PretendingEvaluator, opened, run, settings_of


def test_curves_are_means_over_the_seeds_that_all_have() -> None:
    """Seed 0 is twice as easy; a winner that was trained on it alone is no better than the baseline."""

    def trained(seeds: range) -> list[Any]:
        return [SimpleNamespace(seed=s, curve=[2.0, 1.0] if s else [1.0, 0.5], task="t", steps=10) for s in seeds]

    of_task = {"ours": trained(range(1)), "theirs": trained(range(8)), "others": trained(range(5, 8))}
    names = {"ours": "program 1", "theirs": "tuned adamw", "others": "tuned lion"}
    mark = Mark("#000", "solid", "circle")
    winner = cast("Any", SimpleNamespace(row=SimpleNamespace(key="ours")))
    figure = _figure(0, cast("Any", of_task), names, dict.fromkeys(names, mark), winner)
    assert {trace["name"]: list(trace["y"]) for trace in figure.traces} == {
        "program 1": [1.0, 0.5], "tuned adamw": [1.0, 0.5],
    }, "of what has no seed in common with the winner nothing is said"  # fmt: skip
    assert figure.caption.startswith("At the end the training loss is 0% above tuned adamw's; mean of 1 seed")


def test_baselines_that_have_no_seed_in_common_do_not_hinder() -> None:
    """Where one failed on the first seed and another on the second."""
    of_each = [[SimpleNamespace(seed=seed) for seed in seeds] for seeds in ((0, 1), (0,), (1,), (0, 1))]
    assert _common_seeds(cast("Any", of_each)) == {0}


@pytest.mark.parametrize("losses", [[-2.5, 0.0, 1.9], [0.5, 2.0, 1.0]])
def test_losses_of_any_sign_are_drawn(losses: list[float]) -> None:
    rates = [0.1, 0.2, 0.4, 0.8]
    rows = [
        {"loss": loss, "momentum": None, "decay": 0.1, "learning rate": rate}
        for rate, loss in zip(rates, [*losses, None], strict=True)
    ]
    (figure,) = _maps(rows, "mine", "map")
    (colours,) = figure.traces[0]["z"]
    drawn = [value for value in colours if value is not None]
    assert len(drawn) == 3 and [sorted(drawn).index(x) for x in drawn] == [sorted(losses).index(x) for x in losses]
    assert (figure.traces[0]["zmin"], figure.traces[0]["zmax"]) == (min(drawn), max(drawn))


@pytest.mark.parametrize(
    ("passed", "said"),
    [(True, "is ahead of every baseline with z = 0.4"), (False, "has, against its hardest baseline, z = 0.4")],
)
def test_what_did_not_pass_is_ahead_of_nothing(passed: bool, said: str) -> None:
    row = SimpleNamespace(competitor="program 7", program_id=7, z=0.4, p=0.9, passed=passed, task="t")
    caption = _stage_figure(1, [cast("Any", row)]).caption
    assert said in caption and ("ahead of every" in caption) is passed


def test_a_front_is_not_said_to_be_all_that_trained(tmp_path: Path) -> None:
    objectives = {"kind": "evolution", "objectives": ["fitness", "states", "statements"]}
    with opened(tmp_path / "r.db") as store:
        run(settings_of(strategy=objectives, budget={"programs": 60}), store, PretendingEvaluator())
        source = ReportedSearch(Results(store))
        lead = leaderboard(source).lead
        assert f"; these {len(source.leaders)} are those that no other beats in fitness, statements and states" in lead


@pytest.mark.parametrize(
    ("own", "said"),
    [({}, "score (0 tuned AdamW, 1 best known)"), ({"anchors": [0.5, 0.1]}, "score (0 and 1 at its anchors)")],
)
def test_the_axis_of_scores_is_that_of_the_anchors(tmp_path: Path, own: dict[str, Any], said: str) -> None:
    tasks = [{"name": name, "seeds": 1, **own} for name in ("digits_mlp", "digits_autoencoder")]
    with opened(tmp_path / "r.db") as store:
        run(settings_of(tasks=tasks, budget={"programs": 10}, hurdles=False), store, PretendingEvaluator())
        assert ReportedSearch(Results(store)).meaning_of_fitness == said
