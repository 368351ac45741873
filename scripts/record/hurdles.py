"""What hurdles would have saved in a search that trained everything to the end, and which programs they would drop.

    optsearch run CONFIG --set hurdles=off --set store=sqlite:///full.db
    python -m scripts.record.hurdles full.db SEARCH [--better-part 0.5] [--quantile 1.0] [--at 0.05 0.1 0.2 0.3 0.5 0.7]

Goes through the births in order and learns hurdles exactly as a search does, from the programs that it would have
trained to the end. The births stay as they were. A program is lost if it is dropped although it ends in the best 1 % of
those trained.
"""

from __future__ import annotations

import argparse
from collections import deque
from contextlib import closing
from itertools import groupby
from typing import NamedTuple

from proxy_tasks.outcome import Outcome, Status, apply_hurdles

from search.evolution.hurdles import REMEMBERED, FinishedProgram, learned_hurdles
from search.settings.settings import Hurdles
from search.settings.settings_file import stored_settings
from search.settings.tasks import TaskSeeds
from search.store import ProgramRow, Store, open_store
from search.store.keys import Answer, TrainingKey
from search.training.service import Request, scores


class Saved(NamedTuple):
    """Replica steps of full training and those that remain with hurdles; counts of programs."""

    full: int
    left: int
    best: int
    lost: int
    dropped: int
    trained: int


def replayed(store: Store, search: str, hurdles: Hurdles) -> Saved:
    """Return what a search without hurdles would have trained with them."""
    found = store.find_search(search)
    assert found is not None, f"no search {search}"
    settings = stored_settings(found.settings, search)
    assert settings.hurdles is None, "give a search with hurdles: off"
    tasks = settings.task_seeds
    trained = [row for row in store.births(found.id) if row.answered_by == Answer.TRAINING]
    ranked = sorted((row for row in trained if row.fitness is not None), key=lambda row: -(row.fitness or 0))
    best = {row.birth for row in ranked[: max(1, len(trained) // 100)]}
    finished: deque[FinishedProgram] = deque(maxlen=REMEMBERED)
    in_flight: deque[list[FinishedProgram]] = deque()
    full = left = lost = dropped = 0
    for _, rows in groupby(trained, key=lambda row: row.batch):
        if len(in_flight) == settings.evaluator.lookahead:
            finished += in_flight.popleft()
        of_tasks = learned_hurdles(finished, hurdles) or [[] for _ in tasks]
        in_flight.append([])
        for row in rows:
            request = _outcomes(store, row, tasks)
            full += sum(outcome.steps for outcome in request.outcomes.values())
            for on, bars in zip(tasks, of_tasks, strict=True):
                for key, outcome in request.outcomes.items():
                    if key.task_fingerprint == on.task.fingerprint:
                        request.outcomes[key] = apply_hurdles(outcome, bars, on.task.steps) or outcome
            left += sum(outcome.steps for outcome in request.outcomes.values())
            score = scores(request, settings.aggregate, hurdles.points)[row.key]
            if score.status == Status.DROPPED:
                dropped += 1
                lost += row.birth in best
            elif score.fitness is not None and score.hurdle_losses is not None:
                in_flight[-1].append(FinishedProgram(score.fitness, score.hurdle_losses))
    return Saved(full, left, len(best), lost, dropped, len(trained))


def _outcomes(store: Store, row: ProgramRow, tasks: list[TaskSeeds]) -> Request:
    outcomes: dict[TrainingKey, Outcome] = {}
    for task, seeds, _ in tasks:
        outcomes |= store.trainings(task.fingerprint, [row.key], list(seeds))
    return Request(tasks, list(outcomes), outcomes)


def main() -> None:
    default = Hurdles()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("search")
    parser.add_argument("--better-part", type=float, default=default.better_part)
    parser.add_argument("--quantile", type=float, default=default.quantile)
    parser.add_argument("--at", type=float, nargs="+", default=default.at)
    options = parser.parse_args()
    hurdles = Hurdles(at=tuple(options.at), better_part=options.better_part, quantile=options.quantile)
    with closing(open_store(options.store)) as store:
        saved = replayed(store, options.search, hurdles)
    print(
        f"{options.search}: {saved.full:,} replica steps in full, {saved.left:,} with hurdles:"
        f" {saved.full / saved.left:.2f} times fewer; {saved.dropped / saved.trained:.0%} of {saved.trained:,} trained"
        f" programs dropped, {saved.lost} of the best {saved.best} lost"
    )


if __name__ == "__main__":
    main()
