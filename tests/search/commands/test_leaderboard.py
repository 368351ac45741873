"""`optsearch leaderboard`: its filters, and watching it."""

from __future__ import annotations

import os
import signal
from io import StringIO
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from rich.console import Console

from search.commands import watch
from search.commands.terminal import console
from search.store import Store

from tests.support import patience
from tests.support.commands import changed, command, refused, said, tables
from tests.support.patience import OPTSEARCH, PATIENCE, Command
from tests.support.searches import PretendingEvaluator, opened, rows_of_query, run, settings_of


@pytest.mark.parametrize("states", [None, 0, 1])
@pytest.mark.parametrize("statements", [None, 3, 5])
@pytest.mark.parametrize("status", ["ok", "diverged", "rejected"])
def test_filters(path: Path, states: int | None, statements: int | None, status: str) -> None:
    options = "".join(f" --{k} {v}" for k, v in (("states", states), ("statements", statements)) if v is not None)
    rows = tables(path, f"leaderboard --status {status} --search small --task digits_mlp{options}")["leaderboard"]
    with opened(path) as store:
        known = rows_of_query(
            store, "SELECT id, status, answered_by, fitness, state_slots, live_statements FROM program"
        )
    wanted = [
        row["id"]
        for row in sorted(known, key=lambda row: (-(row["fitness"] or 0), row["id"] if status == "ok" else -row["id"]))
        if row["status"] == status and row["answered_by"] in ("training", "rejection")
        and (states is None or row["state_slots"] <= states)
        and (statements is None or row["live_statements"] <= statements)
    ]  # fmt: skip
    assert [row["id"] for row in rows] == wanted
    assert {row["status"] for row in rows} <= {status}


def test_programs_of_searches_on_a_task(tmp_path: Path) -> None:
    with opened(tmp_path / "r.db") as store:
        run(settings_of(), store, PretendingEvaluator())
        other = settings_of(name="other", tasks=[{"name": "digits_mlp_short", "steps": 5}], seed=3)
        run(other, store, PretendingEvaluator())
    for task, search in (("digits_mlp", "small"), ("digits_mlp_short", "other")):
        assert {row["search"] for row in tables(tmp_path / "r.db", f"leaderboard --task {task}")["leaderboard"]} == {
            search
        }
    both = refused(tmp_path / "r.db", "leaderboard --task cifar")
    assert "--task cifar: no search trains on it; there are: digits_mlp, digits_mlp_short" in both
    one = refused(tmp_path / "r.db", "leaderboard --task digits_mlp --search other")
    assert "search 'other' does not train on it; there are: digits_mlp_short" in one


def test_the_table_fits_a_terminal_of_80_columns(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With errors, names and numbers as they are after days; the search is a column where there are several."""
    large = (
        "UPDATE program SET standard_error = 0.00123, trainings = 16 WHERE fitness IS NOT NULL",
        "UPDATE search SET name = 'quickstart'", "UPDATE program SET birth = birth + 50000, parent_birth = NULL",
    )  # fmt: skip
    copy = changed(path, tmp_path, *large)
    monkeypatch.setattr(console, "width", 80)
    alone = said(copy, "leaderboard --limit 9").splitlines()
    assert alone[1].split()[:4] == ["id", "fitness", "+-", "trainings"] and len(alone) < 15
    assert alone[-2].split()[2:4] == ["0.00123", "16"]
    with opened(copy) as store:
        run(settings_of(name="other"), store, PretendingEvaluator())
    both = said(copy, "leaderboard --limit 9").splitlines()
    assert {len(line.split()) for line in both[4:-1]} == {10} and len(both) < 15
    assert max(len(line.rstrip()) for line in both) <= 80 and any("quickstart" in line for line in both)


def test_the_order_is_by_the_bound(path: Path, tmp_path: Path) -> None:
    """A program that has the highest fitness, but may have been lucky, does not lead; nor is it on the Pareto front."""
    best, second = (row["id"] for row in tables(path, "leaderboard --limit 2")["leaderboard"])
    copy = changed(path, tmp_path, f"UPDATE program SET standard_error = 0.5 WHERE id = {best}")
    rows = tables(copy, "leaderboard")["leaderboard"]
    assert rows[0]["id"] == second and rows[0]["fitness"] < max(row["fitness"] for row in rows)
    assert [row["lower_bound"] for row in rows] == sorted((row["lower_bound"] for row in rows), reverse=True)
    assert tables(copy, "leaderboard --pareto")["leaderboard"][0]["id"] == second
    (search,) = tables(copy, "status")["searches"]
    assert (search["best_id"], search["best_fitness"]) == (second, rows[0]["fitness"])


# --- watching ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Console:
    terminal = Console(
        file=StringIO(), force_terminal=True, color_system=None, width=100, height=40, _environ={"TERM": "xterm"}
    )
    monkeypatch.setattr(watch, "console", terminal)
    return terminal


class Clock:
    """Stands for time: what happens between looks, one step for each; then Ctrl-C."""

    def __init__(self, *steps: Any) -> None:
        self.waited: list[float] = []
        self._steps = iter(steps)

    def sleep(self, seconds: float) -> None:
        self.waited.append(seconds)
        step = next(self._steps, None)
        if step is None:
            raise KeyboardInterrupt
        step()


def test_a_run_is_watched_from_before_its_beginning(
    tmp_path: Path, terminal: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is waited for, then the search, then programs; Ctrl-C ends it without a word."""
    file = tmp_path / "r.db"
    stores: list[Store] = []

    def make() -> None:
        with opened(file):
            pass

    def search() -> None:
        with opened(file) as store:
            run(settings_of(), store, PretendingEvaluator())

    clock = Clock(make, search, lambda: None)
    monkeypatch.setattr(watch.time, "sleep", clock.sleep)
    code, out, err = command(file, "leaderboard --search small --limit 3 --watch 0.5")
    assert (code, out, err) == (0, "", "") and clock.waited == [0.5] * 4 and not stores
    shown = terminal.file.getvalue()  # type: ignore[attr-defined]
    first, second, third = (shown.index(s) for s in ("no such database", "no search 'small'", "over AdamW"))
    assert first < second < third and "every 0.5 s; Ctrl-C ends" in shown and "Traceback" not in shown
    assert shown.count("\x1b[1A") > 5, "in one place"


def test_what_is_wrong_from_the_beginning_ends_it(
    path: Path, terminal: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch.time, "sleep", Clock().sleep)
    assert "no search 'other'; there are: small" in refused(path, "leaderboard --watch --search other")
    assert terminal.file.getvalue() == ""  # type: ignore[attr-defined]


class Interrupting:
    """Ctrl-C comes as this is cleared away, where Python lets no exception out."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


def test_ctrl_c_is_not_lost_while_python_tidies_up(
    path: Path, terminal: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait() -> None:
        Event().wait(PATIENCE)
        pytest.fail("it was lost")

    monkeypatch.setattr(watch.time, "sleep", Clock(Interrupting, wait).sleep)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert command(path, "leaderboard --watch") == (0, "", "")
    finally:
        signal.signal(signal.SIGINT, before)


def test_watching_in_a_real_terminal(path: Path) -> None:
    """The command itself: Ctrl-C ends it, exit code 0, no traceback, and the table stays."""
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "40"}
    words = (OPTSEARCH, "leaderboard", "--watch", "0.2", "--store", path)
    with patience.terminal(40, 100) as screen, Command(*words, environment=environment, on=screen) as watching:
        watching.wait_until(lambda: screen.shown.count("Ctrl-C ends") >= 3, "three looks")
        watching.interrupt()
        assert watching.wait() == 0
    assert "Traceback" not in screen.shown and "over AdamW" in screen.shown[-5000:]
