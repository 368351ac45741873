"""The MLP with the replica axis against an ordinary module for each replica, and against torch.func."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from proxy_tasks.datasets import load_dataset
from proxy_tasks.models import MODELS, Model

WIDTHS = [(), (8,), (12, 5)]


def rows_of(model: Model, replicas: int) -> Tensor:
    """[R, W] different weights for each replica; biases too, which start at zero."""
    rows = torch.stack([model.initial_row(seed) for seed in range(replicas)])
    return rows + 0.1 * torch.randn(rows.shape, generator=torch.Generator().manual_seed(0))


def module_of(hidden: Sequence[int]) -> nn.Sequential:
    widths = [64, *hidden, 10]
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(widths):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def module_weights(module: nn.Module, parameters: Sequence[Tensor]) -> dict[str, Tensor]:
    """The replica-axis parameters under the module's names: weights there are [.., O, I]."""
    names = [name for name, _ in module.named_parameters()]
    return {n: p.transpose(-1, -2) if n.endswith("weight") else p for n, p in zip(names, parameters, strict=True)}


def minibatch(replicas: int, size: int = 16) -> tuple[Tensor, Tensor]:
    """A minibatch of its own for each replica: [R, B, 64], [R, B]."""
    digits = load_dataset("digits")
    index = torch.randint(0, 1000, (replicas, size), generator=torch.Generator().manual_seed(1))
    return digits.train_x[index], digits.train_y[index]


@pytest.mark.parametrize("hidden", WIDTHS)
@pytest.mark.parametrize("shared", [True, False], ids=["one minibatch", "minibatch each"])
def test_losses_and_gradients_are_those_of_ordinary_modules(hidden: tuple[int, ...], shared: bool) -> None:
    model = MODELS["mlp"](load_dataset("digits"), hidden=hidden)
    parameters = [p.detach().requires_grad_() for p in model.parameters(rows_of(model, 5))]
    x, y = minibatch(1 if shared else 5)
    losses = model.losses(parameters, x, y)
    gradients = torch.autograd.grad(losses.sum(), parameters)
    assert losses.shape == (5,)
    for r in range(5):
        module = module_of(hidden)
        weights = module_weights(module, [p[r] for p in parameters])
        module.load_state_dict({name: w.detach().clone() for name, w in weights.items()})
        loss = nn.functional.cross_entropy(module(x[0 if shared else r]), y[0 if shared else r])
        loss.backward()  # type: ignore[no-untyped-call]
        torch.testing.assert_close(losses[r], loss, rtol=1e-5, atol=1e-6)
        ours = module_weights(module, [g[r] for g in gradients])
        for name, p in module.named_parameters():
            torch.testing.assert_close(ours[name], p.grad, rtol=1e-4, atol=1e-6)


def test_losses_and_gradients_are_those_of_torch_func() -> None:
    model = MODELS["mlp"](load_dataset("digits"), hidden=(12, 5))
    parameters = model.parameters(rows_of(model, 4))
    x, y = minibatch(4)
    module = module_of((12, 5))

    def loss_of(weights: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return nn.functional.cross_entropy(functional_call(module, weights, (x,)), y)

    expected, losses = vmap(grad_and_value(loss_of))(module_weights(module, parameters), x, y)
    leaves = [p.detach().requires_grad_() for p in parameters]
    ours = model.losses(leaves, x, y)
    torch.testing.assert_close(ours, losses, rtol=1e-5, atol=1e-6)
    gradients = module_weights(module, torch.autograd.grad(ours.sum(), leaves))
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-4, atol=1e-6)


def test_a_replica_feels_nothing_of_its_neighbours() -> None:
    model = MODELS["mlp"](load_dataset("digits"))
    rows = rows_of(model, 3)
    x, y = minibatch(1)
    before = model.losses(model.parameters(rows), x, y)
    rows[1] = math.inf
    after = model.losses(model.parameters(rows), x, y)
    assert not after[1].isfinite()
    assert torch.equal(before[[0, 2]], after[[0, 2]])


def test_initial_weights_are_he_normal_and_biases_zero() -> None:
    model = MODELS["mlp"](load_dataset("digits"), hidden=(200,))
    weight1, bias1, weight2, bias2 = (p[0] for p in model.parameters(model.initial_row(0)[None]))
    assert weight1.shape == (64, 200) and weight2.shape == (200, 10)
    assert float(weight1.std()) == pytest.approx(math.sqrt(2 / 64), rel=0.03)
    assert float(weight2.std()) == pytest.approx(math.sqrt(2 / 200), rel=0.05)
    assert not bias1.any() and not bias2.any()


def test_parameters_are_views_of_the_rows() -> None:
    model = MODELS["mlp"](load_dataset("digits"))
    rows = rows_of(model, 2)
    parameters = model.parameters(rows)
    rows[:, : model.layout.total] = torch.arange(model.layout.total)
    flat = torch.cat([p.flatten(1) for p in parameters], dim=1)
    assert torch.equal(flat, rows[:, : model.layout.total])
    assert model.layout.total == 64 * 32 + 32 + 32 * 10 + 10
