"""`optsearch report`: the file that is written, mistakes, watching."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from search.commands import report

from tests.support.pages import ParsedPage
from tests.support.patience import OPTSEARCH, Command
from tests.support.report_pages import changed, command
from tests.support.searches import opened


def test_the_file_that_is_written(path: Path, tmp_path: Path) -> None:
    code, out, err = command(tmp_path, "-o", "page.html", "--store", str(path))
    assert (code, err) == (0, "") and re.fullmatch(r"wrote page.html \(2\.\d MiB\); open it in a browser\n", out)
    page = (tmp_path / "page.html").read_text("utf-8")
    assert page.startswith("<!doctype html>") and 'http-equiv="refresh"' not in page
    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]
    assert command(tmp_path, "--store", str(path))[0] == 0 and (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--store none.db", "none.db: no such database"),
        ("--search other --store {path}", "no search 'other'; there are: small"),
        ("-o none/report.html --store {path}", "no folder none; make it"),
        ("-o . --store {path}", "is a folder; name a file in it"),
        ("-o {long} --store {path}", "cannot be written"),
        ("-o /proc/report.html --store {path}", "/proc/report.html: cannot be written"),
        ("-o {path}/report.html --store {path}", "no folder"),
        ("--store empty.db", "holds no search yet; `optsearch run CONFIG` starts one"),
        ("--store text.db", "text.db"),
        ("5 --store {path}", "unexpected '5'"),
        ("--watch never --store {path}", "--watch never: expected seconds"),
        ("--watch 0 --store {path}", "--watch 0: expected seconds"),
        ("--watch --store none.db", "none.db: no such database"),
        ("--watch -o none/report.html --store {path}", "no folder none"),
    ],
)
def test_mistakes_are_told_in_one_line(path: Path, tmp_path: Path, words: str, message: str) -> None:
    with opened(tmp_path / "empty.db"):
        pass
    (tmp_path / "text.db").write_text("no database")
    before = sorted(tmp_path.iterdir())
    code, out, err = command(tmp_path, *words.format(path=path, long="x" * 300).split())
    assert (code, out) == (2, "") and err.startswith("error: ") and err.count("\n") == 1 and message in err, err
    assert sorted(tmp_path.iterdir()) == before


def test_a_page_that_cannot_be_replaced_stays(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "report.html").write_text("before")

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    code, _, err = command(tmp_path, "--store", str(path))
    assert code == 2 and "report.html: cannot be written (No space left on device)" in err
    assert [file.read_text() for file in tmp_path.iterdir()] == ["before"], "and nothing else is left"


# --- watching --------------------------------------------------------------------------------------------------------


def watched(path: Path, output: Path, *steps: Callable[[], None]) -> None:
    """Watch, with these steps between pages; then Ctrl-C."""
    left = iter(steps)

    def wait(seconds: float) -> None:
        assert seconds == 5.0
        step = next(left, None)
        if step is None:
            raise KeyboardInterrupt
        step()

    report.watch_report(output, str(path), None, 5.0, wait)
    assert next(left, None) is None


def test_watching_writes_the_page_anew_and_whole(path: Path, tmp_path: Path) -> None:
    """Whoever has the page open keeps the one they opened; another takes its place. The last reloads no more."""
    copy, output = changed(path, tmp_path), tmp_path / "report.html"
    with output.open("w") as file:
        file.write("before")
    output.chmod(0o640)
    pages: list[str] = []

    def look() -> None:
        with reader:
            assert reader.read() == "before", "a file that is open is not written over"
        pages.append(output.read_text())
        with opened(copy) as store, store.writing() as connection:
            connection.execute(text("UPDATE program SET fitness = -0.0005 WHERE id = 78"))

    def look_again() -> None:
        pages.append(output.read_text())

    with output.open() as reader:
        watched(copy, output, look, look_again)
    for page, fitness in zip(pages, ("−0.001037", "−0.0005"), strict=True):
        assert '<meta http-equiv="refresh" content="5.0">' in page and page.rstrip().endswith("</html>")
        assert f"Program 78 has fitness {fitness}" in ParsedPage(page).sections["summary"]
    last = output.read_text()
    assert 'http-equiv="refresh"' not in last and "−0.0005" in ParsedPage(last).sections["summary"]
    assert output.stat().st_mode & 0o777 == 0o640
    assert {file.name for file in tmp_path.iterdir()} <= {
        "report.html",
        "changed.db",
        "changed.db-wal",
        "changed.db-shm",
    }


def test_ctrl_c_ends_watching(path: Path, tmp_path: Path) -> None:
    """The command itself: exit code 0, no traceback, the page is there and whole."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    words = (OPTSEARCH, "report", "--watch", "0.2", "--store", path)
    with Command(*words, folder=tmp_path, environment=environment) as watching:
        for _ in range(2):
            assert re.fullmatch(r"\d\d:\d\d:\d\d UTC: wrote report.html; Ctrl-C ends this", watching.answer())
        watching.interrupt()
        code, _, err = watching.result()
    assert (code, err) == (0, "")
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text().rstrip().endswith("</html>")
