"""Data sheets of optimizers as they are kept: sections of sentences and tables, as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class SheetTable(NamedTuple):
    """Rows, plain and unrounded; columns named in `left` are texts, the others numbers, None where there is none.

    The last column but one may be shown `across`: a column for each of its values, filled from the last. Rows may be
    shown as a table for each value of the column `facet`, the first. Details are for files and plots alone.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Mapping[str, Any]]
    left: Sequence[str] = ()
    across: str = ""
    facet: str = ""
    is_detail: bool = False


class SheetSection(NamedTuple):
    """Sentences, then tables."""

    sentences: Sequence[str]
    tables: Sequence[SheetTable] = ()

    def table(self, name: str) -> Sequence[Mapping[str, Any]]:
        """Return the rows of a table, none if it is not there."""
        return next((table.rows for table in self.tables if table.name == name), ())


def finite(value: float) -> float | None:
    """Return a number as tables have it, None for what is not finite."""
    return value if math.isfinite(value) else None


def encoded(sections: Mapping[str, SheetSection]) -> dict[str, Any]:
    """Return sections as JSON has them."""
    return {
        name: {"sentences": list(section.sentences), "tables": [_encoded(table) for table in section.tables]}
        for name, section in sections.items()
    }


def _encoded(table: SheetTable) -> dict[str, Any]:
    rows = [[row.get(column) for column in table.columns] for row in table.rows]
    return table._asdict() | {"columns": list(table.columns), "rows": rows, "left": list(table.left)}


def decoded(sections: Mapping[str, Any]) -> dict[str, SheetSection]:
    """Return sections from what `encoded` made of them.

    Raises:
        TypeError, KeyError, ValueError, AttributeError: it is something else.
    """
    return {
        name: SheetSection([_text(s) for s in section["sentences"]], [_decoded(table) for table in section["tables"]])
        for name, section in sections.items()
    }


def _decoded(table: Mapping[str, Any]) -> SheetTable:
    columns = [_text(column) for column in table["columns"]]
    rows = [dict(zip(columns, map(_value, row), strict=True)) for row in table["rows"]]
    title, name, across, facet = (_text(table[key]) for key in ("title", "name", "across", "facet"))
    return SheetTable(name, title, columns, rows, [_text(x) for x in table["left"]], across, facet, table["is_detail"])


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _value(value: Any) -> Any:
    if not (value is None or isinstance(value, str | int | float)):
        raise TypeError(f"{value!r} is no value of a table")
    return value


def are_sections(sections: Mapping[str, Any]) -> bool:
    """Return whether this is what `encoded` makes."""
    try:
        decoded(sections)
    except (AttributeError, KeyError, TypeError, ValueError):
        return False
    return True
