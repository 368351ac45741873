"""Clocks that are set while runs go on: no time goes back, no batch is missing, no driver loses its search."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Self

import pytest
from sqlalchemy import text

from programs.errors import InputError

from search.results.results import Results
from search.store import Heartbeat, Lease, Store, clock, lease

from tests.support.searches import PretendingEvaluator, opened, rows_of_query, run, settings_of, stop_at

HOUR = 3600.0


@pytest.fixture(params=["sqlite", "postgres"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "postgres":
        return request.getfixturevalue("postgres_server").database()  # type: ignore[no-any-return]
    return tmp_path / "results.db"


@pytest.fixture
def step(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the clock of this machine forward by so many seconds, or back."""
    steps = [0.0]

    class Stepped(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + timedelta(seconds=sum(steps))

    class Clock:
        monotonic = staticmethod(time.monotonic)

        @staticmethod
        def time() -> float:
            return time.time() + sum(steps)

    monkeypatch.setattr(clock, "datetime", Stepped)
    monkeypatch.setattr(clock, "time", Clock)
    return steps.append


# --- times -----------------------------------------------------------------------------------------------------------


def paces(store: Store) -> list[tuple[int, int]]:
    return [(row.batch, row.trainings) for row in Results(store).pace("small")]


@pytest.fixture
def whole(tmp_path: Path) -> list[tuple[int, int]]:
    """The trainings of every batch, where the clock is left alone."""
    with opened(tmp_path / "whole.db") as store:
        run(settings_of(), store, PretendingEvaluator())
        return paces(store)


def test_a_clock_set_back_during_a_run_loses_no_batch(
    location: Path, whole: list[tuple[int, int]], step: Callable[[float], None]
) -> None:
    with opened(location) as store:
        run(settings_of(), store, PretendingEvaluator(), lambda _d, p: step(-HOUR) if 30 <= p.births < 50 else None)
        assert paces(store) == whole and len(whole) > 5
        assert in_order(store)


def in_order(store: Store) -> bool:
    """Whether times follow the order in which things were written."""
    times = [row["created"] for row in rows_of_query(store, "SELECT CAST(created AS TEXT) AS created FROM training"
                                                     " ORDER BY id")]  # fmt: skip
    (search,) = Results(store).searches()
    return times == sorted(times) and search.started <= times[0] and times[-1] <= search.last_written


@pytest.mark.parametrize("seconds", [-HOUR, -24 * HOUR, HOUR])
def test_a_clock_set_between_runs_loses_no_batch(
    location: Path, whole: list[tuple[int, int]], step: Callable[[float], None], seconds: float
) -> None:
    """Also as on another machine, whose clock is wrong."""
    for births in (30, 60, 100):
        with opened(location) as store:
            run(settings_of(), store, PretendingEvaluator(), stop_at(births))
        step(seconds)
    with opened(location) as store:
        assert paces(store) == whole and in_order(store)


def test_times_go_on_at_the_speed_of_the_machine(step: Callable[[float], None]) -> None:
    steady = clock.SteadyClock()
    first = steady.now()
    step(-HOUR)
    time.sleep(0.01)
    second = steady.now()
    assert timedelta(seconds=0.01) <= second - first < timedelta(seconds=HOUR / 2)
    step(3 * HOUR)
    assert steady.now() - second > timedelta(seconds=HOUR), "a clock set forward is believed"


# --- leases ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def store(location: Path) -> Iterator[Store]:
    with opened(location) as store:
        store.create_search("small", {})
        yield store


def refused(store: Store) -> bool:
    with pytest.raises(InputError, match="search 'small' is being run by"):
        Lease(store, 1).take()
    return True


@pytest.mark.parametrize("seconds", [HOUR, -HOUR])
@pytest.mark.parametrize("other_machine", [False, True])
def test_a_driver_that_gives_signs_of_life_keeps_its_search_whatever_the_clock_says(
    store: Store, seconds: float, other_machine: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last sign seems to be long ago, or not to have been yet; the next comes soon."""
    held = Lease(store, 1)
    held.take()
    if other_machine:
        monkeypatch.setattr(lease, "machine", lambda: "another")
    with store.writing() as connection:
        connection.execute(text("UPDATE search SET heartbeat = heartbeat - :seconds"), {"seconds": seconds})
    with Heartbeat(held, every=0.3) as heartbeat:
        assert refused(store)
        assert heartbeat.lost is None
    held.renew()


@pytest.mark.parametrize("seconds", [HOUR, -HOUR])
def test_a_driver_on_a_machine_with_another_clock_keeps_its_search(
    store: Store, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its heartbeats are an hour too early or too late, all of them."""
    held = Lease(store, 1)
    held.take()

    def beat(by: float) -> None:
        with store.writing() as connection:
            connection.execute(text("UPDATE search SET heartbeat = heartbeat + :by"), {"by": by})

    beat(seconds)
    monkeypatch.setattr(lease, "machine", lambda: "another")
    monkeypatch.setattr(lease, "_LOOK_SECONDS", 0.0)
    look = Lease._look

    def later(self: Lease) -> lease.Holder:
        beat(5.0)
        return look(self)

    monkeypatch.setattr(Lease, "_look", later)
    assert refused(store)


def test_a_living_process_keeps_its_search_when_the_clock_is_set_back(store: Store) -> None:
    held = Lease(store, 1)
    held.take()
    with store.writing() as connection:
        connection.execute(text("UPDATE search SET heartbeat = heartbeat + 3600"))
    began = time.monotonic()
    assert refused(store) and time.monotonic() - began < lease.WATCH_SECONDS, "it lives: that decides"
    assert Results(store).drivers()["small"].is_driven


def test_a_dead_process_keeps_nothing_whatever_the_clock_says(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _seconds: pytest.fail("nobody is waited for"))
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    for seconds in (-HOUR, 0, HOUR):
        Lease(store, 1).take()
        with store.writing() as connection:
            values = {"pid": child.pid, "seconds": seconds}
            connection.execute(text("UPDATE search SET heartbeat = heartbeat + :seconds, holder_pid = :pid"), values)
        assert not Results(store).drivers()["small"].is_driven
    Lease(store, 1).take()
    assert os.getpid() == rows_of_query(store, "SELECT holder_pid FROM search")[0]["holder_pid"]


def test_of_two_that_wait_for_a_silent_driver_one_succeeds_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second finds that the row has changed since it looked."""
    first, second = Lease(store, 1), Lease(store, 1)
    left = first._look()
    assert first._takes_over(left) and not second._takes_over(left)
    assert refused(store)
