"""The clock that heartbeats are written and judged with."""

from __future__ import annotations

import time
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
