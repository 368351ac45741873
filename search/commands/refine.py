"""The command `optsearch refine`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from programs.schedules import Schedule

from proxy_tasks import Task

from search.commands.chosen_settings import chosen_task
from search.commands.export import write_text
from search.commands.options import (
    RESULTS,
    ConfigOption,
    JsonOption,
    OneTaskOption,
    ProgramArgument,
    StepsOption,
    StoreOption,
    allow_user_modules,
    numeric,
)
from search.commands.output import Form, Table, write
from search.commands.progress import counting_trainings
from search.commands.terminal import console, describe, number, show_table
from search.evidence.refinement import OnSchedule, Refinement, refine, suitable_norm
from search.results.programs import named_program
from search.settings import limits
from search.settings.settings import Dedup
from search.store import open_store
from search.training.inline import InlineEvaluator
from search.training.service import TrainingService

BATCH = 32
DEDUP = Dedup()
SHARES = tuple(n / 10 for n in range(11))  # of the training, where schedules are shown
COLUMNS = (
    "schedule", "learning_rate_factor", "is_edge", "fitness", "standard_error", "seeds", "seeds_failed", "ahead",
    "ahead_error", "z",
)  # fmt: skip


def command(
    program: ProgramArgument,
    task: OneTaskOption = None,
    rounds: Annotated[
        int, typer.Option(**numeric(limits.ROUNDS), help="Refinements, each from a training with the one before.")
    ] = 1,
    seeds: Annotated[
        int, typer.Option(**numeric(limits.SIMPLIFY_SEEDS), help="Number of seeds, none of which searches train on.")
    ] = 10,
    steps: StepsOption = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write the last schedule to, as YAML.")
    ] = None,
    config: ConfigOption = None,
    store: StoreOption = RESULTS,
    as_json: JsonOption = False,
) -> None:
    """Find the schedule that a program's gradient norms ask for, and compare it with others. Trainings are kept."""
    allow_user_modules()
    with named_program(program, store) as (found, results):
        on = chosen_task(found, results, task, config, steps)
        norm = suitable_norm(found.program)
        with closing(open_store(store, create=True)) as database:
            service = TrainingService(database, InlineEvaluator(), BATCH, DEDUP)
            with counting_trainings(service):
                made = refine(found.program, on, norm, rounds, seeds, service)
    yaml = as_yaml(made.compared[-1])
    if as_json:
        write(Form.JSON, "refine", store, [_compared(made), _schedules(made, on)])
    else:
        console.print(f"{found.name}: {describe(found.program)}; {on.name}: {on.steps} steps of {on.batch_size}")
        _show(made, on, seeds)
        console.print("the last schedule, for a task in a config:", yaml, sep="\n", soft_wrap=True)
    if output is not None:
        write_text(yaml, output)


def as_yaml(one: OnSchedule) -> str:
    """Return the setting of a task that is this schedule."""
    form = one.form if isinstance(one.form, str) else f"[{', '.join(f'{factor:g}' for factor in one.form)}]"
    return f"schedule: {form}\n"


def _rates(one: OnSchedule, on: Task) -> list[float]:
    """Return the factors of all steps."""
    values: list[float] = Schedule(one.form, on.warmup, on.decay).values(on.steps).tolist()
    return values


# --- for machines ----------------------------------------------------------------------------------------------------


def _compared(made: Refinement) -> Table:
    rows = [dict(zip(COLUMNS, _values(one), strict=True)) for one in made.compared]
    return Table("compared", COLUMNS, rows)


def _values(one: OnSchedule) -> Iterator[Any]:
    trained, ahead = one.trained, one.ahead
    several = len(trained.by_seed) > 1
    yield from (one.name, one.factor, one.is_edge, trained.mean if trained.by_seed else None)
    yield from (trained.standard_error if several else None, len(trained.by_seed), len(trained.failures))
    yield from (None, None, None) if ahead is None else (ahead.mean, ahead.standard_error, ahead.z)


def _schedules(made: Refinement, on: Task) -> Table:
    columns = ("schedule", "step", "factor")
    rows = [
        dict(zip(columns, (one.name, step, factor), strict=True))
        for one in made.compared
        for step, factor in enumerate(_rates(one, on), start=1)
    ]
    return Table("schedules", columns, rows)


# --- for people ------------------------------------------------------------------------------------------------------


def _show(made: Refinement, on: Task, seeds: int) -> None:
    console.print(f"fitness is minus the {on.error}; refined from {made.norm} norms of gradients")
    show_table(
        f"on {seeds} fresh seeds, each at the best of the same learning rates",
        ["schedule", "rate x", "fitness", "std. error", f"ahead of {made.base}", "+-", "z"],
        [[one.name, f"{one.factor:g}", *_figures(one)] for one in made.compared],
        left=["schedule"],
    )
    for one in made.compared:
        for failure in one.trained.failures:
            console.print(f"{one.name}: {failure}")
        if one.is_edge:
            console.print(f"{one.name}: the best learning rate may lie beyond {one.factor:g} times the program's own")
    places = [round(share * (on.steps - 1)) for share in SHARES]
    rates = {one.name: _rates(one, on) for one in made.compared}
    show_table(
        "the schedules, by the share of the training",
        ["schedule", *(f"{share:.0%}" for share in SHARES)],
        [[name, *(f"{values[place]:.3f}" for place in places)] for name, values in rates.items()],
        left=["schedule"],
    )


def _figures(one: OnSchedule) -> Iterator[str]:
    yield number(one.trained.mean)
    yield number(one.trained.standard_error)
    ahead = one.ahead
    yield from ("", "", "") if ahead is None else (
        number(ahead.mean, True), number(ahead.standard_error), f"{ahead.z:+.2f}",
    )  # fmt: skip
