"""The page of what Python gets, from signatures and docstrings."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

import search
from search.api import Result, open_store, run
from search.evolution.progress import Progress
from search.results import results
from search.results.results import Results
from search.store.rows import VIEWS, Row

from scripts.docs_site.source import OURS, attribute_docs, docstring

WIDTH = 100  # of signatures
HEAD = """\
# Python

What `from search import ...` gives: {names}. They are loaded when they are first asked for. How they are used is shown
in [In a notebook](../notebook.md).

`InputError` is raised for mistakes, `RunError` for a run that cannot go on; both say in one line what is wrong, where,
and what to do. `Settings` are described in [Settings](settings.md).
"""


def python_page() -> str:
    """Return the page as Markdown.

    Raises:
        ValueError: something has no docstring.
    """
    parts = [HEAD.format(names=", ".join(f"`{name}`" for name in search.__all__))]
    parts += [_function("run", run), _function("open_store", open_store)]
    parts += [_class(Result), _class(Results), _class(Progress, methods=False), _entries()]
    parts += [_class(kind, methods=False) for kind in query_rows()]
    return "\n".join(parts)


def query_rows() -> list[type[Row]]:
    """Return the classes of what methods of `Results` find beside the views."""
    found = [one for one in vars(results).values() if isinstance(one, type) and issubclass(one, Row)]
    return [one for one in found if one.__module__ == results.__name__ and not one.__name__.startswith("_")]


def _function(name: str, function: Callable[..., Any], level: int = 2) -> str:
    return f"{'#' * level} {name}\n\n```text\n{_signature(name, function)}\n```\n\n{docstring(function)}\n"


def _signature(name: str, function: Callable[..., Any]) -> str:
    """Return the signature as it is in the code, on one line or with one for each parameter."""
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
    lines = [f"## {kind.__name__}", "", docstring(kind), "", *_fields(kind), ""]
    members = _members(kind)
    lines += [f"- `{name}`: {docstring(one)}\n" for name, one in members.items() if isinstance(one, property)]
    for name, member in members.items():
        if methods and inspect.isfunction(member):
            lines.append(_function(name, member, 3))
    return "\n".join(lines)


def _fields(kind: type) -> list[str]:
    """Return the fields of a dataclass and of its parents as items of a list."""
    names = [field.name for field in fields(kind) if not field.name.startswith("_")] if is_dataclass(kind) else []
    docs, hints = attribute_docs(kind), get_type_hints(kind)
    if missing := [name for name in names if not docs.get(name)]:
        raise ValueError(f"{kind.__name__} has fields without a docstring under them: {', '.join(missing)}")
    return [f"- `{name}: {_shown(hints[name])}`: {docs[name]}" for name in names]


def _members(kind: type) -> dict[str, Any]:
    """Return what a class and its parents define under public names."""
    ours = [one for one in reversed(kind.__mro__) if one.__module__.split(".")[0] in OURS]
    return {name: member for one in ours for name, member in vars(one).items() if not name.startswith("_")}


def _entries() -> str:
    """Return the types of what is read from the views, whose columns the page of views describes."""
    lines = ["## Entries", "", "Frozen dataclasses whose fields are the columns of the views of the database:", ""]
    properties: dict[str, tuple[property, list[str]]] = {}
    for view, kind in VIEWS.items():
        lines.append(f"- `{kind.__name__}`: [{view}](store.md#{view})")
        for name, member in _members(kind).items():
            if isinstance(member, property):
                properties.setdefault(name, (member, []))[1].append(f"`{kind.__name__}`")
    lines += ["", _function("as_columns", Row.as_columns, 3)]
    lines += [f"### {name}\n\nOf {', '.join(of)}.\n\n{docstring(one)}\n" for name, (one, of) in properties.items()]
    return "\n".join(lines)


def _shown(hint: Any) -> str:
    """Return a type without the modules of its parts."""
    return re.sub(r"\b(?:\w+\.)+(?=\w)", "", inspect.formatannotation(hint))
