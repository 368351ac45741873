"""Results for other programs, in the same structure for all commands that look at results.

JSON is one object: `command`, `store` (null where there is none), and `tables`, an object of lists of rows by the name
of the table. A row is an object with the same keys throughout its table, whose values are numbers, texts, or null. CSV
is the first of these tables, with its keys as heading; null is an empty cell. Nothing is rounded or cut, and nothing
else is written.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple

from programs.errors import InputError

from search.results.text import printable
from search.store.rows import Row


class Form(Enum):
    """The form in which results are written."""

    TEXT = "text"
    JSON = "json"
    CSV = "csv"


class Table(NamedTuple):
    """Rows, of which these columns are written, in this order."""

    name: str
    columns: Sequence[str]
    rows: Sequence[Mapping[str, Any]]


def table_of(name: str, kind: type[Row], rows: Iterable[Row], columns: Sequence[str] = ()) -> Table:
    """Return rows of one class as a table, with these columns or all that the class declares."""
    return Table(name, columns or columns_of(kind), [row.as_columns() for row in rows])


def columns_of(kind: type[Row]) -> tuple[str, ...]:
    """Return the columns of a class of rows: first those that say which row it is."""
    return tuple(sorted(kind.kinds, key=lambda name: name not in ("search", "id")))


def form_of(as_json: bool, as_csv: bool) -> Form:
    """Return the form that options ask for.

    Raises:
        InputError: they ask for both.
    """
    if as_json and as_csv:
        raise InputError("--json and --csv: results are written in one form; leave one of the two out")
    return Form.JSON if as_json else Form.CSV if as_csv else Form.TEXT


def write(form: Form, command: str, store: str | None, tables: Sequence[Table]) -> None:
    """Write tables to the standard output, as JSON or CSV; without a store where they come from none."""
    if form is Form.CSV:
        _write_csv(tables[0])
        return
    document = {
        "command": command,
        "store": store,
        "tables": {table.name: [_values(table, row) for row in table.rows] for table in tables},
    }
    json.dump(document, sys.stdout, indent=1, allow_nan=False)  # in ASCII: nothing in it steers a terminal
    sys.stdout.write("\n")


def _write_csv(table: Table) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(table.columns)
    for row in table.rows:
        writer.writerow([printable(v, len(v)) if isinstance(v, str) else v for v in _values(table, row).values()])


def _values(table: Table, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that are written, truth values as 0 and 1."""
    values = ((name, row[name]) for name in table.columns)
    return {name: int(value) if isinstance(value, bool) else value for name, value in values}
