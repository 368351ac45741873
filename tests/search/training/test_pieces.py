"""Retries, halves and verdicts: the guilty are found, the others get their outcomes, and it comes to an end."""

from __future__ import annotations

import math
import os
import platform
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from programs import zoo

from proxy_tasks import DEFAULT_RESOURCES, Outcome, Replica, get_task

from search.training.jobs import DEATHS_ALONE, Failure, FinishedJob, Job, Piece, Pieces, train_job

SIZE = 32


def job(size: int, number: int = 0) -> Job:
    return Job(
        number, replace(get_task("digits_mlp"), steps=5), tuple(Replica(zoo.load("sgd"), n) for n in range(size))
    )


def trained(piece: Piece) -> list[Outcome]:
    """Outcomes that tell which replica they are of."""
    return [Outcome("ok", float(replica.seed), [], 5, 0.0) for replica in piece.work.replicas]


def attempt(pieces: Pieces, piece: Piece, guilty: dict[int, Failure], tries: Counter[str]) -> list[FinishedJob]:
    """Train a piece: the first guilty of its replicas ends it."""
    tries[str(piece)] += 1
    culprit = next((r.seed for r in piece.work.replicas if r.seed in guilty), None)
    if culprit is None:
        return pieces.succeeded(piece, trained(piece))
    return pieces.failed(piece, guilty[culprit], f"because of {culprit}\nand more")


@given(
    st.dictionaries(st.integers(0, SIZE - 1), st.sampled_from(["timeout", "lost", "error"]), max_size=6),
    st.integers(1, SIZE),
    st.randoms(use_true_random=False),
)
def test_every_replica_gets_what_it_deserves(guilty: dict[int, Failure], size: int, rng: object) -> None:
    """With several pieces under way at a time, ended in any order."""
    pieces, finished, tries = Pieces(), [], Counter[str]()
    pieces.submit(job(size))
    under_way: list[Piece] = []
    while not finished:
        while len(under_way) < 3 and (piece := pieces.take()) is not None:
            under_way.append(piece)
        finished += attempt(pieces, under_way.pop(rng.randrange(len(under_way))), guilty, tries)  # type: ignore[attr-defined]
    assert pieces.take() is None and not under_way
    ((number, outcomes),) = finished
    assert number == 0 and len(outcomes) == size
    for seed, outcome in enumerate(outcomes):
        if seed not in guilty:
            assert outcome == Outcome("ok", float(seed), [], 5, 0.0)
            continue
        expected = f"because of {seed}"
        if guilty[seed] == "lost":
            expected = f"its worker died {DEATHS_ALONE if size > 1 else 3} times: {expected}"
        assert (outcome.status, outcome.reason, outcome.fitness) == (guilty[seed], expected, None)
    levels = math.ceil(math.log2(size)) + 1
    assert sum(tries.values()) <= 1 + len(guilty) * (2 * levels + DEATHS_ALONE), "bounded"


@pytest.mark.parametrize("times", [1, 2])
def test_a_worker_killed_for_no_fault_of_the_programs_costs_no_program(times: int) -> None:
    """Once: trained again as it was; twice: in halves. No outcome is touched."""
    pieces = Pieces()
    pieces.submit(job(8))
    for _ in range(times):
        piece = pieces.take()
        assert piece is not None
        assert pieces.failed(piece, "lost", "killed") == []
    sizes, finished = [], []
    while (piece := pieces.take()) is not None:
        sizes.append(len(piece.work.replicas))
        finished += pieces.succeeded(piece, trained(piece))
    assert sizes == ([8] if times == 1 else [4, 4])
    assert [outcome.fitness for outcome in finished[0].outcomes] == [0, 1, 2, 3, 4, 5, 6, 7]


def test_what_failed_is_trained_before_what_waits() -> None:
    """The oldest job holds up the search: nothing may get in before its pieces."""
    pieces = Pieces()
    pieces.submit(job(4))
    pieces.submit(job(4, number=1))
    first = pieces.take()
    assert first is not None
    pieces.failed(first, "timeout", "slow")
    order = []
    while (piece := pieces.take()) is not None:
        order.append((piece.job.number, piece.start))
    assert order == [(0, 0), (0, 2), (1, 0)]


def test_an_outcome_says_which_worker_has_trained_it() -> None:
    (outcome,) = train_job(job(1), DEFAULT_RESOURCES)
    assert (outcome.status, outcome.host, outcome.pid) == ("ok", platform.node(), os.getpid())
