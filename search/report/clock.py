"""When the batches of a search were trained, in time that runs spent: the store notes times, and runs have pauses."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from search.report.source import ReportedSearch
from search.store.encoding import ForeignDataError

LEAST_PAUSE = 0.05  # share of the time since the search began; less is no pause, but rounding of what runs noted
_UNITS = (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0))


class Clock(NamedTuple):
    """The seconds of running, since the search began, after which each of its batches had been trained, the seconds of
    running in all, and the seconds between runs, which are left out."""

    batches: NDArray[Any]
    seconds: NDArray[Any]
    whole: float
    paused: float

    def of(self, batches: list[int]) -> NDArray[Any]:
        """Return the seconds of these batches; for one that trained nothing, those of the batches around it."""
        seconds: NDArray[Any] = np.interp(batches, self.batches, self.seconds)
        return seconds


def clock_of(source: ReportedSearch) -> Clock | None:
    """Return the clock of a search, None where no training has been written while it ran."""
    rows = source.pace
    if not rows:
        return None
    started = _time(source, source.row.started)
    ended = np.array([(_time(source, row.ended) - started).total_seconds() for row in rows])
    # A program may be trained once more long after its batch, as the best of a search is on other tasks. Batches are
    # trained in order, so one has ended when the ones after it had.
    ended = np.maximum(np.minimum.accumulate(ended[::-1])[::-1], 0.0)
    steps, paused = _without_pauses(np.diff(ended, prepend=0.0), float(ended[-1]) - source.row.seconds)
    seconds = np.cumsum(steps)
    whole = max(source.row.seconds, float(seconds[-1]), 1e-9)
    return Clock(np.array([row.batch for row in rows]), seconds, whole, paused)


def _time(source: ReportedSearch, text: str) -> datetime:
    """Return a time of a view, in UTC.

    Raises:
        InputError: the text is no time.
    """
    try:
        return datetime.fromisoformat(text).replace(tzinfo=None)
    except ValueError:
        raise ForeignDataError(source.results.location, f"{text[:40]!r} as a time") from None


def _without_pauses(steps: NDArray[Any], pauses: float) -> tuple[NDArray[Any], float]:
    """Return steps from batch to batch without the seconds in which nothing ran, which are taken from the longest."""
    if pauses <= LEAST_PAUSE * float(steps.sum()):
        return steps, 0.0
    steps, left = steps.copy(), pauses
    for place in np.argsort(-steps):
        cut = min(float(steps[place]), left)
        steps[place] -= cut
        left -= cut
    return steps, pauses


def in_unit(seconds: NDArray[Any]) -> tuple[NDArray[Any], str]:
    """Return seconds in the unit that suits the longest of them, and the name of the unit."""
    longest = float(seconds.max(initial=0.0))
    for unit, size in _UNITS:
        if longest > 2 * size:
            return seconds / size, unit
    return seconds, "seconds"


def length(seconds: float) -> str:
    """Return a length of time such as `2.3 hours`."""
    values, unit = in_unit(np.array([max(seconds, 0.0)]))
    return f"{values[0]:.3g} {unit}"
