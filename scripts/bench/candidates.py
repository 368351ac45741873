"""Programs that benchmarks train: near AdamW, or those that a search has trained."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from random import Random

from programs import Program, zoo
from programs.mutation import mutate

from proxy_tasks.outcome import Status

from search.store import open_store
from search.store.keys import Answer
from search.store.views import ProgramEntry


def near_adamw(number: int, accepts: Callable[[Program], bool] = lambda _: True) -> list[Program]:
    """Return AdamW and `number - 1` descendants, each three mutations away from one before it."""
    rng, found = Random(1), [zoo.load("adamw")]
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
