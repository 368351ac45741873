"""Arguments and options that several commands have."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from search.settings import limits
from search.settings.limits import Limit
from search.settings.yaml_text import number_of, shortened

RESULTS = "results.db"
SEARCH_FILE = "search.yaml"


def numeric(limit: Limit, kind: type[int] | type[float] = int, metavar: str = "N") -> dict[str, Any]:
    """Return what an option or an argument is made with that takes a number, written as in files of settings."""

    def read(written: Any) -> int | float:
        value = number_of(str(written))
        if not isinstance(value, int | kind) or not (limit.least or 0) <= value <= limit.most:
            expected = "a whole number" if kind is int else "a number"
            raise typer.BadParameter(
                f"'{shortened(str(written))}' is not {expected} from {limit.least or 0} to {limit.most}"
            )
        return kind(value)

    return {"parser": read, "metavar": metavar}


StoreOption = Annotated[str, typer.Option("--store", help="Database: the path of a SQLite file, or a URL.")]
SearchOption = Annotated[str | None, typer.Option("--search", help="Only this search.")]
ProgramArgument = Annotated[
    str,
    typer.Argument(
        metavar="ID|FILE|NAME", help="A program: ID in the store, file, name in the zoo, or SEARCH:BASELINE as tuned."
    ),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="YAML file of the search: needed where that has user-defined tasks or functions."),
]
IdArgument = Annotated[
    int, typer.Argument(**numeric(limits.PROGRAM_ID, metavar="ID"), help="ID of a program in the store.")
]
LimitOption = Annotated[
    int | None,
    typer.Option(**numeric(limits.ROWS_SHOWN), help="Rows at most; without it 20, or all with --json and --csv."),
]
OneTaskOption = Annotated[
    str | None,
    typer.Option(
        "--task",
        help="A built-in task (`optsearch tasks` lists them), or your own as module:function. Without it the first of"
        " the program's search, or digits_mlp.",
    ),
]
StepsOption = Annotated[
    int | None, typer.Option(**numeric(limits.STEPS), help="Training steps instead of the task's own.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="For machines: everything, unrounded.")]
CsvOption = Annotated[bool, typer.Option("--csv", help="For machines: the first table of --json as CSV.")]
PortOption = Annotated[int, typer.Option(**numeric(limits.PORT), help="Port on this machine; 0 for any that is free.")]
NameOption = Annotated[str | None, typer.Option(help="Name to start under instead of the one in the file.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting: budget.programs=1000.")
]


def allow_user_modules() -> None:
    """Let tasks and functions be imported from modules in the working directory."""
    sys.path.append(str(Path.cwd()))
