"""The engine without processes: whatever order things happen in, whoever dies, there is one history.

A state machine after the life of a search: a driver draws and commits, pieces of its jobs are dispatched, finish or are
lost with their worker; the driver is stopped, killed, succeeded while it sleeps, and continued. At every moment the
store holds a beginning of the history that an undisturbed run has, and in the end all of it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import text

from programs import zoo
from programs.errors import InputError

from proxy_tasks import Outcome

from search.evolution.driver import Driver
from search.settings.settings import Settings
from search.store import LeaseLost, Store, lease, open_store
from search.training.jobs import FinishedJob, Job, Piece, Pieces
from search.training.service import TrainingService

from tests.support.searches import (
    HISTORY,
    PretendingEvaluator,
    history_of,
    key_of,
    opened,
    pretended,
    rows_of_query,
    settings_of,
)

PAPER = settings_of(budget={"programs": 60})
RACED = settings_of(
    budget={"programs": 60}, strategy={"kind": "evolution", "constants": 0.4},
    tasks=[{"name": "digits_mlp", "steps": 5, "seeds": {"first": 1, "most": 4}}],
)  # fmt: skip
TIMEOUT = "took too long"


def is_guilty(key: str) -> bool:
    """Programs that end every worker that trains them."""
    return int(key[8:10], 16) % 16 == 0


def is_slow(key: str) -> bool:
    """Programs that never end."""
    return int(key[8:10], 16) % 16 == 1


class Workers:
    """An evaluator whose pieces are finished or lost when the test says so."""

    def __init__(self) -> None:
        self.pieces = Pieces()
        self.running: list[Piece] = []
        self.submitted: list[Job] = []
        self._finished: list[FinishedJob] = []

    def submit(self, job: Job) -> None:
        self.submitted.append(job)
        self.pieces.submit(job)

    def collect(self, timeout: float) -> list[FinishedJob]:
        finished, self._finished = self._finished, []
        return finished

    def dispatch(self) -> None:
        if (piece := self.pieces.take()) is not None:
            self.running.append(piece)

    def finish(self, number: int) -> None:
        """A piece comes to its end, whatever that is."""
        piece = self.running.pop(number % len(self.running))
        keys = [key_of(replica.program) for replica in piece.work.replicas]
        if any(map(is_slow, keys)):
            self._finished += self.pieces.failed(piece, "timeout", TIMEOUT)
        elif any(map(is_guilty, keys)):
            self._finished += self.pieces.failed(piece, "lost", "died")
        else:
            self._finished += self.pieces.succeeded(piece, outcomes(keys, piece))

    def lose(self, number: int) -> None:
        """Somebody kills the worker of a piece, which is none of the piece's fault."""
        piece = self.running[number % len(self.running)]
        if not piece.is_last_chance:  # three times the same program alone: nobody can know better then
            self.running.remove(piece)
            self._finished += self.pieces.failed(piece, "lost", "died")

    def peak_memory(self) -> list[float]:
        return []

    def close(self) -> None:
        pass


def outcomes(keys: Sequence[str], piece: Piece) -> list[Outcome]:
    return [pretended(key, replica.seed) for key, replica in zip(keys, piece.work.replicas, strict=True)]


def work_off(driver: Driver, workers: Workers, rng: Random) -> None:
    """Everything to the end, in some order."""
    while driver.advance():
        workers.dispatch()
        if workers.running:
            workers.finish(rng.randrange(1000))


def prepare(settings: Settings, store: Store) -> None:
    """What a run trains before its first birth, and waits for."""
    tasks = [on.unraced for on in settings.task_seeds]
    TrainingService(store, PretendingEvaluator(), 4, settings.dedup).train([zoo.load("sgd_momentum")], tasks)


@pytest.fixture(scope="module", autouse=True)
def whole(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The histories that nothing disturbed."""
    for life in (Life, RacedLife):
        with opened(tmp_path_factory.mktemp("engine") / "r.db") as store:
            workers = Workers()
            prepare(life.settings, store)
            driver = Driver(life.settings, store, workers, lambda _: None)
            driver.start()
            work_off(driver, workers, Random(0))
            driver.end()
            life.whole = history_of(store)
        columns = HISTORY.replace(",", " ").split()
        statuses = {row[columns.index("status")] for row in life.whole}
        assert statuses - {"rejected"} == {"ok", "diverged", "lost", "timeout"} and len(life.whole) == 60
        assert "rejected" in statuses or life is RacedLife
        answers = {row[columns.index("answered_by")] for row in life.whole}
        assert ("reevaluation" in answers) is (life is RacedLife)


class Life(RuleBasedStateMachine):
    """Of one search."""

    settings = PAPER
    whole: list[tuple[Any, ...]]
    store: Store

    @initialize()
    def begin(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.store = open_store(str(Path(self._folder.name) / "r.db"), create=True)
        prepare(self.settings, self.store)
        self.driver: Driver | None = None
        self.workers = Workers()
        self.sleeper: Driver | None = None
        self.evaluations: list[tuple[Any, ...]] = []

    def teardown(self) -> None:
        if not hasattr(self, "store"):
            return
        if self.driver is None:
            self._start()
        assert self.driver is not None
        work_off(self.driver, self.workers, Random(1))
        self.driver.end()
        assert history_of(self.store) == self.whole
        if self.sleeper is not None:
            self.sleeper.end()
        assert rows_of_query(self.store, "SELECT state, holder FROM search") == [{"state": "finished", "holder": None}]
        self.store.close()
        self._folder.cleanup()

    def _start(self) -> None:
        self.workers = Workers()
        self.driver = Driver(self.settings, self.store, self.workers, lambda _: None)
        self.driver.start()

    # --- what happens ------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.driver is None)
    @rule()
    def continue_(self) -> None:
        self._start()

    @precondition(lambda self: self.driver is not None)
    @rule(times=st.integers(1, 4))
    def draw_and_commit(self, times: int) -> None:
        assert self.driver is not None
        for _ in range(times):
            if not self.driver.advance():
                self.driver.end()
                self.driver = None
                return

    @precondition(lambda self: self.driver is not None)
    @rule(times=st.integers(1, 5))
    def dispatch(self, times: int) -> None:
        for _ in range(times):
            self.workers.dispatch()

    @precondition(lambda self: self.driver is not None and self.workers.running)
    @rule(number=st.integers(0, 100))
    def finish(self, number: int) -> None:
        self.workers.finish(number)

    @precondition(lambda self: self.driver is not None and self.workers.running)
    @rule(number=st.integers(0, 100))
    def lose(self, number: int) -> None:
        self.workers.lose(number)

    @precondition(lambda self: self.driver is not None)
    @rule()
    def stop(self) -> None:
        """Ctrl-C: what is in flight is still committed."""
        assert self.driver is not None
        self.driver.stop()
        work_off(self.driver, self.workers, Random(2))
        self.driver.end()
        self.driver = None

    @precondition(lambda self: self.driver is not None)
    @rule()
    def kill(self) -> None:
        """The process is gone, with all that it had not written; nobody tidies up after it."""
        assert self.driver is not None
        self.driver._heartbeat.__exit__(None, None, None)
        lease._held.discard(self.driver._lease.token)
        self.driver = None

    @precondition(lambda self: self.driver is not None)
    @rule()
    def intrude(self) -> None:
        """A second run of the same search."""
        intruder = Driver(self.settings, self.store, Workers(), lambda _: None)
        with pytest.raises(InputError, match="is being run by"):
            intruder.start()
        intruder.end()

    @precondition(lambda self: self.driver is not None and self.sleeper is None)
    @rule()
    def fall_asleep(self) -> None:
        """The driver's machine is suspended for so long that another run succeeds it."""
        assert self.driver is not None
        self.sleeper, self._sleepers_workers = self.driver, self.workers
        with self.store.writing() as connection:
            connection.execute(text("UPDATE search SET heartbeat = heartbeat - 1000"))
        with pytest.MonkeyPatch.context() as patched:  # here the thread of its heartbeat does not sleep
            patched.setattr(lease, "WATCH_SECONDS", 0.0)
            self._start()

    @precondition(lambda self: self.sleeper is not None)
    @rule()
    def wake_up(self) -> None:
        """It goes on as if nothing had happened, until it would commit."""
        assert self.sleeper is not None
        before = history_of(self.store)
        with suppress(LeaseLost):
            work_off(self.sleeper, self._sleepers_workers, Random(3))
        self.sleeper.end()
        self.sleeper = None
        assert history_of(self.store) == before

    # --- what must hold ----------------------------------------------------------------------------------------------

    @invariant()
    def the_store_holds_a_beginning_of_the_history(self) -> None:
        if hasattr(self, "store"):
            part = history_of(self.store)
            assert part == self.whole[: len(part)]

    @invariant()
    def what_has_been_trained_stays(self) -> None:
        """Outcomes once known are never lost, changed, or doubled; but failures of circumstance are tried again."""
        if hasattr(self, "store"):
            query = "SELECT key, seed, fitness, status FROM training WHERE status IN ('ok', 'diverged') ORDER BY id"
            now = [tuple(row.values()) for row in rows_of_query(self.store, query)]
            assert set(self.evaluations) <= set(now) and len({row[:2] for row in now}) == len(now)
            self.evaluations = now


class RacedLife(Life):
    """Of a search that races programs over seeds."""

    settings = RACED


Life.TestCase.settings = RacedLife.TestCase.settings = hypothesis_settings(max_examples=25, stateful_step_count=60)
TestLife, TestRacedLife = Life.TestCase, RacedLife.TestCase
