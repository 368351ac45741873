"""Opening a database: what is refused, what is made, what is upgraded."""

from __future__ import annotations

import json
import logging
import os.path
import sqlite3
import time
from contextlib import suppress

from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from programs.errors import InputError
from programs.user_functions import define

from search.store import versions
from search.store.access import is_there, may_write, require_readable
from search.store.connections import BUSY_SECONDS, engine_of, is_damage, is_forbidden, location_of, sqlite_file, writer
from search.store.integrity import DamageError, check_file, damage_of_log, mend_of_damage, warn_of_network
from search.store.store import Store

_log = logging.getLogger("optsearch.store")


def open_store(location: str, create: bool = False) -> Store:
    """Open a database by URL or path.

    Args:
        location: `sqlite:///results.db`, `postgresql://USER@HOST/DATABASE`, or the path of a SQLite file.
        create: make the database, or upgrade it, if need be; it will be written.

    Raises:
        InputError: it is missing, foreign, damaged, of another version, or cannot be opened, or its programs call
            functions that mean something else in this process.
    """
    engine = reach(location, create)
    lost = damage_of_log(sqlite_file(engine))
    if lost is not None:
        _log.warning("%s", lost)
    try:
        _prepare(engine, create)
        define_functions(engine)
    except (DBAPIError, sqlite3.Error, UnicodeError) as error:  # the last about damaged names in messages of SQLite
        engine.dispose()
        raise unusable(engine, error, create) from None
    except InputError:
        engine.dispose()
        raise
    return Store(engine)


def define_functions(engine: Engine) -> None:
    """Let this process read the programs of a database that call user-defined functions, which its searches keep.

    Raises:
        InputError: this process knows another function of the same name.
    """
    with suppress(DBAPIError, sqlite3.Error, UnicodeError), engine.connect() as connection:  # damage is told elsewhere
        for name, settings in connection.execute(text("SELECT name, CAST(settings AS TEXT) FROM search")).all():
            define(_functions_in(settings), f"{location_of(engine)}, search '{name}'")


def _functions_in(settings: object) -> dict[str, str]:
    """Return the definitions that the settings of a search hold, as far as they are some."""
    if not isinstance(settings, str) or '"functions"' not in settings:
        return {}
    try:
        found = json.loads(settings)["language"]["functions"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return {}
    return found if isinstance(found, dict) and all(isinstance(one, str) for one in found.values()) else {}


def reach(location: str, to_write: bool = False) -> Engine:
    """Return an engine for a database; of what it holds nothing is read yet.

    Raises:
        InputError: it is missing, or this user may not read it, or not write it though it will be written.
    """
    engine = engine_of(location, to_write)
    file = sqlite_file(engine)
    if file is None:
        return engine
    if not is_there(file):
        if to_write:
            if not os.path.isdir(file.parent):  # noqa: PTH112 - which raises nothing, whatever the name
                raise InputError(f"{file}: no folder {file.parent}; make it, or name another database")
            return engine
        raise InputError(f"{file}: no such database; `optsearch run CONFIG` writes one, --store names another")
    require_readable(file)
    if to_write and not may_write(file):
        raise InputError(
            f"{file}: may not be written by this user; make the file and its folder writable, or name another with"
            " --store, or for a search with --set store=..."
        )
    return engine


def unusable(engine: Engine, error: Exception, to_write: bool = False) -> InputError:
    """Return the error for a database that could not be opened."""
    cause = getattr(error, "orig", error)
    if getattr(cause, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_CORRUPT:
        return DamageError(location_of(engine), str(cause))
    mend = "name another with --store"
    if is_damage(cause):
        mend = mend_of_damage(location_of(engine))
    elif is_forbidden(cause) and sqlite_file(engine) is None:
        mend = f"let this user {'write' if to_write else 'read'} there, or name another with --store"
    elif to_write:
        mend = "name a database in a folder that can be written with --store, or for a search with --set store=..."
    said = " ".join(str(cause).split())
    return InputError(f"{location_of(engine)}: cannot be used as a database ({said}); {mend}")


def _prepare(engine: Engine, create: bool) -> None:
    file = sqlite_file(engine)
    with engine.connect() as connection:
        current = versions.version_of(connection) == versions.CURRENT
        if current or not create:
            versions.check(connection)
    if file is not None:
        check_file(engine, file)
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
