"""A search that is interrupted or killed: how it ends, and that it continues as if nothing had happened."""

from __future__ import annotations

import json
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_line import CONFIG, HISTORY, rows
from tests.support.forked import ForkServer
from tests.support.patience import OPTSEARCH, Command, Result

LONG = CONFIG.replace("programs: 60", "programs: 200").replace("steps: 20", "steps: 40").replace("[adamw]", "[]")


@pytest.fixture(scope="module")
def long_history(server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Any, ...]]:
    """The history of LONG, not interrupted."""
    folder = tmp_path_factory.mktemp("long")
    (folder / "long.yaml").write_text(LONG)
    assert server.optsearch(folder, "run", "long.yaml").code == 0
    history = rows(folder / "results.db", HISTORY)
    assert len(history) == 200
    return history


def births(database: Path) -> int:
    try:
        return int(rows(database, "SELECT COUNT(*) FROM program")[0][0])
    except sqlite3.OperationalError:  # not there yet
        return 0


def interrupted(folder: Path, number: signal.Signals, *args: str, group: bool = False) -> Result:
    """Start the command with an endless budget, send it the signal after 20 births, wait for its end."""
    endless = ("--set", "budget.programs=1000000")
    with Command(OPTSEARCH, "run", "long.yaml", *endless, *args, folder=folder) as command:
        command.wait_until(lambda: births(folder / "results.db") >= 20, "twenty births")
        command.interrupt(number, group)
        return command.result()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_interrupted_and_continued(
    server: ForkServer, tmp_path: Path, long_history: list[tuple[Any, ...]], number: signal.Signals
) -> None:
    (tmp_path / "long.yaml").write_text(LONG)
    code, out, err = interrupted(tmp_path, number)
    assert code == 130 and "Traceback" not in err
    part = rows(tmp_path / "results.db", HISTORY)
    assert len(part) >= 20 and part[:200] == long_history[: len(part)]
    assert f"goes on from birth {len(part)}" in " ".join(out.split())
    assert rows(tmp_path / "results.db", "SELECT state FROM search") == [("interrupted",)]
    assert server.optsearch(tmp_path, "run", "long.yaml").code == 0
    assert rows(tmp_path / "results.db", HISTORY)[:200] == long_history


def test_killed_and_continued(server: ForkServer, tmp_path: Path, long_history: list[tuple[Any, ...]]) -> None:
    (tmp_path / "long.yaml").write_text(LONG)
    code, _, _ = interrupted(tmp_path, signal.SIGKILL)
    assert code == -signal.SIGKILL
    part = rows(tmp_path / "results.db", HISTORY)
    assert len(part) >= 20 and part[:200] == long_history[: len(part)]
    assert server.optsearch(tmp_path, "run", "long.yaml").code == 0
    assert rows(tmp_path / "results.db", HISTORY)[:200] == long_history


def test_ctrl_c_with_ray_workers_continued_without_them(
    server: ForkServer, tmp_path: Path, long_history: list[tuple[Any, ...]]
) -> None:
    """Ctrl-C reaches every process of the terminal; the workers must not die of it. The history is that of inline."""
    (tmp_path / "long.yaml").write_text(LONG)
    overrides = ("--set", "evaluator.kind=ray", "--set", "evaluator.workers=2")
    code, _, err = interrupted(tmp_path, signal.SIGINT, *overrides, group=True)
    assert code == 130 and "Traceback" not in err
    part = rows(tmp_path / "results.db", HISTORY)
    assert len(part) >= 20 and part[:200] == long_history[: len(part)]
    assert server.optsearch(tmp_path, "run", "long.yaml").code == 0
    assert rows(tmp_path / "results.db", HISTORY)[:200] == long_history


def test_what_the_tests_above_compare_is_not_trivial(long_history: list[tuple[Any, ...]]) -> None:
    assert {row[6] for row in long_history} >= {"training", "hash", "in_flight", "rejection"}
    assert {row[7] for row in long_history} == {"ok", "diverged", "dropped", "rejected"}
    json.dumps([row[8] for row in long_history], allow_nan=False)
