"""Kill runs and their workers, and compare the results with those of an undisturbed run.

    python -m scripts.stress.durability drivers --kills 200               # the driver, with Ray workers
    python -m scripts.stress.durability drivers --kills 400 --inline      # at finer intervals, without workers
    python -m scripts.stress.durability workers --kills 100               # workers, one after another
    python -m scripts.stress.durability quarters                          # the driver at every quarter: time it costs

Each search is run undisturbed first, in a separate database. The exit code is 1 if anything was lost, left over or
changed.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from random import Random
from typing import NamedTuple

import psutil
import yaml

from tests.support.processes import Run, duplicates, history, lost, rows, snapshot, wait_for_write

NAME = "durability"
FORKED_START = 0.3  # seconds in which a forked run without workers gets to its first training
WRITE_SECONDS = 10.0  # how long to wait for a write that is to be hit


def settings(programs: int, steps: int, kind: str, batch: int) -> dict[str, object]:
    """Return the settings of a search on the digits with three baselines."""
    return {
        "name": NAME, "seed": 1, "budget": {"programs": programs},
        "strategy": {"population": 100, "tournament": 2, "start": "adamw"},
        "tasks": [{"name": "digits_mlp", "steps": steps}],
        "evaluator": {"kind": kind, "workers": 2, "batch": batch, "lookahead": 3},
    }  # fmt: skip


class Undisturbed(NamedTuple):
    """A run from start to end without kills. Seconds: of the run, and until its first worker was ready."""

    folder: Path
    seconds: float
    ready: float


def undisturbed(folder: Path, config: dict[str, object], forked: bool = False) -> Undisturbed:
    """Run the search from start to end without kills."""
    run = begin(folder, config, forked)
    if not forked:
        run.wait_for("is ready")
    ready = time.monotonic() - run.began
    assert run.wait(3600) == 0, run.err
    seconds = time.monotonic() - run.began
    run.leftovers()
    print(f"undisturbed: {seconds:.1f} s, of these {ready:.1f} s until the first worker was ready", flush=True)
    return Undisturbed(folder, seconds, ready)


def begin(folder: Path, config: dict[str, object], forked: bool = False) -> Run:
    """Start or continue the search in the folder."""
    folder.mkdir(exist_ok=True)
    (folder / "search.yaml").write_text(yaml.safe_dump(config))
    return Run(folder, "search.yaml", forked=forked)


class Findings:
    """What was found wrong, and how often each kind of kill was done."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.kills: Counter[str] = Counter()
        self.slowest = 0.0

    def check(self, is_right: bool, what: str) -> None:
        if not is_right:
            self.wrong.append(what)
            print(f"WRONG: {what}", flush=True)

    def after_kill(self, number: int, run: Run, before: dict[tuple[str, int], tuple[object, ...]]) -> None:
        """Check everything that must hold once a driver is dead."""
        database = run.folder / "results.db"
        left, seconds = run.leftovers(10)
        self.slowest = max(self.slowest, seconds)
        self.check(not left, f"kill {number}: left over after 10 s: {left}")
        gone = lost(before, snapshot(database))
        self.check(not gone, f"kill {number}: {len(gone)} rows lost or changed, e.g. {gone[:3]}")
        if database.exists():
            whole = rows(database, "PRAGMA integrity_check")
            self.check(whole == [("ok",)], f"kill {number}: integrity {whole}")

    def compare(self, reference: Undisturbed, folder: Path) -> None:
        """Compare the histories bit by bit, and the trainings."""
        expected, found = history(reference.folder / "results.db", NAME), history(folder / "results.db", NAME)
        self.check(expected == found, f"the histories differ: {len(expected)} births and {len(found)}")
        trainings = "SELECT key, task_fingerprint, seed, status, fitness, curve, steps, reason FROM training"
        same = set(rows(reference.folder / "results.db", trainings)) == set(rows(folder / "results.db", trainings))
        self.check(same, "the trainings differ")
        self.check(duplicates(folder / "results.db") == 0, "rows are duplicated")
        print(f"{len(found)} births compared; {sum(self.kills.values())} kills: {dict(self.kills)}")
        print(f"last process or folder gone within {self.slowest:.1f} s of a kill")
        print("nothing lost, left over or changed" if not self.wrong else f"{len(self.wrong)} findings", flush=True)


def phase(run: Run, database: Path) -> str:
    """Return what a run is doing."""
    if not run.log:
        return "imports"
    if "is ready" not in run.log and "connected" in run.log:
        return "starting workers"
    if not database.exists() or len(rows(database, "SELECT 1 FROM baseline")) < 3:
        return "tuning"
    return "training"


def kill_drivers(folder: Path, options: argparse.Namespace, rng: Random) -> Findings:
    """Kill drivers: a quarter of the kills during the start, a quarter during a write, the others at any time.

    Kills are spread over the work: the next is done about when its share of all trainings is there. Every fifth run is
    started as users start it, the others are forked from a process that has loaded the libraries already.
    """
    inline = options.inline
    config = settings(options.programs, 20 if inline else 100, "inline" if inline else "ray", 4)
    reference = undisturbed(folder / "undisturbed", config, forked=inline)
    total = _trainings(reference.folder / "results.db")
    killed, findings, number = folder / "killed", Findings(), 0
    database = killed / "results.db"
    deadline = time.monotonic() + 60 * options.minutes
    while number < options.kills and time.monotonic() < deadline:
        run = begin(killed, config, forked=inline or number % 5 != 0)
        aim = rng.choice(["start", "write", "anywhere", "anywhere"])
        if aim == "start":
            time.sleep(rng.uniform(0, FORKED_START if inline else reference.ready))
        else:
            _wait_for_trainings(run, total * (number + rng.random()) / (options.kills + 1))
            time.sleep(rng.uniform(0, 0.02 if inline else 0.3))
        before = snapshot(database)
        if aim == "write":
            wait_for_write(database, WRITE_SECONDS)
            time.sleep(rng.uniform(0, 0.002))
        if run.code is not None:
            findings.check(run.code == 0, f"run {number} ended with {run.code}: {run.err}")
            print(f"the search was finished after {number} kills", flush=True)
            break
        place = "a write" if aim == "write" else phase(run, database)
        run.kill()
        number += 1
        findings.kills[place] += 1
        findings.after_kill(number, run, before)
        print(f"{time.strftime('%X')} kill {number} in {place}; {_trainings(database)} trainings", flush=True)
    last = begin(killed, config, forked=inline)
    findings.check(last.wait(3600) == 0, f"the last run failed: {last.err}")
    last.leftovers()
    findings.compare(reference, killed)
    return findings


def _trainings(database: Path) -> int:
    with suppress(sqlite3.OperationalError):  # no database or no table yet
        return int(rows(database, "SELECT count(*) FROM training")[0][0])
    return 0


def _wait_for_trainings(run: Run, number: float) -> None:
    while run.code is None and _trainings(run.folder / "results.db") < number:
        time.sleep(0.02)


def kill_workers(folder: Path, options: argparse.Namespace, rng: Random) -> Findings:
    """Kill workers at intervals over the whole run; without pauses every program would be recorded as `lost`."""
    config = settings(options.programs, 400, "ray", 8)
    reference = undisturbed(folder / "undisturbed", config)
    total = _trainings(reference.folder / "results.db")
    findings = Findings()
    run = begin(folder / "killed", config)
    run.wait_for("is ready")
    for number in range(options.kills):
        _wait_for_trainings(run, total * (number + rng.random()) / (options.kills + 1))
        time.sleep(rng.uniform(0, 0.5))
        while run.code is None and not (workers := run.workers()):
            time.sleep(0.02)
        if run.code is None:
            victim = rng.choice(workers)
            doing = "training" if "train" in " ".join(victim.cmdline()) else "idle or starting"
            with suppress(psutil.NoSuchProcess):
                victim.kill()
            findings.kills[doing] += 1
            print(f"{time.strftime('%X')} kill {number + 1} of a worker {doing}", flush=True)
    findings.check(findings.kills.total() == options.kills, "the run ended before all kills were done")
    findings.check(run.wait(3600) == 0, f"the run failed: {run.err}")
    print(f"with {findings.kills.total()} workers killed: {time.monotonic() - run.began:.1f} s")
    left, findings.slowest = run.leftovers(10)
    findings.check(not left, f"left over: {left}")
    findings.check("Traceback" not in run.err, "a traceback")
    findings.compare(reference, folder / "killed")
    return findings


def kill_at_quarters(folder: Path, options: argparse.Namespace, _rng: Random) -> Findings:
    """Kill the driver after a quarter, half and three quarters of the births, and measure what that costs."""
    config = settings(options.programs, 1000, "ray", 16)
    reference = undisturbed(folder / "undisturbed", config)
    findings, killed = Findings(), folder / "killed"
    database = killed / "results.db"
    total, starting = 0.0, 0.0
    for quarter in (1, 2, 3, 4):
        run = begin(killed, config)
        run.wait_for("is ready")
        ready = time.monotonic() - run.began
        while quarter < 4 and len(history(database, NAME)) < quarter * options.programs / 4:
            time.sleep(0.02)
        before = snapshot(database)
        if quarter < 4:
            run.kill()
            findings.kills["a quarter"] += 1
        else:
            findings.check(run.wait(3600) == 0, f"the last run failed: {run.err}")
        seconds = time.monotonic() - run.began
        total, starting = total + seconds, starting + ready
        _tell_timeline(run, f"run {quarter}: {seconds:.1f} s, {ready:.1f} s until the first worker was ready")
        findings.after_kill(quarter, run, before)
    ratio = (total - starting) / (reference.seconds - reference.ready)
    print(f"wall time: {total:.1f} s against {reference.seconds:.1f} s, {total / reference.seconds:.2f} times")
    print(f"without the {starting:.1f} s and {reference.ready:.1f} s until workers were ready: {ratio:.2f} times")
    findings.check(ratio <= 1.25, "more than 1.25 times")
    findings.compare(reference, killed)
    return findings


def _tell_timeline(run: Run, title: str) -> None:
    print(title)
    for line in run.log.splitlines():
        if re.search("begins with|connected|is ready|finished", line):
            print(f"    {line[:23]} {line.split(': ', 1)[1][:60]}", flush=True)


COMMANDS: dict[str, Callable[[Path, argparse.Namespace, Random], Findings]] = {
    "drivers": kill_drivers,
    "workers": kill_workers,
    "quarters": kill_at_quarters,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=COMMANDS)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--programs", type=int, default=3000)
    parser.add_argument("--inline", action="store_true", help="without workers, in forked processes that start at once")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="after these no more drivers are killed")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(datetime.now().isoformat(timespec="seconds"), vars(options), flush=True)
    folder = Path(tempfile.mkdtemp(prefix="durability-"))
    findings = COMMANDS[options.what](folder, options, Random(options.seed))
    if findings.wrong:
        sys.exit(f"databases and logs are kept in {folder}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
