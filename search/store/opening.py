"""Opening a database: what is refused, what is made, what is upgraded."""

from __future__ import annotations

import sqlite3
import time

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from programs.errors import InputError

from search.store import versions
from search.store.connections import BUSY_SECONDS, engine_of, location_of, sqlite_file, writer
from search.store.integrity import check_file, warn_of_network
from search.store.store import Store


def open_store(location: str, create: bool = False) -> Store:
    """Open a database by URL or path.

    Args:
        location: `sqlite:///results.db`, `postgresql://USER@HOST/DATABASE`, or the path of a SQLite file.
        create: make the database, or upgrade it, if need be; it will be written.

    Raises:
        InputError: it is missing, foreign, damaged, of another version, or cannot be opened.
    """
    engine = engine_of(location)
    file = sqlite_file(engine)
    if file is not None and not create and not file.exists():
        raise InputError(f"{file}: no such database; `optsearch run CONFIG` writes one, --store names another")
    try:
        _prepare(engine, create)
    except (DBAPIError, sqlite3.Error, UnicodeError) as error:  # the last about damaged names in messages of SQLite
        engine.dispose()
        mend = "name another with --store"
        if create:
            mend = "name a database in a folder that can be written with --store, or for a search with --set store=..."
        said = " ".join(str(getattr(error, "orig", error)).split())
        raise InputError(f"{location_of(engine)}: cannot be used as a database ({said}); {mend}") from None
    except InputError:
        engine.dispose()
        raise
    return Store(engine)


def _prepare(engine: Engine, create: bool) -> None:
    file = sqlite_file(engine)
    with engine.connect() as connection:
        current = versions.version_of(connection) == versions.CURRENT
        if current or not create:
            versions.check(connection)
    if file is not None:
        check_file(engine, file, to_write=create)
    if create and not current:
        with writer(engine).begin() as connection:
            versions.upgrade(connection)
    if create and file is not None:
        warn_of_network(file)
        _use_wal(engine)


def _use_wal(engine: Engine) -> None:
    """Kept in the file; set only when the database is known to be ours.

    SQLite needs the file for itself for a moment and does not always wait for it (of 125 processes that opened new
    files in fives, 3 were refused), so this does.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        connection = engine.raw_connection()
        try:
            connection.cursor().execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        finally:
            connection.close()
