"""Arguments and options that several commands have."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

RESULTS = "results.db"

StoreOption = Annotated[str, typer.Option("--store", help="Database: the path of a SQLite file, or a URL.")]
SearchOption = Annotated[str | None, typer.Option("--search", help="Only this search.")]
ProgramArgument = Annotated[
    str, typer.Argument(metavar="ID|FILE|NAME", help="A program: ID in the store, file, or name in the zoo.")
]
IdArgument = Annotated[int, typer.Argument(metavar="ID", help="ID of a program in the store.")]
LimitOption = Annotated[
    int | None, typer.Option(min=1, max=1_000_000, help="Rows at most; without it 20, or all with --json and --csv.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="For machines: everything, unrounded.")]
CsvOption = Annotated[bool, typer.Option("--csv", help="For machines: the first table of --json as CSV.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting: budget.programs=1000.")
]


def with_name(changes: list[str] | None, name: str | None) -> list[str]:
    """Return the changes of settings, with a name if one was given."""
    return [*(changes or []), *([f"name={name}"] if name is not None else [])]


def allow_user_modules() -> None:
    """Let tasks and functions be imported from modules in the working directory."""
    sys.path.append(str(Path.cwd()))
