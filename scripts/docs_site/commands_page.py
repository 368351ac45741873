"""The page of commands, from the command line itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

from search.commands.cli import COMMANDS, function_of, load

from scripts.docs_site.source import one_line

HEAD = """\
# Commands

`optsearch COMMAND --help` says the same in the terminal. Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted (a
run continues when started again).
"""
_VALUES = {int: "N", float: "X", str: "TEXT", Path: "FILE"}


def commands_page() -> str:
    """Return the page as Markdown."""
    sections = [_section(name, command, callback) for name, (command, callback) in commands().items()]
    return "\n".join([HEAD, *sections])


def commands() -> dict[str, tuple[Any, Callable[..., Any]]]:
    """Return every command by its name: as it reads its arguments, and the function behind it."""
    return {name: (load(name), function_of(name)) for name in COMMANDS}


def _section(name: str, command: Any, callback: Callable[..., Any]) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option"]
    usage = " ".join(["optsearch", name, *map(_usage, arguments), *(["[OPTIONS]"] if options else [])])
    lines = [f"## {name}", "", inspect.cleandoc(command.help), "", "```text", usage, "```", ""]
    rows = [*_argument_rows(arguments), *_option_rows(options, get_type_hints(callback))]
    if rows:
        lines += ["| | default | meaning |", "|---|---|---|", *rows, ""]
    return "\n".join(lines)


def _name(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper()).strip("[]")


def _usage(argument: Any) -> str:
    return _name(argument) if argument.required else f"[{_name(argument)}]"


def _argument_rows(arguments: list[Any]) -> Iterator[str]:
    for argument in arguments:
        yield _row(_name(argument), argument)


def _option_rows(options: list[Any], hints: Mapping[str, Any]) -> Iterator[str]:
    for option in options:
        names = ", ".join(name for name in (*option.opts, *option.secondary_opts) if name.strip())
        yield _row(names if option.is_flag else f"{names} {option.metavar or _value(hints[option.name])}", option)


def _value(hint: Any) -> str:
    """Return a word for what an option takes: of `int | None` that for `int`."""
    kinds = [hint, *get_args(hint), *(inner for one in get_args(hint) for inner in get_args(one))]
    return next(_VALUES[kind] for kind in kinds if kind in _VALUES)


def _row(shown: str, param: Any) -> str:
    return f"| `{one_line(shown)}` | {_default(param)} | {one_line(param.help or '')} |"


def _default(param: Any) -> str:
    if param.required:
        return "required"
    return "" if param.default in (None, False, True, []) else f"`{param.default}`"
