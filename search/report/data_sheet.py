"""Data sheets that `optsearch analyze` has made, drawn: stability, transfer of the learning rate, regrets, states."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from textwrap import wrap
from typing import Any

from search.report.section import Axis, Block, Cell, DataTable, Figure, Note, Section, missing
from search.report.source import ReportedSearch
from search.report.style import FOURTH, GROUND, MUTED, OURS, REFERENCE, THIRD
from search.report.text import capitalized, figures, label, number, words
from search.store.data_sheets import SheetSection, decoded
from search.store.encoding import ForeignDataError
from search.store.tables import DataSheetRow

MOST_SHEETS = 3
_BELOW, _ABOVE = 110.0, 40.0  # of the best rate: what a map shows
_RULES = (OURS, REFERENCE, THIRD, FOURTH)
_AS_TABLES = {
    "properties": "properties", "exponents": "transfer", "recommended": "transfer", "regret": "transfer",
    "states": "states", "advice": "advice",
}  # fmt: skip

Rows = Sequence[Mapping[str, Any]]
_Colour = Callable[[float], float]


def data_sheet(source: ReportedSearch) -> Section:
    """Return the section about the data sheets in the database, the last first.

    Raises:
        InputError: optsearch did not write them.
    """
    title = "Data sheets"
    sheets = source.results.data_sheets(MOST_SHEETS)
    if not sheets:
        why = (
            "No data sheet was made yet: `optsearch analyze ID` says what kind of rule a program is, where it is"
            " stable, how its learning rate goes with batch size and steps, and what cheaper states cost."
        )
        return missing("data-sheet", title, why)
    try:
        blocks = [block for place, sheet in enumerate(sheets) for block in _blocks(sheet, place)]
    except (KeyError, TypeError, ValueError):
        raise ForeignDataError(source.results.location, "the tables of a data sheet") from None
    names = "; ".join(f"{sheet.program} on {sheet.task}" for sheet in sheets)
    lead = f"What kind of rule a program is, and how it behaves, by `optsearch analyze`. Made last: {names}."
    return Section("data-sheet", title, blocks, lead, columns=True)


def _blocks(sheet: DataSheetRow, place: int) -> Iterator[Block]:
    """Yield what is shown of a sheet; `place` tells its figures from those of others."""
    sections = decoded(sheet.sections)
    of = f"{sheet.program} on {sheet.task}"
    yield Note(f"{of}, from here on: {', '.join(sections)}.")
    for name, section in sections.items():
        if section.sentences:
            said = f"{'. '.join(map(capitalized, section.sentences))}."
            yield Note(said if said.startswith(capitalized(name)) else f"{capitalized(name)}: {said}")
    if "stability" in sections:
        yield from _maps(sections["stability"].table("stability"), of, f"sheet-{place}-map")
    if "transfer" in sections:
        yield from _transfers(sections["transfer"], of, f"sheet-{place}-transfer")
        yield from _regrets(sections["transfer"].table("regret"), of, f"sheet-{place}-regret")
    for name, holder in _AS_TABLES.items():
        yield from _tables(sections, holder, name, of, f"sheet-{place}-{name}")


def _tables(sections: Mapping[str, SheetSection], section: str, name: str, of: str, id_: str) -> Iterator[DataTable]:
    for table in sections[section].tables if section in sections else ():
        if table.name == name and table.rows:
            rows = [[_cell(row[column], column in table.left) for column in table.columns] for row in table.rows]
            yield DataTable(id_, table.columns, rows, table.left, title=f"{of}: {table.title}")


def _cell(value: Any, is_text: bool) -> Cell:
    return words(str(value)) if is_text and value is not None else number(value)


# --- stability: small multiples, one for each momentum ----------------------------------------------------------------


def _maps(rows: Rows, of: str, name: str) -> Iterator[Figure]:
    """Yield a map for each momentum, all of one scale of colours."""
    losses = [row["loss"] for row in rows if row["loss"] is not None]
    if not losses:
        return
    colour: _Colour = math.log10 if min(losses) > 0 else float
    ends = colour(min(losses)), colour(max(losses))
    for place, momentum in enumerate(dict.fromkeys(row["momentum"] for row in rows)):
        cells = [row for row in rows if row["momentum"] == momentum]
        yield _map(cells, colour, ends, _title(of, momentum), f"{name}-{place}")


def _is_full(rate: float, decays: Sequence[float | None], by_place: Mapping[tuple[float, float | None], Any]) -> bool:
    return all((rate, decay) in by_place for decay in decays)


def _title(of: str, momentum: float | None) -> str:
    return f"Stability of {of}" + ("" if momentum is None else f", momentum {momentum:g}")


def _map(cells: Rows, colour: _Colour, ends: tuple[float, float], title: str, name: str) -> Figure:
    decays = sorted({row["decay"] for row in cells}, key=lambda decay: decay or 0.0)
    by_place = {(row["learning rate"], row["decay"]): row["loss"] for row in cells}
    best = min((row for row in cells if row["loss"] is not None), key=lambda row: row["loss"], default=cells[0])
    low, high = best["learning rate"] / _BELOW, best["learning rate"] * _ABOVE
    rates = [r for r in sorted({rate for rate, _ in by_place}) if low <= r <= high and _is_full(r, decays, by_place)]
    losses = [[by_place[rate, decay] for rate in rates] for decay in decays]
    trace = {
        "type": "heatmap",
        "x": [f"{rate:.2g}" for rate in rates],
        "y": ["none" if decay is None else f"{decay:g}" for decay in decays],
        "z": [[None if loss is None else colour(loss) for loss in row] for row in losses],
        "zmin": ends[0], "zmax": ends[1],
        "text": [["" if loss is None else f"{loss:.2g}" for loss in row] for row in losses],
        "texttemplate": "%{text}",
        "textfont": {"size": 10},
        "colorscale": [[0.0, OURS], [1.0, GROUND]],
        "showscale": False,
        "hovertemplate": "loss %{text}<br>learning rate %{x}, decay %{y}<extra></extra>",
    }  # fmt: skip
    caption = "Loss over learning rate and weight decay: the stronger the colour, the lower; gaps are failures."
    axes = (Axis("learning rate", "category"), Axis("weight decay", "category"))
    return Figure(name, caption, [trace], *axes, title=title, height=300, legend=False)


# --- transfer ---------------------------------------------------------------------------------------------------------


def _transfers(section: SheetSection, of: str, name: str) -> Iterator[Figure]:
    """Yield a figure for each axis: the best learning rate at each of its values, and the power through them."""
    bests = [row for row in section.table("transfer") if row["best rate"] is not None]
    powers = {row["axis"]: row for row in section.table("exponents")}
    for place, axis in enumerate(dict.fromkeys(row["axis"] for row in bests)):
        rows = [row for row in bests if row["axis"] == axis]
        yield _transfer(rows, axis, powers.get(axis), of, f"{name}-{place}")


def _transfer(rows: Rows, axis: str, power: Mapping[str, Any] | None, of: str, name: str) -> Figure:
    values, rates = [row["value"] for row in rows], [row["best rate"] for row in rows]
    errors = [row["error in decades"] or 0.0 for row in rows]
    trace = {
        "type": "scatter", "mode": "lines+markers", "name": "best learning rate", "x": values, "y": rates,
        "error_y": {
            "type": "data", "symmetric": False, "thickness": 1, "width": 3,
            "array": [rate * (10**error - 1) for rate, error in zip(rates, errors, strict=True)],
            "arrayminus": [rate * (1 - 10**-error) for rate, error in zip(rates, errors, strict=True)],
        },
        "marker": {"color": OURS, "size": 9, "symbol": [_symbol(row["at the edge"]) for row in rows]},
        "line": {"color": OURS, "dash": "dot", "width": 1},
        "customdata": [figures(row["loss"]) for row in rows],
        "hovertemplate": "%{y:.3g} at %{x:g}<br>loss %{customdata}<extra></extra>",
    }  # fmt: skip
    traces, caption = [trace], "Too few best rates are inside their grids for an exponent."
    if power is not None:
        caption = (
            f"Best learning rate, with its error over seeds: it goes as the power {power['exponent']:.2f}"
            f" ({power['low']:.2f} to {power['high']:.2f}); open points are at the edge of the grid."
        )
        middle = math.exp(sum(math.log(rate) for rate in rates) / len(rates))
        centre = math.exp(sum(math.log(value) for value in values) / len(values))
        line = [middle * (value / centre) ** power["exponent"] for value in values]
        traces.append({
            "type": "scatter", "mode": "lines", "name": "power", "x": values, "y": line,
            "hovertemplate": "%{y:.3g} at %{x:g} by the power<extra></extra>",
            "line": {"color": MUTED, "dash": "dash"},
        })  # fmt: skip
    middle_rate = math.sqrt(min(rates) * max(rates))
    x = Axis(label(axis), "log", ticks=values)
    y = Axis(
        "best learning rate", "log", ticks=[float(f"{rate:.2g}") for rate in (min(rates), middle_rate, max(rates))]
    )
    return Figure(name, caption, traces, x, y, title=f"{of}: best learning rate and {axis}", height=320, legend=False)


def _symbol(edge: str | None) -> str:
    return "circle-open" if edge == "yes" else "circle"


def _regrets(rows: Rows, of: str, name: str) -> Iterator[Figure]:
    """Yield bars: what keeping the setting costs each rule, by the change of the data."""
    if not rows:
        return
    traces = []
    for colour, rule in zip(_RULES, dict.fromkeys(row["rule"] for row in rows), strict=False):
        of_rule = [row for row in rows if row["rule"] == rule and row["regret"] is not None]
        changes = ["<br>".join(wrap(label(row["change of the data"]), 10)) for row in of_rule]
        traces.append({
            "type": "bar", "name": label(rule), "x": changes,
            "y": [row["regret"] for row in of_rule], "marker": {"color": colour},
            "error_y": {"type": "data", "array": [row["error"] or 0.0 for row in of_rule], "thickness": 1, "width": 3},
            "hovertemplate": "%{y:.3g} for %{x}<extra>" + label(rule) + "</extra>",
        })  # fmt: skip
    caption = "How much higher the loss is with the setting kept than with the best around it, when the data change."
    axes = (Axis("change of the data", "category"), Axis("regret"))
    yield Figure(name, caption, traces, *axes, title=f"{of}: regret", height=340, layout={"barmode": "group"})
