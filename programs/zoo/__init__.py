"""Known optimizers written in the language.

The other files of this folder are programs: valid Python, but read as text by `programs.parse` and never imported. In
each, `lr = lr * c` sets the peak learning rate and `wd = w * c` the weight decay.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from functools import lru_cache
from importlib import resources

from programs.errors import InputError
from programs.ops import Op
from programs.program import Program, parse


def names() -> list[str]:
    """Return the names of all programs of the zoo, sorted."""
    files = (f.name for f in resources.files(__package__).iterdir())
    return sorted(name[:-3] for name in files if name.endswith(".py") and not name.startswith("_"))


@lru_cache
def load(name: str) -> Program:
    """Return the program called `name`.

    Raises:
        InputError: there is none.
    """
    return parse(_text(name), f"zoo/{name}.py")


def within(functions: Iterable[Op]) -> list[Program]:
    """Return the programs of the zoo that consist of these functions."""
    known = {op.name for op in functions}
    programs = [load(name) for name in names()]
    return [program for program in programs if all(s.function in known for s in program.statements)]


def describe(name: str) -> str:
    """Return what the program is, in the line that its docstring begins with; its equations follow there."""
    function = ast.parse(_text(name)).body[0]
    assert isinstance(function, ast.FunctionDef)
    return (ast.get_docstring(function) or "").partition("\n")[0]


def _text(name: str) -> str:
    if name not in names():
        raise InputError(f"no program '{name}' in the zoo; there are {', '.join(names())}")
    return (resources.files(__package__) / f"{name}.py").read_text(encoding="utf-8")
