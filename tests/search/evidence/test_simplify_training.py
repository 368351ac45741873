"""Simplification by training: what is tried, how it is judged, the chain of steps, and raw Lion comes out as Lion."""

from __future__ import annotations

import json
import math
import sqlite3
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from programs import InputError, Program, parse, zoo
from programs.export import export_torch
from programs.hashing import dataflow_hash
from programs.liveness import live_program
from programs.simplify import simplify_algebra
from programs.simplify.evidence import updates

from proxy_tasks import Outcome, Replica, get_task, train

from search.commands.simplify import DEDUP, _Losses, _show, simplify_program
from search.evidence.recording import record
from search.evidence.scaled_tasks import ScaledTask, difference, losses, scaled_task
from search.evidence.simplification import ABLATION, CONSTANT, NAMES, Simplification, TrainingEvidence, simplify
from search.evidence.variants import ablations, candidates, digits, roundings
from search.training.inline import InlineEvaluator
from search.training.jobs import FinishedJob, Job
from search.training.service import TrainingService

from tests.support.searches import PretendingEvaluator, opened, rows_of_query, run, settings_of

TASK = get_task("digits_mlp_short")
SHORT = replace(TASK, steps=60)
SEEDS = range(8)

Judge = Callable[[Program], float]


class JudgingEvaluator(PretendingEvaluator):
    """The loss of a training is what the judge says of the program, plus what the seed adds for all programs alike."""

    def __init__(self, judge: Judge) -> None:
        super().__init__()
        self._judge = judge

    def collect(self, timeout: float) -> list[FinishedJob]:
        if not self.jobs:
            return []
        job: Job = self.jobs.pop()
        return [FinishedJob(job.number, [self._outcome(self._judge(r.program), r.seed) for r in job.replicas])]

    def _outcome(self, loss: float, seed: int) -> Outcome:
        if not math.isfinite(loss):
            return Outcome("diverged", None, [], 1, 0.0, "as the judge says")
        return Outcome("ok", -(loss + Random(seed).gauss(0.0, 1.0)), [], 5, 0.0)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Callable[[Judge], TrainingService]]:
    """Services that ask a judge. Losses of seeds have a standard deviation of about 1."""
    with opened(tmp_path / "apply_hurdles.db") as store:
        yield lambda judge: TrainingService(store, JudgingEvaluator(judge), 16, DEDUP)


def sigma(seeds: Sequence[int] = SEEDS) -> float:
    return statistics.stdev(Random(seed).gauss(0.0, 1.0) for seed in seeds)


def functions(program: Program) -> list[str]:
    return [s.function for s in live_program(program).statements]


# --- what is tried ---------------------------------------------------------------------------------------------------


def test_ablations_of_a_small_program() -> None:
    program = parse("m = interp(g, m, 0.9)\nx = tanh(m)\nlr = lr * 0.1\nupdate = x * lr")
    found = {v.what: dataflow_hash(v.program) for v in ablations(program)}
    without_tanh, without_m = (
        "m = interp(g, m, 0.9)\nx = lr * 0.1\nupdate = m * x",
        "x = tanh(g)\ny = lr * 0.1\nupdate = x * y",
    )
    assert found["tanh(m) -> m"] == dataflow_hash(parse(without_tanh))
    assert found["interp(g, m, 0.9) -> g"] == dataflow_hash(parse(without_m))
    assert "lr * 0.1 -> lr" not in found, "what people tune is not taken away"
    assert {"lr * 0.1 -> 1.0", "x * lr -> x"} <= found.keys()


@pytest.mark.parametrize("name", zoo.names())
def test_ablations_are_different_and_smaller(name: str) -> None:
    program = live_program(zoo.load(name))
    found = [v.program for v in ablations(program)]
    assert len(found) == len({dataflow_hash(p) for p in found}) > 1
    for changed in found:
        assert dataflow_hash(changed) != dataflow_hash(program)
        assert len(changed) <= len(program)


@pytest.mark.parametrize(
    ("value", "coefficient", "expected"),
    [
        (0.996991, True, {0.99, 0.997, 0.999}),
        (0.899, True, {0.9}),
        (0.9, True, set()),
        (0.99, True, set()),
        (0.5446585, True, {0.5, 0.54, 0.9}),
        (0.4602, False, {0.5, 0.46}),
        (-0.04602, False, {-0.05, -0.046}),
        (1.03e-7, False, {1e-7}),
        (0.97, False, set()),
        (12.34, False, {10.0, 12.0}),
    ],
)
def test_candidates(value: float, coefficient: bool, expected: set[float]) -> None:
    """Rounded by a tenth at most, or in the new share of an interpolation to the next powers of ten."""
    assert set(candidates(value, coefficient)) == expected


@given(st.floats(1e-6, 1 - 1e-6) | st.floats(-1e6, 1e6), st.booleans())
def test_candidates_are_shorter_and_never_remove_anything(value: float, coefficient: bool) -> None:
    assume(abs(value) > 1e-9)
    coefficient &= 0.0 < value < 1.0
    for new in candidates(value, coefficient):
        assert digits(new) < digits(value)
        assert new * value > 0
        assert new != 1.0
        if coefficient:
            assert 0.0 < new < 1.0
        else:
            assert new == pytest.approx(value, rel=0.5)


def test_digits() -> None:
    assert [digits(x) for x in (0.9, -0.9, 0.0002, 120.0, 1e-8, 0.996991, 1.5e-7)] == [1, 1, 1, 2, 1, 6, 2]


def test_a_number_is_rounded_once() -> None:
    program = parse("m = interp(g, m, 0.996991)\nupdate = m * 0.0117")
    assert {str(r) for r in roundings(program)} == {
        "0.996991 -> 0.997", "0.996991 -> 0.99", "0.996991 -> 0.999", "0.0117 -> 0.01", "0.0117 -> 0.012",
    }  # fmt: skip
    assert {str(r) for r in roundings(program, {0.996991})} == {"0.0117 -> 0.01", "0.0117 -> 0.012"}


# --- how it is judged -----------------------------------------------------------------------------------------------


def test_differences_are_paired_and_in_standard_deviations() -> None:
    """Against the formulas: seeds move both alike, which the paired error does not see."""
    original, changed = [1.0, 3.0, 5.0], [1.5, 3.25, 5.75]
    found = difference("task", changed, original)
    assert found.mean == pytest.approx(0.5 / 2.0)
    assert found.standard_error == pytest.approx(0.25 / math.sqrt(3) / 2.0)
    assert found.bound == pytest.approx(found.mean + found.standard_error)
    assert difference("task", [1.0, 3.0, math.inf], original).bound == math.inf
    assert difference("task", [2.002, 2.002], [2.0, 2.0]).mean == pytest.approx(1.0), "seeds that do not matter"


def test_losses_of_each_program_and_seed(service: Callable[[Judge], TrainingService]) -> None:
    programs = [parse("update = g * 3.0"), parse("update = g * 5.0")]
    found = losses(programs, ScaledTask(TASK, 1.0), SEEDS, service(lambda p: float(p.statements[0].args[1])))
    noise = [Random(seed).gauss(0.0, 1.0) for seed in SEEDS]
    np.testing.assert_allclose(found, [[3.0 + x for x in noise], [5.0 + x for x in noise]])


def pace_of(program: Program) -> float:
    return float(program.statements[-1].args[1]) if len(program) == 2 else 1.0


@pytest.mark.parametrize(
    ("best", "expected"),
    [(1.0, 1.0), (100.0, 30.0), (0.1, 0.3), (3000.0, 1000.0)],
)
def test_the_pace_is_the_nearest_to_one_that_is_good_enough(
    best: float, expected: float, service: Callable[[Judge], TrainingService]
) -> None:
    """With a loss that grows by three deviations for each factor of ten: a factor of three does not matter."""
    judge = service(lambda p: 3.0 * sigma() * abs(math.log10(pace_of(p) / best)))
    assert scaled_task(parse("update = g * 0.1"), TASK, SEEDS, judge) == ScaledTask(TASK, expected)


def test_a_scale_at_which_a_later_seed_fails_is_not_taken(tmp_path: Path) -> None:
    """Ten would be the best on the first eight seeds."""
    fails = {10.0: 12, 1.0: 3}  # scales and the seeds that fail

    class Failing(JudgingEvaluator):
        def collect(self, timeout: float) -> list[FinishedJob]:
            if not self.jobs:
                return []
            job: Job = self.jobs.pop()
            return [FinishedJob(job.number, [self._of(replica) for replica in job.replicas])]

        def _of(self, replica: Replica) -> Outcome:
            scale = pace_of(replica.program)
            loss = math.inf if fails.get(scale) == replica.seed else 3.0 * abs(math.log10(scale / 10.0))
            return self._outcome(loss, replica.seed)

    with opened(tmp_path / "results.db") as store:
        service = TrainingService(store, Failing(lambda _: 0.0), 16, DEDUP)
        found = scaled_task(parse("update = g * 0.1"), TASK, range(16), service)
    assert found == ScaledTask(TASK, 3.0)


def test_losses_of_zero_are_compared_too() -> None:
    assert difference("task", [0.0, 0.0], [0.0, 0.0]).bound == 0.0
    assert difference("task", [0.25, 0.25], [0.0, 0.0]).bound > 1.0


def test_failures_on_fresh_seeds_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    result = simplify(zoo.load("lion"))
    on = ScaledTask(SHORT, 1.0)
    whole, broken = [0.1, 0.2, 0.3], [0.1, math.inf, 0.3]
    for before, after in ((whole, broken), (broken, whole), (broken, broken)):
        _show("lion", result, [], [_Losses(on, before, after)], 1.0)
        said = capsys.readouterr().out
        assert said.count("1 of 3 fail") == (before, after).count(broken)
        assert ("more than the tolerance" in said) is (before == whole)


def test_a_program_that_trains_at_no_pace(service: Callable[[Judge], TrainingService]) -> None:
    with pytest.raises(InputError, match=r"digits_mlp_short.*--no-training"):
        scaled_task(parse("update = g * 0.1"), TASK, SEEDS, service(lambda _: math.inf))


# --- the sequence of steps -------------------------------------------------------------------------------------------


def simplified(
    program: Program, judge: Judge, tolerance: float, service: Callable[..., TrainingService]
) -> Simplification:
    return simplify(program, TrainingEvidence(service(judge), [ScaledTask(TASK, 1.0)], SEEDS, tolerance))


def chained(result: Simplification) -> None:
    """Each step starts where the last one that stands ended."""
    at = result.original
    for step in result.steps:
        assert step.before == at
        at = step.after if step.accepted else at
    assert at == result.program
    json.dumps([step.evidence for step in result.steps], allow_nan=False)


def needs_what_lion_has(program: Program) -> float:
    used = functions(program)
    if any(a in (0.0, 1.0) for s in live_program(program).statements for a in s.args):
        return math.inf
    has_sign = "sign" in used or ("div" in used and "mul" in used)
    has_decay = any("w" in s.args for s in program.statements)
    has_scale = used.count("mul") > 1
    return 10.0 * (3 - has_sign - has_decay - has_scale + (used.count("interp") < 2))


def test_what_the_judge_needs_stays(service: Callable[[Judge], TrainingService]) -> None:
    result = simplified(zoo.load("raw_lion"), needs_what_lion_has, 0.5, service)
    chained(result)
    left = set(functions(result.program))
    assert {"sign", "interp"} < left and not {"clip", "arcsin", "cosh", "sqrt"} & left
    assert any(s.kind == ABLATION and not s.accepted for s in result.steps)


def test_nothing_stands_if_everything_matters(service: Callable[[Judge], TrainingService]) -> None:
    program = parse("m = interp(g, m, 0.91)\nx = tanh(m)\nupdate = x * 0.013")
    result = simplified(program, lambda p: 0.0 if p == program else 5.0, 1.0, service)
    chained(result)
    assert result.program == program
    assert {s.kind for s in result.steps if s.accepted} == {NAMES}
    assert {s.kind for s in result.steps if not s.accepted} == {ABLATION, CONSTANT}


def test_small_losses_do_not_add_up(service: Callable[[Judge], TrainingService]) -> None:
    """Each function removed costs 0.4 deviations: two may go within a tolerance of 1, not all one by one."""
    program = parse("x = tanh(g)\nx = sin(x)\nx = arctan(x)\nx = arcsinh(x)\nupdate = x * lr")
    kinds = {"tanh", "sin", "arctan", "arcsinh"}

    def judge(p: Program) -> float:
        left = len(kinds & set(functions(p)))
        return math.inf if "mul" not in functions(p) or "g" not in str(p) else 0.4 * sigma() * (4 - left)

    result = simplified(program, judge, 1.0, service)
    chained(result)
    assert len(kinds & set(functions(result.program))) == 2


def test_the_error_of_the_difference_counts_against_a_change(service: Callable[[Judge], TrainingService]) -> None:
    program = parse("x = tanh(g)\nupdate = x * lr")
    for tolerance, expected in ((0.49, True), (0.51, False)):
        result = simplified(program, lambda p: 0.0 if p == program else 0.5 * sigma(), tolerance, service)
        assert ("tanh" in functions(result.program)) is expected


def test_what_does_much_harm_gets_few_seeds(tmp_path: Path) -> None:
    """A mean beyond the tolerance, by less than three of its standard errors, is no reason to stop."""

    class Uneven(JudgingEvaluator):
        def _outcome(self, loss: float, seed: int) -> Outcome:
            return super()._outcome(loss * (1 + (seed % 2)) if seed < 4 else 0.0, seed)  # no harm on later seeds

    losses_of = {"update = g * 3.0": 0.0, "update = g * 4.0": 1.5 * sigma(), "update = g * 5.0": math.inf}
    original, uneven, failing = map(parse, losses_of)
    with opened(tmp_path / "results.db") as store:
        service = TrainingService(store, Uneven(lambda p: losses_of[str(p).strip()]), 16, DEDUP)
        training = TrainingEvidence(service, [ScaledTask(TASK, 1.0)], range(16), 1.0)
        judged = training.judged(original, [uneven, failing])
    assert judged[failing].seeds == 4 and not training.allows(judged[failing])
    assert judged[uneven].seeds == 16 and training.allows(judged[uneven])


def test_whatever_is_left_was_tried_on_the_program_found(service: Callable[[Judge], TrainingService]) -> None:
    """A change that the first program does not bear may be borne by a later one, and is tried again at the end."""
    program = parse("x = tanh(g)\nx = sin(x)\nx = arcsin(x)\nupdate = x * lr")

    def judge(p: Program) -> float:
        used = functions(p)
        needs = "mul" in used and "g" in str(p) and ("sin" in used or "arcsin" not in used) and "tanh" in used
        return 0.0 if needs else 9.0

    result = simplified(program, judge, 1.0, service)
    chained(result)
    assert functions(result.program) == ["tanh", "mul"], "sin could go only after arcsin"
    refused = {dataflow_hash(s.after) for s in result.steps if s.kind == ABLATION and not s.accepted}
    assert {dataflow_hash(v.program) for v in ablations(result.program)} <= refused


def test_numbers_are_rounded_together_where_that_is_allowed(service: Callable[[Judge], TrainingService]) -> None:
    program = parse("x = tanh(g)\nx = x * 0.913\nx = sin(x)\nx = x * 1.234\nx = arctan(x)\nupdate = x * 0.01357")

    def judge(p: Program) -> float:
        numbers = [a for s in p.statements for a in s.args if isinstance(a, float)]
        return 0.0 if functions(p) == functions(program) and min(numbers) > 0.0 and 1.0 not in numbers else 9.0

    result = simplified(program, judge, 1.0, service)
    chained(result)
    taken = [s.evidence["change"] for s in result.steps if s.kind == CONSTANT and s.accepted]
    assert len(taken) == 1 and taken[0].count("->") == 3

    def one_at_most(p: Program) -> float:
        exact = sum(number in str(p) for number in ("0.913", "1.234", "0.01357"))
        return judge(p) if exact >= 2 else 9.0

    result = simplified(program, one_at_most, 1.0, service)
    chained(result)
    taken = [s.evidence["change"] for s in result.steps if s.kind == CONSTANT and s.accepted]
    assert len(taken) == 1 and taken[0].count("->") == 1


def test_no_number_is_rounded_twice(service: Callable[[Judge], TrainingService]) -> None:
    program = parse("x = tanh(g)\nx = x * 0.913\nx = sin(x)\nupdate = x * 0.01357")

    def judge(p: Program) -> float:
        numbers = [a for s in p.statements for a in s.args if isinstance(a, float)]
        bears = functions(p) == functions(program) and min(numbers) > 0.0 and 1.0 not in numbers
        return 0.0 if bears and not {0.913, 0.01} <= set(numbers) else 9.0

    assert "0.014" in str(simplified(program, judge, 1.0, service).program), "not 0.01, which is allowed by now"


def test_names_are_found() -> None:
    result = simplify(zoo.load("lion"))
    (step,) = result.steps
    assert (step.kind, step.evidence) == (NAMES, {"names": {"beta1": 0.9, "beta2": 0.99, "weight_decay": 0.01}})


# --- gradients -------------------------------------------------------------------------------------------------------


def test_recorded_gradients_lead_where_training_leads() -> None:
    """The weights at the end of a recording have the validation loss that the trainer finds."""
    program = parse("m = interp(g, m, 0.9)\nlr = lr * 0.05\nupdate = m * lr")
    recording = record(program, ScaledTask(SHORT, 10.0), 3)
    scaled = parse("m = interp(g, m, 0.9)\nlr = lr * 0.5\nupdate = m * lr")
    w = recording.w - updates(scaled, recording).sum(axis=0)
    data, model = SHORT.load()
    row = torch.zeros(1, model.layout.width)
    row[0, : model.layout.total] = torch.from_numpy(w)
    loss = model.losses(model.parameters(row), data.valid_x[None], data.valid_y[None]).item()
    (outcome,) = train(SHORT, [Replica(scaled, 3)])
    assert outcome.fitness is not None and loss == pytest.approx(-outcome.fitness, rel=1e-3)
    assert len(recording.gradients) == SHORT.steps


# --- the whole -------------------------------------------------------------------------------------------------------


def lion_with(program: Program) -> Program:
    """Lion with the constants that stand in a program of its shape."""
    text = str(zoo.load("lion"))
    constants = [a for s in program.statements for a in s.args if isinstance(a, float)]
    for old, new in zip(("0.9)", "0.01", "0.0001", "0.99)"), _ordered(constants), strict=True):
        text = text.replace(old, f"{new}{')' if old.endswith(')') else ''}")
    return parse(text)


def _ordered(constants: list[float]) -> list[float]:
    """First coefficient, weight decay, learning rate, second coefficient."""
    betas = sorted(c for c in constants if c >= 0.8)
    rate, decay = sorted(c for c in constants if c < 0.8)
    return [betas[0], decay, rate, betas[1]]


def test_raw_lion_comes_out_as_lion(tmp_path: Path) -> None:
    """With real trainings of a quarter of the usual seeds: one slot, two interpolations, a sign, decoupled decay."""
    with opened(tmp_path / "results.db") as store:
        service = TrainingService(store, InlineEvaluator(), 128, DEDUP)
        program = zoo.load("raw_lion")
        on = scaled_task(program, TASK, SEEDS, service)
        result = simplify(program, TrainingEvidence(service, [on], SEEDS, 1.0))
    chained(result)
    assert on.update_scale > 10, "as it stands it hardly moves so small a model"
    found = result.program
    first, decay, rate, second = _ordered([a for s in found.statements for a in s.args if isinstance(a, float)])
    assert dataflow_hash(found) == dataflow_hash(lion_with(found))
    assert first == 0.9
    assert second in (0.99, 0.997, 0.999)
    assert (decay, rate) == (0.5, 0.0002)
    export_torch(found, "Lion")


def test_steps_of_a_program_of_the_store_are_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Twice, and the second time takes the place of the first."""
    path = tmp_path / "results.db"
    with opened(path) as store:
        run(settings_of(strategy={"start": "raw_lion"}), store, PretendingEvaluator())
    for _ in range(2):
        result = simplify_program("1", ["digits_mlp_short"], None, 1.0, str(path), tmp_path / "out.py")
        with opened(path) as store:
            kept = rows_of_query(store, "SELECT * FROM simplification ORDER BY step")
        assert [(r["program_id"], r["step"], r["kind"]) for r in kept] == [
            (1, n, step.kind) for n, step in enumerate(result.steps)
        ]
        for row, step in zip(kept, result.steps, strict=True):
            assert (parse(row["before"]), parse(row["after"])) == (step.before, step.after)
            assert (json.loads(row["evidence"]), row["accepted"]) == (step.evidence, step.accepted)
    assert parse((tmp_path / "out.py").read_text()) == result.program
    assert result.program == simplify_algebra(result.original).program
    said = capsys.readouterr().out
    for text in ("state slots", "sqrt(square(x)) -> abs(x)", r"\begin{aligned}", "weight_decay = 0.4602", "out.py"):
        assert text in said


def test_a_program_of_a_search_is_judged_on_its_tasks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And they are not loaded where a database names a function of the user's."""
    path = tmp_path / "results.db"
    with opened(path) as store:
        tasks = [{"name": "digits_mlp", "steps": 5}]
        run(settings_of(strategy={"start": "sgd"}, tasks=tasks), store, PretendingEvaluator())
    simplify_program("1", [], 2, 1.0, str(path), None)
    said = capsys.readouterr().out
    assert "loss on digits_mlp, 2 fresh seeds" in said and "digits_mlp_short" not in said
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE search SET settings = replace(settings, 'digits_mlp', 'os:system')")
    with pytest.raises(InputError, match=r"'os:system'.*--config"):
        simplify_program("1", [], 2, 1.0, str(path), None)


def test_a_tolerance_that_is_no_number() -> None:
    with pytest.raises(InputError, match="--tolerance nan"):
        simplify_program("lion", ["digits_mlp_short"], 2, math.nan, "results.db", None)
