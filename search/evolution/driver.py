"""The loop that runs a search: draw, train, commit in birth order, until the budget is spent or someone stops it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from programs import zoo
from programs.errors import InputError
from programs.fingerprint import FINGERPRINT_VERSION
from programs.ops import user_definitions
from programs.program import parse

from proxy_tasks.outcome import CURVE_POINTS

from search.evolution.history import TRAINED, History, HistorySettings
from search.evolution.meta_validation import MetaValidator
from search.settings.baselines import BASELINES
from search.settings.settings import NOT_PART_OF_HISTORY, Hurdles, Settings
from search.store import BaselineRow, Heartbeat, Lease, ProgramRow, Store, StoreError
from search.store.keys import SearchState
from search.training.evaluators import Evaluator
from search.training.service import Request, TrainingService, scores
from search.training.tasks import meta_validation_tasks, task_seeds
from search.training.tuning import tune


@dataclass
class Progress:
    """Where a search stands, over all its runs."""

    births: int = 0
    """Programs born, trained or not."""
    trained: int = 0
    """Those that were trained."""
    statements: int = 0
    """Of all of them."""
    live_statements: int = 0
    """Of all of them."""
    best_fitness: float | None = None
    """None until something has trained well."""
    baselines: dict[str, BaselineRow] = field(default_factory=dict)
    """The tuned baselines by name."""
    rate: float = 0.0
    """Births per second in this run."""
    seconds_left: float | None = None
    """About, until the budget is spent; None where nobody can tell."""

    def count(self, row: ProgramRow) -> None:
        self.births += 1
        self.trained += row.answered_by in TRAINED
        self.statements += row.statements
        self.live_statements += row.live_statements
        if row.fitness is not None and (self.best_fitness is None or row.fitness > self.best_fitness):
            self.best_fitness = row.fitness

    @property
    def cache_hit_share(self) -> float:
        """Births that were not trained, 0 to 1: what answered them does not matter."""
        return 1 - self.trained / max(1, self.births)

    @property
    def redundant_share(self) -> float:
        """Statements without effect, 0 to 1."""
        return 1 - self.live_statements / max(1, self.statements)

    @property
    def over_adamw(self) -> float | None:
        """Best fitness minus that of tuned AdamW."""
        adamw = self.baselines.get("adamw")
        if adamw is None or adamw.fitness is None or self.best_fitness is None:
            return None
        return self.best_fitness - adamw.fitness


class Driver:
    """Runs one search to the end of its budget, from wherever the store says it stands.

    `run` is all that most callers need. It is made of `start`, `advance` again and again, and `end`.

    Args:
        settings: of the search.
        store: where it is kept.
        evaluator: where programs are trained; the caller closes it.
        report: called with the progress after every commit.

    Raises:
        InputError: the store holds a search of this name with another history.
    """

    def __init__(
        self, settings: Settings, store: Store, evaluator: Evaluator, report: Callable[[Progress], None]
    ) -> None:
        self.settings = settings
        self.store = store
        self.tasks = task_seeds(settings)
        self.service = TrainingService(store, evaluator, settings.evaluator.batch)
        self.progress = Progress()
        self.stopping = False
        self._search_id = find_search(settings, store)
        self._lease = Lease(store, self._search_id)
        self._heartbeat = Heartbeat(self._lease)
        self._meta_validator = MetaValidator(settings, meta_validation_tasks(settings), self.service)
        self._history: History | None = None
        self._requests: dict[int, Request] = {}
        self._report = report
        self._started = self._noted = time.monotonic()
        self._births_before = 0

    @property
    def _hurdles(self) -> Hurdles | None:
        """None too where trainings are so short that their curves have not all points."""
        short = any(task.steps < CURVE_POINTS for task, *_ in self.tasks)
        return None if short else self.settings.hurdles

    def stop(self) -> None:
        """Draw nothing more; what is in flight is still trained and committed."""
        self.stopping = True

    def run(self) -> Progress:
        """Go on until the budget is spent or `stop` is called.

        Raises:
            InputError: another run drives this search.
            RunError: the database can no longer be written, another run has taken the search over, or Ray is gone.
        """
        try:
            self.start()
            while self.advance():
                pass
        except BaseException:
            self.stopping = True
            raise
        finally:
            self.end()
        return self.progress

    def start(self) -> None:
        """Take the search, tune its baselines, and stand where the last run stood.

        Raises:
            InputError: another run drives this search.
        """
        self._lease.take()
        self._heartbeat.__enter__()
        self._lease.update(SearchState.RUNNING, stored(self.settings))
        self._tune_baselines()
        if not self.stopping:  # else there may be nothing to start from
            self._history = self._replay()
            self._births_before = self.progress.births
            self._report(self.progress)

    def advance(self) -> bool:
        """Draw what may be drawn, then commit the oldest batch or wait a moment for it. False when there is none left.

        Raises:
            LeaseLost: another run has taken the search over.
        """
        if self._heartbeat.lost is not None:
            raise self._heartbeat.lost
        history = self._history
        if history is None:
            return False
        while len(history.window) < self.settings.evaluator.lookahead and not self._is_spent(history):
            batch = history.draw(self.settings.budget.programs or float("inf"))
            self._requests[batch.index] = self.service.request(batch.to_train(), self.tasks, batch.hurdles)
        if not history.window:
            return False
        head = history.window[0]
        if not head.committed:
            if self._requests[head.index].missing:
                self.service.poll()
                return True
            points = self._hurdles.points if self._hurdles else ()
            found = scores(self._requests.pop(head.index), self.settings.aggregate, points)
            self._commit(history.finish(head, found))
        history.fold()
        self._meta_validator.evaluate_due(self._lease)
        return True

    def end(self) -> None:
        """Let the search go."""
        self._heartbeat.__exit__(None, None, None)
        with suppress(StoreError):  # what made the run end, or nothing that matters any more
            self._lease.update(SearchState.INTERRUPTED if self.stopping else SearchState.FINISHED)
        self._lease.release()

    def _tune_baselines(self) -> None:
        self.progress.baselines = self.store.baselines(self._search_id)
        missing = [BASELINES[name] for name in self.settings.baselines if name not in self.progress.baselines]
        if not missing:
            return
        settings = self.settings
        tuned = tune(
            missing, self.service, self.tasks, settings.dedup, settings.aggregate, stopped=lambda: self.stopping
        )
        for baseline in tuned:
            self._lease.add_baseline(baseline.row)
            self.progress.baselines[baseline.name] = baseline.row

    def _replay(self) -> History:
        strategy = self.settings.strategy
        start = zoo.load(strategy.start)
        if strategy.start_tuned:
            start = parse(self.progress.baselines[strategy.start].genome)
        evaluator = self.settings.evaluator
        seeds = max(len(task.seeds) for task in self.tasks)
        shape = HistorySettings(self.settings.seed, evaluator.batch, evaluator.lookahead, seeds, self._hurdles)
        history = History(strategy, self.settings.dedup, shape, start)

        def counted() -> Any:
            for row in self.store.births(self._search_id):
                self._count(row)
                yield row

        history.replay(counted())
        self._meta_validator.evaluate_due(self._lease)
        return history

    def _count(self, row: ProgramRow) -> None:
        self.progress.count(row)
        self._meta_validator.count(row)

    def _is_spent(self, history: History) -> bool:
        budget = self.settings.budget
        births = (birth for batch in history.window if not batch.committed for birth in batch.births)
        drawn = sum(birth.is_trained and birth.number >= history.committed_births for birth in births)
        return (
            self.stopping
            or (self.settings.stop_when == "overfit" and self._meta_validator.is_overfit)
            or (budget.programs is not None and history.next_birth >= budget.programs)
            or (budget.evaluations is not None and self.progress.trained + drawn >= budget.evaluations)
            or (budget.minutes is not None and time.monotonic() - self._started >= 60 * budget.minutes)
        )

    def _commit(self, rows: list[ProgramRow]) -> None:
        now = time.monotonic()
        self._lease.add_births(rows, now - self._noted)
        self._noted = now
        for row in rows:
            self._count(row)
        self._estimate(now - self._started)
        self._report(self.progress)

    def _estimate(self, seconds: float) -> None:
        """Rate and time left, by whichever limit of the budget is nearest."""
        budget, progress = self.settings.budget, self.progress
        progress.rate = (progress.births - self._births_before) / max(seconds, 1e-9)
        left = []
        if budget.programs is not None and progress.rate > 0:
            left.append((budget.programs - progress.births) / progress.rate)
        if budget.evaluations is not None and progress.rate > 0:
            share = progress.trained / max(1, progress.births)
            left.append((budget.evaluations - progress.trained) / max(share * progress.rate, 1e-9))
        if budget.minutes is not None and budget.minutes < math.inf:
            left.append(60 * budget.minutes - seconds)
        progress.seconds_left = max(0.0, min(left)) if left else None


def find_search(settings: Settings, store: Store) -> int:
    """The id of the search in the store, new or old.

    Raises:
        InputError: the store holds a search of this name with another history.
    """
    found = store.find_search(settings.name)
    if found is None:
        return store.create_search(settings.name, stored(settings))
    search_id, old = found
    changes = _differences(_history_of(old), settings.history() | {"versions": versions(settings)})
    if changes:
        raise InputError(
            f"{store.location}: search '{settings.name}' was started with other settings ({'; '.join(changes)});"
            " set them back, or start a new search with --name"
        )
    return search_id


def stored(settings: Settings) -> dict[str, Any]:
    """Settings as the store keeps them."""
    return settings.model_dump(mode="json") | {"versions": versions(settings)}


def _history_of(settings: dict[str, Any]) -> dict[str, Any]:
    """The part of stored settings that decides the history; what did not exist yet then has its default."""
    kept = {key: value for key, value in settings.items() if key != "versions"}
    try:
        kept = Settings.model_validate(kept).history()
    except ValidationError:  # of another version: the differences are said as they are
        kept["evaluator"] = {k: v for k, v in settings.get("evaluator", {}).items() if k not in NOT_PART_OF_HISTORY}
        kept = {key: value for key, value in kept.items() if key not in ("name", "budget", "store")}
    return kept | {"versions": settings.get("versions")}


def versions(settings: Settings) -> dict[str, Any]:
    """What the history depends on beside the settings, as far as it does: recorded anchors may be measured again."""
    anchors = {on.task.name: list(on.anchors) for on in task_seeds(settings) if on.anchors is not None}
    return {
        "fingerprint": FINGERPRINT_VERSION if settings.dedup.fingerprint else None,
        "anchors": anchors or None,
        "functions": user_definitions() or None,
    }


def _differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Places where two plain structures differ, as `key: old -> new`."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(old.keys() | new.keys())
        return [d for key in keys for d in _differences(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))]
    return [] if old == new else [f"{path}: {old} -> {new}"]
