"""Measure whether the loss after four times the steps can be predicted from shorter trainings, for ranking programs.

    python -m scripts.record.horizon [TASK ...] [--store horizon.db] [--births 400]

Of each task there are about 50 programs: those of the zoo at two settings each, the best and one further of six that
trained well after n steps, and the best that a small search on n steps has found. All are trained with complete
schedules of n/4, n/2, n and 7n/4 steps on some seeds, and of 4n on others. Predictors see the short ones alone; what
counts is Kendall's tau between their order and the real one after 4n. Prints tables in Markdown; what is in the store
is not trained again.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from programs.program import Program

from proxy_tasks import TASKS, Task

from search.evolution.driver import Driver
from search.results.results import Results
from search.settings.baselines import BASELINES, is_program
from search.settings.seeds import fresh_seeds, tuning_seeds
from search.settings.settings import Dedup, EvaluatorSettings, Settings
from search.settings.tasks import TaskSeeds
from search.store import Store
from search.store.store import table_of
from search.store.tables import TrainingRow
from search.training.jobs import Evaluator
from search.training.service import TrainingService
from search.training.session import opened
from search.training.tuning import first_trials

SEEDS = 4
TRIALS = 16  # of which the first seven are those of a first round
SETTINGS = 6  # tried of each program of the zoo
EVOLVED = 20
SHARES = (0.25, 0.5, 1.0, 1.75)  # of the steps of a task that are trained for predictions
HORIZON = 4


class Measured(NamedTuple):
    """What the trainings of the programs on a task said; failed trainings are NaN.

    `short` are losses by share, [P, S]; `curves` training losses, [P, S, 20], mean over seeds; `real` losses after
    `HORIZON` times the steps, [P].
    """

    task: Task
    short: np.ndarray
    curves: np.ndarray
    real: np.ndarray


def lasting(task: Task, share: float) -> Task:
    """Return a task with a share of its steps."""
    return replace(task, name=f"{task.name} x {share:g}", steps=round(task.steps * share))


class Recorder:
    """Chooses programs and trains them, in one store."""

    def __init__(self, store: Store, evaluator: Evaluator, births: int) -> None:
        self._store = store
        self._evaluator = evaluator
        self._births = births
        self._service = TrainingService(store, evaluator, batch_size=64, dedup=Dedup())

    def measure(self, task: Task) -> Measured:
        """Return what is measured on a task."""
        programs = self._programs(task)
        shares = [TaskSeeds(lasting(task, share), tuning_seeds(SEEDS)) for share in SHARES]
        target = TaskSeeds(lasting(task, HORIZON), fresh_seeds(SEEDS))
        found = self._service.train(programs, [*shares, target])
        losses = np.array([[np.nan if of.failures else -of.mean for of in one] for one in found])
        keys = [self._service.candidate(program).key for program in programs]
        curves = np.stack([self._curves(on, keys) for on in shares], axis=1)
        return Measured(task, losses[:, :-1], curves, losses[:, -1])

    def _curves(self, on: TaskSeeds, keys: list[str]) -> np.ndarray:
        """Return the mean curves of programs, [P, 20]."""
        known = self._store.trainings(on.task.fingerprint, keys, on.seeds)
        blank = np.full(20, np.nan)
        of_each = [[known[key, on.task.fingerprint, seed].curve for seed in on.seeds] for key in keys]
        return np.array([
            np.mean(curves, axis=0) if all(len(curve) == 20 for curve in curves) else blank for curves in of_each
        ])  # fmt: skip

    def _programs(self, task: Task) -> list[Program]:
        chosen = [program for row in BASELINES if is_program(row) for program in self._settings(row, task)]
        evolved = self._evolved(task)
        return list({self._service.candidate(program).key: program for program in [*chosen, *evolved]}.values())

    def _settings(self, name: str, task: Task) -> list[Program]:
        """Return a program of the zoo at its best setting and at another that trained well."""
        trials = first_trials(BASELINES[name], TRIALS, self._service)[:SETTINGS]
        candidates = [trial.candidate for trial in trials]
        scores = self._service.evaluate(candidates, [TaskSeeds(task, tuning_seeds(1))])
        ranked = sorted(
            (c for c in candidates if scores[c.key].fitness is not None), key=lambda c: -(scores[c.key].fitness or 0)
        )
        return [c.program for c in ranked[:2] if isinstance(c.program, Program)]

    def _evolved(self, task: Task) -> list[Program]:
        """Return the best of a small search."""
        settings = Settings.model_validate(
            {
                "name": f"horizon-{task.name}", "language": "extended", "budget": {"programs": self._births},
                "strategy": {"start": "torch_adamw"}, "baselines": ["torch_adamw"],
                "tasks": [{"name": task.name, "seeds": {"first": 1, "most": 4}}],
                "evaluator": {"batch": 32, "lookahead": 2},
            }
        )  # fmt: skip
        Driver(settings, self._store, self._evaluator).run()
        best = Results(self._store).leaderboard(settings.name, 4 * EVOLVED, pareto=False)
        return [row.program for row in best[::4]]
