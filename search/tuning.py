"""Tuning baselines and confirming winners: programs trained outside the evolution, by the same service."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from programs.program import Program

from search.baselines import trials
from search.config import Dedup
from search.evaluation import Combine, EvaluationService, TaskSeeds
from search.identity import candidate
from search.store import BaselineRow


def tune_baseline(
    name: str, service: EvaluationService, tasks: Sequence[TaskSeeds], dedup: Dedup, combine: Combine = "mean"
) -> BaselineRow:
    """The best of the baseline's grid over the tasks."""
    grid = trials(name)
    candidates = [candidate(trial.program, dedup) for trial in grid]
    keys = [c.key for c in candidates]
    scores = service.evaluate(candidates, tasks, combine)
    fitness = [scores[key].fitness for key in keys]
    ranks = [-math.inf if f is None else f for f in fitness]
    best = ranks.index(max(ranks))
    program, learning_rate, weight_decay = grid[best]
    return BaselineRow(name, str(program), keys[best], learning_rate, weight_decay, fitness[best], len(grid))


class Trainings(NamedTuple):
    """How a program fared on several seeds of one task; `fitness` of those trainings that were ok."""

    task: str
    fitness: list[float]
    failures: list[str]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.fitness) if self.fitness else math.nan

    @property
    def standard_error(self) -> float:
        if len(self.fitness) < 2:
            return math.nan
        return statistics.stdev(self.fitness) / math.sqrt(len(self.fitness))


def train_programs(
    programs: Sequence[Program], service: EvaluationService, tasks: Sequence[TaskSeeds], dedup: Dedup
) -> list[list[Trainings]]:
    """For each program its trainings on every task, each seed apart."""
    candidates = [candidate(program, dedup) for program in programs]
    request = service.wait(service.request(candidates, tasks))
    results = []
    for key in (c.key for c in candidates):
        of_program = []
        for task, seeds, _ in tasks:
            outcomes = [
                request.outcomes[w] for w in request.wanted if w[:2] == (key, task.fingerprint) and w.seed in seeds
            ]
            fitness = [o.fitness for o in outcomes if o.fitness is not None]
            of_program.append(
                Trainings(task.name, fitness, [f"{o.status}: {o.reason}" for o in outcomes if o.fitness is None])
            )
        results.append(of_program)
    return results
