"""The laws of `scripts/record/horizon.py` on losses that follow them, with known exponents."""

from __future__ import annotations

import numpy as np
import pytest

from proxy_tasks import TASKS

from scripts.record.horizon import (
    HORIZON,
    SHARES,
    annealing_law,
    last_slope,
    lasting,
    offset_power_law,
    schedule_of,
)

TASK = TASKS["digits_mlp_short"]
STEPS = np.array([TASK.steps * share for share in SHARES[:3]])


@pytest.mark.parametrize("power", [0.2, 0.7, 1.5])
def test_a_power_law_with_an_offset_is_continued(power: float) -> None:
    losses = np.array([[0.3 + 2 * n**-power for n in STEPS], [0.5] * 3])
    assert offset_power_law(losses) == pytest.approx([0.3 + 2 * (HORIZON * STEPS[2]) ** -power, 0.5])


def test_losses_that_rise_or_fall_faster_and_faster_are_not_continued_beyond_a_line() -> None:
    rising, faster = [1.0, 0.8, 0.9], [1.0, 0.9, 0.6]
    assert offset_power_law(np.array([rising, faster])) == pytest.approx([0.9, 0.6 - 2 * 0.3])


def test_a_power_law_is_a_line_on_logarithmic_axes() -> None:
    losses = np.array([[2 * n**-0.4 for n in STEPS]])
    assert last_slope(losses, 2) == pytest.approx([2 * (HORIZON * STEPS[2]) ** -0.4])


def test_the_areas_are_those_of_the_schedule() -> None:
    """Without memory, the decay adds up to the whole height; with all of it, to the area above the schedule."""
    rates = TASK.learning_rates().astype(float)
    assert schedule_of(TASK, 0.0).forward[-1] == pytest.approx(rates.sum())
    assert schedule_of(TASK, 0.0).annealed[-1] == pytest.approx(1 - rates[-1])
    after_peak = rates[int(rates.argmax()) :]
    assert schedule_of(TASK, 1.0).annealed[-1] == pytest.approx((1 - after_peak).sum())


def test_the_annealing_law_finds_the_loss_of_curves_that_follow_it() -> None:
    def loss(share: float) -> np.ndarray:
        areas = schedule_of(lasting(TASK, share), 0.97)
        return 0.2 + 1.5 * areas.forward**-0.5 - 0.002 * areas.annealed

    curves = np.array([[loss(share) for share in SHARES[:3]]])
    assert annealing_law(TASK, curves) == pytest.approx([loss(1)[-1] - loss(HORIZON)[-1]], rel=1e-3)
