"""Every built-in model against an ordinary module, against torch.func, and against itself in other company."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from programs import parse, zoo
from programs.export import torch_source
from programs.run.batched import Rows

from proxy_tasks import configured_process
from proxy_tasks.models import MODELS, Model

from tests.support.references import CASES, Case, Pinn, weights_of
from tests.support.runs import rules_of

COMPANY = 9  # more than a chunk of any model


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    with configured_process():
        yield


@pytest.fixture(scope="module", params=list(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]()


def rows_of(model: Model, replicas: int) -> Tensor:
    """[R, W] different weights for each replica, moved away from those that start at zero or one."""
    rows = torch.stack([model.initial_row(seed) for seed in range(replicas)])
    return rows + 0.1 * torch.randn(rows.shape, generator=torch.Generator().manual_seed(0))


def minibatch(case: Case, replicas: int, size: int = 6) -> tuple[Tensor, Tensor]:
    index = torch.randint(0, 64, (replicas, size), generator=torch.Generator().manual_seed(1))
    return case[2].minibatch(index, torch.arange(replicas))


def losses_and_gradients(model: Model, rows: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """[R], [R, P]"""
    parameters = [p.detach().requires_grad_() for p in model.parameters(rows)]
    losses = model.losses_in_chunks(parameters, x, y)
    gradients = torch.autograd.grad(losses.sum(), parameters)
    return losses.detach(), torch.cat([g.flatten(1) for g in gradients], dim=1)


def test_every_built_in_model_with_a_module_of_its_own_kind_is_here() -> None:
    assert {name.partition(" ")[0].rstrip(",") for name in CASES} == set(MODELS) - {"quadratic"}


@pytest.mark.parametrize("shared", [True, False], ids=["one minibatch", "minibatch each"])
def test_losses_and_gradients_are_those_of_ordinary_modules(case: Case, shared: bool) -> None:
    model, module, _ = case
    rows = rows_of(model, 5)
    x, y = minibatch(case, 1 if shared else 5)
    losses, gradients = losses_and_gradients(model, rows, x, y)
    for r in range(5):
        module.load_state_dict(weights_of(module, [p[r] for p in model.parameters(rows)]))
        module.zero_grad()
        loss = module.loss(x[0 if shared else r], y[0 if shared else r])  # type: ignore[operator]
        loss.backward()
        torch.testing.assert_close(losses[r], loss.detach(), rtol=1e-5, atol=1e-5)
        ours = weights_of(module, [p[0] for p in model.parameters(gradients[r : r + 1])])
        for name, p in module.named_parameters():
            torch.testing.assert_close(ours[name], p.grad, rtol=1e-3, atol=2e-6, msg=lambda m, n=name: f"{n}: {m}")


COLUMNS = "c = column_mean(g)\nv = interp(c, v, 0.9)\nr = row_norm(w)\nx = g + v\nx = x * r\nupdate = x * lr"


@pytest.mark.parametrize("text", [str(zoo.load("adafactor")), str(zoo.load("normuon")), COLUMNS])
def test_rows_are_those_of_ordinary_modules(case: Case, text: str) -> None:
    """A program moves the weights of a model as it moves, exported, those of the module, whose matrices are others."""
    model, module, _ = case
    program, namespace = parse(text), dict[str, Any]()
    exec(compile(torch_source(program, "Exported"), "<export>", "exec"), namespace)  # noqa: S102
    rows = Rows(*(torch.zeros(1, model.layout.width) for _ in range(4)))
    rows.w.copy_(rows_of(model, 1))
    rules, _ = rules_of([program], model.layout, rows, 4)
    module.load_state_dict(weights_of(module, [p[0] for p in model.parameters(rows.w)]))
    optimizer = namespace["Exported"](module.parameters())
    for step in range(4):
        _, gradients = losses_and_gradients(model, rows.w, *minibatch(case, 1))
        rows.g[:, : model.layout.total] = gradients
        ours = weights_of(module, [p[0] for p in model.parameters(rows.g)])
        for name, p in module.named_parameters():
            p.grad = ours[name].clone()
        rules.step(torch.ones(1), torch.tensor([step]))
        optimizer.step()
        ours = weights_of(module, [p[0] for p in model.parameters(rows.w)])
        for name, p in module.named_parameters():
            torch.testing.assert_close(p.detach(), ours[name], rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


class Objective(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.module.loss(x, y)  # type: ignore[operator, no-any-return]


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # vmap runs fused attention one by one
def test_losses_and_gradients_are_those_of_torch_func(case: Case) -> None:
    model, module, _ = case
    if type(module) is Pinn:
        pytest.skip("autograd.grad cannot be called there: two other cases of this model have a FunctionalPinn")
    rows = rows_of(model, 3)
    x, y = minibatch(case, 3)
    stacked = [weights_of(module, [p[r] for p in model.parameters(rows)]) for r in range(3)]
    weights = {f"module.{name}": torch.stack([s[name] for s in stacked]) for name in stacked[0]}
    objective = Objective(module)
    each = vmap(grad_and_value(lambda w, x, y: functional_call(objective, w, (x, y))))
    expected, expected_losses = each(weights, x, y)
    losses, gradients = losses_and_gradients(model, rows, x, y)
    torch.testing.assert_close(losses, expected_losses, rtol=1e-5, atol=1e-5)
    for r in range(3):
        ours = weights_of(module, [p[0] for p in model.parameters(gradients[r : r + 1])])
        for name, gradient in ours.items():
            torch.testing.assert_close(gradient, expected[f"module.{name}"][r], rtol=1e-3, atol=2e-6)


@pytest.mark.parametrize("shared", [True, False], ids=["one minibatch", "minibatch each"])
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_a_replica_is_computed_alike_to_the_last_bit_in_any_company(
    case: Case, shared: bool, data: st.DataObject
) -> None:
    model = case[0]
    rows = rows_of(model, COMPANY)
    x, y = minibatch(case, 1 if shared else COMPANY)
    losses, gradients = losses_and_gradients(model, rows, x, y)
    picked = data.draw(st.lists(st.integers(0, COMPANY - 1), min_size=1, max_size=COMPANY, unique=True))
    some_x, some_y = (x, y) if shared else (x[picked], y[picked])
    some_losses, some_gradients = losses_and_gradients(model, rows[picked], some_x, some_y)
    assert torch.equal(some_losses, losses[picked])
    assert torch.equal(some_gradients, gradients[picked])


@pytest.mark.parametrize("value", [math.inf, math.nan, 1e30])
def test_a_diverged_neighbour_changes_nothing(case: Case, value: float) -> None:
    model = case[0]
    rows = rows_of(model, 3)
    x, y = minibatch(case, 1)
    losses, gradients = losses_and_gradients(model, rows, x, y)
    rows[1] = value
    after, gradients_after = losses_and_gradients(model, rows, x, y)
    assert torch.equal(losses[[0, 2]], after[[0, 2]])
    assert torch.equal(gradients[[0, 2]], gradients_after[[0, 2]])


def test_without_gradients_the_losses_are_the_same(case: Case) -> None:
    model = case[0]
    rows = rows_of(model, 3)
    x, y = minibatch(case, 1)
    losses, _ = losses_and_gradients(model, rows, x, y)
    parameters = [p.detach().requires_grad_() for p in model.parameters(rows)]
    with torch.no_grad():
        assert torch.equal(model.losses_in_chunks(parameters, x, y), losses)


def test_all_replicas_together_lose_what_a_few_at_a_time_lose(case: Case) -> None:
    """With the same gradients, and more replicas than a chunk holds: a GPU computes them so."""
    model = case[0]
    rows = rows_of(model, 11)
    x, y = minibatch(case, 11)
    losses, gradients = losses_and_gradients(model, rows, x, y)
    whole, gradients_of_whole = losses_and_gradients(replace(model, chunk=None), rows, x, y)
    torch.testing.assert_close(whole, losses, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(gradients_of_whole, gradients, rtol=1e-5, atol=1e-7)


def test_gradients_of_a_weighted_sum_of_the_losses(case: Case) -> None:
    model = case[0]
    rows = rows_of(model, 3)
    x, y = minibatch(case, 1)
    _, gradients = losses_and_gradients(model, rows, x, y)
    parameters = [p.detach().requires_grad_() for p in model.parameters(rows)]
    weights = torch.tensor([2.0, 0.0, -0.5])
    weighted = torch.autograd.grad((model.losses_in_chunks(parameters, x, y) * weights).sum(), parameters)
    flat = torch.cat([g.flatten(1) for g in weighted], dim=1)
    torch.testing.assert_close(flat, gradients * weights.unsqueeze(1), rtol=1e-5, atol=1e-7)
