"""The equation of Poisson: its right-hand side and its solution belong together."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy_tasks.datasets import load_dataset
from proxy_tasks.named import args

CELLS = 2_000


@settings(max_examples=10, deadline=None)
@given(modes=st.integers(1, 12), seed=st.integers(0, 1_000))
def test_the_solution_is_that_of_finite_differences(modes: int, seed: int) -> None:
    """f is read off the points for training, and the equation solved on a fine grid, with zeros at both ends."""
    data = load_dataset("poisson", args(modes=modes, seed=seed, train=500, valid=64))
    x, f, points, u = (part.double().numpy() for part in (data.train_x, data.train_y, data.valid_x, data.valid_y))
    k = np.arange(1, modes + 1)
    c, *_ = np.linalg.lstsq(np.sin((x + math.pi / 2) * k), f, rcond=None)
    np.testing.assert_allclose(np.sin((x + math.pi / 2) * k) @ c, f, atol=1e-4)
    grid = np.linspace(-math.pi / 2, math.pi / 2, CELLS + 1)
    slope = np.cumsum(np.sin(np.outer(grid[1:-1] + math.pi / 2, k)) @ c) * (math.pi / CELLS)
    # -u'' = f: u falls by the sum of the slopes; the straight line that is left over joins the two ends.
    bent = np.concatenate([[0.0, 0.0], -np.cumsum(slope)]) * (math.pi / CELLS)
    solved = bent - bent[-1] * np.linspace(0, 1, CELLS + 1)
    np.testing.assert_allclose(np.interp(points[:, 0], grid, solved), u, atol=2e-3 * (1 + abs(c).sum()))


def test_points_lie_between_the_ends() -> None:
    data = load_dataset("poisson")
    low, high = data.shared[0][:, 0].tolist()
    assert (low, high) == (pytest.approx(-math.pi / 2), pytest.approx(math.pi / 2))
    assert low < float(data.train_x.min()) < low + 0.02 and high - 0.02 < float(data.train_x.max()) < high
    gaps = data.valid_x[1:, 0] - data.valid_x[:-1, 0]
    assert float(gaps.min()) == pytest.approx(math.pi / 256, rel=1e-3) == pytest.approx(float(gaps.max()), rel=1e-3)
