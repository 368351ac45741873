"""What the code says about itself: docstrings under fields, and docstrings as Markdown."""

from __future__ import annotations

import ast
import inspect
import re

OURS = ("programs", "proxy_tasks", "search")
_TITLE = re.compile(r"(Args|Attributes|Raises|Returns):")
_ENTRY = re.compile(r"    (\S[^:]*): (.+)")


def attribute_docs(kind: type) -> dict[str, str]:
    """Return the docstrings under the fields of a class and of its parents, each on one line."""
    found: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        if one.__module__.split(".")[0] in OURS:
            found |= _under_fields(inspect.cleandoc("\n" + inspect.getsource(one)))
    return found


def _under_fields(source: str) -> dict[str, str]:
    (class_,) = ast.parse(source).body
    assert isinstance(class_, ast.ClassDef)
    found = {}
    for field, below in zip(class_.body, class_.body[1:], strict=False):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str):
            found[field.target.id] = one_line(below.value.value)
    return found


def one_line(text: str) -> str:
    """Return text as a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def docstring(what: object) -> str:
    """Return a docstring as Markdown; sections with entries become lists.

    Raises:
        ValueError: there is none.
    """
    text = inspect.getdoc(what)
    if not text:
        raise ValueError(f"{what} has no docstring")
    lines: list[str] = []
    in_section = False
    for line in text.splitlines():
        if _TITLE.fullmatch(line):
            in_section = True
            lines += [f"**{line[:-1]}**", ""]
        elif in_section and (entry := _ENTRY.fullmatch(line)):
            lines.append(f"- `{entry[1]}`: {entry[2]}")
        else:
            lines.append(line.strip() if in_section else line)
    return "\n".join(lines)
