"""How a database is reached, and what its errors mean."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from programs.errors import InputError

from search.store import access, encoding
from search.store.errors import NotWritable, StoreError
from search.store.integrity import DamageError

BUSY_SECONDS = 30  # how long to wait for a lock that another process holds
CONNECT_SECONDS = 10  # how long to wait for a server
LONGEST_VALUE = 16 * 2**20  # bytes of one value: far above any that we write

_DRIVERS = {  # by what a URL may begin with
    **dict.fromkeys(("sqlite", "sqlite+pysqlite"), "sqlite"),
    **dict.fromkeys(("postgresql", "postgres", "postgresql+psycopg"), "postgresql+psycopg"),
}

# Trouble of the machine or the server, not of what the database holds: primary codes of SQLite.
_CIRCUMSTANCES = {
    sqlite3.SQLITE_FULL: "make room",
    sqlite3.SQLITE_READONLY: "make the file and its folder writable",
    sqlite3.SQLITE_PERM: "make the file and its folder writable",
    sqlite3.SQLITE_BUSY: f"another program has kept it locked for {BUSY_SECONDS} s: end that",
    sqlite3.SQLITE_LOCKED: f"another program has kept it locked for {BUSY_SECONDS} s: end that",
    sqlite3.SQLITE_PROTOCOL: "another program keeps it locked: end that",
    sqlite3.SQLITE_CANTOPEN: "see that the file and its folder are there and writable",
    sqlite3.SQLITE_IOERR: "see that the disk works and has room",
    sqlite3.SQLITE_NOMEM: "free some memory",
}


def engine_of(location: str, to_write: bool = False) -> Engine:
    """Return an engine for a URL or the path of a SQLite file. Nothing is opened yet.

    Args:
        location: the URL or the path.
        to_write: whether it will be written. If not, and if nothing may be written beside the file, SQLite is told so
            with every connection: what lies there may have changed since the last.

    Raises:
        InputError: it is no URL, or one of another kind of database, or the driver for PostgreSQL is missing.
    """
    try:
        url = _url(location)
        options: dict[str, Any] = {}
        if url.get_backend_name() == "postgresql":
            # A server that has gone without a word is noticed; one that was restarted is reached again.
            options["connect_args"] = {"connect_timeout": CONNECT_SECONDS, "tcp_user_timeout": 1000 * BUSY_SECONDS}
            options["pool_pre_ping"] = True
        file = _file_of(url)
        if file is not None and not to_write and access.leaves_no_trace(file):
            options |= {"poolclass": NullPool, "creator": partial(access.connect_read_only, file)}
        engine = create_engine(url, json_serializer=encoding.to_json, json_deserializer=encoding.from_json, **options)
    except ImportError:  # of psycopg: what reads SQLite is a part of Python
        raise InputError("store: the driver for PostgreSQL is missing; pip install 'optsearch[postgres]'") from None
    except (ArgumentError, KeyError, ValueError):
        shown = re.sub(r"(://[^:@/]*):.*@", r"\1:***@", location)
        raise InputError(
            f"store {shown}: not a database URL of SQLite or PostgreSQL; give the path of a file, sqlite:///PATH, or"
            " postgresql://USER@HOST/DATABASE"
        ) from None
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _url(location: str) -> URL:
    """Return the URL that a store is reached by, with the driver that is installed for it.

    Raises:
        ValueError, KeyError, ArgumentError: it is no URL, or one of another kind of database.
    """
    url = make_url(location) if "://" in location else URL.create("sqlite", database=location)
    if url.database == "" or "\0" in location:
        raise ValueError(location)
    url = url.set(drivername=_DRIVERS[url.drivername])
    is_in_home = url.drivername == "sqlite" and (url.database or "").startswith("~")
    return url.set(database=str(Path(url.database or "").expanduser())) if is_in_home else url


def sqlite_file(engine: Engine) -> Path | None:
    """Return the file of a SQLite database; None for one in memory, and for a server."""
    return _file_of(engine.url)


def _file_of(url: URL) -> Path | None:
    name = url.database
    if url.get_backend_name() != "sqlite" or not name or ":memory:" in name or url.query.get("mode") == "memory":
        return None
    return Path(unquote(name.removeprefix("file:"))) if "uri" in url.query else Path(name)


def location_of(engine: Engine) -> str:
    """Return what to call the database: the path of a SQLite file, otherwise the URL without its password."""
    file = sqlite_file(engine)
    if file is not None:
        return str(file)
    secret = {name: "***" for name in engine.url.query if "password" in name}
    return engine.url.update_query_dict(secret).render_as_string()


def writer(engine: Engine) -> Engine:
    """Return the same engine, whose transactions take the right to write when they begin.

    SQLite gives it to one at a time and lets others wait, but not if they have begun to read: two that both want to
    go on to writing would wait for each other, so one of them is refused at once.
    """
    return engine.execution_options(optsearch_writes=True)


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the module begins no transactions of its own
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_VALUE)
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {1000 * BUSY_SECONDS}")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA trusted_schema = OFF")  # nothing that a foreign file defines may call risky functions
    cursor.execute("PRAGMA cell_size_check = ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("optsearch_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def translated(engine: Engine, doing: str) -> Iterator[None]:
    """Errors of the database as errors of ours.

    Args:
        engine: whose errors.
        doing: written or read.

    Raises:
        StoreError: the machine or the server is in trouble; NotWritable if this user may not write.
        InputError: the database holds something that optsearch did not write.
    """
    try:
        yield
    except DBAPIError as error:
        place, said = location_of(engine), " ".join(str(error.orig).split())
        mend = _mend(error, doing)
        if mend is not None:
            kind = NotWritable if doing == "written" and is_forbidden(error.orig) else StoreError
            raise kind(
                f"{place}: cannot be {doing} ({said}); {mend} and run again: nothing committed is lost"
            ) from None
        if is_damage(error.orig):
            damage = DamageError(place, said)
            raise (StoreError(str(damage)) if doing == "written" else damage) from None
        if doing == "written":
            raise StoreError(f"{place}: cannot be written ({said}); nothing committed is lost") from None
        raise encoding.ForeignDataError(place, said) from None
    except InputError:
        raise
    except (OverflowError, RecursionError, TypeError, ValueError) as error:  # of what makes values of what is read
        if doing == "written":
            raise
        raise encoding.ForeignDataError(location_of(engine), f"{type(error).__name__}: {str(error)[:100]}") from None


def is_damage(error: object) -> bool:
    """Return whether an error of a driver says that a file of SQLite is damaged."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_forbidden(error: object) -> bool:
    """Return whether an error of a driver says that this user may not do what was asked."""
    code, state = getattr(error, "sqlite_errorcode", 0), getattr(error, "sqlstate", None)
    return code & 0xFF in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM) or state in ("25006", "42501")


def _mend(error: DBAPIError, doing: str) -> str | None:
    """Return what to do about trouble of the machine or the server, None if it is none."""
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        return _CIRCUMSTANCES.get(code & 0xFF)
    state = getattr(error.orig, "sqlstate", None) or ""
    if state.startswith("53"):
        return "make room on the server"
    if is_forbidden(error.orig):
        return f"let this user {'read' if doing == 'read' else 'write'} there"
    if error.connection_invalidated or state.startswith(("08", "57P")) or (not state and _is_postgresql(error)):
        return "see that the server runs and can be reached"
    return None


def _is_postgresql(error: DBAPIError) -> bool:
    return type(error.orig).__module__.startswith("psycopg")
