"""What the command itself offers: its version, completion, and settings that have options of their own."""

from __future__ import annotations

import os
import tomllib
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from search.commands import run as run_command
from search.commands.cli import main
from search.commands.waiting import waiting
from search.settings.settings import Settings

from tests.support.patience import OPTSEARCH, call
from tests.support.searches import PretendingEvaluator, opened, run, settings_of

ROOT = Path(__file__).parents[3]
CONFIG = "name: tiny\ntasks: [{name: digits_mlp, steps: 20}]\nbudget: {programs: 4}\n"


class Screen(StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


def said(line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["optsearch", *line.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_the_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert said("--version", monkeypatch, capsys) == (0, f"optsearch {version}\n", "")


@pytest.mark.parametrize(
    ("words", "found"), [("optsearch lea", ["leaderboard"]), ("optsearch run --s", ["--set", "--store"])]
)
def test_a_shell_completes_commands_and_options(words: str, found: list[str]) -> None:
    asked = {"_OPTSEARCH_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    assert call(OPTSEARCH, environment={**os.environ, **asked}).out.split() == found


def test_run_takes_another_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    seen: list[Settings] = []
    monkeypatch.setattr(run_command, "run_search", lambda settings: seen.append(settings) is None)
    assert said(f"run {tmp_path / 'tiny.yaml'} --store other.db", monkeypatch, capsys)[0] == 0
    assert seen[0].store == "other.db"


@pytest.mark.parametrize(
    ("options", "problem"), [("--port 8001", "--live"), ("--live --store sqlite://", "no other process can read it")]
)
def test_a_live_report_that_nobody_could_see_is_refused(
    options: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    code, out, err = said(f"run {tmp_path / 'tiny.yaml'} {options}", monkeypatch, capsys)
    assert (code, out) == (2, "") and problem in err and err.count("\n") == 1


def test_whoever_reads_a_few_lines_only_is_no_failure() -> None:
    shell = f"'{OPTSEARCH}' zoo --functions | head -1; echo ${{PIPESTATUS[@]}}"
    found = call("bash", "-c", shell)
    assert found.out.splitlines()[-1] == "0 0" and found.err == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")
def test_a_full_disk_is_said_in_one_line() -> None:
    found = call("bash", "-c", f"'{OPTSEARCH}' zoo > /dev/full")
    assert found.code == 1 and found.err.count("\n") == 1
    assert "error: nothing more can be written (No space left on device); make room" in found.err


def test_nothing_is_written_over_a_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    path = tmp_path / "results.db"
    with opened(path) as store:
        run(settings_of(), store, PretendingEvaluator())
    before = path.read_bytes()
    for command in ("export 1", "report", "simplify 1 --no-training"):
        code, _, err = said(f"{command} --store {path} -o {path}", monkeypatch, capsys)
        assert code == 2 and "results.db: is a database, which would be lost; name another file with -o" in err
    assert path.read_bytes()[:100] == before[:100]


def test_a_terminal_is_told_what_is_loaded_and_then_wiped(monkeypatch: pytest.MonkeyPatch) -> None:
    for screen, seen in ((Screen(), "loading\r       \r"), (StringIO(), "")):
        monkeypatch.setattr("sys.stderr", screen)
        with waiting("loading"):
            assert screen.getvalue() == seen[:8]
        assert screen.getvalue() == seen
