"""Training any program on any task, beside the tuned baselines."""

from __future__ import annotations

from programs.program import Program, parse

from proxy_tasks import Task

from search.baselines import BASELINES
from search.config import FRESH_SEED, TUNING_SEED, Dedup
from search.display import console, describe, show_baselines, show_trainings
from search.evaluation import EvaluationService, TaskSeeds
from search.evaluators import InlineEvaluator
from search.store import Store
from search.tuning import train_programs, tune_baseline

BATCH = 32
DEDUP = Dedup()


def evaluate_beside_baselines(name: str, program: Program, task: Task, seeds: int, store: Store) -> None:
    """Tune the baselines as searches do, train all on fresh seeds, print how they fared."""
    service = EvaluationService(store, InlineEvaluator(), BATCH)
    baselines = [tune_baseline(baseline, service, [TaskSeeds(task, (TUNING_SEED,))], DEDUP) for baseline in BASELINES]
    fresh = TaskSeeds(task, tuple(range(FRESH_SEED, FRESH_SEED + seeds)))
    rivals = {name: program} | {f"tuned {b.name}": parse(b.genome) for b in baselines}
    trainings = train_programs(list(rivals.values()), service, [fresh], DEDUP)
    console.print(f"{name}: {describe(program)}; {task.name}: {task.steps} steps of batch {task.batch_size}")
    show_baselines(baselines)
    show_trainings(f"on {seeds} fresh seed{'s' * (seeds != 1)}", list(rivals), trainings)
    for result in trainings[0]:
        for failure in result.failures:
            console.print(f"{name} on {result.task}: {failure}")
