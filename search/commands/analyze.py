"""The command `optsearch analyze`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import chain
from typing import Annotated, Any

import typer

from programs.hashing import dataflow_hash

from proxy_tasks import Task

from search.commands.chosen_settings import chosen_task
from search.commands.options import (
    RESULTS,
    ConfigOption,
    JsonOption,
    OneTaskOption,
    ProgramArgument,
    StepsOption,
    StoreOption,
    allow_user_modules,
    numeric,
)
from search.commands.output import Form, Table, write
from search.commands.progress import counting_trainings
from search.commands.terminal import console, describe, show_table
from search.evidence.analysis.sections import SECTIONS, chosen_sections
from search.evidence.analysis.sheet import Analysis
from search.results.export import NamedProgram
from search.results.programs import named_program
from search.settings import limits
from search.settings.seeds import tuning_seeds
from search.settings.settings import Dedup
from search.store import Store, open_store
from search.store.data_sheets import SheetSection, SheetTable, encoded
from search.store.store import LONGEST_NAME
from search.store.tables import DataSheetRow
from search.training.inline import InlineEvaluator
from search.training.service import TrainingService

BATCH = 256
DEDUP = Dedup()


def command(
    program: ProgramArgument,
    task: OneTaskOption = None,
    sections: Annotated[
        str,
        typer.Option(
            metavar="NAMES|all",
            help="Of properties, family, stability, transfer, states, advice, with commas between them.",
        ),
    ] = "all",
    seeds: Annotated[
        int, typer.Option(**numeric(limits.SEEDS), help="Number of seeds, those that searches train on.")
    ] = 2,
    steps: StepsOption = None,
    config: ConfigOption = None,
    store: StoreOption = RESULTS,
    as_json: JsonOption = False,
) -> None:
    """Make the data sheet of an optimizer: what kind of rule it is, and how it behaves. It is kept, with trainings."""
    allow_user_modules()
    names = chosen_sections(sections)
    with named_program(program, store) as (found, results):
        on = replace(chosen_task(found, results, task, config, steps), fitness="loss")  # of which a sheet speaks
        with closing(open_store(store, create=True)) as database:
            made = data_sheet(found, on, seeds, names, database)
            database.keep_data_sheet(_row(found, on, made))
        if as_json:
            write(Form.JSON, "analyze", store, _tables(made))
        else:
            console.print(f"{found.name}: {describe(found.program)}; {on.name}: {on.steps} steps of {on.batch_size}\n")
            _show(made)


def data_sheet(
    found: NamedProgram, on: Task, seeds: int, sections: list[str], database: Store
) -> dict[str, SheetSection]:
    """Return sections of the data sheet of a program, by name.

    Args:
        found: the program.
        on: the task on which its constants are looked for.
        seeds: the number of seeds, likewise.
        sections: names of `SECTIONS`.
        database: keeps all trainings.
    """
    service = TrainingService(database, InlineEvaluator(), BATCH, DEDUP)
    analysis = Analysis(found.name, found.program, on, tuning_seeds(seeds), service)
    with counting_trainings(service):
        return {name: SECTIONS[name](analysis) for name in sections}


def _row(found: NamedProgram, on: Task, made: dict[str, SheetSection]) -> DataSheetRow:
    digest, name = dataflow_hash(found.program), found.name[:LONGEST_NAME]
    return DataSheetRow(name, digest, str(found.program), on.name, on.fingerprint, encoded(made))


# --- what is printed -------------------------------------------------------------------------------------------------


def _tables(made: dict[str, SheetSection]) -> list[Table]:
    """Return all tables, those of the sentences first."""
    columns = ("section", "sentence")
    sentences = [dict(zip(columns, (n, s), strict=True)) for n, section in made.items() for s in section.sentences]
    tables = [Table(t.name, t.columns, t.rows) for section in made.values() for t in section.tables]
    return [Table("sentences", columns, sentences), *tables]


def _show(made: dict[str, SheetSection]) -> None:
    for section in made.values():
        for sentence in section.sentences:
            console.print(sentence)
        for table in chain.from_iterable(map(_shown, section.tables)):
            rows = [[_text(row.get(column)) for column in table.columns] for row in table.rows]
            show_table(table.title, table.columns, rows, table.left)


def _shown(table: SheetTable) -> Iterator[SheetTable]:
    """Yield the tables that one is shown as: of each facet, with a column for each value of what is shown across."""
    if table.is_detail:
        return
    if not table.facet:
        yield _across(table) if table.across else table
        return
    for value in dict.fromkeys(row[table.facet] for row in table.rows):
        rows = [row for row in table.rows if row[table.facet] == value]
        title = table.title if value is None else f"{table.facet} {_text(value)}: {table.title}"
        yield _across(table._replace(title=title, columns=table.columns[1:], rows=rows))


def _across(table: SheetTable) -> SheetTable:
    """Return a table with a column for each value of what is shown across; rows that are not complete are left out."""
    first, across, value = table.columns
    heads = {row[across]: f"{across} {_text(row[across])}" for row in table.rows}
    rows: dict[Any, dict[str, Any]] = {}
    for row in table.rows:
        rows.setdefault(row[first], {first: row[first]})[heads[row[across]]] = row[value]
    complete = [row for row in rows.values() if len(row) == len(heads) + 1]
    return table._replace(columns=(first, *heads.values()), rows=complete)


def _text(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
