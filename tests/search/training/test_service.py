"""The training service: results by program, task and seed, and how far it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from programs import zoo
from programs.hyperparameters import scaled

from proxy_tasks import get_task
from proxy_tasks.torch_optimizers import TorchOptimizer

from search.settings.baselines import BASELINES
from search.settings.settings import Dedup
from search.settings.tasks import TaskSeeds
from search.training.service import TrainingService
from search.training.tuning import tune

from tests.support.searches import PretendingEvaluator, key_of, opened, pretended

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


def test_progress_counts_every_training_once_and_ends_at_the_total(tmp_path: Path) -> None:
    """Twins count each, and what the store knows counts at once."""
    seen: list[tuple[int, int]] = []
    programs = [zoo.load("adamw"), zoo.load("lion"), zoo.load("adamw"), TorchOptimizer("muon", 0.01, 0.1)]
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
