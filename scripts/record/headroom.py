"""Measure the headroom of built-in tasks: what the best known structure gains on AdamW with all its constants tuned.

    python -m scripts.record.headroom [TASK ...] [--store headroom.db] [--workers 2] [--programs 300]

Every optimizer of the zoo is tuned as baselines are, on three seeds. Then all constants of torch's AdamW are moved at
once by the search itself, with structures left alone (`strategy.constants: 1`), and those of whatever was best. What
counts is the loss on 16 fresh seeds. Prints a row of Markdown for each task; what is in the store is not trained again.
Locked tasks are refused, since this searches.
"""

from __future__ import annotations

import argparse
import math
from typing import NamedTuple

from programs.program import parse

from proxy_tasks import SUITE, TASKS, Task
from proxy_tasks.locked import is_locked, refuse_locked

from search.evolution.driver import Driver
from search.settings.baselines import BASELINES, is_program
from search.settings.seeds import fresh_seeds, tuning_seeds
from search.settings.settings import Dedup, EvaluatorSettings, Settings
from search.settings.tasks import TaskSeeds
from search.store import Store
from search.training.jobs import Evaluator
from search.training.service import Trainings, TrainingService
from search.training.session import opened
from search.training.statistics import standard_error
from search.training.tuning import tune

TUNING_SEEDS, FRESH_SEEDS = 3, 16
ADAMW = "torch_adamw"
HEADER = """\
| task | AdamW | all its constants | best structure | | all its constants | headroom | z |
|---|---|---|---|---|---|---|---|"""


class Loss(NamedTuple):
    """A loss with its standard error, over fresh seeds."""

    mean: float
    error: float

    @classmethod
    def of(cls, found: Trainings) -> Loss:
        """Return that of a program that was trained; infinite if it failed on a seed."""
        return cls(math.inf if found.failures else -found.mean, found.standard_error)

    def __str__(self) -> str:
        return f"{self.mean:.4g} ± {self.error:.1g}"


class Recorder:
    """Tunes and measures, in one store."""

    def __init__(self, store: Store, evaluator: Evaluator, programs: int) -> None:
        self._store = store
        self._evaluator = evaluator
        self._programs = programs
        self._service = TrainingService(store, evaluator, batch_size=32, dedup=Dedup())

    def row(self, task: Task) -> str:
        """Return what is measured on a task."""
        rows = [row for row in BASELINES.values() if is_program(row.name)]
        tuned = tune(rows, self._service, [TaskSeeds(task, tuning_seeds(TUNING_SEEDS))])
        fresh = dict(zip([one.name for one in tuned], self._fresh(task, [one.program for one in tuned]), strict=True))
        moved_adamw = self._all_constants(task, ADAMW)
        adamw = min(fresh[ADAMW], moved_adamw, key=lambda one: Loss.of(one).mean)
        best = min((name for name in fresh if name not in ("adamw", ADAMW)), key=lambda name: Loss.of(fresh[name]).mean)
        moved = self._all_constants(task, best)
        kept = min(fresh[best], moved, key=lambda one: Loss.of(one).mean)
        gains = [kept.by_seed[seed] - adamw.by_seed[seed] for seed in kept.by_seed if seed in adamw.by_seed]
        headroom, error = sum(gains) / len(gains), standard_error(gains)
        cells = [task.name, Loss.of(fresh[ADAMW]), Loss.of(moved_adamw), Loss.of(fresh[best]), best, Loss.of(moved)]
        return f"| {' | '.join(map(str, cells))} | {headroom:.4g} | {headroom / error:.1f} |"

    def _fresh(self, task: Task, programs: list[object]) -> list[Trainings]:
        return [one for (one,) in self._service.train(programs, [TaskSeeds(task, fresh_seeds(FRESH_SEEDS))])]  # type: ignore[arg-type]

    def _all_constants(self, task: Task, name: str) -> Trainings:
        """Return the trainings of an optimizer of which all constants are tuned at once."""
        settings = Settings.model_validate(
            {
                "name": f"{task.name}-{name}", "language": "extended", "budget": {"evaluations": self._programs},
                "strategy": {"start": name, "start_tuned": True, "constants": 1},
                "tasks": [{"name": task.name, "seeds": {"first": 1, "most": 16}}],
                "baselines": [*{name: None, ADAMW: None, "nadamw": None, "nesterov": None}],
                "evaluator": {"batch": 32, "lookahead": 2},
            }
        )  # fmt: skip
        best = Driver(settings, self._store, self._evaluator).run().best
        assert best is not None
        (found,) = self._fresh(task, [parse(best.genome)])
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    open_tasks = [base for base in SUITE if not is_locked(base)]
    everything = [f"{base}{variant}" for variant in ("_short", "_large_batch", "") for base in open_tasks]
    parser.add_argument("tasks", nargs="*", metavar="TASK", default=everything)
    parser.add_argument("--store", default="headroom.db")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--programs", type=int, default=300)
    options = parser.parse_args()
    for name in options.tasks:
        refuse_locked(name)
    with opened(options.store, EvaluatorSettings(workers=options.workers)) as (store, evaluator):
        recorder = Recorder(store, evaluator, options.programs)
        print(HEADER, flush=True)
        for name in options.tasks:
            print(recorder.row(TASKS[name]), flush=True)


if __name__ == "__main__":
    main()
