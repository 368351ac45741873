"""The page of tables and views, from the classes that declare them."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Table, UniqueConstraint

from search.store import tables
from search.store.rows import VIEWS, Row

from scripts.docs_site.source import attribute_docs, one_line

HEAD = """\
# Tables and views

What a database holds; how it is kept, and what happens when something breaks, is described in [The store](../store.md).
Read the views: they stay as they are when tables change, and [Python](python.md) reads them without SQL. Times are in
UTC, fitness is minus a validation loss (with several tasks, a score), and what does not apply is null.

Your own tables and views may be in the same database under other names; nothing touches them.
"""
# Columns that tables have beside the fields of their rows.
BESIDE_FIELDS = {"id": "The number of the row; what commands call a program.", "created": "When the row was written."}


def store_page() -> str:
    """Return the page as Markdown.

    Raises:
        ValueError: a column has no meaning written under its field.
    """
    of_views = [_view(name, kind) for name, kind in VIEWS.items()]
    of_tables = [_table(kind, kind.table) for kind in table_rows() if kind.table is not None]
    return "\n".join([HEAD, "## Views", "", *of_views, "## Tables", "", *of_tables])


def table_rows() -> list[type[Row]]:
    """Return the classes of the rows of all tables."""
    found = [one for one in vars(tables).values() if isinstance(one, type) and issubclass(one, Row)]
    return [kind for kind in found if kind.table is not None]


def _view(name: str, kind: type[Row]) -> str:
    types = {
        column: " | ".join("None" if one is type(None) else one.__name__ for one in held.python)
        for column, held in kind.kinds.items()
    }
    return _section(name, f"{kind.about} In Python: `{kind.__name__}`.", types, attribute_docs(kind))


def _table(kind: type[Row], table: Table) -> str:
    types = {column.name: f"{str(column.type).lower()}{' or null' * bool(column.nullable)}" for column in table.columns}
    rows_of = {
        column.name: f"The row in `{key.target_fullname.partition('.')[0]}`."
        for column in table.columns
        for key in column.foreign_keys
    }
    unique = [list(one.columns.keys()) for one in table.constraints if isinstance(one, UniqueConstraint)]
    said = "".join(f" Unique for {' and '.join(f'`{column}`' for column in columns)}." for columns in unique)
    return _section(table.name, f"{kind.about}{said}", types, BESIDE_FIELDS | rows_of | attribute_docs(kind))


def _section(name: str, about: str, types: Mapping[str, str], meanings: Mapping[str, str]) -> str:
    """Return the description of a table or view; `types` are those of its columns, by name."""
    if missing := [column for column in types if not meanings.get(column)]:
        raise ValueError(f"{name}: no meaning is written under {', '.join(missing)}")
    rows = [f"| `{column}` | {one_line(said)} | {meanings[column]} |" for column, said in types.items()]
    return "\n".join(
        [f"### {name}", "", one_line(about), "", "| column | type | meaning |", "|---|---|---|", *rows, ""]
    )
