"""The data sheet: maps grow to the best and to the edge, constraints are checked in training, sections are shown."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from programs import InputError, Program, parse, zoo
from programs.analysis.lion_k import LionK, lion_k
from programs.analysis.properties import Subject
from programs.hyperparameters import decay_of, learning_rate_of, momentum_of, with_decay, with_learning_rate

from proxy_tasks import Outcome, Replica, configured_process, get_task, train
from proxy_tasks.outcome import Status
from proxy_tasks.trainer import validation_losses

from search.commands import analyze, terminal
from search.commands.analyze import data_sheet
from search.commands.output import Form, write
from search.evidence.analysis import family, maps, properties, stability, transfer
from search.evidence.analysis.advice import section as advice
from search.evidence.analysis.family import ConstraintRun, constraint_runs
from search.evidence.analysis.maps import Cell, StabilityMap
from search.evidence.analysis.sections import SECTIONS, chosen_sections
from search.evidence.analysis.sheet import Analysis
from search.evidence.analysis.stability import Stability
from search.evidence.analysis.walk import start, trained, walk
from search.results.export import NamedProgram
from search.settings.settings import Dedup
from search.store import Store
from search.store.data_sheets import SheetSection
from search.training.jobs import FinishedJob, Job
from search.training.service import TrainingService

from tests.support.searches import PretendingEvaluator, opened

SHORT = replace(get_task("digits_mlp_short"), steps=60)
LION = with_decay(with_learning_rate(zoo.load("lion"), 0.03), 1.0)


class Judge(PretendingEvaluator):
    """The loss of a training is what a function says of learning rate and decay; infinite is diverged."""

    def __init__(self, loss: Callable[[float, float], float], edge: Callable[[float], float] | None = None) -> None:
        super().__init__()
        self._loss, self._edge = loss, edge

    def collect(self, timeout: float) -> list[FinishedJob]:
        job: Job = self.jobs.pop()
        return [FinishedJob(job.number, [self._outcome(r.program) for r in job.replicas if isinstance(r, Replica)])]

    def _outcome(self, program: Program) -> Outcome:
        loss = self._loss(rate := learning_rate_of(program) or 0.0, decay_of(program) or 0.0)
        if self._edge is not None and rate > self._edge(momentum_of(program) or 0.0):
            loss = math.inf
        status = Status.DIVERGED if math.isinf(loss) else Status.OK
        return Outcome(status, None if math.isinf(loss) else -loss, [], SHORT.steps, 0.0)


def bowl(rate: float, decay: float) -> float:
    """Lowest at a rate of 0.3 and a decay of 0.1; diverges above a rate of 2."""
    off = math.log10(rate / 0.3) ** 2 + (math.log10(decay / 0.1) ** 2 if decay else 4.0)
    return math.inf if rate > 2.0 else 0.1 * off


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path / "sheet.db") as store:
        yield store


def judged(
    store: Store, name: str, loss: Callable[[float, float], float], edge: Callable[[float], float] | None = None
) -> Analysis:
    service = TrainingService(store, Judge(loss, edge), 256, Dedup(fingerprint=False))
    return Analysis(name, zoo.load(name), SHORT, (0,), service)


# --- stability -------------------------------------------------------------------------------------------------------


def test_a_map_grows_to_the_best_and_to_the_edge(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stability, "_sharpness", lambda *_: {})
    found = judged(store, "lion", bowl).of(stability.stability).ours  # from a learning rate of 1e-4, decay 0.01
    assert found.best.learning_rate == pytest.approx(0.3, rel=0.2) and found.best.weight_decay == pytest.approx(0.1)
    highest = found.highest_stable(found.best.weight_decay)
    assert highest is not None and 2.0 / 10 ** (1 / 16) < highest <= 2.0
    assert 0.0 in found.decays
    assert found.with_room.learning_rate * maps.ROOM <= highest and found.with_room.loss < 0.1


def test_where_nothing_trains_the_map_ends_and_says_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stability, "_sharpness", lambda *_: {})
    found = judged(store, "lion", lambda *_: math.inf)
    assert stability.section(found).sentences[0] == "lion: nothing trains at any learning rate"
    assert found.of(stability.stability).ours.highest_stable(0.0) is None
    assert found.of(constraint_runs) == []


def test_a_program_without_decay_has_a_map_of_rates_alone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stability, "_sharpness", lambda *_: {})
    found = judged(store, "sgd", bowl).of(stability.stability)
    assert found.ours.decays == [None] and len(found.adamw.decays) > 3


def test_each_momentum_has_its_own_edge(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which falls as averages get longer; their maps look at the decays beside the best one, and at none."""
    monkeypatch.setattr(stability, "_sharpness", lambda *_: {})
    analysis = judged(store, "lion", bowl, edge=lambda momentum: 10 * (1 - momentum))
    found = analysis.of(stability.stability)
    assert list(found.momenta) == [0.6, 0.9, 0.975] and found.momenta[0.9] is found.ours
    highest = [one.highest_stable(one.best.weight_decay) for one in found.momenta.values()]
    assert all(rate is not None for rate in highest)
    for rate, edge in zip(highest, (2.0, 1.0, 0.25), strict=True):  # a bowl ends at 2
        assert edge / 1.2 < (rate or 0.0) <= edge
    assert found.momenta[0.6].decays == [0.0, 0.01, 0.1, 1.0]
    (table, *_) = stability.section(analysis).tables
    shown = list(analyze._shown(table))
    assert len(shown) == 3 and [one.title.split(":")[0] for one in shown] == [f"momentum {m}" for m in found.momenta]


def test_a_program_without_momentum_has_one_map(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stability, "_sharpness", lambda *_: {})
    analysis = judged(store, "sgd", bowl)
    assert analysis.of(stability.stability).momenta == {}
    (shown,) = analyze._shown(stability.section(analysis).tables[0])
    assert shown.title.startswith("loss over") and "momentum" not in shown.columns


def test_sharpness_is_that_of_the_result(store: Store) -> None:
    """More for longer perturbations, nothing for none."""
    one = StabilityMap("lion", [Cell(0.03, 1.0, 0.1, LION)], 2.3)
    analysis = judged(store, "lion", bowl)
    found = stability._sharpness(analysis, [one])["lion"]
    short, long = (found[length] for length in stability.PERTURBATIONS)
    assert 0 < short < long < 1.0


# --- what is seen at every step --------------------------------------------------------------------------------------


def test_the_untrained_model_is_judged_as_a_trained_one() -> None:
    """By the loss of validation, where that of training is another."""
    task = replace(get_task("poisson_pinn"), steps=1)
    service = TrainingService(None, Judge(bowl), 256, Dedup())  # type: ignore[arg-type] - nothing is trained
    with configured_process():
        (unmoved,) = train(task, [Replica(parse("update = w * 0.0"), 0)])
    assert unmoved.fitness is not None
    assert maps._untrained_loss(Analysis("one", LION, task, (0,), service)) == pytest.approx(-unmoved.fitness)


def test_weights_are_those_of_the_trainer() -> None:
    programs = [LION, zoo.load("adamw"), zoo.load("normuon")]
    data, model = SHORT.load()
    with configured_process():
        outcomes = train(SHORT, [Replica(program, 5) for program in programs])
        for outcome, w in zip(outcomes, trained(SHORT, programs, 5), strict=True):
            row = model.initial_row(5)[None].clone()
            row[0, : len(w)] = row.new_tensor(w)
            (loss,) = validation_losses(data, model.losses, model.parameters(row))
            assert outcome.fitness == pytest.approx(-loss, rel=1e-5)


# --- the constraint --------------------------------------------------------------------------------------------------


def runs(store: Store, monkeypatch: pytest.MonkeyPatch, program: Program, decay: float) -> list[ConstraintRun]:
    """The runs of a program whose best setting is this program with this decay."""
    analysis = Analysis("one", program, SHORT, (0,), TrainingService(store, Judge(bowl), 256, Dedup()))
    best = StabilityMap(
        "one", [Cell(0.03, decay, 0.1, with_decay(program, decay) if decay_of(program) else program)], 2.3
    )
    monkeypatch.setattr(family, "stability", lambda _: Stability(best, best, {}, {}))
    return analysis.of(constraint_runs)


def test_the_constraint_of_lion_holds_in_training(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    best, binding = runs(store, monkeypatch, LION, 30.0)
    assert best.bound == pytest.approx(1 / 30) and best.burn_in is not None and 0 < best.burn_in < SHORT.steps
    assert best.largest is not None and 0.5 < best.largest < 1.05  # the bound is reached
    assert binding.violation is not None and binding.violation < 1e-6 and binding.burn_in == 0
    assert binding.largest is not None and binding.largest > 0.5
    assert binding.lyapunov is not None
    first, last, falls = binding.lyapunov
    assert last < first and falls > 0.5


def test_a_bound_that_is_too_low_is_seen_to_be_violated(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    real = lion_k

    def low(subject: Subject) -> LionK | None:
        found = real(subject)
        return found and found._replace(radius=found.radius and found.radius / 20)

    monkeypatch.setattr(family, "lion_k", low)
    assert any(run.violation is not None and run.violation > 0.5 for run in runs(store, monkeypatch, LION, 1.0))


@pytest.mark.parametrize("name", ["adamw", "sgd_momentum", "sgd"])
def test_other_rules_have_no_constraint(store: Store, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert runs(store, monkeypatch, zoo.load(name), 0.1) == []


def test_the_walk_starts_where_trainings_do() -> None:
    first = next(walk(SHORT, [with_learning_rate(LION, 1e-9)], 3))
    assert np.allclose(first.w[0], start(SHORT, 3), atol=1e-6) and first.step == 0


# --- sections and command --------------------------------------------------------------------------------------------


def test_sections_are_chosen_in_their_order() -> None:
    assert chosen_sections("all") == list(SECTIONS) == [
        "properties", "family", "stability", "transfer", "states", "advice",
    ]  # fmt: skip
    assert chosen_sections("advice, properties") == ["properties", "advice"]
    with pytest.raises(InputError, match="--sections: no section 'plots'; there are properties, family"):
        chosen_sections("family,plots")


def test_advice_is_five_lines(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stability, "_sharpness", lambda *_: {})
    monkeypatch.setattr(properties, "step_times", lambda _: [0.5])
    (table,) = advice(judged(store, "lion", bowl)).tables
    lines = {row[""]: row["advice"] for row in table.rows}
    assert list(lines) == ["use it", "begin at", "batch size", "memory", "not when"]
    assert lines["begin at"].startswith("learning rate 0.32, weight decay 0.1")
    assert "level with it" in lines["use it"] and "root of its factor" in lines["batch size"]
    assert lines["memory"].startswith("1 slot of 4 bytes") and "keeps its speed" in lines["not when"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SheetSection]:
    """A whole data sheet, of small maps."""
    on = replace(get_task("digits_mlp_short"), steps=10)
    with pytest.MonkeyPatch.context() as patch, opened(tmp_path_factory.mktemp("sheet") / "sheet.db") as store:
        patch.setattr(properties, "step_times", lambda _: [0.5])
        for name in ("LOWEST", "HIGHEST", "MOST_DECAY"):
            patch.setattr(maps, name, 0)
        patch.setattr(transfer, "GRID", range(-1, 2))
        patch.setattr(transfer, "MOST", 1)
        patch.setattr(transfer, "LEAST", -1)
        return data_sheet(NamedProgram("lion", LION), on, 1, list(SECTIONS), store)


def test_the_data_sheet_fits_80_columns(
    made: dict[str, SheetSection], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    narrow = Console(width=80, highlight=False, markup=False)
    for module in (analyze, terminal):
        monkeypatch.setattr(module, "console", narrow)
    analyze._show(made)
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80 and "None" not in shown
    for title in ("properties", "nearest programs of the zoo", "loss over learning rate", "edge of div", "advice"):
        assert title in shown


def test_the_same_as_json(made: dict[str, SheetSection], capsys: pytest.CaptureFixture[str]) -> None:
    write(Form.JSON, "analyze", "x.db", analyze._tables(made))
    tables = json.loads(capsys.readouterr().out)["tables"]
    assert list(tables) == [
        "sentences", "properties", "neighbours", "constraint", "stability", "edges", "sharpness", "transfer",
        "transfer losses", "recommended", "regret", "states", "advice",
    ]  # fmt: skip
    for table in tables.values():
        assert table and len({tuple(row) for row in table}) == 1
    assert {row["evidence"] for row in tables["properties"]} == {"proved", "sampled", "measured"}
