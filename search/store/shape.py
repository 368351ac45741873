"""Whether tables and views are those that optsearch makes, and nothing else runs when they are read or written.

A database may come from anybody. SQLite runs what a file defines: views that never end, triggers, conditions and
computed columns. So everything that our queries touch is compared with what the migrations make, before it is touched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from sqlalchemy import Column, Connection, DefaultClause, Dialect, Table, UniqueConstraint, text

from programs.errors import InputError

from search.store import tables  # noqa: F401 - which declares them
from search.store.connections import location_of
from search.store.encoding import ForeignDataError
from search.store.evidence_views import NoiseEntry  # noqa: F401 - which declares these views, and with them all
from search.store.rows import VIEWS, definition, metadata

TABLES = {**metadata.tables}
VERSION_TABLE = "alembic_version"
_RUNS_CODE = re.compile(r"\b(check|generated|collate|conflict|strict|without|virtual)\b|\bas\s*\(", re.IGNORECASE)
_POSTGRESQL_KINDS = {"r": "table", "v": "view"}
_POSTGRESQL_TYPES = {
    "INTEGER": "integer", "TEXT": "text", "JSON": "json", "FLOAT": "double precision",
    "DATETIME": "timestamp without time zone", "VARCHAR": "character varying",
}  # fmt: skip


class Thing(NamedTuple):
    """Something that a database defines. `kind` is table, view, index, trigger or another word of the database."""

    kind: str
    name: str
    table: str
    sql: str


def things(connection: Connection) -> list[Thing]:
    """Return all that the database defines.

    Raises:
        InputError: this user may not look.
    """
    if connection.dialect.name == "sqlite":
        query = "SELECT type, name, tbl_name, sql FROM sqlite_master"
    else:
        if connection.exec_driver_sql("SELECT current_schema()").scalar() is None:
            place = location_of(connection.engine)
            raise InputError(f"{place}: this user may use no schema of its search path; grant usage of one")
        query = """
            SELECT c.relkind::text, c.relname::text, c.relname::text, '' FROM pg_catalog.pg_class c
            WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind NOT IN ('i', 'I', 'S', 'c', 't')
            UNION ALL
            SELECT 'trigger', t.tgname::text, c.relname::text, '' FROM pg_catalog.pg_trigger t
            JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
            WHERE NOT t.tgisinternal AND c.relnamespace = current_schema()::regnamespace
        """
    rows = connection.exec_driver_sql(query).all()
    return [Thing(_POSTGRESQL_KINDS.get(kind, str(kind)), str(name), str(of), str(sql)) for kind, name, of, sql in rows]


def check_kinds(connection: Connection, found: list[Thing]) -> None:
    """Refuse what runs code of its own: of any schema version, before anything else is read.

    Raises:
        InputError: names it.
    """
    place = location_of(connection.engine)
    for thing in found:
        if thing.kind == "trigger":
            raise ForeignDataError(place, f"a trigger, '{thing.name}'")
        if thing.name in (VERSION_TABLE, *TABLES) and thing.kind not in ("table", "index"):
            raise ForeignDataError(place, f"'{thing.name}' is no table")
        if thing.name in VIEWS and thing.kind != "view":
            raise ForeignDataError(place, f"'{thing.name}' is no view")
        if thing.kind == "table" and thing.name in (VERSION_TABLE, *TABLES) and _RUNS_CODE.search(thing.sql):
            raise ForeignDataError(place, f"a table '{thing.name}' with conditions of its own")


def check_shape(connection: Connection, found: list[Thing]) -> None:
    """Refuse tables and views that are not as this version makes them.

    Raises:
        InputError: names one.
    """
    place = location_of(connection.engine)
    kinds = {thing.name: thing for thing in found if thing.kind in ("table", "view")}
    for name in (*TABLES, *VIEWS):
        if name not in kinds:
            raise ForeignDataError(place, f"no '{name}'")
    described = _described_sqlite if connection.dialect.name == "sqlite" else _described_postgresql
    for name, table in TABLES.items():
        if described(connection, name) != _expected(table, connection.dialect):
            raise ForeignDataError(place, f"a table '{name}' of another shape")
    if connection.dialect.name == "sqlite":
        for name in VIEWS:
            if kinds[name].sql != definition(name):
                raise ForeignDataError(place, f"another view '{name}'")


def _expected(table: Table, dialect: Dialect) -> Any:
    """Return what `_described_...` should say of a table."""
    if dialect.name == "postgresql":
        return {
            (column.name, _POSTGRESQL_TYPES[re.sub(r"\(.*", "", column.type.compile())]) for column in table.columns
        }
    columns = {
        (c.name, c.type.compile(dialect), int(not c.nullable), _default(c), int(c.primary_key), 0)
        for c in table.columns
    }
    uniques = [c for c in table.constraints if isinstance(c, UniqueConstraint)]
    indexes = {(1, tuple(column.name for column in unique.columns)) for unique in uniques}
    indexes |= {(0, tuple(column.name for column in index.columns)) for index in table.indexes}
    return columns, indexes


def _default(column: Column[Any]) -> str | None:
    default = column.server_default
    return f"'{default.arg}'" if isinstance(default, DefaultClause) else None


def _described_sqlite(connection: Connection, table: str) -> Any:
    """Columns with type, nullness, default, place in the key, and if they are computed; indexes by what they cover."""
    rows = connection.exec_driver_sql(f"PRAGMA table_xinfo({table})").all()
    return {tuple(row[1:]) for row in rows}, set(_indexes(connection, table))


def _indexes(connection: Connection, table: str) -> Iterator[tuple[int, tuple[str | None, ...]]]:
    for _, name, unique, _, partial in connection.exec_driver_sql(f"PRAGMA index_list({table})").all():
        quoted = str(name).replace('"', '""')
        columns = connection.exec_driver_sql(f'PRAGMA index_info("{quoted}")').all()
        yield (-1 if partial else unique), tuple(column for _, _, column in columns)


def _described_postgresql(connection: Connection, table: str) -> Any:
    query = """SELECT attname::text, format_type(atttypid, NULL) FROM pg_catalog.pg_attribute
               WHERE attrelid = format('%I.%I', current_schema(), CAST(:name AS text))::regclass
               AND attnum > 0 AND NOT attisdropped"""  # information_schema hides what this user may not read
    return {(name, kind) for name, kind in connection.execute(text(query), {"name": table})}
