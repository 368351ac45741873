"""Rows as classes: the fields of a class are the columns of a table, a view or a query, declared once.

From the declaration follow the SQL table, the types and values that are accepted when a row is read, the class that the
rest of the engine knows, and the page of the reference. A field is declared by its Python type; `Annotated` adds what
the type cannot say: a length, a foreign key, the words or the pattern that a text must have.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import (
    Annotated,
    Any,
    ClassVar,
    NamedTuple,
    TypeVar,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    DateTime,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    column,
)
from sqlalchemy.sql.schema import SchemaItem
from sqlalchemy.types import TypeEngine

from search.settings.names import NAME

metadata = MetaData()


# Kinds of texts. Names are shown and written into exports; those of tasks may be `module:function`.
Name = Annotated[str, String(200), NAME]
TaskName = Annotated[str, String(200)]
Title = Annotated[str, String(200)]
Digest = Annotated[str, String(32)]


class References(NamedTuple):
    """The table whose rows a column names by their id."""

    table: str


class Kind(NamedTuple):
    """What a column holds: its types in Python and those that a database may give for them, words or a pattern for
    texts, its type in SQL, and the table that it refers to."""

    python: tuple[type, ...]
    types: tuple[type, ...]
    words: frozenset[str] | None
    pattern: re.Pattern[str] | None
    sql: TypeEngine[Any]
    references: References | None

    @property
    def is_optional(self) -> bool:
        """Whether it may be null."""
        return type(None) in self.types

    @property
    def is_json(self) -> bool:
        """Whether it is kept as the text of JSON."""
        return isinstance(self.sql, JSON)


class Row:
    """A row of the database, with a field for each column."""

    __slots__ = ()

    relation: ClassVar[str]
    """The table or view that holds such rows, or the query that finds them."""
    table: ClassVar[Table | None] = None
    about: ClassVar[str]
    """What the table or view is for."""
    kinds: ClassVar[Mapping[str, Kind]]
    """What each column holds, by name."""

    def as_columns(self) -> dict[str, Any]:
        """Return the values by the names of their columns."""
        return {name: getattr(self, name) for name in self.kinds}


RowType = TypeVar("RowType", bound=Row)


_SQL: dict[type, Callable[[], TypeEngine[Any]]] = {
    int: Integer, bool: Integer, float: Float, str: Text, datetime: DateTime, list: lambda: JSON(none_as_null=True),
    dict: lambda: JSON(none_as_null=True),
}  # fmt: skip
_ACCEPTED = {float: (float, int)}  # databases give whole numbers for some floats


def _kind(hint: Any) -> Kind:
    optional = type(None) in get_args(hint)
    inner = next(part for part in get_args(hint) if part is not type(None)) if optional else hint
    base, *extras = get_args(inner) if get_origin(inner) is Annotated else (inner,)
    base = {Sequence: list}.get(get_origin(base), get_origin(base)) or base
    words = next((extra for extra in extras if isinstance(extra, type) and issubclass(extra, StrEnum)), None)
    pattern = next((extra for extra in extras if isinstance(extra, re.Pattern)), None)
    sql = next((extra for extra in reversed(extras) if isinstance(extra, TypeEngine)), None)
    key = next((extra for extra in extras if isinstance(extra, References)), None)
    none = (type(None),) if optional else ()
    accepted = frozenset(words) if words is not None else None
    return Kind(
        (base, *none),
        (*_ACCEPTED.get(base, (base,)), *none),
        accepted,
        pattern,
        sql or (String(20) if words else _SQL[base]()),
        key,
    )


# --- declarations -----------------------------------------------------------------------------------------------------


@dataclass_transform(frozen_default=True)
def columns_of(kind: type[RowType]) -> type[RowType]:
    """Declare a class as columns that several kinds of rows have."""
    row = dataclass(frozen=True, slots=True)(kind)
    hints = get_type_hints(row, include_extras=True)
    row.kinds = {field.name: _kind(hints[field.name]) for field in fields(row)}  # type: ignore[arg-type]  # a dataclass
    row.about = str(kind.__doc__)
    return row


@dataclass_transform(frozen_default=True)
def table(
    name: str, *constraints: SchemaItem, of: str | None = None, created: bool = False
) -> Callable[[type[RowType]], type[RowType]]:
    """Declare a class as the rows of a table.

    Args:
        name: of the table.
        constraints: of the table, and its indexes.
        of: the table whose rows these belong to, if any: the column `<of>_id` refers to it.
        created: whether a column `created` notes when a row was written.
    """

    def declare(kind: type[RowType]) -> type[RowType]:
        row = columns_of(kind)
        columns: list[Column[Any]] = [Column("id", Integer, primary_key=True)]
        if of is not None:
            columns.append(Column(f"{of}_id", ForeignKey(f"{of}.id"), nullable=False))
        for field, accepted in row.kinds.items():
            target = accepted.references
            keys = [] if target is None else [ForeignKey(f"{target.table}.id")]
            columns.append(Column(field, accepted.sql, *keys, nullable=accepted.is_optional))
        if created:
            columns.append(Column("created", DateTime, nullable=False))
        row.relation, row.table = name, Table(name, metadata, *columns, *constraints)
        return row

    return declare


VIEWS: dict[str, type[Row]] = {}
"""The classes of the views by the names of these."""
_DEFINITIONS: dict[str, str] = {}


@dataclass_transform(frozen_default=True)
def view(name: str, query: str) -> Callable[[type[RowType]], type[RowType]]:
    """Declare a class as the rows of a view, which this query makes."""

    def declare(kind: type[RowType]) -> type[RowType]:
        row = columns_of(kind)
        row.relation, row.table = name, None
        VIEWS[name], _DEFINITIONS[name] = row, query
        return row

    return declare


@dataclass_transform(frozen_default=True)
def query(sql: str) -> Callable[[type[RowType]], type[RowType]]:
    """Declare a class as the rows that a query finds; its parameters are given when it is asked."""

    def declare(kind: type[RowType]) -> type[RowType]:
        row = columns_of(kind)
        row.relation, row.table = f"({sql}) AS found", None
        return row

    return declare


def definition(name: str) -> str:
    """Return the statement that makes a view, as SQLite keeps it word for word."""
    return f"CREATE VIEW {name} AS {_DEFINITIONS[name].strip()}"


def columns(kind: type[Row], alias: str, without: Sequence[str] = ()) -> str:
    """Return the columns of a row as SQL, those of the table called `alias`; times and JSON as text."""
    return ", ".join(_as_text(name, alias, held) for name, held in kind.kinds.items() if name not in without)


def _as_text(name: str, alias: str, kind: Kind) -> str:
    return f"CAST({alias}.{name} AS TEXT) AS {name}" if kind.is_json else f"{alias}.{name}"


def selected(kind: type[Row]) -> Iterator[ColumnElement[Any]]:
    """Yield the columns of a row as elements of a query."""
    for name in kind.kinds:
        yield kind.table.c[name] if kind.table is not None else column(name)
