"""Searches and their results for Python: what the commands do, without a terminal.

    from search import open_store, run

Nothing is printed unless it is asked for, and wrong input raises an `InputError` of one line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import nullcontext, suppress
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from programs.errors import InputError

from proxy_tasks.torch_state import usual_torch

from search import store as database
from search.commands.run import shown
from search.evidence.verdict import judge_search
from search.evolution.callbacks import Callback
from search.evolution.driver import Driver
from search.evolution.progress import Progress
from search.evolution.run_logs import open_logs
from search.results.notebook import html_of
from search.results.results import Results
from search.results.text import verdict_in_words
from search.settings.settings import Settings
from search.settings.settings_file import SettingsFile, check_settings, set_value
from search.settings.tasks import load_tasks
from search.store.evidence_views import VerdictEntry
from search.store.views import LeaderboardEntry
from search.training.session import training_beside

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Result:
    """The result of a run."""

    search: str
    """The name of the search."""
    finished: bool
    """Whether its budget is spent; if not, the same call continues it."""
    progress: Progress
    """How far the search is, over all its runs."""
    results: Results
    """The open database: everything that this search and others in it have found."""

    def leaderboard(self, limit: int | None = 20) -> list[LeaderboardEntry]:
        """Return the best distinct programs of this search; all of them if the limit is None."""
        return self.results.leaderboard(self.search, limit)

    @property
    def verdict(self) -> VerdictEntry | None:
        """Whether its best is better than the best baseline, judged on fresh seeds; None if it has not ended."""
        return next(iter(self.results.verdicts(self.search)), None) if self.finished else None

    @property
    def best(self) -> LeaderboardEntry | None:
        """The best program of this search; None if nothing trained well."""
        return next(iter(self.leaderboard(1)), None)

    def to_frame(self, limit: int | None = None) -> pd.DataFrame:
        """Return the leaderboard of this search as a data frame of pandas; all of it without a limit."""
        return self.results.to_frame(self.search, limit)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the best fitness of this search over births with matplotlib; return the axes."""
        return self.results.plot(self.search, ax)

    def _repr_html_(self) -> str:
        births = f"{self.search}: {self.progress.births} births, {'finished' if self.finished else 'not finished'}"
        verdict = "" if self.verdict is None else f"; {verdict_in_words(self.verdict)}"
        return html_of(births + verdict, self.leaderboard())


def run(
    settings: Settings | Mapping[str, Any] | str | Path,
    changes: Mapping[str, Any] | None = None,
    *,
    callbacks: Iterable[Callback] = (),
    show: bool = False,
) -> Result:
    """Start a search, or continue it where it stopped; the engine is that of `optsearch run`.

    An interruption (Ctrl-C, the stop button of a notebook) drains: no new batch is drawn, what is in flight is trained
    and kept, and the call returns with `finished` False, as it does when the verdict is interrupted. A second one stops
    at once.

    Args:
        settings: the path of a YAML file, the same as a dictionary, or `Settings`.
        changes: to these settings, by key: `{"budget.programs": 1000}`.
        callbacks: told when births begin, after every commit and at the end, as the setting `log` is. What one raises
            ends that callback and not the search.
        show: whether to show the line of progress that the command shows.

    Returns:
        The result, with the database still open.

    Raises:
        InputError: the settings do not fit the machine, the data or the store, or another run drives this search.
        RunError: the run cannot go on, for instance because the disk is full; what was committed is kept.
        KeyboardInterrupt: at the second interruption.
    """
    with usual_torch():
        return _run(_chosen(settings, changes or {}), callbacks, show)


def _run(chosen: Settings, callbacks: Iterable[Callback], show: bool) -> Result:
    load_tasks(chosen.all_tasks)
    store = database.open_store(chosen.store, create=True)
    try:
        with training_beside(store, chosen.evaluator, warn=show) as evaluator:
            driver = Driver(chosen, store, evaluator, callbacks=[*open_logs(chosen, store), *callbacks])
            verdict = None
            try:
                with shown(driver) if show else nullcontext():
                    driver.run()
                    if not driver.stopping:
                        with suppress(KeyboardInterrupt):
                            verdict = judge_search(driver)
            finally:
                driver.callbacks.on_end(driver.progress, verdict)
    except BaseException:
        store.close()
        raise
    return Result(chosen.name, verdict is not None, driver.progress, Results(store))


def open_store(path: str | Path = "results.db") -> Results:
    """Open a database that runs have written, for reading; one may be writing it.

    Args:
        path: of a SQLite file, or a URL such as `postgresql://me@server/optsearch`.

    Raises:
        InputError: it does not exist, is damaged, has another version, or was not written by optsearch.
    """
    return Results(database.open_store(str(path)))


def _chosen(settings: Settings | Mapping[str, Any] | str | Path, changes: Mapping[str, Any]) -> Settings:
    if isinstance(settings, str | Path):
        file = SettingsFile(Path(settings))
        for key, value in changes.items():
            file.change(key, value, f"changes: {key}")
        return file.read(Settings)
    if isinstance(settings, Settings):
        if not changes:
            return settings
        settings = settings.model_dump(mode="json", exclude_unset=True)
    try:
        data = deepcopy(dict(settings))
    except RecursionError:
        raise InputError("settings: nested too deeply, or within themselves") from None
    for key, value in changes.items():
        set_value(data, key, value, f"changes: {key}")
    return check_settings(data)
