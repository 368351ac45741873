"""The command `optsearch`, and how it ends.

Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted (a run continues when started again).

Every command is a file of this package that is called as the command is and has a function `command`. The file is
imported when the command is called; its arguments are read from the text of that function, in which only names of
`options` may stand, so that help and mistakes in arguments do not wait for torch, Ray and SQLAlchemy.
"""

from __future__ import annotations

import ast
import os
import signal
import sys
import threading
import time
from _thread import start_new_thread
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from errno import EDQUOT, ENOSPC
from functools import wraps
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from programs.errors import InputError

from search.commands import options
from search.commands.waiting import waiting
from search.errors import RunError

# In the order of the help.
COMMANDS = (
    "init", "run", "compare", "select", "prove", "proxies", "status", "leaderboard", "report", "dashboard",
    "failures", "show", "lineage", "eval", "refine", "analyze", "verify", "export", "simplify", "check", "tasks", "zoo",
)  # fmt: skip

TRAINERS = ("run", "compare", "select", "prove", "proxies", "eval", "refine", "analyze", "verify", "simplify", "export")
"""Those that need PyTorch, and so say at once that they are loading it."""

# Recent versions of Typer carry a copy of click, older ones use click itself: the base of its errors is right in both.
_UsageError: type[Any] = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")


def function_of(name: str) -> Callable[..., None]:
    """Import the file of a command and return its function."""
    function: Callable[..., None] = import_module(f"search.commands.{name}").command
    return function


def load(name: str) -> Any:
    """Return a command with its arguments and options, as they stand in the head of its function."""
    tree = ast.parse(Path(__file__).with_name(f"{name}.py").read_bytes())
    (head,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "command")
    head.body = head.body[:1]  # its docstring
    namespace = dict(vars(options))
    exec(compile(ast.Module([head], []), f"{name}.py", "exec"), namespace)  # noqa: S102 - a file of this package

    @wraps(namespace["command"])
    def call(**values: Any) -> None:
        with waiting(f"optsearch {name}: loading PyTorch") if name in TRAINERS else nullcontext():
            if name in TRAINERS:
                import_module("numpy")  # where torch imports it, Ctrl-C would be lost, and numpy left half imported
            function = function_of(name)
        try:
            function(**values)
        except BrokenPipeError:  # which Click would take for a failure
            raise _OutputClosedError from None

    app = typer.Typer(add_completion=False)
    app.command(name)(call)
    return typer.main.get_command(app)


class _OutputClosedError(Exception):
    """Whoever read the output reads no more: `optsearch leaderboard | head`."""


class _Commands(TyperGroup):
    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - as click has it
        """Return a command by its name."""
        return load(cmd_name) if cmd_name in self.commands else None


def _say_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version  # here: it takes as long as all of the help

        print(f"optsearch {version('optsearch')}")
        raise typer.Exit


_typer = typer.Typer(name="optsearch", cls=_Commands, no_args_is_help=True)


@_typer.callback()
def _optsearch(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_say_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """Search for optimizers and take the best home."""


app: Any = typer.main.get_command(_typer)
app.commands |= {name: TyperCommand(name) for name in COMMANDS}  # each is loaded when it is asked for


def main() -> None:
    """Run a command; mistakes of the user, and errors of the database, are one line without a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            with suppress(OSError):  # the file of the stream may have been replaced in the meantime
                stream.reconfigure(errors="replace")  # not every encoding has every character of a name or a reason
    try:
        with _no_interruption_lost():
            code = app(standalone_mode=False)
        sys.stdout.flush()
    except InputError as error:
        code = _complain(str(error))
    except RunError as error:
        code = _complain(str(error), 1)
    except _UsageError as error:
        message = error.format_message().rstrip(".")  # empty where the help has been shown instead
        code = _complain(f"{message}; `optsearch --help` lists commands and options") if message else 2
    except (typer.Abort, KeyboardInterrupt):
        code = 130
    except (BrokenPipeError, _OutputClosedError):
        _write_nowhere()
        code = 0
    except OSError as error:
        if error.errno not in (ENOSPC, EDQUOT):
            raise
        _write_nowhere()
        code = _complain(f"nothing more can be written ({error.strerror}); make room, then start it again", 1)
    sys.exit(code or 0)


def _write_nowhere() -> None:
    """Have what is still to be written to the output go nowhere, so that Python does not fail on it as it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _no_interruption_lost() -> Iterator[None]:
    """Have Ctrl-C come again a moment later if it came while Python tidied up, where no exception gets out."""

    def report(lost: sys.UnraisableHookArgs) -> None:
        while issubclass(lost.exc_type, KeyboardInterrupt):
            try:
                start_new_thread(_interrupt_soon, ())
                return
            except KeyboardInterrupt:  # it was too soon: nothing gets out of here either
                continue
        before(lost)

    before, sys.unraisablehook = sys.unraisablehook, report
    try:
        yield
    finally:
        sys.unraisablehook = before


def _interrupt_soon() -> None:
    time.sleep(0.05)
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)  # also wakes it if it sleeps


def _complain(message: str, code: int = 2) -> int:
    shown = "".join(c if c.isprintable() else "?" for c in " ".join(message.split()))  # it may quote anything
    print(f"error: {shown}", file=sys.stderr)
    return code
