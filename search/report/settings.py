"""With which settings and versions a search ran, and which other searches are in the store."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

from search.report.clock import length
from search.report.section import Block, Cell, CodeBlock, CodeLine, DataTable, Section
from search.report.source import ReportedSearch
from search.report.text import count, number, words
from search.settings.yaml_text import write_yaml

LIBRARIES = ("optsearch", "torch", "numpy", "ray", "sqlalchemy", "plotly")
MOST_SEARCHES = 100


def settings_and_versions(source: ReportedSearch) -> Section:
    """Return the section about settings and versions."""
    settings = {key: value for key, value in source.settings.items() if key != "versions"}
    text = write_yaml(settings)
    lead = "The settings run again as they stand here: copy them to a file and give that to `optsearch run`."
    blocks: list[Block] = [
        CodeBlock("settings-yaml", "settings", list(map(CodeLine, text.splitlines())), folded=len(text) > 1500),
        DataTable("versions", ["what", "value"], _versions(source), ("what", "value"), title="versions and facts"),
        _searches(source),
    ]
    return Section("settings", "Settings and versions", blocks, lead)


def _versions(source: ReportedSearch) -> list[list[Cell]]:
    facts = {
        "state": source.row.state,
        "began (UTC)": source.row.started[:16],
        "last written (UTC)": source.row.last_written[:16],
        "time spent in runs": length(source.row.seconds),
        **{f"noted when it began: {name}": value for name, value in _flat(source.settings.get("versions", {}))},
        **{f"made this page: {name}": version(name) for name in LIBRARIES},
        "made this page: Python": platform.python_version(),
    }
    return [[words(str(name)), words(str(value))] for name, value in facts.items()]


def _flat(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


def _searches(source: ReportedSearch) -> DataTable:
    columns = ["search", "state", "births", "trained", "best", "last written (UTC)"]
    latest = sorted(source.searches, key=lambda row: row.last_written, reverse=True)
    rows = [
        [words(row.search), words(row.state), count(row.births), count(row.trained), number(row.best),
         words(row.last_written[:16])]
        for row in latest[:MOST_SEARCHES]
    ]  # fmt: skip
    left = ("search", "state", "last written (UTC)")
    return DataTable("searches", columns, rows, left, sortable=True, title="searches in this store (--search NAME)")
