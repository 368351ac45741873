"""One tuner for everybody: where it looks, that it finds what there is, and that all get the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

import pytest

from programs import InputError, Program, parse, zoo
from programs.hyperparameters import decay_of, learning_rate_of, scaled, with_decay

from proxy_tasks import DEFAULT_RESOURCES, Outcome, Replica, configured_process, get_task, train
from proxy_tasks.outcome import TorchOptimizer, TorchReplica
from proxy_tasks.torch_optimizers import train_torch_optimizer

from search.settings.baselines import BASELINES, TRIALS, Competitor, Range, chosen, competitor
from search.settings.seeds import FRESH_SEED
from search.settings.settings import Dedup, Settings
from search.settings.tasks import TaskSeeds
from search.store import Store
from search.training.inline import InlineEvaluator
from search.training.jobs import Job, train_job
from search.training.service import TrainingService
from search.training.tuning import Box, Point, TunedCompetitor, following, measure_noise, point, tune

from tests.support.searches import PretendingEvaluator, opened

TASK = replace(get_task("digits_mlp"), steps=20)
ON = [TaskSeeds(TASK, (0,))]
APART = Dedup(fingerprint=False)


@pytest.fixture(autouse=True)
def _as_workers_do() -> Iterator[None]:
    with configured_process():
        yield


Landscape = Callable[[float, float], float | None]  # fitness by the decades of learning rate and weight decay


class Pretending(PretendingEvaluator):
    """Fitness is a function of learning rate and weight decay; None is divergence."""

    def __init__(self, landscape: Landscape) -> None:
        super().__init__()
        self.landscape = landscape
        self.asked: list[tuple[str, float, float]] = []

    def outcome(self, _job: Job, replica: Replica | TorchReplica) -> Outcome:
        name, rate, decay = constants(replica.program)
        self.asked.append((name, rate, decay))
        fitness = self.landscape(math.log10(rate), math.log10(decay) if decay else -math.inf)
        if fitness is None:
            return Outcome("diverged", None, [], 1, 0.1, "too far")
        return Outcome("ok", fitness, [1.0] * 20, 20, 0.1)


def constants(program: Program | TorchOptimizer) -> tuple[str, float, float]:
    if isinstance(program, TorchOptimizer):
        return program
    rate = learning_rate_of(program)
    assert rate is not None
    return str(len(program)), rate, decay_of(program) or 0.0


def tuned(
    store: Store, landscape: Landscape, *names: str, trials: int = TRIALS
) -> tuple[list[TunedCompetitor], Pretending]:
    evaluator = Pretending(landscape)
    service = TrainingService(store, evaluator, 8, APART)
    return tune([BASELINES[name] for name in names], service, ON, trials=trials), evaluator


def bowl(rate: float, decay: float) -> Landscape:
    """Best at these decades, ten times steeper along the rate."""

    def fitness(x: float, y: float) -> float:
        return -((x - rate) ** 2) - (0.1 * min(abs(y - decay), 3.0) ** 2)

    return fitness


# --- what is found ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [-5.5, -4.0, -3.2, -2.5, -1.0, -0.5, 0.5, 2.0])
def test_the_best_learning_rate_is_found_inside_the_range_and_far_beyond(rate: float, tmp_path: Path) -> None:
    """AdamW's range begins as -3.5 to -0.5; a grid of 28 over it has half-decades of rates, 0.25 off at the worst."""
    with opened(tmp_path / "r.db") as store:
        ((found,), _) = tuned(store, bowl(rate, -1.0), "adamw")
    assert abs(math.log10(found.best.learning_rate) - rate) < (0.25 if -3.5 < rate < -0.5 else 0.5)
    assert found.trials == TRIALS


def test_trials_are_halved_and_only_the_last_are_trained_on_all_seeds(tmp_path: Path) -> None:
    """16 trials on one seed, 8 on two, 4 on all five; then three rounds of 4, 2 and 1."""
    seeds: dict[tuple[float, float], set[int]] = {}

    class Counting(Pretending):
        def outcome(self, job: Job, replica: Replica | TorchReplica) -> Outcome:
            found = super().outcome(job, replica)
            seeds.setdefault(self.asked[-1][1:], set()).add(replica.seed)
            return found

    with opened(tmp_path / "r.db") as store:
        service = TrainingService(store, Counting(bowl(-2.0, -1.0)), 8, APART)
        tasks = [TaskSeeds(TASK, (0, 1, 2, 3, 4))]
        (found,) = tune([BASELINES["adamw"]], service, tasks)
    counts = sorted(map(len, seeds.values()))
    assert len(counts) == TRIALS == found.trials
    assert [counts.count(n) for n in (1, 2, 4, 5)] == [8 + 3 * 2, 4 + 3 * 1, 2 + 3 * 0, 2 + 3 * 1]
    assert len(seeds[found.best.point]) == 5


def test_who_does_well_on_the_first_seed_only_is_not_the_best(tmp_path: Path) -> None:
    class Lucky(Pretending):
        def outcome(self, job: Job, replica: Replica | TorchReplica) -> Outcome:
            found = super().outcome(job, replica)
            lucky = replica.seed == 0 and self.asked[-1][1] > 0.03
            return found._replace(fitness=1.0) if lucky else found

    with opened(tmp_path / "r.db") as store:
        service = TrainingService(store, Lucky(bowl(-2.5, -1.0)), 8, APART)
        (found,) = tune([BASELINES["adamw"]], service, [TaskSeeds(TASK, (0, 1, 2))])
        assert found.fitness is not None and found.fitness < 0.5


def test_failed_trials_are_counted(tmp_path: Path) -> None:
    with opened(tmp_path / "r.db") as store:
        ((found,), evaluator) = tuned(store, lambda x, _: None if x > -1.5 else -((x + 2) ** 2), "adamw")
    assert found.failures == sum(rate > 10**-1.5 for _, rate, _ in set(evaluator.asked)) > 3


def test_no_decay_is_found_where_it_is_best(tmp_path: Path) -> None:
    with opened(tmp_path / "r.db") as store:
        ((none,), _) = tuned(store, lambda x, y: -((x + 2) ** 2) - (0.5 if y > -math.inf else 0.0), "lion")
        assert none.best.weight_decay == 0.0


def test_a_decay_beyond_the_range_is_found(tmp_path: Path) -> None:
    with opened(tmp_path / "r.db") as store:
        ((far,), evaluator) = tuned(store, bowl(-2.0, 1.4), "adamw")
    assert 3 < far.best.weight_decay < 100
    assert max(decay for _, _, decay in evaluator.asked) > 10.0


def test_where_everything_diverges_lower_rates_are_tried(tmp_path: Path) -> None:
    with opened(tmp_path / "r.db") as store:
        ((found,), evaluator) = tuned(store, lambda x, _: None if x > -4.0 else -1.0, "adamw")
        assert found.fitness == -1.0 and found.best.learning_rate < 1e-4
        ((none,), _) = tuned(store, lambda *_: None, "lion")
    assert none.fitness is None and none.row.fitness is None and none.trials == TRIALS
    assert min(rate for _, rate, _ in evaluator.asked) < 1e-4


# --- that it is fair -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trials", [4, 7, 28, 50])
def test_everybody_gets_the_same_number_of_trials(trials: int, tmp_path: Path) -> None:
    """Whoever begins at the right place and whoever does not."""
    with opened(tmp_path / "r.db") as store:
        found, evaluator = tuned(store, bowl(0.6, -2.0), *BASELINES, trials=trials)
    assert [t.name for t in found] == list(BASELINES) and {t.trials for t in found} == {trials}
    assert len(evaluator.asked) <= trials * len(BASELINES)
    assert len(evaluator.asked) > 0.8 * trials * len(BASELINES)  # rounding to three digits may make twins


def test_all_begin_at_the_same_points_of_their_ranges(tmp_path: Path) -> None:
    with opened(tmp_path / "r.db") as store:
        _, evaluator = tuned(store, bowl(-2.0, -1.0), "adamw", "torch_muon", "nesterov", trials=4)
    places: dict[str, list[float]] = {}
    for name, rate, _ in evaluator.asked:
        known = {"9": "adamw", "torch_muon": "torch_muon", "8": "nesterov"}[name]
        low = BASELINES[known].rates.low
        places.setdefault(known, []).append(round(math.log10(rate / low), 2))
    first, second, third = (sorted(p) for p in places.values())
    assert first == pytest.approx(second, abs=0.02) and first == pytest.approx(third, abs=0.02)


def test_nobody_begins_with_narrower_ranges_than_a_baseline() -> None:
    anybody = competitor("mine", zoo.load("adamw"))
    assert anybody.decays == pytest.approx((0.01 / 10**1.5, 0.01 * 10**1.5))
    for one in (*BASELINES.values(), anybody):
        assert one.rates.high / one.rates.low == pytest.approx(1000, rel=1e-6)
        assert one is anybody or (one.decays is not None and one.decays.high / one.decays.low == pytest.approx(100))


def test_the_first_round_covers_the_ranges_and_a_quarter_has_no_decay(tmp_path: Path) -> None:
    """Quasi-random points: of 16, one in each sixteenth of the decades, and exactly a quarter without decay."""
    evaluator, answers = Pretending(bowl(-2.0, -1.0)), iter([False, True])
    with opened(tmp_path / "r.db") as store:
        service = TrainingService(store, evaluator, 8, Dedup())
        tune([BASELINES["adamw"]], service, ON, stopped=lambda: next(answers))
    assert len(evaluator.asked) == 16 and sum(decay == 0 for _, _, decay in evaluator.asked) == 4
    for low in (3e-4, 3e-3, 3e-2):
        assert sum(low <= rate < 10 * low for _, rate, _ in evaluator.asked) in (4, 5, 6, 7)
    for low in (1e-2, 1e-1):
        assert sum(low <= decay < 10 * low for _, _, decay in evaluator.asked) in (5, 6, 7)


# --- rounds ----------------------------------------------------------------------------------------------------------

START = Box(Range(1e-3, 1.0), Range(1e-2, 1.0), 0.25)


@pytest.mark.parametrize(
    ("best", "rates", "decays", "covered"),
    [
        (Point(2e-2, 0.1), (5e-3, 8e-2), (2.5e-2, 0.4), START),  # inside: closer on both axes
        (Point(2e-2, 0.0), (5e-3, 8e-2), None, START),
        (Point(2e-3, 0.1), (1e-4, 1e-3), (1e-2, 1.0), START._replace(rates=Range(1e-4, 1.0))),  # rates go down
        (Point(0.5, 0.1), (1.0, 10.0), (1e-2, 1.0), START._replace(rates=Range(1e-3, 10.0))),  # and up
        (Point(2e-2, 0.5), (5e-3, 8e-2), (1.0, 10.0), START._replace(decays=Range(1e-2, 10.0))),
        (Point(2e-2, 0.015), (5e-3, 8e-2), (0.015 / 4, 0.06), START),  # below the lowest decay is none
        (None, (1e-4, 1e-3), (1e-2, 1.0), START._replace(rates=Range(1e-4, 1.0))),
    ],
)
def test_where_the_next_round_looks(
    best: Point | None,
    rates: tuple[float, float],
    decays: tuple[float, float] | None,
    covered: Box,
) -> None:
    box, after = following(START, best, 4.0)
    assert box.rates == pytest.approx(rates)
    assert (box.decays if decays is None else tuple(box.decays or ())) == (decays and pytest.approx(decays))
    assert after.rates == pytest.approx(covered.rates) and after.decays == pytest.approx(covered.decays)


def test_points_of_a_box() -> None:
    assert point(START, 0.0, 0.1) == (0.001, 0.0)
    assert point(START, 0.5, 0.25) == (0.0316, 0.01)
    assert point(START, 1.0, 1.0) == (1.0, 1.0)
    assert point(START._replace(decays=None), 1 / 3, 0.9) == (0.01, 0.0)


# --- repeatable, resumable -------------------------------------------------------------------------------------------


def test_tuning_again_trains_nothing_and_finds_the_same(tmp_path: Path) -> None:
    with opened(tmp_path / "r.db") as store:
        first, evaluator = tuned(store, bowl(-2.2, -1.3), "adamw", "torch_muon")
        again, idle = tuned(store, bowl(7.0, 7.0), "torch_muon", "adamw")
        assert evaluator.asked and not idle.asked
        assert [t.row for t in again] == [t.row for t in reversed(first)]
    with opened(tmp_path / "other.db") as store:
        alone, _ = tuned(store, bowl(-2.2, -1.3), "torch_muon")
        assert alone[0].row == first[1].row


def test_stopped_between_rounds_there_is_no_result_but_nothing_is_lost(tmp_path: Path) -> None:
    with opened(tmp_path / "r.db") as store:
        evaluator = Pretending(bowl(-2.0, -1.0))
        service = TrainingService(store, evaluator, 8, Dedup())
        answers = iter([False, False, True])
        arguments = ([BASELINES["adamw"]], service, ON)
        assert tune(*arguments, stopped=lambda: next(answers)) == []
        before = len(evaluator.asked)
        (found,) = tune(*arguments)
        assert 16 <= before < len(evaluator.asked) <= found.trials == TRIALS


# --- any program -----------------------------------------------------------------------------------------------------


def test_any_program_is_tuned_by_its_factor_and_its_own_decay() -> None:
    one = competitor("mine", zoo.load("sgd_momentum"))
    assert one.decays == pytest.approx((0.0005 / 10**1.5, 0.0005 * 10**1.5))
    assert one.make(3.0, 0.002) == scaled(with_decay(zoo.load("sgd_momentum"), 0.002), 3.0)
    assert one.make(1.0, 0.0005) == zoo.load("sgd_momentum")


def test_a_program_without_decay_gets_none_and_one_with_zero_may_have_some(tmp_path: Path) -> None:
    plain = competitor("sgd", zoo.load("sgd"))
    assert plain.decays is None and str(plain.make(2.0, 0.0)) == str(zoo.load("sgd")).replace("lr * 0.1", "lr * 0.2")
    assert competitor("adamw", with_decay(zoo.load("adamw"), 0.0)).decays == pytest.approx(
        (0.1 / 10**1.5, 0.1 * 10**1.5)
    )
    with opened(tmp_path / "r.db") as store:
        evaluator = Pretending(bowl(-0.4, -1.0))
        (found,) = tune([plain], TrainingService(store, evaluator, 8, Dedup()), ON)
        assert found.best.weight_decay == 0.0 and found.trials == TRIALS == len(evaluator.asked)
        assert 0.1 * found.best.learning_rate == pytest.approx(10**-0.4, rel=0.3)


def test_a_program_without_a_learning_rate_is_tuned_by_one_more_statement() -> None:
    one = competitor("mine", parse("update = g + m\nm = update - w"))
    assert str(one.make(0.5, 1.0)).endswith("update = update * 0.5")


# --- real training ---------------------------------------------------------------------------------------------------


def test_natives_go_through_service_store_and_evaluator_beside_programs(tmp_path: Path) -> None:
    native, program = TorchOptimizer("torch_muon", 0.05, 0.1), scaled(zoo.load("adamw"), 10.0)
    with opened(tmp_path / "r.db") as store:
        service = TrainingService(store, InlineEvaluator(), 8, Dedup())
        on = [TaskSeeds(TASK, (0, 5))]
        (first,), (second,) = service.train([native, program], on)
        assert service.trained == 4
        for seed in (0, 5):
            assert first.by_seed[seed] == train_torch_optimizer(TASK, TorchReplica(native, seed)).fitness
            assert second.by_seed[seed] == pytest.approx(train(TASK, [Replica(program, seed)])[0].fitness, rel=1e-5)
        assert service.train([native], on) == [[first]] and service.trained == 4


def test_a_job_gives_outcomes_in_the_order_of_its_replicas() -> None:
    replicas = (
        TorchReplica(TorchOptimizer("torch_muon", 0.05, 0.1), 0), Replica(zoo.load("adamw"), 0),
        TorchReplica(TorchOptimizer("torch_muon", 0.01, 0.1), 1), Replica(zoo.load("lion"), 1),
    )  # fmt: skip
    outcomes = [o._replace(seconds=0.0) for o in train_job(Job(0, TASK, replicas), DEFAULT_RESOURCES)]
    for replica, outcome in zip(replicas, outcomes, strict=True):
        (alone,) = train_job(Job(1, TASK, (replica,)), DEFAULT_RESOURCES)
        assert alone.curve == pytest.approx(outcome.curve, rel=1e-5)
    assert len({outcome.fitness for outcome in outcomes}) == 4


def test_the_noise_of_a_task_is_measured_on_fresh_seeds(tmp_path: Path) -> None:
    with opened(tmp_path / "r.db") as store:
        service = TrainingService(store, InlineEvaluator(), 32, Dedup())
        program = scaled(zoo.load("adamw"), 10.0)
        row = measure_noise(program, TASK, service)
        outcomes = train(TASK, [Replica(program, seed) for seed in range(FRESH_SEED, FRESH_SEED + 20)])
        fitness = [outcome.fitness for outcome in outcomes if outcome.fitness is not None]
        assert (row.task, row.task_fingerprint, row.seeds, row.seeds_failed) == (TASK.name, TASK.fingerprint, 20, 0)
        assert (row.mean, row.sigma) == (pytest.approx(fmean(fitness)), pytest.approx(stdev(fitness)))
        assert parse(row.genome) == program
        assert measure_noise(program, TASK, service) == row and service.trained == 20


# --- names -----------------------------------------------------------------------------------------------------------


def test_baselines_are_chosen_by_name() -> None:
    assert chosen("muon, adamw,muon") == ["muon", "adamw"]
    assert chosen("all") == list(BASELINES)
    with pytest.raises(InputError, match=r"unknown baseline 'nope'; there are adamw, torch_adamw, nadamw, nesterov"):
        chosen("adamw,nope")


def test_every_baseline_can_be_had_by_name_in_a_config() -> None:
    settings = Settings.model_validate(
        {"name": "x", "budget": {"programs": 1}, "tasks": [{"name": "digits_mlp"}], "baselines": list(BASELINES)}
    )
    assert settings.baselines == tuple(BASELINES)
    assert {"adamw", "nadamw", "nesterov", "lion", "signum", "muon"} <= set(BASELINES)


def test_a_competitor_is_made_with_what_a_trial_says() -> None:
    for name, one in BASELINES.items():
        assert isinstance(one, Competitor)
        made = one.make(0.0123, 0.45)
        assert constants(made)[1:] == (0.0123, 0.45)
        assert isinstance(made, TorchOptimizer) is (name == "torch_muon")
