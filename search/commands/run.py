"""The command `optsearch run`: a search with its line of progress, and what is said at the end."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from programs.program import parse

from proxy_tasks.runtime import peak_memory_mib

from search.commands.leaderboard import show_best
from search.commands.options import NameOption, SetOption, settings_file
from search.commands.progress import ProgressLine, counting_trainings
from search.commands.terminal import console, describe, show_baselines, show_program, show_trainings
from search.evolution.driver import Driver, Progress
from search.results.results import Results
from search.settings.seeds import fresh_seeds
from search.settings.settings import Settings
from search.settings.tasks import TaskSeeds, load_tasks
from search.store import Store
from search.training.jobs import Evaluator
from search.training.session import interrupt, on_signals, opened

FRESH_SEEDS = 3


def command(
    config: Annotated[Path, typer.Argument(help="YAML file of settings, such as configs/quickstart.yaml.")],
    set_: SetOption = None,
    name: NameOption = None,
) -> None:
    """Start a search, or continue it where it stopped."""
    if not run_search(settings_file(config, set_, name).read(Settings)):
        raise SystemExit(130)


def run_search(settings: Settings) -> bool:
    """Start or continue a search and say how it ended; False if it was stopped before its budget was spent.

    Raises:
        InputError: the settings do not fit the machine, the data or the store, or another run drives this search.
        StoreError: the store can no longer be written.
    """
    load_tasks(settings.all_tasks)
    with opened(settings.store, settings.evaluator) as (store, evaluator):
        driver = Driver(settings, store, evaluator)
        with shown(driver):
            driver.run()
        if not driver.stopping:
            with on_signals(interrupt):
                _conclude(settings, store, driver)
                _show_memory(evaluator)
    return not driver.stopping


@contextmanager
def shown(driver: Driver, report: Callable[[Progress], None] = lambda _: None) -> Iterator[None]:
    """Show a line that says how far a search is while it runs, and how to go on if it was stopped.

    Args:
        driver: of the search.
        report: told the same as the line.
    """

    def tell(progress: Progress) -> None:
        line.update(progress, driver.settings.budget)
        report(progress)

    def say_stopping() -> None:
        tqdm.write("finishing what is in flight; once more stops at once", file=sys.stderr)

    with ProgressLine("tuning baselines") as line:
        driver.report, driver.on_stop, driver.service.on_progress = tell, say_stopping, line.count
        yield
    if driver.stopping:
        console.print(f"stopped; the same command with the same settings goes on from birth {driver.progress.births}")


def _conclude(settings: Settings, store: Store, driver: Driver) -> None:
    """Print the leaderboard, the winner, how it trains on fresh seeds, and what to do next."""
    best = show_best(Results(store), settings.name, limit=5)
    if driver.progress.baselines:
        show_baselines(driver.progress.baselines.values())
    if not best:
        console.print("no program trained well; `optsearch failures` says why")
        return
    winner = best[0].program
    console.print(f"the winner, program {best[0].id}, without its dead statements ({describe(winner)}):")
    show_program(winner, dead_too=False)
    tasks = [TaskSeeds(on.task, fresh_seeds(FRESH_SEEDS)) for on in driver.tasks]
    rivals = {f"program {best[0].id}": winner}
    if "adamw" in driver.progress.baselines:
        rivals["tuned AdamW"] = parse(driver.progress.baselines["adamw"].genome)
    with counting_trainings(driver.service):
        trainings = driver.service.train(list(rivals.values()), tasks)
    show_trainings(f"on {FRESH_SEEDS} fresh seeds, which no search trains on", list(rivals), trainings)
    store_option = "" if settings.store == "sqlite:///results.db" else f" --store {shlex.quote(settings.store)}"
    console.print(
        f"{driver.service.trained} trainings in this run; everything is in {store.location}. Next:", soft_wrap=True
    )
    for command in (f"show {best[0].id}", f"export {best[0].id} --to torch -o optimizer.py", "leaderboard"):
        console.print(f"    optsearch {command}{store_option}", soft_wrap=True)


def _show_memory(evaluator: Evaluator) -> None:
    workers = evaluator.peak_memory()
    of_workers = f", workers {', '.join(f'{mib:.0f}' for mib in workers)} MiB" if workers else ""
    console.print(f"peak memory: driver {peak_memory_mib():.0f} MiB{of_workers}")
