"""The right to write a search: one run has it at a time, keeps it alive, and loses it when it dies.

A run that was killed is succeeded at once on the same machine, and LEASE_SECONDS after its last heartbeat on another.
One that only slept, or whose clock is wrong, may find itself succeeded while it lives: everything that it writes is
checked against its token in the same transaction, so that it can never write over its successor.
"""

from __future__ import annotations

import logging
import math
import os
import secrets
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import psutil
from sqlalchemy import Connection, func, select

from programs.errors import InputError

from search.store import schema
from search.store.errors import LeaseLost, StoreError

if TYPE_CHECKING:
    from search.store.store import Store

LEASE_SECONDS = 30.0  # without a heartbeat
HEARTBEAT_SECONDS = 5.0
_EXIT_SECONDS = 1.0  # how long to wait for a heartbeat that the database keeps waiting

_log = logging.getLogger("optsearch.store")
_held: set[str] = set()  # tokens of this very process


def machine() -> str:
    """This machine and the numbers by which it knows its processes: containers on one machine number their own."""
    parts = [socket.gethostname()]
    with suppress(OSError):  # elsewhere than on Linux
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


def clock(connection: Connection) -> Any:
    """Now, in seconds: by the server's clock where there is one, as something that can be written or selected."""
    if connection.dialect.name == "postgresql":
        return func.extract("epoch", func.clock_timestamp())
    return time.time()


def seconds_now(connection: Connection) -> float:
    """Now, in seconds, by the clock of the database."""
    now = clock(connection)
    return float(now if isinstance(now, float) else connection.execute(select(now)).scalar_one())


def is_held(token: str | None, at: str | None, pid: int | None, silent: float) -> bool:
    """Whether the holder of a lease still has it.

    Args:
        token: the holder's, None where there is no holder.
        at: its machine.
        pid: its process.
        silent: seconds since its last heartbeat. They are negative where its clock is ahead of ours; by more than a
            lease, and that clock cannot be trusted.
    """
    if token is None or abs(silent) >= LEASE_SECONDS:
        return False
    return at != machine() or pid is None or _lives(pid, token)


def _lives(pid: int, token: str) -> bool:
    """Whether the process of this machine that took the lease still has it."""
    if pid == os.getpid():  # perhaps of an earlier life: the first process of a container always has the same number
        return token in _held
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except (psutil.Error, OSError, OverflowError, ValueError):  # not ours to look at, but there
        return True


class Lease:
    """The right to write one search. `token` is what writes are checked with.

    Args:
        store: where the search is.
        search_id: which.
    """

    def __init__(self, store: Store, search_id: int) -> None:
        self.token = secrets.token_hex(16)
        self.store = store
        self._search_id = search_id

    def take(self) -> None:
        """Take it if nobody has it, or whoever had it is dead.

        Raises:
            InputError: another run has it.
            StoreError: the database cannot be written.
        """
        t = schema.search.c
        query = select(t.name, t.holder, t.holder_token, t.holder_machine, t.holder_pid, t.heartbeat)
        with self.store.writing() as connection:
            row = connection.execute(query.where(t.id == self._search_id).with_for_update()).one()
            silent = seconds_now(connection) - (-math.inf if row.heartbeat is None else row.heartbeat)
            if is_held(row.holder_token, row.holder_machine, row.holder_pid, silent):
                raise InputError(self._refusal(row, silent))
            values = {
                "holder": f"{socket.gethostname()}, process {os.getpid()}",
                "holder_token": self.token,
                "holder_machine": machine(),
                "holder_pid": os.getpid(),
                "heartbeat": clock(connection),
            }
            connection.execute(schema.search.update().where(t.id == self._search_id).values(values))
        _held.add(self.token)

    def _refusal(self, row: Any, silent: float) -> str:
        where = f"{self.store.location}: search '{row.name}' is being run by {row.holder}"
        if row.holder_machine == machine():
            return f"{where}; wait for it to end or stop it, or start a search of another name"
        left = math.ceil(LEASE_SECONDS - silent)
        return f"{where}; if that has died, the search is free in {left} s: run again then"

    def renew(self) -> None:
        """Say that this run is alive.

        Raises:
            LeaseLost: another run has taken the search over.
            StoreError: the database cannot be written.
        """
        with self.store.writing() as connection:
            fence(connection, self.store.location, self._search_id, self.token, {})

    def release(self) -> None:
        """Let it go. A database that cannot be written any more lets it go by itself after a while."""
        t = schema.search.c
        _held.discard(self.token)
        free = dict.fromkeys(("holder", "holder_token", "holder_machine", "holder_pid"))
        with suppress(StoreError), self.store.writing() as connection:
            mine = (t.id == self._search_id) & (t.holder_token == self.token)
            connection.execute(schema.search.update().where(mine).values(free))


def fence(connection: Connection, location: str, search_id: int, token: str, values: dict[str, Any]) -> None:
    """Note values and a heartbeat in the row of a search, in a transaction that goes on to write what belongs to it.

    Raises:
        LeaseLost: the search is no longer of this token. Let it pass, so that the transaction is undone.
    """
    t = schema.search.c
    update = schema.search.update().where(t.id == search_id, t.holder_token == token)
    if connection.execute(update.values(heartbeat=clock(connection), **values)).rowcount == 0:
        raise LeaseLost(
            f"{location}: another run has taken this search over, since this one gave no sign of life for"
            f" {LEASE_SECONDS:.0f} s; nothing more is written here and nothing committed is lost, the other goes on"
        )


class Heartbeat:
    """Keeps a lease alive from a thread of its own, as a context manager.

    A database that is busy or away for a while is tried again. `lost` says so if another run has taken the search over.
    """

    def __init__(self, lease: Lease, every: float = HEARTBEAT_SECONDS) -> None:
        self.lost: LeaseLost | None = None
        self._lease = lease
        self._every = every
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        if not self._lease.store.is_in_memory:  # else nobody but this thread can see it
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        if self._thread.is_alive():
            self._thread.join(_EXIT_SECONDS)

    def _beat(self) -> None:
        while not self._end.wait(self._every):
            try:
                self._lease.renew()
            except LeaseLost as lost:
                self.lost = lost
                return
            except StoreError as error:
                _log.debug("no heartbeat: %s", error)
