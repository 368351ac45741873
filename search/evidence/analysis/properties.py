"""The properties of a program, and what a step of it takes."""

from __future__ import annotations

from programs.analysis.properties import Property, properties

from search.evidence.analysis.sheet import Analysis
from search.evidence.step_time import step_times
from search.store.data_sheets import SheetSection, SheetTable


def all_properties(analysis: Analysis) -> list[Property]:
    """Return the properties that the language tells, and the measured time of a step."""
    (ratio,) = step_times([analysis.program])
    time = Property("time of a step", f"{ratio:.2f} of that of torch's AdamW(foreach=True)", "measured")
    return [*properties(analysis.subject), time]


def section(analysis: Analysis) -> SheetSection:
    """Return the section."""
    columns = ("property", "value", "evidence")
    rows = [dict(zip(columns, one, strict=True)) for one in analysis.of(all_properties)]
    return SheetSection((), [SheetTable("properties", "properties", columns, rows, columns)])
