"""The linear map against closed forms: its covariance, its optimum, and the loss of every other map."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy_tasks.datasets import Dataset, load_dataset
from proxy_tasks.models import build_model
from proxy_tasks.named import args


def parts(data: Dataset) -> list[np.ndarray]:
    return [part.double().numpy() for part in (data.train_x, data.train_y, data.valid_x, data.valid_y)]


def half_squared_error(matrix: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    return float(0.5 * ((x @ matrix.T - y) ** 2).sum(1).mean())


@settings(max_examples=10, deadline=None)
@given(
    dimensions=st.integers(1, 12), power=st.floats(0, 3), noise=st.floats(0, 2), seed=st.integers(0, 1_000),
    distance=st.floats(0, 2),
)  # fmt: skip
def test_the_loss_of_a_map_is_known_exactly(
    dimensions: int, power: float, noise: float, seed: int, distance: float
) -> None:
    given = args(dimensions=dimensions, power=power, noise=noise, train=100, seed=seed)
    x, y, valid_x, valid_y = parts(load_dataset("linear", given))
    covariance = x.T @ x / len(x)
    np.testing.assert_allclose(valid_x.T @ valid_x / len(valid_x), covariance, atol=1e-5)
    spectrum = np.arange(1.0, dimensions + 1) ** -power
    np.testing.assert_allclose(np.linalg.eigvalsh(covariance)[::-1], spectrum, atol=1e-5)
    matrix = np.linalg.solve(valid_x, valid_y).T if power < 1.5 else np.linalg.lstsq(valid_x, valid_y, rcond=None)[0].T
    np.testing.assert_allclose((y - x @ matrix.T).T @ x / len(x), 0, atol=1e-5)  # A is the optimum of training
    other = matrix + distance * np.random.default_rng(0).standard_normal(matrix.shape)
    expected = 0.5 * np.trace((other - matrix) @ covariance @ (other - matrix).T)
    assert half_squared_error(other, valid_x, valid_y) == pytest.approx(expected, rel=1e-4, abs=1e-6)
    excess = half_squared_error(other, x, y) - half_squared_error(matrix, x, y)
    assert excess == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_samples_lie_along_no_axis() -> None:
    """Where steps of a size of their own for each weight would be all that is needed."""
    x = parts(load_dataset("linear"))[0]
    covariance = x.T @ x / len(x)
    outside = covariance - np.diag(np.diag(covariance))
    assert np.linalg.norm(outside) > 0.5 * np.linalg.norm(covariance)


def test_a_deep_network_whose_product_is_the_map_loses_nothing() -> None:
    data = load_dataset("linear", args(dimensions=5, train=50))
    _, _, valid_x, valid_y = parts(data)
    rng = np.random.default_rng(1)
    first, second = rng.standard_normal((5, 7)), rng.standard_normal((7, 5))
    last = np.linalg.solve(valid_x @ first @ second, valid_y)
    model = build_model("deep_linear", data, args(hidden=(7, 5)))
    parameters = [torch.from_numpy(w.astype(np.float32))[None] for w in (first, second, last)]
    loss = model.losses(parameters, data.valid_x[None], data.valid_y[None])
    assert float(loss) == pytest.approx(data.floor, abs=1e-7)
    parameters[2] = parameters[2] * 1.1
    loss = model.losses(parameters, data.valid_x[None], data.valid_y[None])
    assert float(loss) == pytest.approx(half_squared_error(0 * rng.random((5, 5)), valid_x, 0.1 * valid_y), rel=1e-3)


def test_it_starts_with_outputs_as_large_as_their_inputs() -> None:
    model = build_model("deep_linear", load_dataset("linear"), args(hidden=(300, 400)))
    for leaf, parameter in zip(model.leaves, model.parameters(model.initial_row(0)[None]), strict=True):
        assert float(parameter.std()) == pytest.approx(leaf.shape[0] ** -0.5, rel=0.05)
