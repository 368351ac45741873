"""The command `optsearch export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from search.commands.options import RESULTS, ProgramArgument, StoreOption
from search.results.export import export_program


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
    export_program(program, to, name, store, output)
