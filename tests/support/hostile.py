"""A search in which some evaluations misbehave: what they do, and the search with and without them."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from proxy_tasks import Resources
from proxy_tasks.outcome import Outcome

from search.evolution.driver import Driver
from search.settings.settings import Settings
from search.store import Store, open_store
from search.training.inline import InlineEvaluator
from search.training.jobs import Failure, FinishedJob, Job, Piece, Pieces, Trainer, failed, train_job
from search.training.ray_pool import RayEvaluator
from search.training.session import logging_to

from tests.support.searches import rows_of_query

GRACE = 5.0  # seconds beyond the time allowed


def _loop_forever() -> None:
    while True:
        pass


def _hold_the_interpreter() -> None:
    10 ** (10**9)


def _sleep() -> None:
    time.sleep(10**6)


def _allocate() -> None:
    taken = []
    while True:
        taken.append(b"x" * 2**26)  # written to, so that it counts


def _exit() -> None:
    os._exit(3)


def _crash() -> None:
    ctypes.string_at(0)


def _raise() -> None:
    raise ValueError("not in the mood\nfor one line")


def _stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


class Behaviour(NamedTuple):
    """What a hostile evaluation does, and what is to be recorded."""

    act: Callable[[], None]
    status: Failure
    reason: str
    """A pattern of the reason."""


HOSTILE = {
    "loops forever in Python": Behaviour(_loop_forever, "timeout", r"took longer than evaluator.timeout_s"),
    "holds the interpreter in C": Behaviour(_hold_the_interpreter, "timeout", r"took longer than evaluator.timeout_s"),
    "sleeps": Behaviour(_sleep, "timeout", r"took longer than evaluator.timeout_s"),
    "allocates without bound": Behaviour(_allocate, "error", r"out of memory \(evaluator.memory_limit_mib is"),
    "ends its process": Behaviour(_exit, "lost", r"its worker died 3 times: "),
    "crashes": Behaviour(_crash, "lost", r"its worker died 3 times: (SIGSEGV|Segmentation fault)"),
    "raises": Behaviour(_raise, "error", r"ValueError: not in the mood$"),
    "stops itself": Behaviour(_stop, "timeout", r"took longer than evaluator.timeout_s"),
}  # fmt: skip


def hostile_trainer(roles: dict[str, str], train: Trainer = train_job) -> Trainer:
    """A trainer that behaves badly when it meets certain programs, after it has trained the batch."""

    def trainer(job: Job, resources: Resources) -> list[Outcome]:
        outcomes = train(job, resources)
        for replica in job.replicas:
            if (role := roles.get(str(replica.program))) is not None:
                HOSTILE[role].act()
        return outcomes

    return trainer


class Casting:
    """A trainer that gives hostile roles to programs, one in every other batch, and verdicts to these programs."""

    def __init__(self, train: Trainer = train_job) -> None:
        self.roles: dict[str, str] = {}
        self._train = train
        self._left = list(HOSTILE)

    def __call__(self, job: Job, resources: Resources) -> list[Outcome]:
        outcomes = self._train(job, resources)
        if job.number % 2 and self._left:
            self.roles[str(job.replicas[len(job.replicas) // 2].program)] = self._left.pop(0)
        for number, replica in enumerate(job.replicas):
            if (role := self.roles.get(str(replica.program))) is not None:
                outcomes[number] = failed(job, HOSTILE[role].status, "")[0]
        return outcomes


class Attempt(NamedTuple):
    """A piece that was tried, for how many seconds, and what came of it."""

    piece: Piece
    seconds: float
    result: str


class TimedPieces(Pieces):
    """Notes how long each attempt takes, from its dispatch to its verdict."""

    def __init__(self) -> None:
        super().__init__()
        self.attempts: list[Attempt] = []
        self._since: dict[Piece, float] = {}

    def take(self) -> Piece | None:
        piece = super().take()
        if piece is not None:
            self._since[piece] = time.monotonic()
        return piece

    def succeeded(self, piece: Piece, outcomes: list[Outcome]) -> list[FinishedJob]:
        if piece in self._since:  # else it has failed alone, which is noted already
            self._note(piece, "ok")
        return super().succeeded(piece, outcomes)

    def failed(self, piece: Piece, status: Failure, reason: str) -> list[FinishedJob]:
        self._note(piece, status)
        return super().failed(piece, status, reason)

    def _note(self, piece: Piece, result: str) -> None:
        self.attempts.append(Attempt(piece, time.monotonic() - self._since.pop(piece), result))


class Watch(threading.Thread):
    """Looks at the workers again and again: their memory, and when each was last there."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most_memory: Counter[int] = Counter()
        self.most_in_all = 0
        self.last_seen: dict[int, float] = {}
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(0.1):
            in_all = 0
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error, IndexError):
                    if process.cmdline()[0].startswith("ray::Worker") and process.status() != psutil.STATUS_ZOMBIE:
                        memory = process.memory_info().rss
                        in_all += memory
                        self.last_seen[process.pid] = time.time()
                        self.most_memory[process.pid] = max(self.most_memory[process.pid], memory)
            self.most_in_all = max(self.most_in_all, in_all)

    def end(self) -> None:
        self._ended.set()
        self.join()


def settings(folder: Path, programs: int, task: dict[str, Any], **evaluator: Any) -> Settings:
    """A search with little memory for each worker."""
    return Settings.model_validate(
        {
            "name": "hostile", "seed": 5, "strategy": {"kind": "paper", "population": 20, "start": "adamw"},
            "budget": {"programs": programs}, "tasks": [task], "baselines": [],
            "store": str(folder / "results.db"),
            "evaluator": {"kind": "ray", "lookahead": 4, "memory_mib": 256, "memory_limit_mib": 1024} | evaluator,
        }
    )  # fmt: skip


HISTORY = """birth, batch, parent_birth, mutation, genome, key, answered_by, status, fitness, trainings, standard_error,
             hurdle_losses"""


def history(store: Store) -> list[tuple[Any, ...]]:
    """Everything but the reasons, which tell how a worker died."""
    return [tuple(row.values()) for row in rows_of_query(store, f"SELECT {HISTORY} FROM program ORDER BY birth")]


class Played(NamedTuple):
    """A search with hostile programs: histories of both runs, reasons by role, attempts."""

    expected: list[tuple[Any, ...]]
    found: list[tuple[Any, ...]]
    verdicts: dict[str, tuple[str, str]]
    attempts: list[Attempt]
    roles: dict[str, str]


def play(chosen: Settings, folder: Path, train: Trainer = train_job) -> Played:
    """Run the search in this process to cast the roles, then on workers.

    Args:
        chosen: settings of the search.
        folder: an empty one, for databases and log.
        train: what trains innocent programs.
    """
    casting = Casting(train)
    with closing(open_store(str(folder / "cast.db"), create=True)) as store:
        Driver(chosen, store, InlineEvaluator(trainer=casting), lambda _: None).run()
        expected = history(store)
    evaluator = RayEvaluator(chosen.evaluator, hostile_trainer(casting.roles, train))
    pieces = evaluator._pieces = TimedPieces()
    with (
        closing(open_store(chosen.store, create=True)) as store,
        logging_to(store.log_path),
        closing(evaluator),
    ):
        Driver(chosen, store, evaluator, lambda _: None).run()
        trained = rows_of_query(store, "SELECT genome, status, reason FROM program WHERE answered_by = 'training'")
        verdicts = {
            casting.roles[row["genome"]]: (row["status"], row["reason"])
            for row in trained
            if row["genome"] in casting.roles
        }
        return Played(expected, history(store), verdicts, pieces.attempts, casting.roles)


def attempts_by_role(played: Played) -> dict[str, list[Attempt]]:
    """Attempts at pieces in which there was a hostile program; in a piece with two, of the first."""
    found = defaultdict(list)
    for attempt in played.attempts:
        roles = [played.roles.get(str(replica.program)) for replica in attempt.piece.work.replicas]
        if role := next(filter(None, roles), None):
            found[role].append(attempt)
    return found
