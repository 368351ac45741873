"""The right to write a search: one run has it at a time, keeps it alive, and loses it when it dies.

A run that was killed is succeeded at once on the same machine, and LEASE_SECONDS after its last heartbeat on another.
Clocks may be set, or differ between machines: so before a run succeeds another because of what a clock says, it waits
WATCH_SECONDS for a heartbeat. One that only slept may find itself succeeded while it lives: everything that it writes
is checked against its token in the same transaction, so that it can never write over its successor.
"""

from __future__ import annotations

import logging
import math
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from sqlalchemy import Connection, Table

from programs.errors import InputError

from search.store.clock import clock
from search.store.encoding import ForeignDataError
from search.store.errors import LeaseLost, StoreError
from search.store.keys import SearchState
from search.store.rows import Name, Row, query
from search.store.store import Store
from search.store.tables import BaselineRow, MetaValidationRow, ProgramRow, ProposalRow, SearchRow

LEASE_SECONDS = 30.0  # without a heartbeat
HEARTBEAT_SECONDS = 5.0
WATCH_SECONDS = 8.0  # in which a living run gives a sign, whatever the clocks say
_LOOK_SECONDS = 0.2  # between two looks for it
_EXIT_SECONDS = 1.0  # how long to wait for a heartbeat that the database keeps waiting

_log = logging.getLogger("optsearch.store")
_held: set[str] = set()  # tokens of this very process


@query(
    """
    SELECT id, name, holder, holder_token, holder_machine, holder_pid, heartbeat, CAST(updated AS TEXT) AS updated
    FROM search
    """
)
class Holder(Row):
    """A search with the run that has its lease, if there is one."""

    id: int
    """The ID of the search."""
    name: Name
    """Its name."""
    holder: str | None
    """The run, for people."""
    holder_token: str | None
    """What it writes with."""
    holder_machine: str | None
    """Its machine."""
    holder_pid: int | None
    """Its process."""
    heartbeat: float | None
    """When it was last alive, in seconds by the clock of the database."""
    updated: str
    """When something was last written for the search, in UTC."""


def machine() -> str:
    """Return this machine and the namespace of its process numbers: containers on one machine number their own."""
    parts = [socket.gethostname()]
    with suppress(OSError):  # elsewhere than on Linux
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


def is_held(search: Holder, silent: float) -> bool:
    """Return whether the holder of a search's lease still has it, as far as one look can tell.

    Args:
        search: the search.
        silent: seconds since its last heartbeat. They are negative where its clock is ahead of ours.
    """
    if search.holder_token is None:
        return False
    if _is_of_this_machine(search):
        return silent < LEASE_SECONDS and not _is_dead(search)
    return abs(silent) < LEASE_SECONDS


def _is_of_this_machine(search: Holder) -> bool:
    return search.holder_machine == machine() and search.holder_pid is not None


def _is_dead(search: Holder) -> bool:
    """Return whether the lease is certainly free: its holder gave it back, or died on this machine."""
    if search.holder_token is None:
        return True
    if not _is_of_this_machine(search):
        return False
    assert search.holder_pid is not None
    return not _is_alive(search.holder_pid, search.holder_token)


def _is_alive(pid: int, token: str) -> bool:
    """Return whether the process of this machine that took the lease still has it."""
    if pid == os.getpid():  # perhaps of an earlier life: the first process of a container always has the same number
        return token in _held
    import psutil  # here: who only reads a database that no run drives has no use for it

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except (psutil.Error, OSError, OverflowError, ValueError):  # a process of another user, but there
        return True


class Lease:
    """The right to write one search; everything that belongs to the search is written through it.

    Args:
        store: where the search is.
        search_id: the id of the search.

    Every method that writes raises LeaseLost if another run has taken the search over; nothing is written then.
    """

    def __init__(self, store: Store, search_id: int) -> None:
        self.token = secrets.token_hex(16)
        self.store = store
        self._search_id = search_id
        self._table: Table = SearchRow.table  # type: ignore[assignment]  # it has one

    def take(self) -> None:
        """Take the lease if no run has it, or the run that had it is dead.

        Raises:
            InputError: another run has it.
            StoreError: the database cannot be written.
        """
        while not self._takes_over(self._abandoned()):
            pass  # another run was faster, or the one before lives after all

    def _abandoned(self) -> Holder:
        """Return the search as its last run has left it, once it is sure that this gives no sign of life any more.

        Raises:
            InputError: a run has the search.
        """
        found, began = self._look(), time.monotonic()
        while not _is_dead(found):
            if time.monotonic() - began >= WATCH_SECONDS:
                return found
            time.sleep(_LOOK_SECONDS)
            before, found = found, self._look()
            if found.heartbeat != before.heartbeat and found.holder_token is not None:
                raise InputError(self._refusal(found, 0.0))
        return found

    def _look(self) -> Holder:
        """Return the row of the search, if no run seems to have it.

        Raises:
            InputError: a run has the search.
        """
        (row,) = self.store.select(Holder, "id = :id", id=self._search_id)
        silent = math.inf if row.heartbeat is None else self.store.clock() - row.heartbeat
        if is_held(row, silent):
            raise InputError(self._refusal(row, silent))
        return row

    def _takes_over(self, left: Holder) -> bool:
        """Take the lease unless another process has written to it meanwhile; return whether it was taken."""
        self.store.not_before(self._last_written(left))
        t = self._table.c
        unchanged = (t.holder_token == left.holder_token) & (t.heartbeat == left.heartbeat)
        values: dict[str, Any] = {
            "holder": f"{socket.gethostname()}, process {os.getpid()}",
            "holder_token": self.token,
            "holder_machine": machine(),
            "holder_pid": os.getpid(),
        }
        with self.store.writing() as connection:
            update = self._table.update().where(t.id == self._search_id, unchanged)
            taken = connection.execute(update.values(heartbeat=clock(connection), **values)).rowcount == 1
        if taken:
            _held.add(self.token)
        return taken

    def _last_written(self, row: Holder) -> datetime:
        try:
            return datetime.fromisoformat(row.updated).replace(tzinfo=None)
        except ValueError:
            raise ForeignDataError(self.store.location, f"{row.updated[:40]!r} as a time") from None

    def _refusal(self, row: Holder, silent: float) -> str:
        where = f"{self.store.location}: search '{row.name}' is being run by {row.holder}"
        if row.holder_machine == machine():
            return f"{where}; wait for it to end or stop it, or start a search of another name"
        left = math.ceil(LEASE_SECONDS - silent)
        return f"{where}; if that has died, the search is free in {left} s: run again then"

    def renew(self) -> None:
        """Note that this run is alive."""
        with self.store.writing() as connection:
            self._fence(connection, {})

    def update(self, state: SearchState, settings: dict[str, Any] | None = None) -> None:
        """Note the state of the search, and its settings if they are given."""
        values: dict[str, Any] = {"state": state} | ({} if settings is None else {"settings": settings})
        with self._writing(**values):
            pass

    def add_births(self, births: Sequence[ProgramRow], seconds: float) -> None:
        """Commit births, all or none, with the seconds that they took."""
        with self._writing(seconds=self._table.c.seconds + seconds) as connection:
            self.store.insert(connection, births, search_id=self._search_id)

    def add_baseline(self, baseline: BaselineRow) -> None:
        """Keep a tuned baseline."""
        with self._writing() as connection:
            self.store.insert(connection, [baseline], search_id=self._search_id)

    def proposals(self) -> list[ProposalRow]:
        """Return what was answered from outside so far, question by question."""
        return self.store.select(ProposalRow, "search_id = :id", order="birth, number", id=self._search_id)

    def add_proposals(self, rows: Sequence[ProposalRow]) -> None:
        """Keep what was answered from outside, all or none."""
        with self._writing() as connection:
            self.store.insert(connection, rows, search_id=self._search_id)

    def meta_validation(self) -> list[MetaValidationRow]:
        """Return the meta-validation curve of the search so far."""
        return self.store.select(MetaValidationRow, "search_id = :id", order="births", id=self._search_id)

    def add_meta_validation(self, row: MetaValidationRow) -> None:
        """Keep a point of the meta-validation curve."""
        with self._writing() as connection:
            self.store.insert(connection, [row], search_id=self._search_id)

    @contextmanager
    def _writing(self, **values: Any) -> Iterator[Connection]:
        """Open a transaction that has noted values and the time in the row of the search."""
        with self.store.writing() as connection:
            self._fence(connection, {"updated": self.store.now(), **values})
            yield connection

    def _fence(self, connection: Connection, values: dict[str, Any]) -> None:
        """Note values and a heartbeat, in a transaction that goes on to write what belongs to the search.

        Raises:
            LeaseLost: the search has another holder. Let it pass, so that the transaction is undone.
        """
        t = self._table.c
        update = self._table.update().where(t.id == self._search_id, t.holder_token == self.token)
        if connection.execute(update.values(heartbeat=clock(connection), **values)).rowcount == 0:
            raise LeaseLost(
                f"{self.store.location}: another run has taken this search over, since this one gave no sign of life"
                f" for {LEASE_SECONDS:.0f} s; nothing more is written here and nothing committed is lost, the other"
                " goes on"
            )

    def release(self) -> None:
        """Give the lease back. If the database can no longer be written, the lease ends by itself after a while."""
        t = self._table.c
        _held.discard(self.token)
        free = dict.fromkeys(("holder", "holder_token", "holder_machine", "holder_pid"))
        with suppress(StoreError), self.store.writing() as connection:
            mine = (t.id == self._search_id) & (t.holder_token == self.token)
            connection.execute(self._table.update().where(mine).values(free))


class Heartbeat:
    """Keeps a lease alive from a thread of its own, as a context manager.

    A database that is busy or away for a while is tried again. `lost` is set if another run has taken the search over.
    """

    def __init__(self, lease: Lease, every: float = HEARTBEAT_SECONDS) -> None:
        self.lost: LeaseLost | None = None
        self._lease = lease
        self._every = every
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        if not self._lease.store.is_in_memory:  # which no other thread can see
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
