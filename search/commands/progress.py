"""The one line on the standard error that shows how far a command is: a bar, and figures as far as there is room."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import NoReturn, Self

from rich.console import Console
from tqdm import tqdm

from search.evolution.progress import Progress
from search.results.text import pace
from search.settings.settings import Budget
from search.training.service import TrainingService

BAR = 13  # columns that percentage and bar take at least
SECONDS_ON_TERMINAL, SECONDS_ELSEWHERE = 0.5, 10.0  # between two states that are shown


def describe(progress: Progress) -> list[str]:
    """Say where a search stands, with all figures first, then with fewer and fewer.

    What is left out, in this order: the words `vs AdamW`, the share of births answered without training (which
    programs and trained tell too), redundant statements, programs trained, the rate, and programs born.
    """
    margin = "" if progress.over_adamw is None else f" ({progress.over_adamw:+.4f})"
    best = f"best {'-' if progress.best_fitness is None else f'{progress.best_fitness:.4f}'}"
    programs, trained = f"{progress.births} programs", f"{progress.trained} trained"
    cached, redundant = f"{progress.cache_hit_share:.0%} cached", f"{progress.redundant_share:.0%} redundant"
    rate, left = pace(progress.rate), _left(progress.seconds_left)
    whole = margin.replace(")", " vs AdamW)")
    return [
        " ".join(part for part in parts if part)
        for parts in (
            (programs, trained, cached, redundant, best + whole, rate, left),
            (programs, trained, cached, redundant, best + margin, rate, left),
            (programs, trained, redundant, best + margin, rate, left),
            (programs, trained, best + margin, rate, left),
            (programs, best + margin, rate, left),
            (programs, best + margin, left),
            (best + margin, left),
            (left,),
        )
    ]


def _left(seconds: float | None) -> str:
    return "" if seconds is None else f"{tqdm.format_interval(seconds)} left"


def share_done(progress: Progress, budget: Budget, seconds: float) -> float:
    """Return the share of the budget that is spent, of the limit that is nearest.

    Args:
        progress: of the search.
        budget: of the search.
        seconds: since this run began.
    """
    limits = (
        (progress.births, budget.programs),
        (progress.trained, budget.evaluations),
        (progress.replica_steps, budget.replica_steps),
        (seconds / 60, budget.minutes),
    )
    return min(1.0, max(done / limit for done, limit in limits if limit is not None))


class ProgressLine:
    """A line of tqdm that is kept up to date; its context ends it.

    The line of a search stays on the screen. That of trainings, whose number is known, goes when all are done, so that
    what is printed next stands alone. Without a terminal a state is written now and then.

    Args:
        label: what trainings are for.
    """

    def __init__(self, label: str = "") -> None:
        self._label = label
        self._line: tqdm[NoReturn] | None = None  # made with the first state, so that errors before it stand alone
        self._started = time.monotonic()
        self._known_before = self._known = 0
        self._is_first = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def update(self, progress: Progress, budget: Budget) -> None:
        """Show where a search stands; nothing before its first birth."""
        if progress.births:
            share = share_done(progress, budget, time.monotonic() - self._started)
            self._show(share, describe(progress), stays=True)

    def count(self, known: int, total: int) -> None:
        """Show how many of the trainings asked for are known; fewer than before are the first of another number."""
        if known < self._known or self._line is None:
            self._close()
            self._started, self._known_before = time.monotonic(), known
        self._known = known
        if self._is_first and 0 < known < total and sys.stderr.isatty():
            tqdm.write(f"goes on from {known} of {total} trainings, which are known", file=sys.stderr)
        self._is_first = False
        rate = (known - self._known_before) / max(time.monotonic() - self._started, 1e-9)
        counted = f"{known} of {total} trainings"
        speed, left = ("", "") if rate <= 0 else (f" {pace(rate)}", f" {_left((total - known) / rate)}")
        label = f", {self._label}" if self._label else ""
        texts = [f"{counted}{speed}{left}{label}", f"{counted}{speed}{left}", f"{counted}{left}", left.strip()]
        self._show(known / total, texts, stays=False)
        if known >= total:
            self._close()

    def _show(self, share: float, texts: Sequence[str], stays: bool) -> None:
        if self._line is not None and self._line.leave is not stays:
            self._close()
        terminal = sys.stderr.isatty()
        columns = Console(file=sys.stderr).width - 1 if terminal else None
        text = texts[0]
        if columns is not None:
            text = next((text for text in texts if len(text) + BAR <= columns), texts[-1])
        if self._line is None:
            self._line = tqdm(
                total=1.0, initial=share, desc=text, leave=stays, ncols=columns, miniters=0,
                bar_format="{percentage:3.0f}%|{bar}| {desc}" if terminal else "{percentage:3.0f}% {desc}",
                delay=0 if terminal or stays else SECONDS_ELSEWHERE,
                mininterval=SECONDS_ON_TERMINAL if terminal else SECONDS_ELSEWHERE,
            )  # fmt: skip
            return
        self._line.ncols = columns
        self._line.set_description_str(text, refresh=False)
        self._line.update(share - self._line.n)

    def _close(self) -> None:
        if self._line is not None:
            if self._line.leave:
                self._line.refresh()
            self._line.close()
            self._line = None


@contextmanager
def counting_trainings(service: TrainingService) -> Iterator[None]:
    """Show, until the context ends, how many of the trainings that a service is asked for are known."""
    with ProgressLine() as line:
        service.on_progress = line.count
        try:
            yield
        finally:
            service.on_progress = None
