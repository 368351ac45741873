"""Runs that are interrupted, killed and robbed of their workers: what they leave, what they say, how they go on.

Short versions of what the scripts do that docs/durability.md names.
"""

from __future__ import annotations

import os
import pty
import signal
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import Run, duplicates, history, lost, rows, snapshot

CONFIG = """\
name: tiny
seed: 3
strategy: {population: 20, start: adamw}
budget: {programs: 150}
tasks: [{name: digits_mlp, steps: 200}]
evaluator: {kind: ray, workers: 2, batch: 4, lookahead: 3}
baselines: []
"""
INLINE = ("--set", "evaluator.kind=inline")  # gives the same history, and needs no workers to be started
PATIENCE = 120  # seconds until something has gone wrong


def folder_with(folder: Path, config: str = CONFIG) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "tiny.yaml").write_text(config)
    return folder


def begin(folder: Path, *args: str, **options: Any) -> Run:
    return Run(folder, "tiny.yaml", *args, forked=True, **options)


def wait_for_births(run: Run, births: int, name: str = "tiny") -> None:
    deadline = time.monotonic() + PATIENCE
    database = run.folder / "results.db"
    while not (database.exists() and len(snapshot(database)) and len(history(database, name)) >= births):
        assert run.code is None, f"the run ended too early: {run.err}"
        assert time.monotonic() < deadline, "too few births"
        time.sleep(0.02)


def nothing_is_left(run: Run) -> None:
    left, _ = run.leftovers()
    assert left == []


def finish(folder: Path, expected: list[tuple[Any, ...]]) -> None:
    """Go on to the end, which must be the same as ever."""
    run = begin(folder, *INLINE)
    assert run.wait(PATIENCE) == 0, run.err
    nothing_is_left(run)
    assert {path.name for path in folder.iterdir()} == {"tiny.yaml", "results.db", "results.log", "out", "err"}
    assert history(folder / "results.db", "tiny") == expected
    assert duplicates(folder / "results.db") == 0
    assert rows(folder / "results.db", "PRAGMA integrity_check") == [("ok",)]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Any, ...]]:
    """The history of the search when nobody disturbs it."""
    folder = folder_with(tmp_path_factory.mktemp("undisturbed"))
    run = begin(folder, *INLINE)
    assert run.wait(PATIENCE) == 0, run.err
    nothing_is_left(run)
    found = history(folder / "results.db", "tiny")
    assert len(found) == 150 and sum(row[7] == "training" for row in found) > 40
    return found


# --- stopped ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_drains_and_the_second_stops_at_once(
    expected: list[tuple[Any, ...]], tmp_path: Path, number: signal.Signals
) -> None:
    """To all processes of the run, as a terminal sends it; the first run is stopped once, the second twice."""
    folder = folder_with(tmp_path)
    database = folder / "results.db"
    run = begin(folder)
    wait_for_births(run, 10)
    run.interrupt(number)
    assert run.wait(PATIENCE) == 130, run.err
    assert "finishing what is in flight" in run.err and "Traceback" not in run.err
    assert "' stopped: " in run.log
    nothing_is_left(run)
    drained = history(database, "tiny")
    assert 10 <= len(drained) < 150 and drained == expected[: len(drained)]
    assert rows(database, "SELECT state, holder FROM search") == [("interrupted", None)]

    run = begin(folder)
    assert run.wait_for("is ready", PATIENCE)
    run.interrupt(number)
    while "once more stops at once" not in run.err:
        assert run.code is None
    run.interrupt(number)
    assert run.wait(PATIENCE) == 130, run.err
    assert "' stopped: " not in run.log, "it drained"
    assert "Traceback" not in run.err
    nothing_is_left(run)
    finish(folder, expected)


# --- killed ----------------------------------------------------------------------------------------------------------


def test_a_driver_killed_again_and_again(expected: list[tuple[Any, ...]], tmp_path: Path) -> None:
    folder = folder_with(tmp_path)
    for births, args in ((1, ()), (50, INLINE), (90, INLINE)):
        run = begin(folder, *args)
        wait_for_births(run, births)
        assert args == INLINE or len(run.family()) > 4, "Ray's processes are those of which nothing may be left"
        before = snapshot(folder / "results.db")
        run.kill()
        nothing_is_left(run)
        assert lost(before, snapshot(folder / "results.db")) == []
    finish(folder, expected)


def test_a_killed_worker_leaves_no_trace_and_one_line_stays_on_the_terminal(
    expected: list[tuple[Any, ...]], tmp_path: Path
) -> None:
    for attempt in range(5):  # until the worker was killed in time to be missed, which a busy machine may take to do
        (tmp_path / str(attempt)).mkdir()
        folder = folder_with(tmp_path / str(attempt))
        with terminal() as (name, shown):
            run = begin(folder, terminal=name)
            wait_for_births(run, 1)
            run.workers()[0].kill()
            assert run.wait(PATIENCE) == 0, shown
        nothing_is_left(run)
        if "replaced" in run.log:
            break
    assert "replaced" in run.log
    assert history(folder / "results.db", "tiny") == expected
    text = b"".join(shown).decode()
    line, newline, trainings = text.partition("\n")
    assert newline and "150 programs" in line.rstrip("\r").split("\r")[-1]
    assert "\n" not in trainings, f"more than one line: {text}"
    assert not trainings.split("\r")[-1].strip() and trainings.split("\r")[-2:][0].strip() == "", "the bar stays"


@contextmanager
def terminal() -> Iterator[tuple[str, list[bytes]]]:
    """A terminal of one's own: its name, and what is shown on it, complete when it is closed."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 200))
    shown: list[bytes] = []

    def read() -> None:
        try:
            while data := os.read(ours, 4096):
                shown.append(data)
        except OSError:  # how the end of a terminal shows on Linux
            pass

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield os.ttyname(theirs), shown
    finally:
        os.close(theirs)
        reader.join(10)
        os.close(ours)


# --- several ---------------------------------------------------------------------------------------------------------


def test_a_second_driver_is_refused_until_the_first_is_dead(expected: list[tuple[Any, ...]], tmp_path: Path) -> None:
    folder = folder_with(tmp_path)
    first = begin(folder, *INLINE)
    wait_for_births(first, 1)
    second = begin(folder, *INLINE)
    assert second.wait(PATIENCE) == 2
    assert f"process {first.pid}" in second.err and "search 'tiny' is being run by" in second.err
    assert len(second.err.splitlines()) == 1
    assert first.code is None, "the second came too late to be refused"
    first.kill()
    nothing_is_left(first)
    nothing_is_left(second)
    finish(folder, expected)


def test_two_searches_side_by_side_in_one_database(expected: list[tuple[Any, ...]], tmp_path: Path) -> None:
    alone, together = folder_with(tmp_path / "alone"), folder_with(tmp_path / "together")
    other = ("--name", "other", "--set", "seed=4")
    runs = [begin(alone, *INLINE, *other), begin(together, *INLINE), begin(together, *INLINE, *other)]
    assert [run.wait(PATIENCE) for run in runs] == [0, 0, 0]
    for run in runs:
        nothing_is_left(run)
    assert history(together / "results.db", "tiny") == expected
    assert history(together / "results.db", "other") == history(alone / "results.db", "other")
    assert duplicates(together / "results.db") == 0


# --- a task of the user's that behaves badly -------------------------------------------------------------------------

UNRULY = """\
import os, sys, time
import torch
from proxy_tasks import Task
from proxy_tasks.datasets import Dataset

def points():
    x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0).long()
    return Dataset(x[:100], y[:100], x[100:], y[100:], classes=2)

class Net(torch.nn.Linear):
    def __init__(self, dataset):
        super().__init__(2, dataset.classes)
        if torch.initial_seed() == 1:
            time.sleep(10**6)

    def forward(self, x):
        print("a word from the net")
        print("a warning from the net", file=sys.stderr)
        os.write(2, b"a word from beyond Python" + bytes([10]))
        return super().forward(x)

def task():
    return Task("unruly", dataset="unruly:points", model="unruly:Net", steps=20, batch_size=50)
"""

UNRULY_CONFIG = """\
name: tiny
strategy: {start: sgd_momentum}
budget: {programs: 1}
tasks: [{name: "unruly:task", seeds: 2}]
evaluator: {kind: ray, workers: 2, lookahead: 2, timeout_s: 5}
baselines: []
"""


def test_a_task_that_prints_and_hangs(tmp_path: Path) -> None:
    """What it prints is in the log and nowhere else; the seed with which it hangs is recorded, the other trained."""
    folder = folder_with(tmp_path, UNRULY_CONFIG)
    (folder / "unruly.py").write_text(UNRULY)
    run = begin(folder)
    assert run.wait(PATIENCE) == 0, run.err
    nothing_is_left(run)
    trained = rows(folder / "results.db", "SELECT seed, status, reason FROM training ORDER BY seed")
    assert trained == [(0, "ok", None), (1, "timeout", "took longer than evaluator.timeout_s, 5 s")]
    for text in ("a word from the net", "a warning from the net", "a word from beyond Python"):
        assert text in run.log, text
        assert text not in run.err + (folder / "out").read_text(), text
    (shown,) = run.err.strip().split("\n")
    assert "1 programs" in shown
