"""Running commands that look at results, and a search whose database is always the same."""

from __future__ import annotations

import json
import shutil
import sys
import unicodedata
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from search.commands.cli import main

from tests.support.searches import opened, settings_of

SETTINGS = settings_of(
    baselines=["adamw", "lion"],
    budget={"programs": 200},
    tasks=[{"name": "digits_mlp", "steps": 20}],
    hurdles=False,
    meta_validation={"tasks": [{"name": "noisy_quadratic_short"}], "every": 20},
)


def command(path: Path | str, line: str) -> tuple[int, str, str]:
    """Exit code, output and errors of a command on a database, run in the folder of a file."""
    out, err = StringIO(), StringIO()
    with pytest.MonkeyPatch.context() as patched:
        if isinstance(path, Path):
            patched.chdir(path.parent)
        store = path.name if isinstance(path, Path) else path
        patched.setattr(sys, "argv", ["optsearch", *line.split(), "--store", store])
        patched.setattr(sys, "stdout", out)
        patched.setattr(sys, "stderr", err)
        with pytest.raises(SystemExit) as ended:
            main()
    return int(ended.value.code or 0), out.getvalue(), err.getvalue()


def said(path: Path | str, line: str) -> str:
    """The output of a command that succeeds in silence."""
    code, out, err = command(path, line)
    assert (code, err) == (0, ""), err
    return out


def refused(path: Path, line: str) -> str:
    """The one line with which a command is refused."""
    code, out, err = command(path, line)
    assert (code, out) == (2, "") and err.startswith("error: ") and err.count("\n") == 1, (code, out, err)
    return err


def changed(path: Path, folder: Path, *statements: str) -> Path:
    """A copy of the database after these statements."""
    copy = folder / "changed.db"
    shutil.copy(path, copy)
    with opened(copy) as store, store.writing() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    return copy


def columns_of(line: str) -> int:
    """Of a terminal, reckoned from the Unicode tables alone."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line)


def fits(out: str, width: int = 100) -> None:
    assert "\x1b" not in out
    for line in out.splitlines():
        assert columns_of(line) <= width, line


def tables(path: Path, line: str) -> dict[str, list[dict[str, Any]]]:
    """The tables of a command's JSON."""
    found = json.loads(said(path, f"{line} --json"))
    assert found["command"] == line.split()[0] and found["store"] == path.name
    return found["tables"]  # type: ignore[no-any-return]
