"""The command `optsearch compare`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from search.commands.options import NameOption, SetOption, settings_file
from search.commands.progress import counting_trainings
from search.commands.run import shown
from search.commands.terminal import console, show_table
from search.evidence.comparison import FRESH_SEEDS, Arm, Standing, fresh_fitness, read_arms, repeats_of, standings
from search.evolution.constraints import check_starts
from search.evolution.driver import Driver
from search.evolution.outside.proposer import check_proposer
from search.evolution.resume import known_search
from search.results.results import Results
from search.results.text import STRATEGIES
from search.settings.settings import Settings
from search.settings.tasks import load_tasks
from search.training.session import opened


def command(
    config: Annotated[
        Path, typer.Argument(help="YAML file of settings with arms, such as configs/comparisons/figure2.yaml.")
    ],
    set_: SetOption = None,
    name: NameOption = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="File for the figure: png, svg or pdf.")] = Path(
        "comparison.png"
    ),
) -> None:
    """Run searches that differ in some settings, and draw which finds the better programs for its compute."""
    if not compare(config, set_ or [], output, name):
        raise SystemExit(130)


def compare(config: Path, overrides: list[str], output: Path, name: str | None = None) -> bool:
    """Run all arms, or go on with them, then draw the figure and print the table; False if stopped before the end.

    Raises:
        InputError: the settings make no sense, or the figure's format is unknown.
        StoreError: the store can no longer be written.
    """
    from search.evidence.comparison_figure import check_format, draw  # imported here: Matplotlib takes a second

    check_format(output)
    file = settings_file(config, overrides, name)
    plans = read_arms(file)
    base = file.read(Settings)
    for plan in plans:  # so that what is wrong is said before any arm has run
        settings = plan.settings(file, None)
        load_tasks(settings.all_tasks)
        check_starts(settings)
        if settings.strategy.proposals is not None:
            check_proposer(settings.strategy.proposals)
    arms: list[Arm] = []
    with opened(base.store, base.evaluator) as (store, evaluator):
        for plan in plans:  # what cannot go on is said before anything is trained
            if plan.lengths_of is None:
                known_search(plan.settings(file, store), store)
        for plan in plans:
            settings = plan.settings(file, store)
            console.print(
                f"{settings.name}: {settings.strategy.repeats} populations, {STRATEGIES[settings.strategy.kind]}"
            )
            driver = Driver(settings, store, evaluator)
            with shown(driver):
                driver.run()
            if driver.stopping:
                return False
            progress = Results(store).progress(settings.name)
            arms.append(Arm(plan.name, repeats_of(store, settings), progress))
        with counting_trainings(driver.service):
            fresh = fresh_fitness(arms, driver.service, driver.tasks[0].task)
        _show(standings(arms, fresh))
        draw(base.name, arms, output)
    console.print(f"drawn to {output}")
    return True


def _show(found: Sequence[Standing]) -> None:
    rows = [
        [
            one.name, str(one.repeats), str(one.births), f"{one.trained:.0f}",
            f"{one.fitness.mean:.4f} +- {one.fitness.error:.4f}", f"{one.fresh.mean:.4f} +- {one.fresh.error:.4f}",
            "-" if math.isnan(one.ahead) else f"{one.ahead:+.4f}", "-" if math.isnan(one.z) else f"{one.z:.1f}",
        ]
        for one in found
    ]  # fmt: skip
    show_table(
        f"best of each population; fresh: on {FRESH_SEEDS} seeds that no search trains on;"
        f" ahead: how far {found[0].name} is, there",
        ["arm", "repeats", "programs", "trained", "fitness", "fresh", "ahead", "z"],
        rows,
        left=["arm"],
    )
