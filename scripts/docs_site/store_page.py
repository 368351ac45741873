"""The page of tables and views: columns from the definitions, meanings from what stands beside them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import get_type_hints

from sqlalchemy import UniqueConstraint

from search.results.entries import (
    VIEW_ENTRIES,
    BaselineEntry,
    FunnelEntry,
    MetaValidationEntry,
    NoiseEntry,
    ProgramEntry,
    ProofEntry,
    SearchEntry,
    SimplificationEntry,
    TrainingEntry,
)
from search.store import schema, views

from scripts.docs_site.source import attribute_docs, comments_of, one_line

HEAD = """\
# Tables and views

What a database holds; how it is kept, and what happens when something breaks, stands in [The store](../store.md). Read
the views: they stay as they are when tables change, and [Python](python.md) reads them without SQL. Times are in UTC,
fitness is minus a validation loss (with several tasks, a score), and what does not apply is null.

Tables and views of your own may lie in the same database under other names; nothing touches them.
"""
# Where columns of a table are explained that have no comment of their own.
ENTRIES: dict[str, type] = {
    "search": SearchEntry,
    "program": ProgramEntry,
    "training": TrainingEntry,
    "baseline": BaselineEntry,
    "meta_validation": MetaValidationEntry,
    "selection": FunnelEntry,
    "proof": ProofEntry,
    "task_noise": NoiseEntry,
    "simplification": SimplificationEntry,
}
COMMON = {
    "id": "Number of the row; of programs, what commands call them.",
    "created": "When the row was written.",
    "task_fingerprint": "Of the task with its data and settings.",
    "key": "Of evaluations: programs that move weights alike share it.",
}


def store_page() -> str:
    """The page as Markdown.

    Raises:
        ValueError: a table, a view or a column has no meaning written beside it.
    """
    about_views = comments_of(inspect.getsource(views), r'"(v_\w+)": """')
    of_views = [_view(name, about_views.get(name)) for name in views.VIEWS]
    of_tables = [_table(name, source) for name, source in _sources().items()]
    return "\n".join([HEAD, "## Views", "", *of_views, "## Tables", "", *of_tables])


def _sources() -> dict[str, str]:
    """The code that defines each table, with the comment above it."""
    parts = re.split(r"\n\n(?=(?:# .*\n)*\w+ = Table\()", inspect.getsource(schema))[1:]
    return {match[1]: part for part in parts if (match := re.search(r"^(\w+) = Table\(", part, re.MULTILINE))}


def _view(name: str, about: str | None) -> str:
    kind = VIEW_ENTRIES[name]
    docs = attribute_docs(kind)
    hints = get_type_hints(kind)
    rows = [(column, one_line(inspect.formatannotation(hint)), docs.get(column)) for column, hint in hints.items()]
    return _section(name, about, f"In Python: `{kind.__name__}`.", ("column", "type", "meaning"), rows)


def _table(name: str, source: str) -> str:
    table = schema.metadata.tables[name]
    entry = ENTRIES.get(name)
    docs = (attribute_docs(entry) if entry else {}) | COMMON | comments_of(source, r'Column\("(\w+)"')
    rows = []
    for column in table.columns:
        target = next((key.target_fullname.partition(".")[0] for key in column.foreign_keys), None)
        meaning = docs.get(column.name) or (f"The row in `{target}`." if target else None)
        rows.append((column.name, f"{str(column.type).lower()}{' or null' * bool(column.nullable)}", meaning))
    unique = [list(one.columns.keys()) for one in table.constraints if isinstance(one, UniqueConstraint)]
    unique += [[column.name] for column in table.columns if column.unique]
    said = "".join(f"Unique for {' and '.join(f'`{column}`' for column in columns)}." for columns in unique)
    return _section(name, comments_of(source, r"(\w+) = Table\(").get(name), said, ("column", "type", "meaning"), rows)


def _section(
    name: str, about: str | None, more: str, heading: Sequence[str], rows: Sequence[tuple[str, str, str | None]]
) -> str:
    missing = [column for column, _, meaning in rows if not meaning]
    if not about or missing:
        raise ValueError(f"{name}: no meaning is written beside {', '.join(missing) or 'its name'}")
    lines = [f"| {' | '.join(heading)} |", "|---|---|---|"]
    lines += [f"| `{column}` | {kind} | {_sentence(str(meaning))} |" for column, kind, meaning in rows]
    return "\n".join([f"### {name}", "", f"{about} {more}".strip(), "", *lines, ""])


def _sentence(text: str) -> str:
    """A comment, which begins small and ends without a full stop, as a sentence."""
    return f"{text[0].upper()}{text[1:].rstrip('.')}."
