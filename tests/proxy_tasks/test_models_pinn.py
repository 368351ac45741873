"""The physics-informed network: derivatives, and what training and validation compare."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from proxy_tasks.datasets import load_dataset
from proxy_tasks.models import Model, build_model
from proxy_tasks.models.dense import dense
from proxy_tasks.models.pinn import second_derivative
from proxy_tasks.named import args


def model_and_parameters(*hidden: int, seed: int = 0) -> tuple[Model, list[Tensor]]:
    model = build_model("pinn", load_dataset("poisson"), args(hidden=hidden))
    return model, [p.double() for p in model.parameters(torch.stack([model.initial_row(s) for s in (seed, seed + 1)]))]


@settings(max_examples=20, deadline=None)
@given(hidden=st.lists(st.integers(1, 9), min_size=1, max_size=4), seed=st.integers(0, 1_000))
def test_second_derivatives_are_those_of_central_differences(hidden: list[int], seed: int) -> None:
    _, parameters = model_and_parameters(*hidden, seed=seed)
    x, h = torch.linspace(-1.5, 1.5, 12, dtype=torch.float64).view(1, -1, 1), 1e-4
    below, at, above = (dense(x + step, parameters, torch.tanh)[..., 0] for step in (-h, 0.0, h))
    expected = (below - 2 * at + above) / h**2
    torch.testing.assert_close(second_derivative(parameters, x), expected, rtol=1e-3, atol=1e-5)


def test_of_one_layer_they_are_the_closed_form() -> None:
    _, parameters = model_and_parameters(6)
    w, b, v, _ = (p[0] for p in parameters)
    x = torch.linspace(-1.5, 1.5, 12, dtype=torch.float64)
    t = torch.tanh(x[:, None] * w[0] + b)
    expected = (-2 * t * (1 - t**2) * w[0] ** 2) @ v[:, 0]
    torch.testing.assert_close(second_derivative(parameters, x.view(1, -1, 1))[0], expected)


def test_validation_is_the_error_of_the_solution_and_training_the_residual() -> None:
    """A constant added to u changes no derivative: the residual stays, the error and the boundary do not."""
    data = load_dataset("poisson")
    none = build_model("pinn", data, args(boundary=0.0))
    some = build_model("pinn", data, args(boundary=2.0))
    parameters = none.parameters(torch.stack([none.initial_row(seed) for seed in (0, 1)]))
    shifted = [*parameters[:-1], parameters[-1] + 100.0]
    x, y = data.train_x[None], data.train_y[None]
    assert torch.equal(none.losses(parameters, x, y), none.losses(shifted, x, y))
    ends = dense(data.shared[0][None], shifted, torch.tanh)[..., 0]
    added = some.losses(shifted, x, y) - none.losses(shifted, x, y)
    torch.testing.assert_close(added, 2 * (ends**2).mean(1), rtol=1e-5, atol=0.0)
    u = dense(data.valid_x[None], parameters, torch.tanh)[..., 0]
    for p, errors in ((parameters, u - data.valid_y), (shifted, u + 100 - data.valid_y)):
        found = none.validation(p, data.valid_x[None], data.valid_y[None])
        torch.testing.assert_close(found, errors.abs().mean(1), rtol=1e-5, atol=1e-5)


def test_units_bend_at_different_places() -> None:
    model, _ = model_and_parameters(400)
    _, bias, _, last = model.parameters(model.initial_row(0)[None])
    assert float(bias.std()) == pytest.approx(1, abs=0.15) and not last.any()
