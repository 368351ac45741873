"""The loop that runs a search: draw, train, commit in birth order, until the budget is spent or someone stops it."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from typing import Any

from programs import zoo
from programs.program import Program, parse

from proxy_tasks.outcome import CURVE_POINTS

from search.errors import RunError
from search.evolution.callbacks import Callback, Callbacks
from search.evolution.constraints import check_starts, constraints_of
from search.evolution.estimates import Estimator, Rungs, measured_noise
from search.evolution.history import History, HistorySettings
from search.evolution.meta_validation import MetaValidator
from search.evolution.outside.asking import Asking
from search.evolution.outside.proposer import check_proposer
from search.evolution.outside.question import Questions
from search.evolution.progress import Progress
from search.evolution.resume import find_search, stored
from search.settings.baselines import BASELINES, is_program
from search.settings.settings import Hurdles, Settings
from search.store import Heartbeat, Lease, ProgramRow, ProposalRow, Store, StoreError
from search.store.keys import SearchState
from search.training.jobs import Evaluator
from search.training.service import Request, TrainingService, scores
from search.training.session import on_signals
from search.training.tuning import TunedCompetitor, tune

log = logging.getLogger("optsearch.run")


class Driver:
    """Runs one search to the end of its budget, from wherever the store says it stands.

    `run` is all that most callers need. It is made of `start`, `advance` again and again, and `end`.

    Args:
        settings: of the search.
        store: where it is kept.
        evaluator: where programs are trained; the caller closes it.
        report: called with the progress after every commit.
        callbacks: told how the search goes; its end is told by the caller of `run`, which knows the verdict.

    Attributes:
        report: may be replaced until the run begins.
        on_stop: called by `run` at the first signal.

    Raises:
        InputError: a start program is larger than programs may be, who is to be asked for programs is not there, or the
            store holds a search of this name with another history.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        evaluator: Evaluator,
        report: Callable[[Progress], None] = lambda _: None,
        callbacks: Iterable[Callback] = (),
    ) -> None:
        check_starts(settings)
        if settings.strategy.proposals is not None:
            check_proposer(settings.strategy.proposals)
        self.settings = settings
        self.store = store
        self.tasks = settings.task_seeds
        self.service = TrainingService(store, evaluator, settings.evaluator.batch, settings.dedup)
        self.progress = Progress()
        self.stopping = False
        self.report = report
        self.callbacks = Callbacks(callbacks)
        self.on_stop: Callable[[], None] = lambda: None
        self._search_id = find_search(settings, store)
        self._lease = Lease(store, self._search_id)
        self._heartbeat = Heartbeat(self._lease)
        self._running = ExitStack()
        self._meta_validator = MetaValidator(settings, self.service)
        self._history: History | None = None
        self._asking: Asking | None = None
        self._questions: Questions | None = None
        self._requests: dict[int, Request] = {}
        self._started = self._noted = time.monotonic()
        self._births_before = self._steps_before = 0

    # --- the loop ----------------------------------------------------------------------------------------------------

    def run(self) -> Progress:
        """Go on until the budget is spent or the search is stopped.

        The first Ctrl-C or SIGTERM stops it as `stop` does, the second at once.

        Raises:
            InputError: another run drives this search.
            RunError: the database can no longer be written, another run has taken the search over, or Ray is gone.
            KeyboardInterrupt: at the second signal.
        """
        self._log_begin()
        with on_signals(self._stop_at_signal):
            try:
                self.start()
                while self.advance():
                    pass
            except BaseException:
                self.stopping = True
                raise
            finally:
                self.end()
        state = "stopped" if self.stopping else "finished"
        log.info("search '%s' %s: %s", self.settings.name, state, self.progress)
        return self.progress

    def start(self) -> None:
        """Take the search, tune its baselines, and stand where the last run stood.

        Raises:
            InputError: another run drives this search.
        """
        self._lease.take()
        self._running.enter_context(self._heartbeat)
        self._lease.update(SearchState.RUNNING, stored(self.settings))
        self._tune_baselines()
        if not self.stopping:  # otherwise the start programs may not be known
            self._history = self._replay()
            self._births_before, self._steps_before = self.progress.births, self.progress.replica_steps
            self.report(self.progress)
            self.callbacks.on_start(self.settings, self.progress)

    def advance(self) -> bool:
        """Draw what may be drawn, then commit the oldest batch or wait a moment for it; False when none is left.

        Raises:
            LeaseLost: another run has taken the search over.
        """
        if self._heartbeat.lost is not None:
            raise self._heartbeat.lost
        history = self._history
        if history is None:
            return False
        while len(history.window) < self.settings.evaluator.lookahead and not self._is_spent(history):
            self._ask_outside(history)
            if self.stopping:
                break
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
        self._running.close()
        with suppress(StoreError):  # it has ended the run already, or does not matter any more
            self._lease.update(SearchState.INTERRUPTED if self.stopping else SearchState.FINISHED)
        self._lease.release()

    def stop(self) -> None:
        """Draw nothing more; what is in flight is still trained and committed."""
        self.stopping = True

    def _stop_at_signal(self, number: signal.Signals) -> None:
        log.info("%s", number.name)
        if self.stopping:
            raise KeyboardInterrupt
        self.stop()
        self.on_stop()

    def _log_begin(self) -> None:
        log.info("search '%s' begins with %s", self.settings.name, self.settings.model_dump_json())
        workers, lookahead = self.settings.evaluator.workers, self.settings.evaluator.lookahead
        if workers != "auto" and workers > lookahead:
            log.warning(
                "%d of %d workers will idle: evaluator.lookahead is %d", workers - lookahead, workers, lookahead
            )

    # --- parts of it -------------------------------------------------------------------------------------------------

    @property
    def _hurdles(self) -> Hurdles | None:
        """The hurdles; None also where trainings are so short that their curves lack points."""
        short = any(on.task.steps < CURVE_POINTS for on in self.tasks)
        return None if short else self.settings.hurdles

    def _tune_baselines(self) -> None:
        self.progress.baselines = self.store.baselines(self._search_id)
        missing = [BASELINES[name] for name in self.settings.baselines if name not in self.progress.baselines]
        if not missing:
            return
        tuned = tune(
            missing,
            self.service,
            [on.unraced for on in self.tasks],
            self.settings.aggregate,
            stopped=lambda: self.stopping,
        )
        found = [one.fitness for one in tuned] + [row.fitness for row in self.progress.baselines.values()]
        if tuned and all(fitness is None for fitness in found):
            self._refuse_to_begin(tuned)
        for baseline in tuned:
            self._lease.add_baseline(baseline.row)
            self.progress.baselines[baseline.name] = baseline.row

    def _refuse_to_begin(self, tuned: Sequence[TunedCompetitor]) -> None:
        """Say why nothing can be trained here.

        Raises:
            RunError: with the first failure.
        """
        candidates = [self.service.candidate(one.program) for one in tuned]
        first = [on.unraced._replace(seeds=on.seeds[:1]) for on in self.tasks]
        found = self.service.evaluate(candidates, first, self.settings.aggregate).values()
        reason = next((f"{one.status}: {one.reason}" for one in found if one.reason), "they fail on some seeds")
        raise RunError(
            f"no baseline trains on the tasks of this search, whatever its learning rate ({reason}); mend the tasks, or"
            " raise their loss_bound"
        )

    def _replay(self) -> History:
        strategy = self.settings.strategy
        starts = [
            parse(self.progress.baselines[name].genome) if strategy.start_tuned else zoo.load(name)
            for name in strategy.start
        ]
        evaluator = self.settings.evaluator
        settings = HistorySettings(
            self.settings.seed, evaluator.batch, evaluator.lookahead, self._estimator(starts), self._hurdles,
            self.settings.functions, constraints_of(strategy, self.tasks), zoo.within(self.settings.functions),
        )  # fmt: skip
        history = History(strategy, self.settings.dedup, settings, starts)
        if strategy.proposals is not None:
            baselines = self.progress.baselines.values()
            self._asking = Asking(self.settings, strategy.proposals, self._lease)
            self._questions = Questions(self.settings, self.tasks, settings.constraints.layouts, baselines)
        history.replay(self._counted_births(), self._asking.given() if self._asking is not None else ())
        self._meta_validator.evaluate_due(self._lease)
        return history

    def _ask_outside(self, history: History) -> None:
        """Give the history what there is from outside for the next batch; waits for the answer."""
        asking, questions, birth = self._asking, self._questions, history.next_birth
        if asking is None or questions is None:
            return

        def question(population: int, refused: Sequence[ProposalRow]) -> dict[str, Any]:
            return questions.about(population, birth, history.known(population), refused)

        given = asking.before(birth, question, lambda: self.stopping)
        if given is not None:
            history.give(given)

    def _estimator(self, starts: Sequence[Program]) -> Estimator:
        """Return estimates with the noise of the tasks, measured with the tuned baselines and the start programs."""
        rows = [row for row in self.progress.baselines.values() if row.fitness is not None and is_program(row.name)]
        references = [parse(row.genome) for row in rows] + [*starts] * (self.settings.strategy.kind != "random")
        candidates = {one.key: one for one in map(self.service.candidate, references)}
        several = any(len(on.seeds) > 1 for on in self.tasks)  # on one seed alone nothing shows
        trained = self.service.train([*candidates.values()] * several, [on.unraced for on in self.tasks])
        noise = []
        for place, on in enumerate(self.tasks):
            known = [found[place].losses(on.seeds) for found in trained if not found[place].failures]
            noise.append(measured_noise([[on.place(loss) for loss in losses] for losses in known], on.place(0.0)))
        return Estimator(Rungs(self.tasks), self.settings.aggregate, noise)

    def _counted_births(self) -> Iterator[ProgramRow]:
        for row in self.store.births(self._search_id):
            self._count(row)
            yield row

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
            or (budget.replica_steps is not None and self.progress.replica_steps >= budget.replica_steps)
            or (budget.minutes is not None and time.monotonic() - self._started >= 60 * budget.minutes)
        )

    def _commit(self, rows: list[ProgramRow]) -> None:
        now = time.monotonic()
        self._lease.add_births(rows, now - self._noted)
        self._noted = now
        for row in rows:
            self._count(row)
        self._estimate(now - self._started)
        self.report(self.progress)
        self.callbacks.on_commit(rows, self.progress)

    def _estimate(self, seconds: float) -> None:
        """Estimate rate and time left, by whichever limit of the budget is nearest."""
        budget, progress = self.settings.budget, self.progress
        progress.rate = (progress.births - self._births_before) / max(seconds, 1e-9)
        left = []
        if budget.programs is not None and progress.rate > 0:
            left.append((budget.programs - progress.births) / progress.rate)
        if budget.evaluations is not None and progress.rate > 0:
            share = progress.trained / max(1, progress.births)
            left.append((budget.evaluations - progress.trained) / max(share * progress.rate, 1e-9))
        if budget.replica_steps is not None and progress.replica_steps > self._steps_before:
            pace = (progress.replica_steps - self._steps_before) / max(seconds, 1e-9)
            left.append((budget.replica_steps - progress.replica_steps) / pace)
        if budget.minutes is not None:
            left.append(60 * budget.minutes - seconds)
        progress.seconds_left = max(0.0, min(left)) if left else None
