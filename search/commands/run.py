"""One run as the command line does it: evaluator, signals, progress, and what is said at the end."""

from __future__ import annotations

import logging
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from programs.program import parse

from search.commands.leaderboard import show_best
from search.commands.progress import ProgressLine
from search.commands.terminal import console, describe, show_baselines, show_program, show_trainings
from search.evolution.driver import Driver, Progress
from search.settings.settings import FRESH_SEED, EvaluatorSettings, Settings
from search.settings.settings_file import load_settings
from search.store import Store, open_store
from search.training.evaluators import Evaluator, open_evaluator
from search.training.log import logging_to
from search.training.memory import peak_memory_mib
from search.training.service import TaskSeeds
from search.training.tasks import task_seeds
from search.training.tuning import train_programs

log = logging.getLogger("optsearch.run")

FRESH_SEEDS = 3


def command(
    config: Annotated[Path, typer.Argument(help="YAML file of settings, such as configs/quickstart.yaml.")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting: budget.programs=1000.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the search instead of the one in the file.")] = None,
) -> None:
    """Start a search, or continue it where it stopped."""
    settings = load_settings(config, [*(set_ or []), *([f"name={name}"] if name is not None else [])])
    if not run_search(settings):
        raise SystemExit(130)


def run_search(settings: Settings) -> bool:
    """Start or continue a search and say how it ended; False if it was stopped before its budget was spent.

    Raises:
        InputError: the settings do not fit the machine, the data or the store, or another run drives this search.
        StoreError: the store can no longer be written.
    """
    load_tasks(settings)
    with opened(settings.store, settings.evaluator) as (store, evaluator):
        driver = drive(settings, store, evaluator)
        if not driver.stopping:
            with interrupting():
                _conclude(settings, store, driver)
                _show_memory(evaluator)
    return not driver.stopping


def load_tasks(settings: Settings) -> None:
    """What cannot be loaded is said before anything starts.

    Raises:
        InputError: so.
    """
    for task, *_ in task_seeds(settings):
        task.load()


@contextmanager
def opened(
    location: str, evaluator_settings: EvaluatorSettings, create: bool = True
) -> Iterator[tuple[Store, Evaluator]]:
    """Store and evaluator of a run, and its log."""
    with (
        closing(open_store(location, create=create)) as store,
        logging_to(store.log_path),
        closing(open_evaluator(evaluator_settings)) as evaluator,
    ):
        yield store, evaluator


def drive(
    settings: Settings, store: Store, evaluator: Evaluator, report: Callable[[Progress], None] = lambda _: None
) -> Driver:
    """Start or continue a search, with a line that shows how far it is; the driver tells how it ended.

    Args:
        settings: of the search.
        store: where it is kept.
        evaluator: where programs are trained.
        report: told where the search stands, as the line is.
    """

    def tell(progress: Progress) -> None:
        line.update(progress, settings.budget)
        report(progress)

    with ProgressLine("tuning baselines") as line:
        driver = Driver(settings, store, evaluator, tell)
        run_or_drain(driver, lambda: print("\nfinishing what is in flight; once more stops at once", file=sys.stderr))
    if driver.stopping:
        console.print(f"stopped; the same command with the same settings goes on from birth {driver.progress.births}")
    return driver


def run_or_drain(driver: Driver, on_stop: Callable[[], None]) -> None:
    """Run to the end. The first Ctrl-C or SIGTERM drains, the second stops at once.

    Args:
        driver: of the search; tells afterwards how it ended.
        on_stop: called at the first of them.

    Raises:
        KeyboardInterrupt: at the second.
    """
    settings = driver.settings
    log.info("search '%s' begins with %s", settings.name, settings.model_dump_json())
    workers, lookahead = settings.evaluator.workers, settings.evaluator.lookahead
    if workers != "auto" and workers > lookahead:
        log.warning("%d of %d workers will idle: evaluator.lookahead is %d", workers - lookahead, workers, lookahead)

    def handle(number: int, _frame: Any) -> None:
        log.info("%s", signal.Signals(number).name)
        if driver.stopping:
            raise KeyboardInterrupt
        driver.stop()
        on_stop()

    with _signals(handle):
        driver.run()
    log.info("search '%s' %s: %s", settings.name, "stopped" if driver.stopping else "finished", driver.progress)


def interrupting() -> AbstractContextManager[None]:
    """Where nothing is in flight, the first signal stops at once."""

    def handle(_number: int, _frame: Any) -> None:
        raise KeyboardInterrupt

    return _signals(handle)


@contextmanager
def _signals(handle: Callable[[int, Any], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # where Python gives nobody any signals
        yield
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _conclude(settings: Settings, store: Store, driver: Driver) -> None:
    """The leaderboard, the winner, how it fares on fresh seeds, and what to do next."""
    best = show_best(store, settings.name, limit=5)
    if driver.progress.baselines:
        show_baselines(driver.progress.baselines.values())
    if not best:
        console.print("no program trained well; `optsearch failures` says why")
        return
    winner = parse(best[0]["genome"])
    console.print(f"the winner, program {best[0]['id']}, without its dead statements ({describe(winner)}):")
    show_program(winner, dead_too=False)
    seeds = tuple(range(FRESH_SEED, FRESH_SEED + FRESH_SEEDS))
    tasks = [TaskSeeds(task, seeds) for task, *_ in driver.tasks]
    rivals = {f"program {best[0]['id']}": winner}
    if "adamw" in driver.progress.baselines:
        rivals["tuned AdamW"] = parse(driver.progress.baselines["adamw"].genome)
    trainings = train_programs(list(rivals.values()), driver.service, tasks, settings.dedup)
    show_trainings(f"on {FRESH_SEEDS} fresh seeds, which no search trains on", list(rivals), trainings)
    store_option = "" if settings.store == "sqlite:///results.db" else f" --store {shlex.quote(settings.store)}"
    console.print(
        f"{driver.service.trained} trainings in this run; everything is in {store.location}. Next:", soft_wrap=True
    )
    for command in (f"show {best[0]['id']}", f"export {best[0]['id']} --to torch -o optimizer.py", "leaderboard"):
        console.print(f"    optsearch {command}{store_option}", soft_wrap=True)


def _show_memory(evaluator: Evaluator) -> None:
    workers = evaluator.peak_memory()
    of_workers = f", workers {', '.join(f'{mib:.0f}' for mib in workers)} MiB" if workers else ""
    console.print(f"peak memory: driver {peak_memory_mib():.0f} MiB{of_workers}")
