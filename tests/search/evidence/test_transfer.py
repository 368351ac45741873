"""Transfer of the learning rate, regrets on changed data, and cheap states, where it is known what is to be found."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from programs import zoo
from programs.hyperparameters import learning_rate_of, momentum_of

from proxy_tasks import Outcome, Replica, Task, get_task
from proxy_tasks.outcome import CURVE_POINTS, Status

from search.evidence.analysis import cheap_state, regret, stability, transfer
from search.evidence.analysis.maps import Cell, StabilityMap
from search.evidence.analysis.sheet import Analysis
from search.evidence.analysis.stability import Stability
from search.evidence.analysis.variations import axes, changed_tasks
from search.settings.settings import Dedup
from search.store import Store
from search.training.jobs import FinishedJob, Job
from search.training.service import TrainingService

from tests.support.searches import PretendingEvaluator, opened

TASK = replace(get_task("digits_mlp_short"), steps=40)
LossOf = Callable[[Replica, Task], float]


class Judge(PretendingEvaluator):
    """The loss of a training is what a function says of the replica and the task; infinite is diverged."""

    def __init__(self, loss: LossOf) -> None:
        super().__init__()
        self._loss = loss

    def collect(self, timeout: float) -> list[FinishedJob]:
        job: Job = self.jobs.pop()
        return [FinishedJob(job.number, [self._outcome(r, job.task) for r in job.replicas if isinstance(r, Replica)])]

    def _outcome(self, replica: Replica, task: Task) -> Outcome:
        loss = self._loss(replica, task)
        status = Status.DIVERGED if math.isinf(loss) else Status.OK
        curve = [] if math.isinf(loss) else [0.1] * CURVE_POINTS
        return Outcome(status, None if math.isinf(loss) else -loss, curve, task.steps, 0.0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path / "sheet.db") as store:
        yield store


def judged(
    store: Store, monkeypatch: pytest.MonkeyPatch, loss: LossOf, name: str = "lion", task: Task = TASK
) -> Analysis:
    """An analysis that begins from the constants of the zoo; AdamW beside from its own."""
    monkeypatch.setattr(stability, "_sharpness", lambda *_: {})
    service = TrainingService(store, Judge(loss), 256, Dedup(fingerprint=False))
    analysis = Analysis(name, zoo.load(name), task, (0, 1), service)
    ours, adamw = (_map(one) for one in (name, "torch_adamw"))
    for module in (transfer, regret, cheap_state):
        monkeypatch.setattr(module, "stability", lambda _: Stability(ours, adamw, {}, {}))
    monkeypatch.setattr(regret, "grown", lambda *_, **__: [_map("lion")])
    return analysis


def _map(name: str) -> StabilityMap:
    program = zoo.load(name)
    return StabilityMap(name, [Cell(learning_rate_of(program) or 0.0, 0.01, 0.1, program)], 2.3)


def off(replica: Replica, best: float) -> float:
    """The square of how far a rate is from the best, in decades; seeds disagree a little."""
    seed = 0.01 * (replica.seed % 3 - 1)
    return (math.log10((learning_rate_of(replica.program) or 0.0) / best) + seed) ** 2


# --- axes ------------------------------------------------------------------------------------------------------------


def test_what_a_task_can_vary() -> None:
    found, left_out = axes(get_task("digits_mlp"))
    assert {axis.name: list(axis.tasks) for axis in found} == {
        "batch size": [16, 32, 64, 128, 256, 512, 1024],
        "steps": [125, 250, 500, 1000, 2000],
        "width": [0.5, 1, 2, 4],
        "depth": [1, 2, 3],
    }
    assert left_out == []
    by_name = {axis.name: axis.tasks for axis in found}
    assert dict(by_name["width"][4].model_args) == {"hidden": (128,)}
    assert dict(by_name["depth"][3].model_args) == {"hidden": (32, 32, 32)}
    assert by_name["batch size"][128] == by_name["steps"][500] == get_task("digits_mlp")


@pytest.mark.parametrize(
    ("name", "left_out"),
    [
        ("digits_cnn", ["depth"]),
        ("digits_autoencoder", ["depth"]),
        ("noisy_quadratic", ["width", "depth"]),
        ("markov_transformer", []),
    ],
)
def test_what_a_task_has_no_argument_for_is_said(name: str, left_out: list[str]) -> None:
    found, said = axes(get_task(name))
    assert [axis.name for axis in found] == [n for n in ("batch size", "steps", "width", "depth") if n not in left_out]
    assert said == [f"{n} is left out: no argument of the model of {name} says it alone" for n in left_out]


def test_data_can_be_changed_where_there_are_labels() -> None:
    tasks, said = changed_tasks(get_task("digits_cnn"))
    assert len(tasks) == 3 and said == "" and len({task.fingerprint for task in tasks.values()}) == 3
    tasks, said = changed_tasks(get_task("noisy_quadratic"))
    assert tasks == {} and "left out for noisy_quadratic" in said and "no label for each sample" in said


# --- transfer --------------------------------------------------------------------------------------------------------


def test_exponents_of_the_best_rate_are_found(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It rises with the root of the batch size and falls with the steps; width and depth change nothing."""

    def loss(replica: Replica, task: Task) -> float:
        return 0.1 + off(replica, 1e-4 * (task.batch_size / 128) ** 0.5 * (task.steps / 40) ** -0.25)

    found = judged(store, monkeypatch, loss).of(transfer.transfer)
    by_name = {axis.name: axis for axis in found.axes}
    for name, exponent in (("batch size", 0.5), ("steps", -0.25), ("width", 0.0), ("depth", 0.0)):
        power = by_name[name].power
        assert power is not None and power.exponent == pytest.approx(exponent, abs=0.02)
        assert power.is_sure is (exponent != 0)
        assert not by_name[name].edges
    table = transfer._recommended(found)
    rates = {row["change"]: row for row in table.rows}
    assert rates["8 times the batch size"]["measured"] == pytest.approx(1e-4 * 8**0.5, rel=0.03)
    assert rates["8 times the batch size"]["by the exponents"] == pytest.approx(1e-4 * 8**0.5, rel=0.05)
    assert rates["both"]["by the exponents"] == pytest.approx(1e-4 * 8**0.5 * 4**-0.25, rel=0.07)
    said = transfer._about(by_name["width"])
    assert "cannot be told from zero" in said[0] and len(said) == 1


def test_the_rise_and_fall_of_a_rule_like_the_sign_is_seen(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def loss(replica: Replica, task: Task) -> float:
        b = task.batch_size / 200
        return 0.1 + off(replica, 2e-4 / (b**0.5 + b**-0.5))

    found = judged(store, monkeypatch, loss).of(transfer.transfer)
    batch = found.axis("batch size")
    assert batch is not None and batch.surge is not None and batch.surge.peak == pytest.approx(200, rel=0.1)
    (said,) = transfer._surge(batch)
    assert "within the batch sizes looked at, fits better than a power" in said


def test_a_grid_grows_to_the_best_and_says_where_it_ends(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def loss(replica: Replica, task: Task) -> float:
        best = {16: 1e-9, 1024: 6e-3}.get(task.batch_size, 1e-4)
        return 0.1 + off(replica, best)

    found = judged(store, monkeypatch, loss).of(transfer.transfer)
    batch = found.axis("batch size")
    assert batch is not None and batch.edges == [16]
    assert len(batch.curves[1024].rates) > len(batch.curves[128].rates)
    assert batch.curves[1024].best is not None
    assert batch.curves[1024].best.rate == pytest.approx(6e-3, rel=0.05)
    assert "at 16 the best is at the edge of the grid" in transfer._about(batch)[1]


def test_a_program_that_does_not_train_is_not_varied(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    analysis = judged(store, monkeypatch, lambda *_: math.inf)
    nothing = StabilityMap("lion", [Cell(1e-4, 0.01, math.inf, analysis.program)], 2.3)
    for module in (transfer, regret, cheap_state):
        monkeypatch.setattr(module, "stability", lambda _: Stability(nothing, nothing, {}, {}))
    made = transfer.section(analysis)
    assert "trains at no learning rate" in made.sentences[0] and made.tables == []
    assert cheap_state.section(analysis).tables == ()


# --- regret ----------------------------------------------------------------------------------------------------------


def test_regret_is_what_tuning_anew_would_gain(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of Lion on wrong labels alone, where the best rate is four times as high; AdamW's stays where it is."""

    def loss(replica: Replica, task: Task) -> float:
        rate = learning_rate_of(replica.program) or 0.0
        own = 1e-4 if momentum_of(replica.program) == 0.9 and len(replica.program) < 10 else 1e-3
        is_noisy = "wrong labels" in task.name and own == 1e-4
        return 0.1 + math.log10(rate / (own * (4 if is_noisy else 1))) ** 2 + 0.001 * replica.seed

    found = judged(store, monkeypatch, loss).of(regret.regrets)
    by_place = {(r.rule, r.change): r for r in found.rows}
    assert {rule for rule, _ in by_place} == {"lion", "torch_adamw"}  # Lion is not compared with itself
    assert len(by_place) == 2 * 4
    for (rule, change), one in by_place.items():
        expected = math.log10(4) ** 2 if (rule, change) == ("lion", "20 % wrong labels") else 0.0
        assert one.regret == pytest.approx(expected, abs=1e-9) and one.error == pytest.approx(0.0, abs=1e-9)
    said = regret.regret_sentences(found)
    assert said[0].startswith("lion with its setting kept: at most 0.3625") and said[0].endswith("20 % wrong labels")


# --- cheap states ----------------------------------------------------------------------------------------------------


def test_cheap_states_are_compared_seed_by_seed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    added = {"float32": 0.0, "bf16": 0.001, "8bit": 0.01, "low_rank": math.inf}

    def loss(replica: Replica, task: Task) -> float:
        assert replica.seed >= 1000  # on seeds that nothing was chosen on
        return 0.1 + 0.05 * (replica.seed % 7) + added[task.states]

    analysis = judged(store, monkeypatch, loss)
    plain, bf16, bits, rank = analysis.of(cheap_state.cheap_states)
    assert plain.above is None and rank.above is None and math.isinf(rank.loss)
    assert bf16.above is not None and bf16.above.mean == pytest.approx(0.001) and bf16.above.paired
    assert bits.above is not None and bits.above.standard_error == pytest.approx(0.0, abs=1e-12)
    assert [one.bytes_per_weight for one in (plain, bf16)] == [4.0, 2.0] and 1.0 < bits.bytes_per_weight < 1.02
    assert rank.in_words == "states in low rank: training fails"


def test_a_rule_without_states_has_none_to_keep_cheaper(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = cheap_state.section(judged(store, monkeypatch, lambda *_: 0.1, "sgd"))
    assert made.sentences == ["sgd has no state for each weight that could be kept cheaper, or it trains nowhere"]
