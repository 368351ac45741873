"""Runs that are interrupted, killed and robbed of their workers: what they leave, what they say, how they go on.

Short versions of what the scripts do that docs/durability.md names.
"""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.patience import terminal
from tests.support.processes import Run, duplicates, history, lost, rows, snapshot

CONFIG = """\
name: tiny
seed: 3
strategy: {population: 20, start: adamw}
budget: {programs: 150}
tasks: [{name: digits_mlp, steps: 60, seeds: 1}]
evaluator: {kind: ray, workers: 2, batch: 4, lookahead: 3}
baselines: []
"""
INLINE = ("--set", "evaluator.kind=inline")  # gives the same history, and needs no workers to be started
ENDLESS = ("--set", "budget.programs=1000000")  # for runs that must not end before they are ended
BIRTHS = 150


def folder_with(folder: Path, config: str = CONFIG) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "tiny.yaml").write_text(config)
    return folder


def begin(folder: Path, *args: str, **options: Any) -> Run:
    return Run(folder, "tiny.yaml", *args, forked=True, **options)


def births(run: Run) -> int:
    database = run.folder / "results.db"
    return len(history(database, "tiny")) if database.exists() and snapshot(database) else 0


def wait_for_births(run: Run, number: int) -> None:
    run.wait_until(lambda: births(run) >= number, f"{number} births")


def begins_as(expected: list[tuple[Any, ...]], found: list[tuple[Any, ...]]) -> bool:
    """Whether a history is the expected one; if it is longer since its run was ended late, as far as that goes."""
    return len(found) >= BIRTHS and found[:BIRTHS] == expected


def nothing_is_left(run: Run) -> None:
    left, _ = run.leftovers()
    assert left == []


def finish(folder: Path, expected: list[tuple[Any, ...]]) -> None:
    """Go on to the end, which must be the same as ever."""
    run = begin(folder, *INLINE)
    assert run.wait() == 0, run.err
    nothing_is_left(run)
    assert {path.name for path in folder.iterdir()} == {"tiny.yaml", "results.db", "results.log", "out", "err"}
    assert begins_as(expected, history(folder / "results.db", "tiny"))
    assert duplicates(folder / "results.db") == 0
    assert rows(folder / "results.db", "PRAGMA integrity_check") == [("ok",)]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Any, ...]]:
    """The history of the search when nobody disturbs it."""
    folder = folder_with(tmp_path_factory.mktemp("undisturbed"))
    run = begin(folder, *INLINE)
    assert run.wait() == 0, run.err
    nothing_is_left(run)
    found = history(folder / "results.db", "tiny")
    assert len(found) == BIRTHS and sum(row[7] == "training" for row in found) > 40
    assert {row[8] for row in found} == {"ok", "diverged", "dropped", "rejected"}
    return found


# --- stopped ---------------------------------------------------------------------------------------------------------


def test_the_first_signal_drains_and_the_second_stops_at_once(expected: list[tuple[Any, ...]], tmp_path: Path) -> None:
    """To all processes of the run, as a terminal sends it; the first run is stopped once, the second twice."""
    folder = folder_with(tmp_path)
    database = folder / "results.db"
    run = begin(folder, *ENDLESS)
    wait_for_births(run, 10)
    run.interrupt(signal.SIGINT, group=True)
    assert run.wait() == 130, run.err
    assert "finishing what is in flight" in run.err and "Traceback" not in run.err
    assert "' stopped: " in run.log
    nothing_is_left(run)
    drained = history(database, "tiny")
    assert len(drained) >= 10 and drained[:BIRTHS] == expected[: len(drained)]
    assert f"goes on from birth {len(drained)}" in " ".join((folder / "out").read_text().split())
    assert rows(database, "SELECT state, holder FROM search") == [("interrupted", None)]

    run = begin(folder, *ENDLESS)
    assert run.wait_for("is ready")
    run.interrupt(signal.SIGTERM, group=True)
    run.wait_until(lambda: "once more stops at once" in run.err, "what a second signal does")
    run.interrupt(signal.SIGTERM, group=True)
    assert run.wait() == 130, run.err
    assert "' stopped: " not in run.log, "it drained"
    assert "Traceback" not in run.err
    nothing_is_left(run)
    finish(folder, expected)


# --- killed ----------------------------------------------------------------------------------------------------------


def test_a_driver_killed_again_and_again(expected: list[tuple[Any, ...]], tmp_path: Path) -> None:
    folder = folder_with(tmp_path)
    for number, args in ((1, ()), (50, INLINE), (90, INLINE)):
        run = begin(folder, *args, *ENDLESS)
        wait_for_births(run, number)
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
        with terminal(24, 200) as screen:
            run = begin(folder, on=screen)
            assert run.wait_for("is ready"), screen.shown
            ready = re.findall(r"worker (\d+) on .* is ready", run.log)
            for worker in run.workers():
                if worker.pid == int(ready[0]):
                    worker.kill()
            assert run.wait() == 0, screen.shown
        nothing_is_left(run)
        if "replaced" in run.log:
            break
    assert "replaced" in run.log
    assert history(folder / "results.db", "tiny") == expected
    line, newline, trainings = screen.shown.partition("\n")
    assert newline and "150 programs" in line.rstrip("\r").split("\r")[-1]
    assert "\n" not in trainings, f"more than one line: {screen.shown}"
    assert not trainings.split("\r")[-1].strip() and trainings.split("\r")[-2:][0].strip() == "", "the bar stays"


# --- several ---------------------------------------------------------------------------------------------------------


def test_a_second_driver_is_refused_until_the_first_is_dead(expected: list[tuple[Any, ...]], tmp_path: Path) -> None:
    folder = folder_with(tmp_path)
    first = begin(folder, *INLINE, *ENDLESS)
    wait_for_births(first, 1)
    second = begin(folder, *INLINE)
    assert second.wait() == 2
    assert f"process {first.pid}" in second.err and "search 'tiny' is being run by" in second.err
    assert len(second.err.splitlines()) == 1
    first.kill()
    nothing_is_left(first)
    nothing_is_left(second)
    finish(folder, expected)


def test_two_searches_side_by_side_in_one_database(expected: list[tuple[Any, ...]], tmp_path: Path) -> None:
    alone, together = folder_with(tmp_path / "alone"), folder_with(tmp_path / "together")
    other = ("--name", "other", "--set", "seed=4")
    runs = [begin(alone, *INLINE, *other), begin(together, *INLINE), begin(together, *INLINE, *other)]
    assert [run.wait() for run in runs] == [0, 0, 0]
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

PLACE = "the trial" if sys.argv[0].endswith("optsearch") else "a training"  # a step is tried before any training

def points():
    x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0).long()
    return Dataset(x[:100], y[:100], x[100:], y[100:], classes=2)

class Net(torch.nn.Linear):
    def __init__(self, dataset):
        super().__init__(2, dataset.classes)
        if torch.initial_seed() == 1 and PLACE == "a training":
            time.sleep(10**6)

    def forward(self, x):
        print("a word from", PLACE)
        print("a warning from", PLACE, file=sys.stderr)
        os.write(2, f"beyond Python, {PLACE}{os.linesep}".encode())
        return super().forward(x)

def task():
    return Task("unruly", dataset="unruly:points", model="unruly:Net", steps=20, batch_size=50)
"""

UNRULY_CONFIG = """\
name: tiny
strategy: {start: sgd_momentum}
budget: {programs: 1}
tasks: [{name: "unruly:task", seeds: 2}]
evaluator: {kind: ray, workers: 2, lookahead: 2}
baselines: []
"""


def test_a_task_that_prints_and_hangs(tmp_path: Path) -> None:
    """What trainings print is in the log alone; the seed with which it hangs is recorded, the other trained."""
    for seconds in (5, 50, 500):  # until that is enough for the other seed, on a busy machine
        folder = folder_with(tmp_path / str(seconds), UNRULY_CONFIG)
        (folder / "unruly.py").write_text(UNRULY)
        run = begin(folder, "--set", f"evaluator.timeout_s={seconds}")
        assert run.wait() == 0, run.err
        nothing_is_left(run)
        trained = rows(folder / "results.db", "SELECT seed, status, reason FROM training ORDER BY seed")
        if trained[0][1] == "ok":
            break
    assert trained == [(0, "ok", None), (1, "timeout", f"took longer than evaluator.timeout_s, {seconds} s")]
    for text in ("a word from a training", "a warning from a training", "beyond Python, a training"):
        assert text in run.log, text
        assert text not in run.err + (folder / "out").read_text(), text
    *tried, shown = run.err.strip().split("\n")
    assert all("the trial" in line for line in tried)
    assert "1 programs" in shown
