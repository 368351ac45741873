"""Who is told how a search goes, and what happens when they fail: the search goes on without them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

from search.evolution.progress import Progress
from search.settings.settings import Settings
from search.store import ProgramRow, VerdictRow

log = logging.getLogger("optsearch.run")


class Callback:
    """Is told how a search goes, from the thread that runs it: override what you need.

    The search waits for it. What it raises ends the callback, not the search: a warning of one line says so, the log of
    the run has the traceback, and it is not called again. KeyboardInterrupt and SystemExit end the run as ever.
    """

    def on_start(self, settings: Settings, progress: Progress) -> None:
        """Called when births begin: baselines are tuned, and `progress.births` says from where the search goes on."""

    def on_commit(self, births: Sequence[ProgramRow], progress: Progress) -> None:
        """Called after every commit, with the rows that were committed and where the search stands with them."""

    def on_end(self, progress: Progress, verdict: VerdictRow | None) -> None:
        """Called at the end of every run; the verdict is None if the budget is not spent."""


class Callbacks:
    """The callbacks of a run.

    Args:
        callbacks: are told in this order.
    """

    def __init__(self, callbacks: Iterable[Callback] = ()) -> None:
        self._callbacks = list(callbacks)

    def on_start(self, settings: Settings, progress: Progress) -> None:
        """Tell all that births begin."""
        self._tell("on_start", lambda callback: callback.on_start(settings, progress))

    def on_commit(self, births: Sequence[ProgramRow], progress: Progress) -> None:
        """Tell all about a commit."""
        self._tell("on_commit", lambda callback: callback.on_commit(births, progress))

    def on_end(self, progress: Progress, verdict: VerdictRow | None) -> None:
        """Tell all that the run ends."""
        self._tell("on_end", lambda callback: callback.on_end(progress, verdict))

    def _tell(self, hook: str, call: Callable[[Callback], None]) -> None:
        for callback in list(self._callbacks):
            try:
                call(callback)
            except Exception as error:
                self._callbacks.remove(callback)
                what = f"{type(callback).__name__}.{hook}"
                log.warning("%s failed and is not called again (%s: %s)", what, type(error).__name__, error)
                log.info("%s", what, exc_info=error)
