"""The command `optsearch run`: a search with its line of progress, and what is said at the end."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from programs.errors import InputError
from programs.ops import LANGUAGES

from proxy_tasks.runtime import peak_memory_mib

from search.commands.chosen_settings import settings_file
from search.commands.leaderboard import show_best
from search.commands.options import SEARCH_FILE, NameOption, PortOption, SetOption
from search.commands.progress import ProgressLine, counting_trainings
from search.commands.terminal import console, describe, show_baselines, show_program
from search.evidence.verdict import judge_search
from search.evolution.driver import Driver
from search.evolution.progress import Progress
from search.evolution.run_logs import open_logs
from search.results.results import Results
from search.results.text import verdict_in_words
from search.results.torch_code import torch_code
from search.settings.baselines import is_program
from search.settings.settings import Settings
from search.settings.tasks import load_tasks
from search.store import Store, VerdictRow
from search.store.connections import engine_of, sqlite_file
from search.store.keys import Judgement
from search.training.jobs import Evaluator
from search.training.session import interrupt, on_signals, opened


def command(
    config: Annotated[
        Path,
        typer.Argument(help="YAML file of settings, such as configs/quickstart.yaml; `optsearch init` writes some."),
    ] = Path(SEARCH_FILE),
    set_: SetOption = None,
    name: NameOption = None,
    store: Annotated[
        str | None, typer.Option(help="Database instead of the one in the file: the path of a SQLite file, or a URL.")
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Serve the report to browsers of this machine while the search runs.")
    ] = False,
    port: PortOption = 0,
) -> None:
    """Start a search, or continue it where it stopped."""
    settings = settings_file(config, set_, name, store).read(Settings)
    if port and not live:
        raise InputError(f"--port {port}: is where --live serves the report; give that too, or leave this out")
    with live_report(settings, port) if live else nullcontext():
        is_finished = run_search(settings)
    if not is_finished:
        raise SystemExit(130)


@contextmanager
def live_report(settings: Settings, port: int) -> Iterator[None]:
    """Serve the report of a search until the context ends, and print the link.

    Raises:
        InputError: the port cannot be used, or no other process can read the store.
    """
    from search.report.live import serving  # here: plotly and templates are for those who look

    if sqlite_file(engine_of(settings.store)) is None and settings.store.startswith("sqlite"):
        raise InputError(
            f"--live: {settings.store} is in memory, where no other process can read it; name a file with --store"
        )
    with serving(settings.store, settings.name, port) as url:
        console.print(f"live report: {url} (for browsers of this machine; ends with the run)", soft_wrap=True)
        yield


def run_search(settings: Settings) -> bool:
    """Start or continue a search and say how it ended; False if it was stopped before its budget was spent.

    Raises:
        InputError: the settings do not fit the machine, the data or the store, or another run drives this search.
        StoreError: the store can no longer be written.
    """
    load_tasks(settings.all_tasks)
    with opened(settings.store, settings.evaluator) as (store, evaluator):
        driver = Driver(settings, store, evaluator, callbacks=open_logs(settings, store))
        verdict = None
        try:
            with shown(driver):
                driver.run()
            if not driver.stopping:
                with on_signals(interrupt):
                    verdict = _conclude(settings, store, driver)
                    _show_memory(evaluator)
        finally:
            driver.callbacks.on_end(driver.progress, verdict)
    return not driver.stopping


@contextmanager
def shown(driver: Driver) -> Iterator[None]:
    """Show a line that says how far a search is while it runs, and how to go on if it was stopped."""

    def tell(progress: Progress) -> None:
        if progress.births and not progress.rate:  # the first state of a run that goes on
            tqdm.write(
                f"goes on from birth {progress.births}: {progress.trained} programs are trained", file=sys.stderr
            )
        line.update(progress, driver.settings.budget)

    def say_stopping() -> None:
        tqdm.write("finishing what is in flight; once more stops at once", file=sys.stderr)

    with ProgressLine("tuning baselines") as line:
        driver.report, driver.on_stop, driver.service.on_progress = tell, say_stopping, line.count
        yield
    if driver.stopping:
        console.print(f"stopped; the same command with the same settings goes on from birth {driver.progress.births}")


def _conclude(settings: Settings, store: Store, driver: Driver) -> VerdictRow:
    """Print the leaderboard, whether its best is better than the best baseline, and what to do next.

    Returns:
        The verdict.
    """
    results = Results(store)
    with counting_trainings(driver.service):
        verdict = judge_search(driver)  # before anything is printed: the output may be closed
    show_best(results, settings.name, limit=5)
    if driver.progress.baselines:
        show_baselines(driver.progress.baselines.values())
    console.print(f"verdict: {verdict_in_words(verdict)}", "", sep="\n")
    if verdict.program_id is not None:
        program = results.named_program(verdict.program_id).program
        console.print(f"program {verdict.program_id} without its dead statements ({describe(program)}):")
        show_program(program, dead_too=False)
    console.print(f"{driver.service.trained} trainings in this run; everything is in {store.location}.", soft_wrap=True)
    if verdict.judgement != Judgement.AHEAD:
        _show_alternatives(settings, driver, verdict)
    console.print("Next:")
    store_option = "" if settings.store == "sqlite:///results.db" else f" --store {shlex.quote(settings.store)}"
    for command in _next(settings, verdict):
        console.print(f"    optsearch {command}{store_option}", soft_wrap=True)
    return verdict


def _next(settings: Settings, verdict: VerdictRow) -> list[str]:
    """Return the commands that a verdict suggests."""
    shown = [] if verdict.program_id is None else [f"show {verdict.program_id}"]
    if verdict.judgement == Judgement.AHEAD:
        return [*shown, f"export {verdict.program_id} --to torch -o optimizer.py", "leaderboard"]
    if verdict.baseline is None:
        return [*shown, *[f"failures --search {settings.name}"] * bool(settings.baselines), "leaderboard"]
    if not is_program(verdict.baseline):  # torch has it
        return [*shown, "leaderboard"]
    return [*shown, f"export {settings.name}:{verdict.baseline} --to torch -o optimizer.py", "leaderboard"]


def _show_alternatives(settings: Settings, driver: Driver, verdict: VerdictRow) -> None:
    """Print what may lead to something better, and the best baseline as it was tuned."""
    limit, most = next((name, most) for name, most in settings.budget.model_dump().items() if most is not None)
    if limit == "programs":  # there may be more by an earlier run
        most = max(most, driver.progress.births)
    larger = ["more tasks or longer ones", "`strategy.start` with several optimizers"]
    larger += ["`language: extended`"] * (not set(LANGUAGES["extended"]) <= set(settings.language.set))
    console.print(
        f"A larger budget goes on from here: the same command with --set budget.{limit}={4 * most}. Other things that"
        f" may help: {', '.join(larger)}.",
        soft_wrap=True,
    )
    row = driver.progress.baselines.get(verdict.baseline or "")
    if row is not None:
        console.print(f"The best baseline as it was tuned: {torch_code(row)}", soft_wrap=True)


def _show_memory(evaluator: Evaluator) -> None:
    workers = evaluator.peak_memory()
    of_workers = f", workers {', '.join(f'{mib:.0f}' for mib in workers)} MiB" if workers else ""
    console.print(f"peak memory: driver {peak_memory_mib():.0f} MiB{of_workers}")
