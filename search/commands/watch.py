"""Showing what a database holds again and again while a run writes it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import datetime

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from programs.errors import InputError

from search.commands.terminal import console
from search.results.results import Results, open_results
from search.results.text import printable
from search.settings.yaml_text import number_of
from search.store.access import is_there
from search.store.connections import engine_of, sqlite_file

SECONDS = 2.0  # between two looks, unless another number is given
LEAST_SECONDS, MOST_SECONDS = 0.1, 86_400.0


def seconds_of(text: str | None) -> float:
    """Return the seconds between two looks, as they were asked for.

    Raises:
        InputError: the text is no number of seconds in the range.
    """
    seconds = SECONDS if text is None else float(number_of(text) or 0.0)
    if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
        raise InputError(f"--watch {text}: expected seconds between two looks, {LEAST_SECONDS:g} to {MOST_SECONDS:g}")
    return seconds


def watch(location: str, look: Callable[[Results], RenderableType], seconds: float) -> None:
    """Show what `look` makes of a database in one place of the terminal, until Ctrl-C.

    A SQLite file that is not there when this begins is waited for: until there is something to look at, the terminal
    says what is missing.

    Raises:
        InputError: there is no terminal, or the database cannot be read.
    """
    if not console.is_terminal or console.is_dumb_terminal:
        raise InputError("--watch: needs a terminal to refresh in place; leave it out")
    with suppress(KeyboardInterrupt), closing(_Watched(location, look)) as watched:
        first = watched.shown(seconds)  # before anything is drawn, so that an error stands alone
        with Live(first, console=console, auto_refresh=False) as live:
            while True:
                time.sleep(seconds)
                live.update(watched.shown(seconds), refresh=True)


class _Watched:
    """A database that may not be there yet."""

    def __init__(self, location: str, look: Callable[[Results], RenderableType]) -> None:
        self._location = location
        self._look = look
        self._results: Results | None = None
        file = sqlite_file(engine_of(location))
        self._early = file is not None and not is_there(file)

    def shown(self, seconds: float) -> RenderableType:
        """Return what there is to see now, and how often it is looked at."""
        note = Text(f"{datetime.now():%H:%M:%S}, every {seconds:g} s; Ctrl-C ends", style="dim")
        return Group(self._seen(), note)

    def _seen(self) -> RenderableType:
        try:
            self._results = self._results or open_results(self._location)
            seen = self._look(self._results)
        except InputError as error:
            if not self._early:
                raise
            return Text(f"waiting: {printable(str(error))}", overflow="fold")
        self._early = False
        return seen

    def close(self) -> None:
        """Close the database."""
        if self._results is not None:
            self._results.close()
