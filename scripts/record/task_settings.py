"""Measure what the settings of tasks are worth: fitness by accuracy, and averaged weights.

    python -m scripts.record.task_settings [TASK ...] [--store task_settings.db] [--seeds 20]

AdamW and Lion are trained with their recorded constants (`proxy_tasks/references.json`). Of each setting the learning
rate is the best of four on three seeds; what is printed is of fresh seeds. For the noise: the standard deviation of one
training between seeds, over the difference of the means of AdamW and Lion. Rows are Markdown; what is in the store is
not trained again.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

from programs.hyperparameters import scaled
from programs.program import Program

from proxy_tasks import Task, get_task
from proxy_tasks.references import reference

from search.settings.baselines import BASELINES
from search.settings.seeds import fresh_seeds, tuning_seeds
from search.settings.settings import Dedup
from search.settings.tasks import TaskSeeds
from search.store import open_store
from search.training.inline import InlineEvaluator
from search.training.service import Trainings, TrainingService
from search.training.statistics import difference

TASKS = ("digits_mlp", "digits_autoencoder")
OPTIMIZERS = ("adamw", "lion")
FACTORS = (0.25, 0.5, 1.0, 2.0)
AVERAGES = (0.0, 0.9, 0.99)
SCHEDULES = ("cosine", "constant")


def tuned(task: Task, name: str) -> Program:
    """Return an optimizer with its recorded constants."""
    known = reference(task)
    assert known is not None, f"{task.name} is recorded"
    found = known.optimizers[name]
    program = BASELINES[name].make(found.learning_rate, found.weight_decay)
    assert isinstance(program, Program)
    return program


def on_fresh_seeds(program: Program, task: Task, seeds: int, service: TrainingService) -> Trainings:
    """Return the trainings at the best of the learning rates."""
    programs = [scaled(program, factor) for factor in FACTORS]
    tried = [-math.inf if of.failures else of.mean
             for (of,) in service.train(programs, [TaskSeeds(task, tuning_seeds(3))])]  # fmt: skip
    best = programs[tried.index(max(tried))]
    return service.train([best], [TaskSeeds(task, fresh_seeds(seeds))])[0][0]


def noise_rows(task: Task, seeds: int, service: TrainingService) -> Iterator[str]:
    """Yield how noisy each kind of fitness is, beside what it has to tell apart."""
    for fitness in ("loss", "accuracy") if task.load()[1].accuracy is not None else ("loss",):
        on = replace(task, fitness=fitness)
        adamw, lion = (on_fresh_seeds(tuned(task, name), on, seeds, service) for name in OPTIMIZERS)
        sigma = math.sqrt(statistics.fmean(statistics.variance(one.fitness) for one in (adamw, lion)))
        gap = difference(lion.by_seed, adamw.by_seed)
        assert gap is not None, "seeds are several"
        cells = [task.name, on.error, *(f"{-one.mean:.4f}" for one in (adamw, lion)), f"{sigma:.4f}"]
        cells += [f"{gap.mean:+.4f} ± {gap.standard_error:.4f}", f"{sigma / abs(gap.mean):.2f}"]
        yield f"| {' | '.join(cells)} |"


def average_rows(task: Task, seeds: int, service: TrainingService) -> Iterator[str]:
    """Yield the losses with averaged weights, and how far each is ahead of the last weights."""
    for name in OPTIMIZERS:
        for schedule in SCHEDULES:
            cells, last = [task.name, name, schedule], None
            for average in AVERAGES:
                on = replace(task, schedule=schedule, average=average)
                found = on_fresh_seeds(tuned(task, name), on, seeds, service)
                ahead = None if last is None else difference(found.by_seed, last.by_seed)
                last = found if last is None else last
                by = "" if ahead is None else f" ({ahead.mean:+.4f} ± {ahead.standard_error:.4f})"
                cells.append(f"{-found.mean:.4f}{by}")
            yield f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=TASKS)
    parser.add_argument("--store", default="task_settings.db")
    parser.add_argument("--seeds", type=int, default=20)
    options = parser.parse_args()
    with closing(open_store(options.store, create=True)) as store:
        service = TrainingService(store, InlineEvaluator(), 64, Dedup())
        tasks = [get_task(name) for name in options.tasks]
        print("| task | fitness is minus the | AdamW | Lion | sigma of a training | Lion ahead | sigma / gap |")
        print("|---|---|---|---|---|---|---|")
        for task in tasks:
            for row in noise_rows(task, options.seeds, service):
                print(row, flush=True)
        print("\n| task | optimizer | schedule | last weights |", *(f"average {a:g} |" for a in AVERAGES[1:]))
        print(f"|{'---|' * (4 + len(AVERAGES) - 1)}")
        for task in tasks:
            for row in average_rows(task, options.seeds, service):
                print(row, flush=True)


if __name__ == "__main__":
    main()
