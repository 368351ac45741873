"""The verdict: what is ahead of the best tuned baseline on fresh seeds, and how much is trained to know it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from programs import structure_hash, zoo
from programs.hyperparameters import with_decay

from proxy_tasks import Outcome, Replica
from proxy_tasks.outcome import Status

from search.evidence.verdict import BOUND, CHOICE, LOOKS, judge_search
from search.results.results import Results
from search.results.text import verdict_in_words
from search.settings.seeds import FRESH_SEED
from search.store import VerdictRow
from search.store.keys import Judgement
from search.training.jobs import Job
from search.training.statistics import difference

from tests.support.searches import PretendingEvaluator, key_of, opened, run, settings_of

JUDGING = FRESH_SEED + CHOICE  # the first seed that judges
NOISE = 0.01
BASELINES = {
    structure_hash(program): name
    for name in ("lion", "signum")
    for program in (zoo.load(name), with_decay(zoo.load(name), 0.0))
}
Loss = Callable[[int], float | None]  # of a seed; None where training fails


class Staged(PretendingEvaluator):
    """Says what trainings give: the losses of everything that the search draws, and of each baseline, with noise."""

    def __init__(self, found: Loss, **baselines: Loss) -> None:
        super().__init__()
        self._losses = baselines | {"": found}
        self.fresh: list[tuple[str, int]] = []  # what is trained on fresh seeds

    def outcome(self, job: Job, replica: Replica) -> Outcome:
        name = BASELINES.get(structure_hash(replica.program), "")
        if replica.seed >= FRESH_SEED:
            self.fresh.append((name, replica.seed))
        loss = self._losses[name](replica.seed)
        if loss is None:
            return Outcome(Status.DIVERGED, None, [1.0], 1, 0.5, "it diverged")
        noise = NOISE * Random(f"{key_of(replica.program)} {replica.seed}").gauss(0, 1)
        return Outcome(Status.OK, -loss - noise, [1.0, 0.5], job.task.steps, 0.5)

    def judging(self, name: str) -> int:
        """On how many seeds that judge this was trained."""
        return len({seed for trained, seed in self.fresh if trained == name and seed >= JUDGING})


def judged(path: Path, evaluator: Staged, **changes: Any) -> tuple[VerdictRow, str]:
    """Run a search and judge it; the verdict as it is kept, and its words."""
    with opened(path / "r.db") as store:
        settings = settings_of(**{"baselines": ["lion", "signum"], "budget": {"programs": 40}} | changes)
        written = judge_search(run(settings, store, evaluator))
        (kept,) = Results(store).verdicts("small")
        assert all(getattr(kept, name) == value for name, value in written.as_columns().items())
        return written, verdict_in_words(kept)


def at(loss: float) -> Loss:
    return lambda _seed: loss


def test_what_is_ahead_of_all_baselines_is_known_after_the_first_look(tmp_path: Path) -> None:
    evaluator = Staged(at(0.5), lion=at(0.7), signum=at(0.6))
    found, words = judged(tmp_path, evaluator)
    assert (found.judgement, found.baseline, found.seeds, found.seeds_failed) == ("ahead", "signum", LOOKS[0], 0)
    assert found.ahead == pytest.approx(0.1, abs=0.02) and found.ahead_error is not None and found.z is not None
    assert words == (
        f"ahead: program {found.program_id} is ahead of tuned signum, the best baseline, by {found.ahead:.3g} +-"
        f" {found.ahead_error:.2g} on 8 fresh seeds (z = {found.z:.1f})"
    )
    assert (evaluator.judging(""), evaluator.judging("signum"), evaluator.judging("lion")) == (8, 8, 0)


def test_what_was_only_lucky_in_the_search_is_behind(tmp_path: Path) -> None:
    lucky = Staged(lambda seed: 0.5 if seed < FRESH_SEED else 0.7, lion=at(0.65), signum=at(0.6))
    found, words = judged(tmp_path, lucky)
    assert (found.judgement, found.baseline) == ("behind", "signum")
    assert words.startswith(f"not ahead: program {found.program_id} is behind tuned signum, the best baseline, by 0.")


@pytest.mark.parametrize(("searched", "seeds"), [(1, LOOKS[0]), (100, LOOKS[-1])])
def test_more_seeds_are_tried_as_long_as_it_is_open_and_cheap(tmp_path: Path, searched: int, seeds: int) -> None:
    """Beside a search that trains each program on 100 seeds, 64 for two of them are cheap."""
    evaluator = Staged(at(0.6), lion=at(0.9), signum=at(0.6))
    changes = {"tasks": [{"name": "digits_mlp", "steps": 5, "seeds": searched}]}
    found, words = judged(tmp_path, evaluator, **changes)
    assert (found.judgement, found.seeds, evaluator.judging("signum")) == ("undecided", seeds, seeds)
    assert found.ahead is not None and abs(found.ahead) < 4 * NOISE
    assert words.startswith("undecided: program") and words.endswith(", which does not tell")


def test_a_baseline_that_may_be_the_best_judges_too(tmp_path: Path) -> None:
    """Two that are alike on the seeds that choose: the one that is better afterwards is the one to beat."""
    evaluator = Staged(at(0.5), lion=lambda seed: 0.6 if seed < JUDGING else 0.55, signum=at(0.6))
    found, _ = judged(tmp_path, evaluator)
    assert (found.judgement, found.baseline) == ("ahead", "lion")


@pytest.mark.parametrize("fails_on", [FRESH_SEED + 1, JUDGING + 2])
def test_a_baseline_that_fails_on_a_seed_is_a_rival_on_the_others(tmp_path: Path, fails_on: int) -> None:
    """Whether the seed chooses or judges, what is behind it elsewhere is not ahead of the best baseline."""
    evaluator = Staged(at(0.5), lion=lambda seed: None if seed == fails_on else 0.4, signum=at(0.7))
    found, _ = judged(tmp_path, evaluator)
    assert (found.judgement, found.baseline, found.seeds_failed) == ("behind", "lion", 0)
    assert found.ahead == pytest.approx(-0.1, abs=0.02)


def test_a_candidate_that_fails_on_fresh_seeds_is_not_ahead(tmp_path: Path) -> None:
    fails = Staged(lambda seed: None if seed == JUDGING + 3 else 0.5, lion=at(0.7), signum=at(0.6))
    found, words = judged(tmp_path, fails)
    assert (found.judgement, found.seeds_failed, found.ahead) == ("behind", 1, None)
    assert words == (
        f"not ahead: the training of program {found.program_id} fails on 1 of 8 fresh seeds, and tuned signum trains on"
        " all of them"
    )


@pytest.mark.parametrize("baselines", [[], ["lion"]])
def test_without_a_baseline_that_trains_nothing_is_decided(tmp_path: Path, baselines: list[str]) -> None:
    evaluator = Staged(at(0.5), lion=lambda seed: None if seed >= FRESH_SEED else 0.7)
    found, words = judged(tmp_path, evaluator, baselines=baselines)
    assert (found.judgement, found.baseline, found.seeds) == ("undecided", None, LOOKS[0])
    assert words.startswith("undecided: there is no tuned baseline that trains on 8 fresh seeds, so")


def test_a_baseline_that_the_search_began_with_is_no_finding(tmp_path: Path) -> None:
    start = {"start": "lion", "start_tuned": True}
    evaluator = Staged(at(0.5), lion=at(0.7), signum=at(0.6))
    found, words = judged(tmp_path, evaluator, budget={"programs": 1}, strategy=start)
    assert (found.judgement, found.program_id, evaluator.fresh) == (Judgement.NOTHING, None, [])
    assert words == "nothing found: no program but the tuned baselines has trained well"


def test_a_verdict_is_reached_once_and_anew_when_the_search_has_gone_on(tmp_path: Path) -> None:
    with opened(tmp_path / "r.db") as store:
        results = Results(store)
        for births in (40, 80):
            settings = settings_of(baselines=["lion", "signum"], budget={"programs": births})
            for again in (False, True):
                evaluator = Staged(at(0.5), lion=at(0.7), signum=at(0.6))
                judge_search(run(settings, store, evaluator))
                assert not (again and evaluator.submitted)
                (kept,) = results.verdicts()
                assert kept.births == births


def test_several_tasks_are_judged_as_the_search_judges_them(tmp_path: Path) -> None:
    """Each seed counts by the mean over tasks of the places between anchors."""
    tasks = [
        {"name": "digits_mlp", "steps": 5, "anchors": [1.0, 0.0]},
        {"name": "mnist1d_mlp", "steps": 5, "anchors": [2.0, 1.0]},
    ]
    found, _ = judged(tmp_path, Staged(at(0.5), lion=at(0.7), signum=at(0.6)), tasks=tasks)
    assert found.fitness == pytest.approx((0.5 + 1.5) / 2, abs=0.02)
    assert found.ahead == pytest.approx(0.1, abs=0.02)


def test_what_is_no_better_is_called_ahead_in_one_case_of_forty() -> None:
    """The bound at each look, with all looks there may be, by simulation: 2.5 %, standard error 0.25 %."""
    draws = np.random.default_rng(0).standard_normal((4000, LOOKS[-1]))
    ahead = 0
    for row in draws:
        for seeds in LOOKS:
            found = difference(dict(enumerate(row[:seeds])), dict.fromkeys(range(seeds), 0.0))
            assert found is not None
            if abs(found.z) >= BOUND:
                ahead += found.mean > 0
                break
    assert 0.0175 < ahead / len(draws) < 0.0325
