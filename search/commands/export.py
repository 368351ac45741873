"""The command `optsearch export`."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from programs.errors import InputError
from programs.program import Program

from search.commands.options import RESULTS, ProgramArgument, StoreOption
from search.results.export import class_name_of, export_source
from search.results.programs import named_program
from search.results.results import open_results
from search.results.text import failure
from search.store.errors import NotWritable
from search.store.tables import DataSheetRow, ExportRow


def command(
    program: ProgramArgument,
    to: Annotated[
        str,
        typer.Option(metavar="torch|optax|dsl", help="PyTorch optimizer, optax transformation, or the program's text."),
    ] = "torch",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; the terminal without it.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the class.")] = None,
    store: StoreOption = RESULTS,
) -> None:
    """Write a program as a self-contained optimizer for PyTorch or optax."""
    with named_program(program, store) as (found, results):
        class_name = name or class_name_of(found.name)
        sheet = data_sheet_of(found.program, store) if results is None else results.data_sheet(found.program)
        source = export_source(found, to, class_name, sheet)
        if found.entry is not None and found.entry.fitness is None:
            print(f"{found.name} has no fitness: {failure(found.entry)}", file=sys.stderr)
        if output is None:
            print(source, end="")
        else:
            write_text(source, output)
        if results is not None and found.entry is not None:
            with suppress(NotWritable):  # the export is written all the same, without a note of it
                results.store.add_export(found.entry.id, ExportRow(to, class_name, source))


def data_sheet_of(program: Program, location: str) -> DataSheetRow | None:
    """Return the data sheet of a program that is none of the store's, if there is a store that has one."""
    if "://" not in location and not Path(location).is_file():
        return None
    try:
        with open_results(location) as results:
            return results.data_sheet(program)
    except InputError as error:  # the optimizer itself is none of the store's
        print(f"without a data sheet: {error}", file=sys.stderr)
        return None


def refuse_database(output: Path) -> None:
    """Refuse to write over a database.

    Raises:
        InputError: the file is one.
    """
    with suppress(OSError), output.open("rb") as file:
        if file.read(16) == b"SQLite format 3\0":
            raise InputError(f"{output}: is a database, which would be lost; name another file with -o")


def write_text(text: str, output: Path) -> None:
    """Write a file and say so.

    Raises:
        InputError: it cannot be written.
    """
    refuse_database(output)
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{output}: cannot be written ({error.strerror}); name another file with -o") from None
    print(f"wrote {output}")
