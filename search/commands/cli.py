"""The command `optsearch`, and how it ends.

Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted (a run continues when started again).

Every command is a file of this package that is called as the command is and has a function `command`. A file is
imported only when its command is called, so that help and mistakes do not wait for torch, Ray and SQLAlchemy.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from programs.errors import InputError

from search.errors import RunError

# In the order of the help.
COMMANDS = (
    "run", "compare", "select", "prove", "status", "leaderboard", "report", "dashboard", "failures", "show", "lineage",
    "eval", "verify", "export", "simplify", "tasks", "zoo",
)  # fmt: skip

# Recent versions of Typer carry a copy of click, older ones use click itself: the base of its errors is right in both.
_UsageError: type[Any] = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")


def function_of(name: str) -> Callable[..., None]:
    """Return the function behind a command."""
    function: Callable[..., None] = import_module(f"search.commands.{name}").command
    return function


def load(name: str) -> Any:
    """Return a command with its arguments and options."""
    app = typer.Typer(add_completion=False)
    app.command(name)(function_of(name))
    return typer.main.get_command(app)


def _summary(name: str) -> str:
    """Return what the help says about a command, read from the text of its file."""
    tree = ast.parse(Path(__file__).with_name(f"{name}.py").read_bytes())
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "command")
    return ast.get_docstring(next(functions)) or ""


class _Commands(TyperGroup):
    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - as click has it
        """Return a command as the list of commands shows it."""
        return TyperCommand(cmd_name, help=_summary(cmd_name)) if cmd_name in self.commands else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that is called."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, load(str(name)), rest


app = _Commands(
    name="optsearch",
    help="Search for optimizers and take the best home.",
    no_args_is_help=True,
    commands={name: TyperCommand(name) for name in COMMANDS},
)


def main() -> None:
    """Run a command; mistakes of the user, and errors of the database, are one line without a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            with suppress(OSError):  # the file of the stream may have been replaced in the meantime
                stream.reconfigure(errors="replace")  # not every encoding has every character of a name or a reason
    try:
        code = app(standalone_mode=False)
    except InputError as error:
        code = _complain(str(error))
    except RunError as error:
        code = _complain(str(error), 1)
    except _UsageError as error:
        message = error.format_message().rstrip(".")  # empty where the help has been shown instead
        code = _complain(f"{message}; `optsearch --help` lists commands and options") if message else 2
    except (typer.Abort, KeyboardInterrupt):
        code = 130
    except BrokenPipeError:  # `optsearch leaderboard | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code or 0)


def _complain(message: str, code: int = 2) -> int:
    shown = "".join(c if c.isprintable() else "?" for c in " ".join(message.split()))  # it may quote anything
    print(f"error: {shown}", file=sys.stderr)
    return code
