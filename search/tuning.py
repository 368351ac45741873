"""Tuning baselines and confirming winners: programs trained outside the evolution, by the same service."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from programs.hashing import dataflow_hash
from programs.program import Program

from search.baselines import trials
from search.evaluation import Candidate, EvaluationService, TaskSeeds
from search.store import BaselineRow


def tune_baseline(name: str, service: EvaluationService, tasks: Sequence[TaskSeeds]) -> BaselineRow:
    """The best of the baseline's grid over the tasks."""
    grid = trials(name)
    keys = [dataflow_hash(trial.program) for trial in grid]
    scores = service.evaluate([Candidate(key, trial.program) for key, trial in zip(keys, grid, strict=True)], tasks)
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
    programs: Sequence[Program], service: EvaluationService, tasks: Sequence[TaskSeeds]
) -> list[list[Trainings]]:
    """For each program its trainings on every task, each seed apart."""
    keys = [dataflow_hash(program) for program in programs]
    request = service.request([Candidate(key, program) for key, program in zip(keys, programs, strict=True)], tasks)
    while request.missing:
        service.poll()
    results = []
    for key in keys:
        of_program = []
        for task, seeds in tasks:
            outcomes = [
                request.outcomes[w] for w in request.wanted if w[:2] == (key, task.fingerprint) and w.seed in seeds
            ]
            fitness = [o.fitness for o in outcomes if o.fitness is not None]
            of_program.append(
                Trainings(task.name, fitness, [f"{o.status}: {o.reason}" for o in outcomes if o.fitness is None])
            )
        results.append(of_program)
    return results
