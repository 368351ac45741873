"""The clock that heartbeats are written and judged with, and that of all other times, which never goes back."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, select


def clock(connection: Connection) -> Any:
    """Return the time in seconds, by the server's clock where there is one, as something to be written or selected."""
    if connection.dialect.name == "postgresql":
        return func.extract("epoch", func.clock_timestamp())
    return time.time()


def seconds_now(connection: Connection) -> float:
    """Return the time in seconds, by the clock of the database."""
    now = clock(connection)
    return float(now if isinstance(now, float) else connection.execute(select(now)).scalar_one())


class SteadyClock:
    """Times in UTC, as the tables keep them: what is written later has a later time, also if the clock is set.

    When that is set back, this one goes on from where it was.
    """

    def __init__(self) -> None:
        self._last, self._read = datetime.min, time.monotonic()

    def now(self) -> datetime:
        """Return the time."""
        read = time.monotonic()
        steady = self._last + timedelta(seconds=read - self._read)
        self._last, self._read = max(steady, datetime.now(UTC).replace(tzinfo=None)), read
        return self._last

    def not_before(self, written: datetime) -> None:
        """Go on from a time that is written already, if that is later."""
        self._last = max(self._last, written)
