"""Replicas dropped early, and cohorts: what is trained less must be what full training would have shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_tasks import Hurdle, Outcome, Replica, Resources, args, configured_process, train
from proxy_tasks.outcome import CURVE_POINTS, apply_hurdles, checkpoint
from proxy_tasks.trainer import replicas_within

from tests.support.trainings import evolved, short_task

TASK = short_task(40)


@pytest.fixture(autouse=True)
def _as_in_a_worker() -> Iterator[None]:
    with configured_process():
        yield


def replicas(number: int = 40) -> list[Replica]:
    rng = Random(3)
    return [Replica(evolved(rng, 30), rng.randrange(2)) for _ in range(number)]


def without_seconds(outcomes: list[Outcome]) -> list[Outcome]:
    return [outcome._replace(seconds=0.0) for outcome in outcomes]


def hurdles_of(outcomes: list[Outcome], points: list[int]) -> list[Hurdle]:
    """Bounds that let ever fewer of the replicas pass."""
    bounds = []
    for i, point in enumerate(points):
        losses = sorted(outcome.curve[point - 1] for outcome in outcomes if len(outcome.curve) >= point)
        bounds.append(Hurdle(point, losses[int(len(losses) * (0.8 - 0.25 * i))]))
    return bounds


def test_dropped_replicas_are_those_whose_full_curve_fails() -> None:
    full = train(TASK, replicas())
    hurdles = hurdles_of(full, [1, 5, 13])
    expected = [apply_hurdles(outcome, hurdles, TASK.steps) for outcome in without_seconds(full)]
    got = without_seconds(train(TASK, replicas(), hurdles))
    assert got == expected
    assert {"ok", "diverged", "dropped"} == {outcome.status for outcome in got}
    assert len({outcome.steps for outcome in got if outcome.status == "dropped"}) == 3


@pytest.mark.parametrize("most", [1, 7, 39, 40, 100])
@pytest.mark.parametrize("points", [[], [2, 9]], ids=["no hurdles", "hurdles"])
def test_outcomes_do_not_depend_on_how_many_are_trained_at_once(most: int, points: list[int]) -> None:
    hurdles = hurdles_of(train(TASK, replicas()), points)
    expected = without_seconds(train(TASK, replicas(), hurdles))
    memory = (most + 0.5) * 2048 / replicas_within(2048, TASK)  # resources for that many
    assert replicas_within(memory, TASK) == most
    assert without_seconds(train(TASK, replicas(), hurdles, Resources(memory_mib=memory))) == expected
    assert without_seconds(train(TASK, replicas(), hurdles, Resources(rows=most))) == expected


def test_a_replica_larger_than_the_memory_is_trained_alone() -> None:
    assert replicas_within(1e-6, TASK) == 1


def test_more_parameters_leave_room_for_fewer_replicas() -> None:
    wide = replace(TASK, model_args=args(hidden=(512,)))
    assert replicas_within(2048, wide) * 4 < replicas_within(2048, TASK)
    assert replicas_within(2048, replace(TASK, batch_size=1024)) < replicas_within(2048, TASK)


losses = st.integers(0, 40).map(lambda n: n / 8)
curves = st.lists(losses, max_size=CURVE_POINTS)
some_hurdles = st.lists(
    st.builds(Hurdle, st.integers(1, CURVE_POINTS - 1), losses), max_size=4, unique_by=lambda h: h.point
).map(sorted)


@given(curves, some_hurdles, some_hurdles)
def test_judging_is_consistent(curve: list[float], first: list[Hurdle], second: list[Hurdle]) -> None:
    """What one set of hurdles drops is later apply_hurdles as the full curve would be, or has to be trained on."""
    ok = len(curve) == CURVE_POINTS
    full = Outcome("ok" if ok else "diverged", -1.0 if ok else None, curve, 40, 1.0, None if ok else "training loss")
    by_first = apply_hurdles(full, first, 40)
    assert by_first is not None
    assert apply_hurdles(full, [], 40) == full
    assert apply_hurdles(by_first, first, 40) == by_first
    again = apply_hurdles(by_first, second, 40)
    assert again in (None, apply_hurdles(full, second, 40))
    if by_first.status == "dropped":
        assert by_first.fitness is None
        assert by_first.steps == checkpoint(len(by_first.curve), 40) < 40
        assert by_first.curve[-1] > next(h.bound for h in first if h.point == len(by_first.curve))
