"""The training service: results by program, task and seed, and how far it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from programs import zoo
from programs.hyperparameters import scaled

from proxy_tasks import Outcome, Replica, get_task
from proxy_tasks.outcome import TorchOptimizer, TorchReplica

from search.errors import RunError
from search.settings.baselines import BASELINES
from search.settings.settings import Dedup
from search.settings.tasks import TaskSeeds
from search.training.jobs import FinishedJob, Job
from search.training.service import TrainingService
from search.training.tuning import tune

from tests.support.searches import PretendingEvaluator, key_of, opened, pretended, rows_of_query

TASK = replace(get_task("digits_mlp"), steps=5)  # as many as pretended trainings have
ON = [TaskSeeds(TASK, (0, 1, 2)), TaskSeeds(replace(TASK, name="another", batch_size=7), (7,))]


def test_trainings_are_given_by_program_task_and_seed(tmp_path: Path) -> None:
    programs = [scaled(zoo.load("adamw"), 1 + n / 10) for n in range(20)]
    with opened(tmp_path / "r.db") as store:
        found = TrainingService(store, PretendingEvaluator(), 8, Dedup()).train(programs, ON)
    outcomes = {(p, seed): pretended(key_of(p), seed) for p in programs for seed in (0, 1, 2, 7)}
    failed = 0
    for program, (first, second) in zip(programs, found, strict=True):
        assert (first.task, second.task) == (TASK.name, "another")
        for trainings, seeds in ((first, (0, 1, 2)), (second, (7,))):
            fitness = {seed: outcomes[program, seed].fitness for seed in seeds}
            assert trainings.by_seed == {seed: f for seed, f in fitness.items() if f is not None}
            assert trainings.losses(seeds) == [float("inf") if f is None else -f for f in fitness.values()]
            assert len(trainings.failures) == len(seeds) - len(trainings.by_seed)
            failed += len(trainings.failures)
    assert failed > 0


def test_what_a_model_costs_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("search.training.service.check_task", lambda task: f"slow: {task.name}")
    with opened(tmp_path / "r.db") as store:
        service = TrainingService(store, PretendingEvaluator(), 3, Dedup())
        for number in range(3):
            service.train([scaled(zoo.load("adamw"), 1 + number)], ON)
    assert [r.message for r in caplog.records if "slow" in r.message] == [f"slow: {TASK.name}", "slow: another"]
    assert {r.levelname for r in caplog.records if "slow" in r.message} == {"WARNING"}, "as the terminal shows"


def test_progress_counts_every_training_once_and_ends_at_the_total(tmp_path: Path) -> None:
    """Twins count each, and what the store knows counts at once."""
    seen: list[tuple[int, int]] = []
    programs = [zoo.load("adamw"), zoo.load("lion"), zoo.load("adamw"), TorchOptimizer("torch_muon", 0.01, 0.1)]
    with opened(tmp_path / "r.db") as store:
        service = TrainingService(store, PretendingEvaluator(), 3, Dedup())
        service.train(programs[:1], ON)
        assert service.trained == 4
        service.on_progress = lambda known, total: seen.append((known, total))
        service.train(programs, ON)
        assert seen[0] == (8, 16), "two times four trainings are in the store or twins of these"
        assert seen == sorted(seen) and seen[-1] == (16, 16) and len(seen) > 3
        seen.clear()
        service.request([service.candidate(zoo.load("signum"))], ON)
        assert not seen, "nothing is counted outside"


def test_a_tuning_knows_its_total(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    with opened(tmp_path / "r.db") as store:
        service = TrainingService(store, PretendingEvaluator(), 8, Dedup())
        service.on_progress = lambda known, total: seen.append((known, total))
        tune([BASELINES["adamw"], BASELINES["lion"]], service, [TaskSeeds(TASK, (0, 1, 2))])
    assert seen[-1] == (2 * (16 + 8 * 2 + 4 * 3 + 3 * (4 + 2 * 2 + 1 * 3)),) * 2
    assert seen == sorted(seen)


class Failing(PretendingEvaluator):
    """Fails all trainings, but not those of some jobs."""

    def __init__(self, good: Sequence[int] = ()) -> None:
        super().__init__()
        self._good = good

    def outcome(self, job: Job, replica: Replica | TorchReplica) -> Outcome:
        if job.number in self._good:
            return super().outcome(job, replica)
        return Outcome("error", None, [], 0, 0.0, "RuntimeError: no such layer")


def test_a_first_batch_that_fails_as_a_whole_stops_the_run_and_is_not_kept(tmp_path: Path) -> None:
    programs = [scaled(zoo.load("adamw"), 1 + n / 10) for n in range(4)]
    with opened(tmp_path / "r.db") as store:
        service = TrainingService(store, Failing(), 4, Dedup())
        with pytest.raises(
            RunError, match=r"all 4 trainings of the first batch failed on task 'digits_mlp', error: Run"
        ):
            service.train(programs, [TaskSeeds(TASK, (0,))])
        assert rows_of_query(store, "SELECT * FROM training") == []


def test_failures_of_programs_are_no_reason_to_stop(tmp_path: Path) -> None:
    """One program alone may fail; so may all of a later batch, and those of a batch for reasons of their own."""
    programs = [scaled(zoo.load("adamw"), 1 + n / 10) for n in range(4)]
    with opened(tmp_path / "r.db") as store:
        service = TrainingService(store, Failing(), 4, Dedup())
        (alone,) = service.train(programs[:1], [TaskSeeds(TASK, (0, 1))])
        assert len(alone[0].failures) == 2
        service, other = TrainingService(store, Failing(good=[0]), 2, Dedup()), replace(TASK, batch_size=9)
        service.train(programs[:2], [TaskSeeds(other, (0,))])
        found = service.train(programs, [TaskSeeds(other, (0,))])
        assert [len(one.failures) for (one,) in found][2:] == [1, 1]


class LastFirst(Failing):
    """Answers the job that came last."""

    def collect(self, timeout: float) -> list[FinishedJob]:
        job = self.jobs.pop()
        return [FinishedJob(job.number, [self.outcome(job, r) for r in job.replicas])]


def test_a_batch_that_fails_when_others_have_been_trained_is_no_reason_to_stop(tmp_path: Path) -> None:
    """Neither where an earlier run has trained on that task, nor where an earlier batch is still being trained."""
    programs = [scaled(zoo.load("adamw"), 1 + n / 10) for n in range(4)]
    with opened(tmp_path / "r.db") as store:
        TrainingService(store, PretendingEvaluator(), 4, Dedup()).train(programs[:1], [TaskSeeds(TASK, (0,))])
        found = TrainingService(store, Failing(), 4, Dedup()).train(programs, [TaskSeeds(TASK, (0,))])
        assert [len(one.failures) for (one,) in found] == [0, 1, 1, 1]

        other = replace(TASK, batch_size=9)
        found = TrainingService(store, LastFirst(good=[0]), 2, Dedup()).train(programs, [TaskSeeds(other, (0,))])
        assert [any("no such layer" in why for why in one.failures) for (one,) in found] == [False, False, True, True]
