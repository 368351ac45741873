"""Optimizers written in the language: the known ones, and in `found` those that searches of this project have found.

The other files of this folder, and the texts of `found`, are programs: valid Python, but read as text by
`programs.parse` and never imported. In each of the known ones, `lr = lr * c` sets the peak learning rate and
`wd = w * c` the weight decay.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from functools import lru_cache
from importlib import resources
from importlib.resources.abc import Traversable

from programs.errors import InputError
from programs.ops import Op
from programs.program import Program, parse

_ZOO = resources.files(__package__)


def names() -> list[str]:
    """Return the names of the known optimizers, sorted: what searches may graft parts from."""
    return _stems(_ZOO, ".py")


def found_names() -> list[str]:
    """Return the names of the optimizers that this project has found, sorted; no search is given parts of them."""
    return _stems(_ZOO / "found", ".txt")


def all_names() -> list[str]:
    """Return the names of all programs that `load` knows: the known optimizers, then those that were found."""
    return [*names(), *found_names()]


@lru_cache
def load(name: str) -> Program:
    """Return the program called `name`.

    Raises:
        InputError: there is none.
    """
    return parse(_text(name), f"zoo/{name}")


def within(functions: Iterable[Op]) -> list[Program]:
    """Return the known optimizers that consist of these functions."""
    known = {op.name for op in functions}
    programs = [load(name) for name in names()]
    return [program for program in programs if all(s.function in known for s in program.statements)]


def describe(name: str) -> str:
    """Return what the program is, in the line that its docstring begins with; its equations follow there."""
    function = ast.parse(_text(name)).body[0]
    assert isinstance(function, ast.FunctionDef)
    return (ast.get_docstring(function) or "").partition("\n")[0]


def _stems(folder: Traversable, suffix: str) -> list[str]:
    files = (file.name for file in folder.iterdir())
    return sorted(name.removesuffix(suffix) for name in files if name.endswith(suffix) and not name.startswith("_"))


def _text(name: str) -> str:
    if name not in all_names():
        raise InputError(f"no program '{name}' in the zoo; there are {', '.join(all_names())}")
    file = _ZOO / f"{name}.py" if name in names() else _ZOO / "found" / f"{name}.txt"
    return file.read_text(encoding="utf-8")
