"""Programs that benchmarks train, near AdamW or trained by a search, and the time of their steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from random import Random

import torch

from programs import Program, zoo
from programs.mutation import mutate
from programs.run.batched import Rows

from proxy_tasks.outcome import Status

from search.store import open_store
from search.store.keys import Answer
from search.store.views import ProgramEntry


def near_adamw(number: int) -> list[Program]:
    """Return AdamW and `number - 1` descendants."""
    return near("adamw", number)


def near(name: str, number: int, accepts: Callable[[Program], bool] = lambda _: True) -> list[Program]:
    """Return a program of the zoo and `number - 1` descendants, each three mutations away from one before it."""
    rng, found = Random(1), [zoo.load(name)]
    while len(found) < number:
        child = found[int(rng.random() * len(found))]
        for _ in range(3):
            child, _ = mutate(child, rng)
        if accepts(child):
            found.append(child)
    return found


def trained_programs(location: str, search: str, birth: int, number: int) -> list[Program]:
    """Return the first `number` programs that a search trained well from a birth on."""
    with closing(open_store(location)) as store:
        rows = store.select(
            ProgramEntry, "search = :search AND answered_by = :training AND status = :ok AND birth >= :birth",
            order="birth", limit=number, search=search, training=str(Answer.TRAINING), ok=str(Status.OK), birth=birth,
        )  # fmt: skip
        return [row.program for row in rows]


def shortest_steps(
    steps: Sequence[Callable[[torch.Tensor, torch.Tensor], None]], rows: Sequence[Rows], rounds: int
) -> list[float]:
    """Return the shortest time of each step in seconds of this thread; all are taken in turn, from fresh rows.

    Args:
        steps: called with the learning rate and the number of steps taken before.
        rows: the rows that each step works on.
        rounds: how often each is timed.
    """
    lr, taken, best = torch.tensor([0.5]), torch.zeros(1), [float("inf")] * len(steps)
    with torch.no_grad():
        for _ in range(rounds):
            for i, step in enumerate(steps):
                for buffer, value in zip(rows[i], (0.1, 0.01, 0.01, 0.01), strict=True):
                    buffer.fill_(value)
                step(lr, taken)
                started = time.thread_time()
                step(lr, taken)
                best[i] = min(best[i], time.thread_time() - started)
    return best
