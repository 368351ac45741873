"""Leases: one driver at a time, the dead are succeeded, and who was succeeded writes nothing more."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import text

from programs.errors import InputError

from search.store import Heartbeat, Lease, LeaseLost, Store, StoreError, lease, open_store

from tests.support.patience import PATIENCE, Command, wait_for
from tests.support.searches import opened, rows_of_query

TOKEN = secrets.token_hex(16)  # of somebody else


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A database with one search."""
    location = tmp_path / "r.db"
    if request.param == "postgres":
        location = request.getfixturevalue("postgres_server").database()
    with opened(location) as store:
        assert store.create_search("a", {}) == 1
        yield store


@pytest.fixture(autouse=True)
def _short_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time to wait for a heartbeat is shortened where nothing can come."""
    monkeypatch.setattr(lease, "WATCH_SECONDS", 0.05)
    monkeypatch.setattr(lease, "_LOOK_SECONDS", 0.01)


def write(store: Store, **values: object) -> None:
    """Change the row of the search behind everybody's back."""
    assignments = ", ".join(f"{name} = :{name}" for name in values)
    with store.writing() as connection:
        connection.execute(text(f"UPDATE search SET {assignments}"), values)


def row(store: Store) -> dict[str, object]:
    return rows_of_query(store, "SELECT * FROM search")[0]


def taken(store: Store) -> Lease:
    held = Lease(store, 1)
    held.take()
    return held


def refusal(store: Store) -> str:
    with pytest.raises(InputError) as raised:
        Lease(store, 1).take()
    assert "\n" not in str(raised.value)
    return str(raised.value)


# --- taking ----------------------------------------------------------------------------------------------------------


def test_taken_renewed_released_and_taken_again(store: Store) -> None:
    first = taken(store)
    assert f"search 'a' is being run by {lease.socket.gethostname()}, process {os.getpid()}; wait" in refusal(store)
    before = row(store)["heartbeat"]
    assert abs(store.clock() - before) < PATIENCE
    first.renew()
    assert row(store)["heartbeat"] >= before and row(store)["holder_token"] == first.token
    first.release()
    assert all(row(store)[name] is None for name in ("holder", "holder_token", "holder_machine", "holder_pid"))
    second = taken(store)
    assert second.token != first.token
    with pytest.raises(LeaseLost):
        first.renew()
    first.release()  # not its own any more
    second.renew()


def test_a_dead_process_of_this_machine_is_succeeded_at_once(store: Store) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        write(store, holder="h", holder_token=TOKEN, holder_machine=lease.machine(), holder_pid=child.pid,
              heartbeat=store.clock())  # fmt: skip
        assert "is being run by h; wait" in refusal(store)
        child.kill()
        wait_for(lambda: _is_dead(store), "a death")  # not waited for: it stays in the table of processes
        assert child.returncode is None
    taken(store)


def _is_dead(store: Store) -> bool:
    return not lease.is_held(store.select(lease.Holder)[0], 0.0)


def test_an_earlier_life_with_the_number_of_this_process_is_succeeded_at_once(store: Store) -> None:
    """As in a container that was started again, where the first process is always number 1."""
    write(store, holder="h", holder_token=TOKEN, holder_machine=lease.machine(), holder_pid=os.getpid(),
          heartbeat=store.clock())  # fmt: skip
    taken(store)


@pytest.mark.parametrize("silent", [0.0, 2000.0, -2000.0])
def test_a_process_of_another_machine_is_waited_for(
    store: Store, silent: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "LEASE_SECONDS", 3000.0)  # which no machine needs for the lines below
    began = store.clock()
    write(store, holder="far, process 7", holder_token=TOKEN, holder_machine="far", holder_pid=2**30,
          heartbeat=store.clock() - silent)  # fmt: skip
    message = refusal(store)
    assert "is being run by far, process 7; if that has died, the search is free in " in message
    seconds = int(message.split(" free in ")[1].split(" s")[0])
    assert began - store.clock() <= seconds - (lease.LEASE_SECONDS - silent) <= 1


@pytest.mark.parametrize("silent", [31.0, 1e6, -1e3, -1e9])
def test_silence_ends_a_lease_and_so_does_a_clock_that_is_far_ahead(store: Store, silent: float) -> None:
    write(store, holder="far", holder_token=TOKEN, holder_machine="far", holder_pid=7, heartbeat=store.clock() - silent)
    taken(store).renew()


def test_silence_ends_even_the_lease_of_a_living_process(store: Store) -> None:
    """It may be stopped, or hang: what it writes later is refused."""
    asleep = taken(store)
    write(store, heartbeat=store.clock() - 31)
    successor = taken(store)
    with pytest.raises(LeaseLost, match="another run has taken this search over"):
        asleep.renew()
    successor.renew()


def test_machines_and_containers_have_names_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    here = lease.machine()
    assert here == lease.machine()
    monkeypatch.setattr(lease.socket, "gethostname", lambda: "another")
    assert lease.machine() != here
    if Path("/proc/self/ns/pid").exists():
        assert len(here.split()) == 3


RACER = """
import sys
from programs.errors import InputError
from search.store import Lease, open_store
store = open_store(sys.argv[1])
lease = Lease(store, 1)
print("ready", flush=True)
sys.stdin.readline()
try:
    lease.take()
    print("taken", flush=True)
    sys.stdin.readline()
except InputError:
    print("refused", flush=True)
"""


def test_of_two_processes_that_want_it_one_has_it_and_kill_9_frees_it(store: Store) -> None:
    location = store.engine.url.render_as_string(hide_password=False)
    with ExitStack() as stack:
        racers = [stack.enter_context(Command(sys.executable, "-c", RACER, location, listens=True)) for _ in range(2)]
        assert [racer.answer() for racer in racers] == ["ready", "ready"]
        for racer in racers:
            racer.say("go")
        said = {racer.answer(): racer for racer in racers}
        assert said.keys() == {"taken", "refused"}
        assert f"process {said['taken'].pid}; wait" in refusal(store)
        said["taken"].end()
        taken(store)


# --- heartbeat -------------------------------------------------------------------------------------------------------


def test_a_heartbeat_renews_until_it_ends(store: Store) -> None:
    held = taken(store)
    with Heartbeat(held, every=0.01) as heartbeat:
        for _ in range(2):
            write(store, heartbeat=1.0)
            wait_for(lambda: row(store)["heartbeat"] != 1.0, "a heartbeat")
        assert heartbeat.lost is None
    wait_for(lambda: not heartbeat._thread.is_alive(), "the end of the thread")
    write(store, heartbeat=1.0)
    time.sleep(0.1)
    assert row(store)["heartbeat"] == 1.0


def test_a_heartbeat_says_when_the_lease_is_lost(store: Store) -> None:
    with Heartbeat(taken(store), every=0.01) as heartbeat:
        write(store, holder_token=secrets.token_hex(16))
        wait_for(lambda: heartbeat.lost is not None, "the loss")
        assert isinstance(heartbeat.lost, LeaseLost)


def test_a_heartbeat_outlives_trouble(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    held, beats = taken(store), []

    def fail() -> None:
        beats.append(1)
        raise StoreError("away")

    with monkeypatch.context() as patched:
        patched.setattr(held, "renew", fail)
        with Heartbeat(held, every=0.01) as heartbeat:
            wait_for(lambda: len(beats) > 2, "three attempts")
            patched.undo()
            write(store, heartbeat=1.0)
            wait_for(lambda: row(store)["heartbeat"] != 1.0, "a heartbeat")
            assert heartbeat.lost is None


def test_a_heartbeat_ends_at_once(store: Store) -> None:
    with Heartbeat(taken(store), every=1e6) as heartbeat:
        pass
    wait_for(lambda: not heartbeat._thread.is_alive(), "the end of the thread")


def test_a_database_in_memory_has_leases_too() -> None:
    store = open_store("sqlite://", create=True)
    store.create_search("a", {})
    with Heartbeat(taken(store), every=0.01) as heartbeat:
        time.sleep(0.1)
        assert heartbeat.lost is None
    store.close()
