"""The line of progress: on one line of any terminal, with as many figures as fit, and quiet without a terminal."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.commands import progress
from search.commands.progress import BAR, ProgressLine, describe, share_done
from search.evolution.progress import Progress
from search.settings.settings import Budget
from search.store import BaselineRow

from tests.support import patience
from tests.support.command_line import CONFIG
from tests.support.patience import OPTSEARCH, Command

ADAMW = BaselineRow("adamw", "update = g", "k", 0.1, 0.0, -0.0869, 28)
LATE = Progress(1604, 512, 40_000, 32_000, 460_000, -0.0862, {"adamw": ADAMW}, 39.2, 36.0)


class Terminal(StringIO):
    """A terminal that remembers what is written to it."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@contextmanager
def terminal(columns: int = 80) -> Iterator[Terminal]:
    """A terminal in place of the standard error, in which every state is shown."""
    with pytest.MonkeyPatch.context() as patched:
        screen = Terminal()
        patched.setattr(sys, "stderr", screen)
        patched.setattr(progress, "SECONDS_ON_TERMINAL", 0.0)
        patched.setenv("COLUMNS", str(columns))
        yield screen


def states(written: str) -> list[str]:
    parts = [part.rstrip() for part in re.split(r"[\r\n]", written) if part.strip()]
    return [part for part in parts if not part.startswith("goes on from")]


def test_figures_give_way_one_after_another() -> None:
    texts = describe(LATE)
    assert texts[0] == (
        "1604 programs 512 trained 68% cached 20% redundant best -0.0862 (+0.0007 vs AdamW) 39/s 00:36 left"
    )
    lengths = [len(text) for text in texts]
    assert lengths == sorted(lengths, reverse=True) and len(set(lengths)) == len(lengths) and texts[-1] == "00:36 left"


def test_an_ordinary_terminal_has_room_for_the_figures_that_matter() -> None:
    with terminal() as screen, ProgressLine() as line:
        line.update(LATE, Budget(programs=3000))
    shown = states(screen.getvalue())
    assert shown
    for state in shown:
        assert len(state) <= 79 and state.startswith(" 53%|█")
        assert state.endswith("| 1604 programs 512 trained best -0.0862 (+0.0007) 39/s 00:36 left")


@given(
    st.integers(1, 10**7), st.integers(0, 10**6), st.none() | st.floats(-1e3, 0), st.floats(0, 1e4),
    st.none() | st.floats(0, 1e6), st.integers(30, 200),
)  # fmt: skip
def test_a_state_is_one_line_of_any_terminal(
    births: int, trained: int, best: float | None, rate: float, left: float | None, width: int
) -> None:
    progress_ = Progress(births, trained, 10, 5, 900, best, {"adamw": ADAMW}, rate, left)
    with terminal(width) as screen, ProgressLine("tuning baselines") as line:
        line.count(1, births + 1)
        line.count(births, births + 1)
        line.update(progress_, Budget(programs=10**7))
    shown = states(screen.getvalue())
    assert len(shown) > 2
    for state in shown:
        assert len(state) < width and re.match(r" *\d+%\|", state)
    fitting = [text for text in describe(progress_) if len(text) + BAR < width]
    assert not fitting or fitting[0] in screen.getvalue()


def test_the_share_is_that_of_the_nearest_limit() -> None:
    progress_ = Progress(births=50, trained=10)
    assert share_done(progress_, Budget(programs=100), 0) == 0.5
    assert share_done(progress_, Budget(programs=100, evaluations=12), 0) == pytest.approx(10 / 12)
    assert share_done(progress_, Budget(programs=100, minutes=1.0), 45) == 0.75
    assert share_done(progress_, Budget(evaluations=5), 0) == 1
    assert share_done(Progress(replica_steps=300), Budget(programs=100, replica_steps=1200), 0) == 0.25


def test_trainings_are_counted_and_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with terminal() as screen, ProgressLine("tuning baselines") as line:
        for known in (100, 120, 160, 200, 10, 30):  # half of the first was known before; then another number of them
            line.count(known, 200)
            clock[0] += 1
        assert "goes on from 100 of 200 trainings, which are known\n" in screen.getvalue()
        assert states(screen.getvalue())[1].endswith("| 120 of 200 trainings 20/s 00:04 left, tuning baselines")
    assert [int(re.match(r" *(\d+)%", state)[1]) for state in states(screen.getvalue())] == [50, 60, 80, 100, 5, 15]
    assert screen.getvalue().endswith("\r") and screen.getvalue().split("\r")[-2].strip() == "", "it is wiped away"


def test_without_a_terminal_a_short_count_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    written = StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    with ProgressLine() as line:
        for known in range(11):
            line.count(known, 10)
    assert written.getvalue() == ""
    with ProgressLine() as line:
        line.update(LATE, Budget(programs=3000))
    assert states(written.getvalue())[-1] == f" 53% {describe(LATE)[0]}"


def test_a_run_in_a_real_terminal_of_80_columns(tmp_path: Path) -> None:
    """Tuning, then the search; its last state stays, and no state takes more than one line."""
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")} | {"TERM": "xterm"}
    words = (OPTSEARCH, "run", "tiny.yaml")
    with patience.terminal() as screen, Command(*words, folder=tmp_path, environment=environment, on=screen) as running:
        assert running.wait() == 0
    seen = screen.shown
    shown = [state for state in states(seen) if "%|" in state]
    assert all(len(state) < 80 for state in shown), shown
    assert any("of 28 trainings" in state and state.endswith("tuning baselines") for state in shown)
    run = [state for state in shown if "programs" in state]
    assert re.search(r"^100%\|█+\| 60 programs \d+ trained best -\d\.\d+ \([+-]\d\.\d+\) \d+/s 00:00 left$", run[-1])
    before = seen[: seen.index("leaderboard of tiny")]
    assert before.count("\n") == 1, "one line for all of it"
