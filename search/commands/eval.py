"""The command `optsearch eval`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from typing import Annotated

import typer

from programs.program import Program

from proxy_tasks import Task

from search.commands.chosen_settings import DEFAULT_TASK, chosen_tasks
from search.commands.options import (
    RESULTS,
    ConfigOption,
    ProgramArgument,
    StepsOption,
    StoreOption,
    allow_user_modules,
    numeric,
)
from search.commands.progress import counting_trainings
from search.commands.terminal import console, describe, show_baselines
from search.commands.training_tables import show_differences, show_trainings
from search.results.programs import named_program
from search.settings import limits
from search.settings.baselines import BASELINES, chosen, competitor
from search.settings.seeds import fresh_seeds, tuning_seeds
from search.settings.settings import Dedup
from search.settings.tasks import TaskSeeds
from search.store import Store, open_store
from search.training.inline import InlineEvaluator
from search.training.service import TrainingService
from search.training.tuning import tune

BATCH = 32
TUNING_SEEDS = tuning_seeds(3)  # a setting that is the best on one seed may diverge on the next
DEDUP = Dedup()


def command(
    program: ProgramArgument,
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="A task to train on: built-in (`optsearch tasks` lists them), or your own as module:function; again"
            " for more. Without it those of the program's search, or digits_mlp."
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option(**numeric(limits.SEEDS), help="Number of seeds, none of which searches train on.")
    ] = 3,
    steps: StepsOption = None,
    baselines: Annotated[
        str,
        typer.Option(metavar="NAMES|all", help="Known optimizers to tune and compare with, with commas between them."),
    ] = "torch_adamw,adamw,lion,sgd_momentum",
    tune: Annotated[
        bool, typer.Option("--tune", help="Tune the program too, with as many trials as each baseline.")
    ] = False,
    config: ConfigOption = None,
    store: StoreOption = RESULTS,
) -> None:
    """Train a program on a task beside the tuned baselines. Trainings are kept in the store and never repeated."""
    allow_user_modules()
    names = chosen(baselines)
    with named_program(program, store) as (found, results):
        tasks = chosen_tasks(found, results, task or [], config, DEFAULT_TASK)
        with closing(open_store(store, create=True)) as database:
            for on in tasks if steps is None else [replace(one, steps=steps) for one in tasks]:
                evaluate_beside_baselines(found.name, found.program, on, seeds, database, names, tune)


def evaluate_beside_baselines(
    name: str, program: Program, task: Task, seeds: int, store: Store, baselines: Sequence[str], is_tuned: bool
) -> None:
    """Tune the baselines, and the program too if asked for; train all on fresh seeds, and print the results.

    Args:
        name: of the program.
        program: the program.
        task: to train on.
        seeds: number of fresh seeds.
        store: keeps all trainings.
        baselines: names of `BASELINES`.
        is_tuned: whether the program gets the trials that each baseline gets.
    """
    service = TrainingService(store, InlineEvaluator(), BATCH, DEDUP)
    ours = f"{name}, tuned" if is_tuned else name
    competitors = [BASELINES[baseline] for baseline in baselines] + [competitor(ours, program)] * is_tuned
    with counting_trainings(service):
        tuned = tune(competitors, service, [TaskSeeds(task, TUNING_SEEDS)])
    known = tuned[: len(baselines)]
    programs = {name: program} | {f"tuned {t.name}": t.program for t in known}
    if is_tuned:
        programs[ours] = tuned[-1].program
    fresh = TaskSeeds(task, fresh_seeds(seeds))
    with counting_trainings(service):
        trainings = service.train(list(programs.values()), [fresh])
    console.print(f"{name}: {describe(program)}; {task.name}: {task.steps} steps of batch {task.batch_size}")
    console.print(f"fitness is minus the {task.error}")
    show_baselines([t.row for t in known])
    if is_tuned:
        best = tuned[-1].best
        console.print(f"{ours}: its update times {best.learning_rate:g}, weight decay {best.weight_decay:g}")
    show_trainings(f"on {seeds} fresh seed{'s' * (seeds != 1)}", list(programs), trainings)
    results = {one: of_task for one, (of_task,) in zip(programs, trainings, strict=True)}
    show_differences(ours, results[ours], {one: results[one] for one in programs if one not in (name, ours)})
    for one in dict.fromkeys((name, ours)):
        for failure in results[one].failures:
            console.print(f"{one} on {task.name}: {failure}")
