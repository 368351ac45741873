"""The page of what Python gets, from signatures and docstrings."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable
from typing import Any, get_type_hints

import search
from search.api import Result, open_store, run
from search.evolution.driver import Progress
from search.results.entries import VIEW_ENTRIES, ProgramEntry
from search.results.results import Results

from scripts.docs_site.source import attribute_docs, docstring

WIDTH = 100  # of signatures
HEAD = """\
# Python

What `from search import ...` gives: {names}. They are loaded when they are first asked for. How they are used is shown
in [In a notebook](../notebook.md).

`InputError` is raised for mistakes, `RunError` for a run that cannot go on; both say in one line what is wrong, where,
and what to do. `Settings` are described in [Settings](settings.md).
"""


def python_page() -> str:
    """The page as Markdown.

    Raises:
        ValueError: something has no docstring.
    """
    parts = [HEAD.format(names=", ".join(f"`{name}`" for name in search.__all__))]
    parts += [_function("run", run, 2), _function("open_store", open_store, 2)]
    parts += [_class(Result), _class(Results), _class(Progress, methods=False), _entries()]
    return "\n".join(parts)


def _function(name: str, function: Callable[..., Any], level: int) -> str:
    return f"{'#' * level} {name}\n\n```text\n{_signature(name, function)}\n```\n\n{docstring(function)}\n"


def _signature(name: str, function: Callable[..., Any]) -> str:
    """As it stands in the code, on one line or with one for each parameter."""
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(node, ast.FunctionDef)
    assert node.returns is not None
    node.args.args = [arg for arg in node.args.args if arg.arg != "self"]
    text = ast.unparse(node.args)
    parts = [part.replace("=", " = ", 1) for part in re.split(r", (?=\w+:|\*)", text)] if text else []
    returns = ast.unparse(node.returns)
    line = f"{name}({', '.join(parts)}) -> {returns}"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"{name}(", *(f"    {part}," for part in parts), f") -> {returns}"])


def _class(kind: type, methods: bool = True) -> str:
    lines = [f"## {kind.__name__}", "", docstring(kind), ""]
    docs = attribute_docs(kind)
    for name, hint in get_type_hints(kind).items():
        lines.append(f"- `{name}: {_shown(hint)}`: {docs[name]}")
    lines.append("")
    for name, member in vars(kind).items():
        if isinstance(member, property):
            lines += [f"- `{name}`: {docstring(member)}", ""]
    for name, member in vars(kind).items():
        if methods and inspect.isfunction(member) and not name.startswith("_"):
            lines.append(_function(name, member, 3))
    return "\n".join(lines)


def _entries() -> str:
    """The types of what is read, which the page of views describes; those of no view stand here."""
    lines = ["## Entries", "", "Named tuples with the columns of the views of the database:", ""]
    lines += [f"- `{kind.__name__}`: [{view}](store.md#{view})" for view, kind in VIEW_ENTRIES.items()]
    lines += ["", "Entries with a `genome` that is a program of a search have a `program`, too: the text, parsed.", ""]
    return "\n".join([*lines, _class(ProgramEntry)])


def _shown(hint: Any) -> str:
    """A type without the modules of its parts."""
    return re.sub(r"\b(?:\w+\.)+(?=\w)", "", inspect.formatannotation(hint))
