"""Small searches: settings, an evaluator that only pretends to train, and histories as plain rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from sqlalchemy import text

from programs import Program
from programs.errors import InputError
from programs.hashing import dataflow_hash

from proxy_tasks import Outcome, Replica
from proxy_tasks.outcome import TorchOptimizer

from search.evolution.driver import Driver
from search.evolution.progress import Progress
from search.settings.settings import Dedup, Settings
from search.store import Store, open_store
from search.training.jobs import Evaluator, FinishedJob, Job
from search.training.service import identify

BIRTHS = 100


def key_of(program: Program | TorchOptimizer) -> str:
    """Return the key of the program's trainings, with the default settings."""
    if isinstance(program, TorchOptimizer):
        return program.key
    return identify(program, dataflow_hash(program), Dedup()).key


def settings_of(**changes: Any) -> Settings:
    """A search in batches of 4, of programs with so few statements that many are twins."""
    data: dict[str, Any] = {
        "name": "small",
        "seed": 12,
        "strategy": {"kind": "paper", "population": 8, "tournament": 3, "start": "sgd_momentum"},
        "budget": {"programs": BIRTHS},
        "tasks": [{"name": "digits_mlp", "steps": 5, "seeds": 1}],
        "evaluator": {"kind": "inline", "batch": 4, "lookahead": 3},
        "baselines": [],
    }
    for key, value in changes.items():
        data[key] = data[key] | value if isinstance(data.get(key), dict) else value
    return Settings.model_validate(data)


def pretended(key: str, seed: int) -> Outcome:
    """What training a program might give: a pure function of key and seed, diverged for a fifth of the keys."""
    if int(key[:8], 16) % 5 == 0:
        return Outcome("diverged", None, [1.0], 1, 0.5, f"pretended divergence of {key[:2]}")
    return Outcome("ok", -Random(f"{key} {seed}").random(), [1.0, 0.5], 5, 0.5)


class PretendingEvaluator:
    """Answers jobs one by one in a random order, at most `limit` of them; then it is interrupted."""

    def __init__(self, order: int = 0, limit: float = math.inf) -> None:
        self.jobs: list[Job] = []
        self.submitted: list[Job] = []
        self._rng = Random(order)
        self._left = limit

    def submit(self, job: Job) -> None:
        self.jobs.append(job)
        self.submitted.append(job)

    def collect(self, timeout: float) -> list[FinishedJob]:
        if not self.jobs or self._rng.random() < 0.2:
            return []
        if self._left <= 0:
            raise KeyboardInterrupt
        self._left -= 1
        job = self.jobs.pop(self._rng.randrange(len(self.jobs)))
        return [FinishedJob(job.number, [self.outcome(job, r) for r in job.replicas])]

    def outcome(self, _job: Job, replica: Replica) -> Outcome:
        """What is said of a replica."""
        return pretended(key_of(replica.program), replica.seed)

    def trained(self) -> list[tuple[str, str, int]]:
        """Key, task and seed of everything that was to be trained."""
        return [(key_of(r.program), job.task.fingerprint, r.seed) for job in self.submitted
                for r in job.replicas]  # fmt: skip

    def peak_memory(self) -> list[float]:
        return []

    def close(self) -> None:
        self.jobs.clear()


class CurvedEvaluator(PretendingEvaluator):
    """Gives curves such as real trainings have."""

    def outcome(self, job: Job, replica: Replica) -> Outcome:
        known = super().outcome(job, replica)
        if known.fitness is None:
            return known._replace(curve=[2.3, 2.6, 9.9])
        start = Random(key_of(replica.program)).uniform(1.5, 2.5)
        curve = [(start + known.fitness) * math.exp(-n / 4) - known.fitness for n in range(20)]
        return known._replace(curve=curve, steps=job.task.steps)


@contextmanager
def opened(path: Path) -> Iterator[Store]:
    """The database at the path, made if need be."""
    store = open_store(str(path), create=True)
    try:
        yield store
    finally:
        store.close()


def run(
    settings: Settings, store: Store, evaluator: Evaluator, report: Callable[[Driver, Progress], None] | None = None
) -> Driver:
    """Run a search; `report` gets the driver too, so that it can stop it."""
    driver: Driver

    def reported(progress: Progress) -> None:
        if report is not None:
            report(driver, progress)

    driver = Driver(settings, store, evaluator, reported)
    driver.run()
    return driver


def stop_at(births: int) -> Callable[[Driver, Progress], None]:
    """A report that stops the driver once so many births are committed."""

    def report(driver: Driver, progress: Progress) -> None:
        if progress.births >= births:
            driver.stop()

    return report


def filled(path: Path) -> None:
    """Put the database of a small search at the path."""
    path.write_bytes(_filled())


@cache
def _filled() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "results.db"
        with opened(path) as store:
            run(settings_of(), store, PretendingEvaluator())
        return path.read_bytes()


def refusal(location: object, create: bool = False) -> str:
    """Return the one line with which a database is refused."""
    with pytest.raises(InputError) as raised:
        open_store(str(location), create)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def rows_of_query(store: Store, sql: str, **parameters: Any) -> list[dict[str, Any]]:
    """What a query finds, by the names of its columns, as the database gives it."""
    with store.reading() as connection:
        return [dict(row) for row in connection.execute(text(sql), parameters).mappings()]


HISTORY = """birth, batch, parent_birth, mutation, genome, dataflow_hash, key, answered_by,
             status, fitness, reason, trainings, standard_error"""


def history_of(store: Store, name: str = "small") -> list[tuple[Any, ...]]:
    """Everything of a search that must not depend on how it was run."""
    query = f"""SELECT {HISTORY} FROM program WHERE search_id = (SELECT id FROM search WHERE name = :name)
                ORDER BY birth"""
    return [tuple(row.values()) for row in rows_of_query(store, query, name=name)]


def uninterrupted(settings: Settings, path: Path) -> list[tuple[Any, ...]]:
    """The history of the search in a database of its own, with pretended training."""
    with opened(path) as store:
        run(settings, store, PretendingEvaluator())
        return history_of(store, settings.name)


def column(history: Sequence[tuple[Any, ...]], name: str) -> list[Any]:
    """One column of a history."""
    place = HISTORY.replace(",", " ").split().index(name)
    return [row[place] for row in history]
