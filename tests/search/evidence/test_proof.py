"""The last proof: what is measured, for whom the locked tasks are opened, and that they are opened once."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from programs import InputError, parse, zoo
from programs.hashing import dataflow_hash
from programs.program import Program

from proxy_tasks import Outcome, Replica, get_task
from proxy_tasks.locked import LOCKED_SETS
from proxy_tasks.outcome import TorchOptimizer, TorchReplica
from proxy_tasks.torch_optimizers import state_per_weight

from search.commands.output import Form
from search.commands.prove import DEDUP, _rows, command, prove_finalist
from search.commands.show import write_program
from search.evidence.proof import (
    COMPETITORS,
    FACTORS,
    FRESH_SEEDS,
    SHARES,
    TUNING_SEEDS,
    ProofOnSet,
    cost_of_proof,
    prove,
    steps_to,
    tolerance,
)
from search.evidence.step_time import step_times
from search.results.results import Results
from search.settings.baselines import TRIALS
from search.settings.settings import EvaluatorSettings
from search.store import SelectionRow, Store
from search.store.proofs import find_opening, finish_proof, open_locked
from search.training.jobs import Job
from search.training.service import TrainingService
from search.training.statistics import p_of

from tests.support.searches import PretendingEvaluator, opened, rows_of_query, run, settings_of

FINALIST = parse("x = sign(g)\nupdate = x * 0.01\nupdate = update * lr\n" + "y = g * 2.0\n" * 9)
FIRST, SECOND = LOCKED_SETS
SMALL = (FIRST._replace(tasks=FIRST.tasks[:2]), SECOND._replace(tasks=SECOND.tasks[-1:]))


@pytest.fixture(autouse=True)
def _no_stopwatch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times of steps are tested for themselves; they take seconds."""
    monkeypatch.setattr("search.evidence.proof.step_times", _same_times)


def _same_times(programs: Sequence[object]) -> list[float]:
    return [1.0] * len(programs)


class Fast(PretendingEvaluator):
    """The longer the program the lower its loss, and the more so the more steps there are; natives do worst.

    Programs as long as the culprit fail on a fresh seed of the tasks `failing`. It is interrupted by a job on the task
    `until`.
    """

    def __init__(
        self,
        limit: float = math.inf,
        failing: Sequence[str] = (),
        noise: float = 0.001,
        until: str = "",
        culprit: Program = FINALIST,
    ) -> None:
        super().__init__(limit=limit)
        self.failing, self.noise, self.until, self.culprit = failing, noise, until, culprit

    def outcome(self, job: Job, replica: Replica | TorchReplica) -> Outcome:
        if job.task.name == self.until:
            raise KeyboardInterrupt
        native = isinstance(replica.program, TorchOptimizer)
        length = 0 if native else len(replica.program)  # type: ignore[arg-type]
        if job.task.name in self.failing and length == len(self.culprit) and replica.seed == FRESH_SEEDS[3]:
            return Outcome("diverged", None, [], 1, 0.0, "as it was told")
        noise = self.noise * Random(f"{job.task.name} {replica}").random()
        loss = (2.0 - 0.1 * length) * 600 / job.task.steps + noise
        return Outcome("ok", -loss, [1.0] * 20, job.task.steps, 0.0)


# --- what is measured ------------------------------------------------------------------------------------------------


def measured(folder: Path, evaluator: Fast, openings: int = 1) -> list[ProofOnSet]:
    with opened(folder / "r.db") as store, pytest.MonkeyPatch.context() as patch:
        patch.setattr("search.evidence.proof.step_times", _same_times)
        service = TrainingService(store, evaluator, 64, DEDUP)
        return list(prove("program 1", FINALIST, service, openings, lambda _: None, SMALL))


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[ProofOnSet], Fast]:
    """What small sets say of the finalist, and the evaluator that was asked."""
    evaluator = Fast()
    return measured(tmp_path_factory.mktemp("usual"), evaluator), evaluator


def test_all_get_the_same_and_the_better_one_wins(usual: tuple[list[ProofOnSet], Fast]) -> None:
    found, evaluator = usual
    assert [on_set.locked for on_set in found] == [*SMALL]
    for on_set in found:
        finalist, *baselines = on_set.competitions
        assert finalist.is_finalist and finalist.z is None and [one.name for one in baselines] == list(COMPETITORS)
        for one in on_set.competitions:
            assert [on.task.name for on in one.tasks] == [*on_set.locked.tasks]
            assert all(on.tuned.trials == TRIALS and on.fresh.by_seed.keys() == {*FRESH_SEEDS} for on in one.tasks)
            assert one.one_setting is not None and one.step_time > 0
        assert all(one.z is not None and one.z > 3 for one in baselines if one.name == "torch_muon")
        for one in baselines:
            zs = [ahead.z for ahead in one.differences if ahead is not None]
            assert len(zs) == len(on_set.locked.tasks)
            assert one.z == pytest.approx(math.fsum(zs) / math.sqrt(len(zs))), "over the tasks of the set alone"
    seeds = {replica.seed for job in evaluator.submitted for replica in job.replicas}
    assert seeds == {*TUNING_SEEDS, *FRESH_SEEDS}


def test_all_competitors_train_side_by_side(usual: tuple[list[ProofOnSet], Fast]) -> None:
    """So that many workers have work: of what is asked for together, one job at most is not full."""
    _, evaluator = usual
    requests = 12 + 1 + len(SHARES) + 1 + 2  # tuning, fresh seeds, fewer steps, learning rates, one setting
    tasks = sum(len(locked.tasks) for locked in SMALL)
    assert sum(len(job.replicas) < 64 for job in evaluator.submitted) <= tasks * requests


def test_one_setting_is_over_adamw_tuned_for_each_task(usual: tuple[list[ProofOnSet], Fast]) -> None:
    for on_set in usual[0]:
        found = {one.name: one for one in on_set.competitions}
        assert found["torch_adamw"].one_setting == pytest.approx(1.0, rel=0.01)
        muon, adamw = (-found[name].tasks[0].fresh.mean for name in ("torch_muon", "torch_adamw"))
        assert found["torch_muon"].one_setting == pytest.approx(muon / adamw, rel=0.01)


def test_where_adamw_fails_on_a_fresh_seed_no_setting_is_over_it(tmp_path: Path) -> None:
    first, second = measured(tmp_path, Fast(failing=(SMALL[0].tasks[0],), culprit=zoo.load("torch_adamw")))
    reference = next(one for one in first.competitions if one.name == "torch_adamw")
    assert [bool(on.fresh.failures) for on in reference.tasks] == [True, False]
    assert all([on.one_setting is None for on in one.tasks] == [True, False] for one in first.competitions)
    assert all(one.one_setting is None for one in first.competitions)
    assert all(one.one_setting is not None for one in second.competitions)


def test_each_row_of_a_competitor_has_its_mean_over_the_tasks_of_the_set(
    usual: tuple[list[ProofOnSet], Fast],
) -> None:
    (first, _), _ = usual
    rows = _rows(first, 1)
    for one in first.competitions:
        ratios = [on.one_setting or math.nan for on in one.tasks]
        assert len(ratios) == 2 and one.one_setting == pytest.approx(math.sqrt(math.prod(ratios)))
        assert [row.one_setting for row in rows if row.competitor == one.name] == [one.one_setting] * 2
    assert all(row.locked_set == "first" and row.finalists == 5 for row in rows)


def test_where_a_finalist_fails_it_has_no_z_on_that_set_and_the_other_set_is_as_it_was(
    usual: tuple[list[ProofOnSet], Fast], tmp_path: Path
) -> None:
    first, second = measured(tmp_path, Fast(failing=(SMALL[0].tasks[1],)))
    assert all(one.z is None and one.p is None for one in first.competitions)
    finalist, rival = first.competitions[:2]
    assert rival.differences[0] is not None and rival.differences[1] is None
    assert finalist.tasks[1].fresh.failures == ["diverged: as it was told"]
    assert second == usual[0][1]


def test_p_is_the_closed_form_and_the_cost_was_known(tmp_path: Path) -> None:
    """Sets x finalists x the tail of the normal distribution, 1 at most. All trainings go well here; where the one
    setting for all tasks is a task's own, its fresh seeds are counted twice."""
    evaluator = Fast(noise=10.0)
    for on_set in measured(tmp_path, evaluator, openings=3):
        assert on_set.finalists == on_set.locked.openings + 3
        p = {one.z: one.p for one in on_set.competitions if one.z is not None}
        assert len(p) == len(COMPETITORS) and max(map(abs, p)) < 37, "tails that a double can hold"
        for z, found in p.items():
            assert found == pytest.approx(min(1.0, 2 * on_set.finalists * math.erfc(z / math.sqrt(2)) / 2), rel=1e-9)
        assert 1.0 in p.values() and any(found is not None and found < 0.5 for found in p.values())
    cost = cost_of_proof(SMALL)
    assert cost.trainings == sum(cost_of_proof([locked]).trainings for locked in SMALL)
    trained = [(job.task.steps, replica) for job in evaluator.submitted for replica in job.replicas]
    assert 0.94 * cost.trainings <= len(trained) <= cost.trainings
    assert sum(steps for steps, _ in trained) == pytest.approx(cost.steps, rel=0.06)


@pytest.mark.parametrize(
    ("target", "losses", "expected"),
    [
        (1.0, (3.0, 2.0, 1.5, 1.0), 1.0),
        (1.0, (3.0, 2.0, 1.0, 0.5), 0.75),
        (1.0, (3.0, 1.5, 0.5, 0.4), 0.625),
        (1.0, (0.9, 0.8, 0.7, 0.6), 0.25),
        (1.0, (3.0, 2.0, 1.5, 1.01), None),
        (1.0, (math.inf, math.inf, 0.5, 0.5), 0.75),
        (math.inf, (1.0, 1.0, 1.0, 1.0), None),
        (1.0, (math.inf,) * 4, None),
    ],
)
def test_steps_to_a_loss(target: float, losses: Sequence[float], expected: float | None) -> None:
    assert steps_to(target, losses) == (None if expected is None else pytest.approx(expected))


@given(st.lists(st.floats(0.1, 10.0), min_size=len(SHARES) + 1, max_size=len(SHARES) + 1), st.floats(0.1, 10.0))
def test_steps_are_a_share_of_the_steps(losses: list[float], target: float) -> None:
    found = steps_to(target, losses)
    assert (found is None) is (min(losses) > target)
    assert found is None or SHARES[0] <= found <= 1


def test_decades_of_a_parabola() -> None:
    """Of 1 + x^2 over decades x the points within 5 % of the lowest are sqrt(0.05) to each side."""
    losses = [1 + math.log10(factor) ** 2 for factor in FACTORS]
    found = tolerance(losses)
    assert found == pytest.approx(2 * 0.25 * 0.05 / 0.0625)  # linear between the quarters of decades
    assert tolerance([1.0] * len(FACTORS)) == pytest.approx(2.0)
    assert tolerance([math.inf] * len(FACTORS)) is None
    assert tolerance([*[math.inf] * 8, 1.0]) == 0.0
    assert tolerance([1.0, *[math.inf] * 8]) == 0.0


@pytest.mark.parametrize(
    ("native", "task", "numbers"),
    [("torch_adamw", "mnist1d_cnn", 2.0), ("torch_muon", "noisy_quadratic", 2.0)],
)
def test_state_of_natives(native: str, task: str, numbers: float) -> None:
    assert state_per_weight(get_task(task), TorchOptimizer(native, 0.1, 0.1)) == numbers


def test_muon_keeps_one_number_for_hidden_matrices_and_two_for_the_rest() -> None:
    task = get_task("digits_mlp")  # 64-32-10: of the matrices the last is the output layer
    hidden = 64 * 32
    rest = 32 + 32 * 10 + 10
    assert state_per_weight(task, TorchOptimizer("torch_muon", 0.1, 0.1)) == pytest.approx(
        (hidden + 2 * rest) / (hidden + rest)
    )


class Clock(TorchDispatchMode):
    """Goes on by a second with each operation of torch, on machines of any speed."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.now += 1
        return function(*args, **(kwargs or {}))


def test_times_are_those_of_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty additions more take longer than none."""
    long = parse("\n".join(["x = g * 1.0", *["x = x + g"] * 30, "update = x * lr"]))
    with Clock() as clock:
        monkeypatch.setattr("search.evidence.step_time.time.perf_counter", lambda: clock.now)
        short, slow, native = step_times([parse("update = g * lr"), long, TorchOptimizer("torch_adamw", 0.1, 0.1)])
    assert 0 < short < slow and native > 0


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def store_with_funnel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A search, of which program 1 has passed the first of two stages, 2 and 3 all."""
    path = tmp_path / "results.db"
    with opened(path) as store:
        run(settings_of(), store, PretendingEvaluator())
        row = SelectionRow(
            funnel="fu", search="small", stage=1, stages=2, task="t", task_fingerprint="f", competitor="program 1",
            program_id=1, passed=True, z=2.0, p=0.1, ahead=0.2, ahead_error=0.1, baseline="adamw", fitness=-1.0,
            standard_error=0.1, seeds=8, trials=28, learning_rate=0.1, weight_decay=0.0, genome="update = g",
        )  # fmt: skip
        store.set_selection([row])
        store.set_selection([replace(row, stage=2, competitor=f"program {n}", program_id=n) for n in (2, 3)])
    sets = [locked._replace(tasks=locked.tasks[:1]) for locked in SMALL]
    monkeypatch.setattr("search.commands.prove.prove", lambda *arguments: prove(*arguments, sets))
    return path


def proven(path: Path, program_id: int, evaluator: PretendingEvaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.training.session.open_evaluator", lambda _settings: evaluator)
    prove_finalist(program_id, str(path), EvaluatorSettings(batch=64))


def shown(path: Path, view: str = "v_proof") -> list[dict[str, Any]]:
    with opened(path) as store:
        return rows_of_query(store, f"SELECT * FROM {view}")


def test_a_finalist_is_proven_once(
    store_with_funnel: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = store_with_funnel
    proven(path, 2, Fast(), monkeypatch)
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 100
    assert "over the first locked set (5 finalists by then)" in said, "four of them before any database"
    assert "over the second locked set (4 finalists by then)" in said
    assert said.count("p is corrected for the finalists of a set by then, and for there being several sets") == 2
    rows = shown(path)
    assert [row["competitor"] for row in rows] == ["program 2", *COMPETITORS] * 2
    tasks = {(row["locked_set"], row["task"]) for row in rows}
    assert tasks == {(locked.name, locked.tasks[0]) for locked in SMALL}
    assert {row["finalist"] for row in rows} == {2} and {row["funnel"] for row in rows} == {"fu"}
    assert all(row["opened"] and row["finished"] for row in rows)
    assert [row["program_id"] for row in rows] == [2, *[None] * len(COMPETITORS)] * 2
    of_rivals = [row for row in rows if row["program_id"] is None]
    assert all(row["z"] is not None and row["ahead"] is not None for row in of_rivals)
    assert all(row["state_per_weight"] == 2 for row in rows if row["competitor"] == "adamw")
    with pytest.raises(InputError, match=r"program 2: the locked tasks were opened for it on \d{4}-.* are opened once"):
        proven(path, 2, Fast(), monkeypatch)
    assert shown(path) == rows


def test_nothing_is_opened_unless_somebody_agrees(
    store_with_funnel: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, evaluator = store_with_funnel, Fast(limit=1)
    monkeypatch.setattr("search.training.session.open_evaluator", lambda _settings: evaluator)
    monkeypatch.setattr("sys.stdin", StringIO())
    with pytest.raises(InputError, match="prove: there is no terminal to ask whether to go on; say so with --yes"):
        command(2, store=str(path))
    said = " ".join(capsys.readouterr().out.split())
    assert re.search(
        r"opens the locked tasks for program 2, 2 sets, once and for all: about [\d,]+ trainings of \d\.\d mil", said
    )
    with opened(path) as store:
        assert find_opening(store, hash_of(store, 2)) is None and evaluator.submitted == []
    with pytest.raises(KeyboardInterrupt):
        command(2, yes=True, store=str(path))
    with opened(path) as store:
        assert find_opening(store, hash_of(store, 2)) is not None and evaluator.submitted


def test_the_locked_tasks_are_not_opened_for_what_has_no_chance(
    store_with_funnel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(store_with_funnel) as store:
        (row, *_) = [row for row in store.select(SelectionRow) if row.stage == 2]
        store.set_selection([replace(row, z=0.7)])
    with pytest.raises(InputError, match=r"program 2: z was 0\.7 in the last stage of funnel 'fu', which the locked"):
        proven(store_with_funnel, 2, Fast(), monkeypatch)


def test_a_proof_does_not_go_on_where_the_locked_tasks_are_others(
    store_with_funnel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, evaluator = store_with_funnel, Fast()
    with pytest.raises(KeyboardInterrupt):
        proven(path, 2, Fast(limit=7), monkeypatch)
    monkeypatch.setattr("proxy_tasks.task.TRAINER_VERSION", 5)
    with pytest.raises(InputError, match=r"program 2: its proof was started with other code.*trainer: 4 -> 5"):
        proven(path, 2, evaluator, monkeypatch)
    assert evaluator.submitted == []


def test_a_second_finalist_is_corrected_for(store_with_funnel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store_with_funnel
    with opened(path) as store:
        open_locked(store, 3, hash_of(store, 3), "fu", 9000, {})
    proven(path, 2, Fast(), monkeypatch)
    rows = shown(path)
    assert {(row["locked_set"], row["finalists"]) for row in rows} == {("first", 6), ("second", 5)}
    rivals = [row for row in rows if row["program_id"] is None]
    assert all(row["p"] == pytest.approx(min(1, 2 * row["finalists"] * p_of(row["z"]))) for row in rivals) and rivals


def test_an_interrupted_proof_has_its_first_set_goes_on_and_trains_nothing_twice(
    store_with_funnel: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = store_with_funnel
    whole = path.with_name("whole.db")
    whole.write_bytes(path.read_bytes())
    of_first, of_second = (locked.tasks[0] for locked in SMALL)
    first, second, undisturbed = Fast(until=of_second), Fast(), Fast()
    with pytest.raises(KeyboardInterrupt):
        proven(path, 2, first, monkeypatch)
    half = shown(path)
    assert {(row["locked_set"], row["finished"]) for row in half} == {("first", None)}
    assert "over the first locked set" in capsys.readouterr().out, "as soon as it is measured"
    with opened(path) as store:
        found = find_opening(store, hash_of(store, 2))
        assert found is not None and found.finished is None and found.program_id == 2
        assert 0 < found.trained < found.trainings == cost_of_proof().trainings
        write_program(Results(store), 2, Form.TEXT)
    said = " ".join(capsys.readouterr().out.split())
    assert "over the first locked set" in said and "over the second locked set" not in said
    assert f"the locked tasks were opened for program 2 on {found.opened[:16]} UTC, and the proof has not come" in said
    assert f": {found.trained:,} of at most {found.trainings:,} trainings; go on with `optsearch prove 2`" in said
    proven(path, 2, second, monkeypatch)
    proven(whole, 2, undisturbed, monkeypatch)
    ignored = ("opened", "finished", "step_time")
    facts = [
        [{name: value for name, value in row.items() if name not in ignored} for row in shown(of)]
        for of in (path, whole)
    ]
    assert facts[0] == facts[1] and len(facts[0]) == 2 * len(half)
    assert 0 < len(second.submitted) < len(undisturbed.submitted)
    assert {job.task.name.partition(" ")[0] for job in second.submitted} == {of_second}, "the first set was done"
    assert {job.task.name.partition(" ")[0] for job in undisturbed.submitted} == {of_first, of_second}


def hash_of(store: Store, program_id: int) -> str:
    return dataflow_hash(Results(store).program(program_id).program)


@pytest.mark.parametrize(
    ("program_id", "message"),
    [
        (
            1,
            "program 1: has no evidence: it has not passed the last stage of a funnel; take its search 'small' through",
        ),
        (50, "program 50: has no evidence"),
        (10_000, "no program 10000; IDs go from 1 to 100"),
    ],
)
def test_without_evidence(
    store_with_funnel: Path, monkeypatch: pytest.MonkeyPatch, program_id: int, message: str
) -> None:
    evaluator = Fast()
    with pytest.raises(InputError, match=message) as error:
        proven(store_with_funnel, program_id, evaluator, monkeypatch)
    assert "\n" not in str(error.value)
    assert shown(store_with_funnel, "opening") == [] and not evaluator.submitted


@pytest.mark.parametrize(
    "changes",
    [
        {"tasks": [{"name": "mnist1d_cnn_short", "steps": 5}]},
        {"meta_validation": {"tasks": [{"name": "pydoc_transformer_wide"}], "every": 1000}},
        {"tasks": [{"name": "poisson_pinn_large_batch", "steps": 5}]},
        {"meta_validation": {"tasks": [{"name": "digits_lora"}], "every": 1000}},
    ],
)
def test_a_search_that_has_trained_on_locked_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    path = tmp_path / "results.db"
    with opened(path) as store:
        run(settings_of(budget={"programs": 8}, **changes), store, PretendingEvaluator())
    with pytest.raises(InputError, match=r"its search 'small' has trained on '.*', which is one of the locked tasks"):
        proven(path, 1, Fast(), monkeypatch)
    assert shown(path, "opening") == []


def test_a_program_that_does_the_same_is_the_same_finalist(
    store_with_funnel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store_with_funnel
    with opened(path) as store:
        finish_proof(store, open_locked(store, 2, hash_of(store, 2), "fu", 9000, {}))
    with opened(path) as store, store.writing() as connection:
        twin = "UPDATE program SET genome = (SELECT genome FROM program WHERE id = 2) WHERE id = 3"
        connection.exec_driver_sql(twin)
    with pytest.raises(InputError, match="opened for program 2, which does the same, on"):
        proven(path, 3, Fast(), monkeypatch)


def test_the_proof_of_a_twin_goes_on_as_that_of_the_first(
    store_with_funnel: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = store_with_funnel
    with opened(path) as store, store.writing() as connection:
        connection.exec_driver_sql("UPDATE program SET genome = (SELECT genome FROM program WHERE id = 2) WHERE id = 3")
    with pytest.raises(KeyboardInterrupt):
        proven(path, 2, Fast(limit=7), monkeypatch)
    proven(path, 3, Fast(), monkeypatch)
    said = capsys.readouterr().out
    assert "program 3 does the same as program 2, whose proof goes on" in said
    assert "over the first locked set" in said and "program 3," not in said
    assert {(row["finalist"], row["program_id"]) for row in shown(path)} == {(2, 2), (2, None)}


def test_nothing_is_made_where_there_is_no_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no such database"):
        proven(tmp_path / "absent.db", 1, Fast(), monkeypatch)
    assert not (tmp_path / "absent.db").exists()
