"""The command `optsearch compare`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from search.commands.chosen_settings import settings_file
from search.commands.comparison_tables import show_contest, show_overall
from search.commands.options import JsonOption, NameOption, SetOption
from search.commands.output import Form, table_of, write
from search.commands.progress import counting_trainings
from search.commands.run import shown
from search.commands.terminal import console
from search.evidence.comparison import Arm, Comparison, Contest, is_finished
from search.evidence.populations import run_of
from search.evidence.standings import (
    ArmEntry,
    BestEntry,
    FreshSeeds,
    OverallEntry,
    Tried,
    arm_entries,
    best_entries,
    overall_entries,
)
from search.evolution.constraints import check_starts
from search.evolution.driver import Driver
from search.evolution.outside.proposer import check_proposer
from search.evolution.resume import known_search
from search.results.results import Results
from search.results.text import STRATEGIES
from search.settings.baselines import adamw_among
from search.settings.tasks import load_tasks
from search.store import Store
from search.training.jobs import Evaluator
from search.training.service import TrainingService
from search.training.session import interrupt, on_signals, opened


def command(
    config: Annotated[
        Path, typer.Argument(help="YAML file of settings with arms, such as configs/comparisons/strategies.yaml.")
    ],
    set_: SetOption = None,
    name: NameOption = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="File for the figure: png, svg or pdf.")] = Path(
        "comparison.png"
    ),
    arms: Annotated[str | None, typer.Option(metavar="ARM[,ARM]", help="Run only these arms now.")] = None,
    on: Annotated[str | None, typer.Option(metavar="TASK[,TASK]", help="Run only on these tasks now.")] = None,
    json: JsonOption = False,
) -> None:
    """Run searches that differ in some settings, and say and draw which finds the better programs for its compute."""
    if not compare(config, set_ or [], output, name, arms, on, json):
        raise SystemExit(130)


def compare(
    config: Path,
    overrides: list[str],
    output: Path,
    name: str | None = None,
    arms: str | None = None,
    on: str | None = None,
    as_json: bool = False,
) -> bool:
    """Run arms, or go on with them, then draw the figure and print the tables; False if stopped before the end.

    Arms run task by task, so that after each task all of them can be compared. What has ended in earlier runs is in the
    figure and in the tables, too.

    Args:
        config: the file.
        overrides: changes of it, such as `a.b=c`.
        output: the file for the figure.
        name: to start under, instead of the one in the file.
        arms: those to run, with commas between their names; all if not given.
        on: the tasks of `each` to run on, in the same way.
        as_json: whether to print the tables as JSON, and nothing else on the standard output.

    Raises:
        InputError: the settings make no sense, or the figure's format is unknown.
        StoreError: the store can no longer be written.
    """
    from search.evidence.comparison_figure import check_format  # imported here: Matplotlib takes a second

    check_format(output)
    comparison = Comparison(settings_file(config, overrides, name))
    base = comparison.base
    chosen = comparison.chosen_arms(arms)
    contests = comparison.chosen_contests(on)
    _check_tasks(comparison)
    with (
        redirect_stdout(sys.stderr) if as_json else nullcontext(),
        opened(base.store, base.evaluator) as (store, evaluator),
    ):
        _check_store(comparison, chosen, contests, store)
        results = _Running(comparison, store, evaluator, output)
        for contest in contests:
            if not all(results.run(arm, contest) for arm in chosen):
                return False
            results.judge(contest)
        for contest in comparison.contests:  # what has ended in earlier runs
            results.judge(contest)
        found = results.conclude()
        location = store.location
    if as_json:
        tables = (("overall", OverallEntry, found.overall), ("arms", ArmEntry, found.arms),
                  ("populations", BestEntry, found.best))  # fmt: skip
        write(Form.JSON, "compare", location, [table_of(*table) for table in tables])
    return True


def _check_tasks(comparison: Comparison) -> None:
    """Say what is wrong with tasks and start programs before any arm has run.

    Raises:
        InputError: something is.
    """
    every = [comparison.settings(arm, contest) for contest in comparison.contests for arm in comparison.arms]
    load_tasks(list({choice.name: choice for settings in every for choice in settings.all_tasks}.values()))
    for settings in every:
        load_tasks(settings.all_tasks)
        check_starts(settings)
        if settings.strategy.proposals is not None:
            check_proposer(settings.strategy.proposals)


def _check_store(comparison: Comparison, arms: Sequence[Arm], contests: Sequence[Contest], store: Store) -> None:
    """Say what cannot go on before anything is trained.

    Raises:
        InputError: a search is in the store with another history, or an arm waits for one that is not to run.
    """
    for contest in comparison.contests:
        for arm in comparison.arms:
            if arm.lengths_of is None:
                known_search(comparison.settings(arm, contest, store), store)
            elif contest in contests and arm in arms and arm.lengths_of not in [one.name for one in arms]:
                comparison.settings(arm, contest, store)


class _Found(NamedTuple):
    overall: list[OverallEntry]
    arms: list[ArmEntry]
    best: list[BestEntry]


class _Running:
    """Runs searches of a comparison, and says how those that have ended stand."""

    def __init__(self, comparison: Comparison, store: Store, evaluator: Evaluator, output: Path) -> None:
        self._comparison = comparison
        self._store = store
        self._evaluator = evaluator
        self._output = output
        self._first = comparison.arms[0].name
        self._judged: dict[str, tuple[list[ArmEntry], list[BestEntry]]] = {}
        base = comparison.base
        self._service = TrainingService(store, evaluator, base.evaluator.batch, base.dedup)

    def run(self, arm: Arm, contest: Contest) -> bool:
        """Run a search, or go on with it; False if it was stopped. One that has ended is left as it is.

        Raises:
            InputError: it is in the store with another history, as where an arm that it follows has gone on since.
        """
        settings = self._comparison.settings(arm, contest, self._store)
        known_search(settings, self._store)
        if is_finished(self._store, settings.name, settings):
            return True
        kind = STRATEGIES[settings.strategy.kind]
        console.print(f"{settings.name}: {settings.strategy.repeats} populations, {kind}")
        driver = Driver(settings, self._store, self._evaluator)
        with shown(driver):
            driver.run()
        return not driver.stopping

    def judge(self, contest: Contest) -> None:
        """Train on fresh seeds what the arms have found on a contest, print the tables, and draw the figure."""
        if contest.name in self._judged:
            return
        tried = list(self._tried(contest))
        if not tried:
            return
        on = self._comparison.settings(self._comparison.arms[0], contest)
        with on_signals(interrupt), counting_trainings(self._service):
            seeds = FreshSeeds(self._service, on.task_seeds, on.aggregate)
            best = best_entries(contest.name, tried, seeds)
            arms = arm_entries(tried, best, self._first)
        self._judged[contest.name] = arms, best
        show_contest(arms, self._first)
        self._draw(tried)
        missing = [arm.name for arm in self._comparison.arms if arm.name not in [one.arm for one in tried]]
        if missing:
            console.print(f"{contest.name}: not run to the end yet: {', '.join(missing)}\n")

    def conclude(self) -> _Found:
        """Print how the arms stand over all contests, and return everything."""
        arms = [entry for entries, _ in self._in_order() for entry in entries]
        names = [arm.name for arm in self._comparison.arms]
        by_arm = {name: [entry for entry in arms if entry.arm == name] for name in names}
        overall = overall_entries({name: of for name, of in by_arm.items() if of}, self._first)
        if self._comparison.has_each:
            show_overall(overall, self._first)
        console.print(f"drawn to {self._output}")
        return _Found(overall, arms, [entry for _, best in self._in_order() for entry in best])

    def _in_order(self) -> Iterator[tuple[list[ArmEntry], list[BestEntry]]]:
        for contest in self._comparison.contests:
            if contest.name in self._judged:
                yield self._judged[contest.name]

    def _tried(self, contest: Contest) -> Iterator[Tried]:
        """Yield the searches of a contest that have ended."""
        for arm in self._comparison.arms:
            name = self._comparison.search_of(arm, contest)
            found = self._store.find_search(name)
            if found is not None and is_finished(self._store, name):
                run = run_of(self._store.births(found.id), self._comparison.settings(arm, contest).strategy.repeats)
                yield Tried(arm.name, name, run, adamw_among(self._store.baselines(found.id)))

    def _draw(self, tried: Sequence[Tried]) -> None:
        from search.evidence.comparison_figure import Curves, draw

        curves = [] if self._comparison.has_each else [
            Curves(one.arm, one.run.populations, Results(self._store).progress(one.search)) for one in tried
        ]  # fmt: skip
        entries = [entry for arms, _ in self._in_order() for entry in arms]
        names = [arm.name for arm in self._comparison.arms]
        tasks = [choice.task for choice in self._comparison.base.tasks]
        what = f"negative {tasks[0].error}" if len(tasks) == 1 else "score"
        draw(self._comparison.base.name, names, entries, curves, self._output, what)
