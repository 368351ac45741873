"""Looking at a database again and again while a run writes it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from programs.errors import InputError

from search.display import console, printable
from search.store import Store, open_store
from search.store.connections import engine_of, sqlite_file

SECONDS = 2.0  # between two looks, unless another number is given
LEAST_SECONDS, MOST_SECONDS = 0.1, 86_400.0


def seconds_of(text: str | None) -> float:
    """The seconds between two looks that somebody has asked for.

    Raises:
        InputError: that is no such number.
    """
    try:
        seconds = SECONDS if text is None else float(text)
    except ValueError:
        seconds = 0.0
    if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
        raise InputError(f"--watch {text}: expected seconds between two looks, {LEAST_SECONDS:g} to {MOST_SECONDS:g}")
    return seconds


def watch(location: str, look: Callable[[Store], RenderableType], seconds: float) -> None:
    """Show what `look` makes of a database in one place of the terminal, until Ctrl-C.

    A SQLite file that is not there when this begins is waited for: until there is something to look at, what is missing
    is said.

    Raises:
        InputError: there is no terminal, or the database cannot be looked at.
    """
    if not console.is_terminal or console.is_dumb_terminal:
        raise InputError("--watch: needs a terminal to refresh in place; leave it out")
    file = sqlite_file(engine_of(location))
    early = file is not None and not file.exists()
    store: Store | None = None
    try:
        with suppress(KeyboardInterrupt), Live(console=console, auto_refresh=False) as live:
            while True:
                try:
                    store = store or open_store(location)
                    shown, early = look(store), False
                except InputError as error:
                    if not early:
                        raise
                    shown = Text(f"waiting: {printable(str(error))}", overflow="fold")
                note = f"{datetime.now():%H:%M:%S}, every {seconds:g} s; Ctrl-C ends"
                live.update(Group(shown, Text(note, style="dim")), refresh=True)
                time.sleep(seconds)
    finally:
        if store is not None:
            store.close()
