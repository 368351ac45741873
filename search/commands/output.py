"""Results for other programs, in the same structure for all commands that look at results.

JSON is one object: `command`, `store`, and `tables`, an object of lists of rows by the name of the table. A row is an
object with the same keys throughout its table, whose values are numbers, texts, or null. CSV is the first of these
tables, with its keys as heading; null is an empty cell. Nothing is rounded or cut, and nothing else is written.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple

from programs.errors import InputError

from search.results.text import printable


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


def form_of(as_json: bool, as_csv: bool) -> Form:
    """Return the form that options ask for.

    Raises:
        InputError: they ask for both.
    """
    if as_json and as_csv:
        raise InputError("--json and --csv: results are written in one form; leave one of the two out")
    return Form.JSON if as_json else Form.CSV if as_csv else Form.TEXT


def write(form: Form, command: str, store: str, tables: Sequence[Table]) -> None:
    """Write tables to the standard output, as JSON or CSV."""
    if form is Form.CSV:
        _write_csv(tables[0])
        return
    document = {
        "command": command,
        "store": store,
        "tables": {table.name: [{name: row[name] for name in table.columns} for row in table.rows] for table in tables},
    }
    json.dump(document, sys.stdout, indent=1, allow_nan=False)  # in ASCII: nothing in it steers a terminal
    sys.stdout.write("\n")


def _write_csv(table: Table) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(table.columns)
    for row in table.rows:
        values = (row[name] for name in table.columns)
        writer.writerow([printable(v, len(v)) if isinstance(v, str) else v for v in values])
