"""Arguments and options that several commands have."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from programs.errors import InputError

from proxy_tasks import Task, get_task

from search.results.export import NamedProgram
from search.results.results import Results
from search.settings import limits
from search.settings.limits import Limit
from search.settings.meaning import settings_as_trained
from search.settings.settings_file import SettingsFile, load_settings
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
JsonOption = Annotated[bool, typer.Option("--json", help="For machines: everything, unrounded.")]
CsvOption = Annotated[bool, typer.Option("--csv", help="For machines: the first table of --json as CSV.")]
NameOption = Annotated[str | None, typer.Option(help="Name to start under instead of the one in the file.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting: budget.programs=1000.")
]


def settings_file(path: Path, changes: Sequence[str] | None, name: str | None) -> SettingsFile:
    """Return a file of settings with changes of `--set`, and with another name if one is given.

    Raises:
        InputError: it cannot be read, or a change does not fit it.
    """
    file = SettingsFile(path, changes or [])
    if name is not None:
        file.change("name", name, f"--name {shortened(name)}")
    return file


def allow_user_modules() -> None:
    """Let tasks and functions be imported from modules in the working directory."""
    sys.path.append(str(Path.cwd()))


def chosen_tasks(
    found: NamedProgram, results: Results | None, names: Sequence[str], config: Path | None, default: str
) -> list[Task]:
    """Return the tasks that a program is trained on: those named, or those of its search, or of a config.

    Args:
        found: the program.
        results: where it comes from, if it does from a store.
        names: of `--task`.
        config: of `--config`: of the program's search if it has one, otherwise of any.
        default: the task where nothing else says which.

    Raises:
        InputError: a task cannot be loaded, or is not what it was in the search.
    """
    if names and config is not None:
        raise InputError("--task and --config: both say what to train on; give one of them")
    if names:
        return [get_task(name) for name in dict.fromkeys(names)]
    if results is not None and found.search is not None:
        stored = results.search(found.search).settings
        settings = settings_as_trained(found.search, stored, config, "name what is to be trained on with --task")
    elif config is not None:
        settings = load_settings(config)
    else:
        return [get_task(default)]
    return [choice.task for choice in settings.tasks]
