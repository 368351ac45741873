"""What tests of `optsearch report` do with a database: make its page, change it, call the command."""

from __future__ import annotations

import shutil
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from search.commands.cli import main
from search.commands.terminal import console
from search.report.page import html_of, page_of
from search.report.source import ReportedSearch
from search.results.results import open_results

from tests.support.pages import ParsedPage
from tests.support.searches import opened, rows_of_query


def made(location: Path | str, search: str | None = None) -> ParsedPage:
    """The page about a search."""
    with open_results(str(location)) as results:
        return ParsedPage(html_of(page_of(ReportedSearch(results, search))))


def asked(path: Path, query: str) -> list[dict[str, Any]]:
    with opened(path) as store:
        return rows_of_query(store, query)


def changed(path: Path, folder: Path, *statements: str, **values: Any) -> Path:
    """A copy of the database after these statements."""
    copy = folder / "changed.db"
    shutil.copy(path, copy)
    with opened(copy) as store, store.writing() as connection:
        for statement in statements:
            connection.execute(text(statement), {k: v for k, v in values.items() if f":{k}" in statement})
    return copy


def command(folder: Path, *words: str) -> tuple[int, str, str]:
    """Exit code, output and errors of `optsearch report` in a folder."""
    out, err = StringIO(), StringIO()
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        patched.setattr(console, "width", 100)
        patched.setattr(sys, "argv", ["optsearch", "report", *words])
        patched.setattr(sys, "stdout", out)
        patched.setattr(sys, "stderr", err)
        with pytest.raises(SystemExit) as ended:
            main()
    return int(ended.value.code or 0), out.getvalue(), err.getvalue()
