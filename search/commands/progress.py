"""The one line that a run shows while it goes on."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import NoReturn

from tqdm import tqdm

from search.evolution.driver import Progress


def describe(progress: Progress) -> str:
    """Programs, trained, cache hits, redundant statements, best fitness and margin, rate and time left."""
    best = "-" if progress.best_fitness is None else f"{progress.best_fitness:.4f}"
    margin = "" if progress.over_adamw is None else f" ({progress.over_adamw:+.4f} vs AdamW)"
    left = "" if progress.seconds_left is None else f" {_clock(progress.seconds_left)} left"
    return (
        f"{progress.births} programs {progress.trained} trained {progress.cache_hit_share:.0%} cached"
        f" {progress.redundant_share:.0%} redundant best {best}{margin} {progress.rate:.0f}/s{left}"
    )


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class ProgressLine:
    """A tqdm line kept up to date; as a context manager it leaves the last state on the screen."""

    def __init__(self) -> None:
        self._line: tqdm[NoReturn] | None = None  # made with the first text, so that errors before it stand alone

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the last state on the screen."""
        if self._line is not None:
            self._line.refresh()
            self._line.close()
            self._line = None

    def say(self, text: str) -> None:
        """Show a message in place of the numbers, on a terminal."""
        if sys.stderr.isatty():
            self._show(text, at_once=True)

    def update(self, progress: Progress) -> None:
        """Show the numbers, a few times a second at most; nothing as long as there is nothing to tell."""
        if progress.births:
            self._show(describe(progress), at_once=False)

    def _show(self, text: str, at_once: bool) -> None:
        if self._line is None:
            self._line = tqdm(bar_format="{desc}", mininterval=0.5 if sys.stderr.isatty() else 10)
        self._line.set_description_str(text, refresh=at_once)
        self._line.update()
