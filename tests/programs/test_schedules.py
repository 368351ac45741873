"""Schedules: what holds for all of them, and the functions that exported files bring."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from programs import parse
from programs.errors import InputError
from programs.export import optax_source, torch_source
from programs.export.variables import RESERVED
from programs.schedules import NAMES, SHAPES, Schedule

SHARES = st.floats(0, 0.5)
FACTORS = st.floats(0, 1)
FORMS = st.sampled_from(NAMES) | st.lists(FACTORS, min_size=2, max_size=6).map(tuple).filter(any)
SCHEDULES = st.builds(Schedule, FORMS, SHARES, SHARES)
STEPS = st.integers(1, 300)


@given(schedule=SCHEDULES, steps=STEPS)
def test_there_is_a_factor_from_0_to_1_for_each_step_and_the_warm_up_rises_in_a_line(
    schedule: Schedule, steps: int
) -> None:
    schedule.check("x")
    values = schedule.values(steps)
    assert values.shape == (steps,) and values.dtype == np.float32
    assert values.min() >= 0 and values.max() <= 1
    warm = min(schedule.warm_steps(steps), steps)
    peak = schedule.points[0] if schedule.points else 1.0
    np.testing.assert_allclose(values[:warm], peak * np.arange(1, warm + 1) / schedule.warm_steps(steps), atol=1e-6)


@given(schedule=SCHEDULES, steps=st.integers(30, 300))
def test_schedules_end_at_zero_where_they_should(schedule: Schedule, steps: int) -> None:
    """The last step of a fall is one step before zero; points are reached."""
    last = schedule.values(steps)[-1]
    if schedule.name == "constant":
        assert last == 1
    elif schedule.points:
        assert last == np.float32(schedule.points[-1])
    else:
        falling = max(1, round(schedule.decay * steps)) if schedule.name == "wsd" else steps * (1 - schedule.warmup)
        assert 0 < last <= 1.1 / max(1, falling - 1)


@given(warmup=SHARES, steps=STEPS)
def test_wsd_that_never_stays_is_linear_and_one_that_hardly_falls_is_constant(warmup: float, steps: int) -> None:
    wsd, linear = (Schedule(form, warmup, 1 - warmup).values(steps) for form in ("wsd", "linear"))
    np.testing.assert_allclose(wsd, linear, atol=1.6 / max(1, steps - Schedule("wsd", warmup).warm_steps(steps)))
    none, constant = (Schedule(form, warmup, 0.0).values(steps) for form in ("wsd", "constant"))
    np.testing.assert_array_equal(none, constant)


@given(form=st.sampled_from(NAMES), steps=st.integers(2, 200), warmup=SHARES)
def test_the_points_of_a_schedule_are_that_schedule(form: str, steps: int, warmup: float) -> None:
    known = Schedule(form, warmup)
    after = known.values(steps)[known.warm_steps(steps) :]
    if len(after) < 2 or after[0] != 1:
        return
    points = Schedule(tuple(float(factor) for factor in after), warmup).values(steps)
    np.testing.assert_allclose(points, known.values(steps), atol=1e-6)


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        (Schedule("cosin"), "unknown schedule 'cosin'; there are cosine, linear, wsd, constant, or a list"),
        (Schedule("points"), "unknown schedule 'points'"),
        (Schedule((1.0,)), "two or more numbers from 0 to 1"),
        (Schedule((1.0, 1.5)), "two or more numbers from 0 to 1"),
        (Schedule((0.0, 0.0)), "not all of them 0"),
        (Schedule((1.0, float("nan"))), "two or more numbers"),
        (Schedule("wsd", 0.5, 0.6), "warmup 0.5 and decay 0.6 are more than all of the steps"),
    ],
)
def test_what_is_no_schedule_is_refused(schedule: Schedule, said: str) -> None:
    with pytest.raises(InputError, match=f"task 'x': .*{said}"):
        schedule.check("task 'x'")


# --- exported files ---------------------------------------------------------------------------------------------------

RULE = parse("update = g * lr")
EXPORTED = [*map(Schedule, NAMES), Schedule("wsd", 0.1, 0.35), Schedule((0.25, 1.0, 0.5, 0.0), 0.1)]


@pytest.mark.parametrize("schedule", EXPORTED, ids=lambda one: f"{one.name} {one.warmup:g}")
@pytest.mark.parametrize("steps", [1, 2, 21, 150])
def test_the_function_in_the_file_is_the_schedule_that_was_trained_with(schedule: Schedule, steps: int) -> None:
    names: dict[str, Any] = {}
    exec(compile(torch_source(RULE, "Found", schedule=schedule), "<export>", "exec"), names)  # noqa: S102
    assert names["__all__"] == ["Found", f"warmup_{schedule.name}"]
    optimizer = names["Found"]([torch.nn.Parameter(torch.ones(2))], lr=1.0)
    scheduler = names[f"warmup_{schedule.name}"](optimizer, steps)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx(schedule.values(steps).tolist(), abs=1e-6)
    end = {"constant": 1.0, "points": 0.0}.get(schedule.name, 0.0)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(end, abs=1e-12)


@pytest.mark.parametrize("schedule", EXPORTED, ids=lambda one: f"{one.name} {one.warmup:g}")
def test_docstrings_say_the_schedule_and_how_to_have_it(schedule: Schedule) -> None:
    of_torch = " ".join(torch_source(RULE, "Found", schedule=schedule).split())
    assert f"with a learning rate that {schedule.words}" in of_torch
    assert f"scheduler = warmup_{schedule.name}(optimizer, total_steps)" in of_torch
    of_optax = " ".join(optax_source(RULE, "found", schedule=schedule).split())
    assert schedule.words in of_optax and SHAPES[schedule.name].optax in of_optax
    assert f"warmup_{schedule.name}" in RESERVED
