"""What messages advise exists: commands, their options, extras, settings."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from pydantic import BaseModel

from search.commands.cli import COMMANDS, app, load
from search.settings.settings import Settings
from search.settings.settings_file import _model_in

ROOT = Path(__file__).parents[1]
OPTIONS = {name: {o for p in load(name).params for o in (*p.opts, *p.secondary_opts)} | {"--help"} for name in COMMANDS}
OPTIONS |= {"": {option for parameter in app.params for option in parameter.opts}}  # before the command
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
SECTIONS = "|".join(name for name, field in Settings.model_fields.items() if _model_in(field.annotation))
FOREIGN = ("search/training/ray_", "programs/kernels/")  # files that name options of other programs


class Said(NamedTuple):
    """A text in the code, with * where something is filled in."""

    text: str
    where: str


def texts() -> Iterator[Said]:
    """Yield all texts of the product, docstrings included."""
    for package in ("programs", "proxy_tasks", "search"):
        for file in sorted((ROOT / package).rglob("*.py")):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
            for node in ast.walk(tree):
                where = f"{file.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
                if isinstance(node, ast.JoinedStr):
                    parts = (p.value if isinstance(p, ast.Constant) else "*" for p in node.values)
                    yield Said(" ".join("".join(map(str, parts)).split()), where)
                elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
                    yield Said(" ".join(node.value.split()), where)


def mistakes(said: Said) -> Iterator[str]:
    """Yield what a text names and there is not."""
    for before, command, rest in re.findall(r"(`|[:;] )optsearch ([a-z]+)\b([^`;]*)", said.text):
        if command in COMMANDS:
            yield from (f"{command} {option}" for option in options(rest) if option not in OPTIONS[command])
        elif before == "`":  # otherwise it is a sentence about optsearch
            yield f"optsearch {command}"
    if not said.where.startswith(FOREIGN):
        yield from (option for option in options(said.text) if not any(option in known for known in OPTIONS.values()))
    yield from (f"optsearch[{extra}]" for extra in re.findall(r"optsearch\[(\w+)\]", said.text) if extra not in EXTRAS)
    yield from (what for what in re.findall(r"pip install (\S+)", said.text) if not what.startswith("'optsearch["))
    yield from (name for name in re.findall(r"(?<!\w)configs/[\w/]+\.yaml", said.text) if not (ROOT / name).is_file())
    for setting in re.findall(rf"(?<![\w./])(?:{SECTIONS})(?:\.\w+)+", said.text):
        if not is_setting(setting.split(".")):
            yield setting


def options(text: str) -> list[str]:
    return re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)


def is_setting(names: list[str], model: type[BaseModel] | None = Settings) -> bool:
    """Whether names one within another are those of a setting; below what is free, such as data, any are."""
    for name in names:
        if name.isdecimal() or model is None:
            continue
        if name not in model.model_fields:
            return False
        model = _model_in(model.model_fields[name].annotation)
    return True


def test_everything_that_messages_advise_exists() -> None:
    assert [f"{said.where}: {wrong}" for said in texts() for wrong in mistakes(said)] == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("broken; `optsearch repair` mends it", "optsearch repair"),
        ("see `optsearch show *`, or `optsearch zoo --sizes`", "zoo --sizes"),
        ("for the results: optsearch show * --all", "show --all"),
        ("name another with --database", "--database"),
        ("needs torch; pip install pymysql", "pymysql"),
        ("pip install 'optsearch[mysql]'", "optsearch[mysql]"),
        ("copy configs/quickest.yaml", "configs/quickest.yaml"),
        ("raise evaluator.timeout", "evaluator.timeout"),
        ("set tasks.0.step", "tasks.0.step"),
    ],
)
def test_advice_that_is_wrong_is_found(text: str, wrong: str) -> None:
    assert wrong in mistakes(Said(text, "search/x.py:1"))
