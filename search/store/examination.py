"""What a database holds, looked at as it is: the structure of the file, what rows refer to, and every row.

Unlike everywhere else a fault does not end it: each is yielded as a line.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, column, exists, func, select

from programs.errors import InputError

from search.store.encoding import ForeignDataError
from search.store.rows import RowType
from search.store.store import Store, table_of
from search.store.validation import Reader

MOST_FAULTS = 1000  # lines about the structure of a file
_STEPS = 100_000  # of SQLite's machine, after which progress is told


def faults_of_structure(store: Store, tick: Callable[[], None]) -> Iterator[str]:
    """Yield what is wrong with pages, indexes and constraints of a SQLite file; a server looks after its own.

    Args:
        store: the database.
        tick: called again and again meanwhile.
    """
    if store.engine.dialect.name != "sqlite":
        return
    with store.reading() as connection:
        driver: Any = connection.connection.driver_connection
        driver.set_progress_handler(tick, _STEPS)
        try:
            found = connection.exec_driver_sql(f"PRAGMA integrity_check({MOST_FAULTS})").scalars().all()
        finally:
            driver.set_progress_handler(None, 0)
    for line in "\n".join(map(str, found)).splitlines():
        if line not in ("ok", "") and not line.startswith("***"):  # which is a heading
            yield line


def broken_references(store: Store, table: Table) -> Iterator[str]:
    """Yield what rows of a table refer to that is not there."""
    for key in sorted(table.foreign_keys, key=lambda key: key.parent.name):
        target = key.column.table.alias("target")
        there = exists().where(target.c[key.column.name] == key.parent)
        lost = select(func.count(), func.min(table.c.id)).where(key.parent.is_not(None), ~there)
        with store.reading() as connection:
            number, first = connection.execute(lost).one()
        if number:
            others = f", and so for {number - 1} more" if number > 1 else ""
            yield f"{table.name} {first}: there is no such row as its {key.parent.name} names{others}"


def count(store: Store, table: Table) -> int:
    """Return the number of rows of a table."""
    with store.reading() as connection:
        return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def rows_of(
    store: Store, kind: type[RowType], order: str = "id", where: ColumnElement[bool] | None = None
) -> Iterator[tuple[int, RowType | str]]:
    """Yield every row of a table with its ID, or in its place what is wrong with it.

    Args:
        store: the database.
        kind: the class of the rows.
        order: the column to order by.
        where: only these rows.
    """
    reader = Reader(kind, store.location)
    # Columns without their types, whose conversion would end the whole query at the first wrong value.
    columns: list[ColumnElement[Any]] = [column(name) for name in ("id", *kind.kinds)]
    query = select(*columns).select_from(table_of(kind)).order_by(column(order))
    if where is not None:
        query = query.where(where)
    times = [place for place, held in enumerate(kind.kinds.values()) if datetime in held.python]
    with store.reading() as connection, _any_text(connection):
        for number, *values in connection.execution_options(yield_per=1000).execute(query):
            for place in times:
                values[place] = _as_time(values[place])
            try:
                yield number, reader.row(values)
            except ForeignDataError as error:
                yield number, error.what
            except InputError as error:
                yield number, str(error)


def _as_time(value: Any) -> Any:
    """Return a time that SQLite keeps as a text."""
    if isinstance(value, str):
        with suppress(ValueError):
            return datetime.fromisoformat(value)
    return value


@contextmanager
def _any_text(connection: Connection) -> Iterator[None]:
    """Let texts that are none be read as bytes, which no row accepts, instead of ending the query."""
    driver: Any = connection.connection.driver_connection
    if not isinstance(driver, sqlite3.Connection):
        yield
        return
    driver.text_factory = _text
    try:
        yield
    finally:
        driver.text_factory = str


def _text(content: bytes) -> str | bytes:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content
