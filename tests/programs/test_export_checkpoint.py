"""Exported optimizers and torch.distributed.checkpoint, which makes states by a step without gradients and rate."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_export_torch import BOTH, PROGRAMS, by_name, drive, gradients, load, parameters, row
from torch import Tensor, nn

from programs import zoo


def idle_step(optimizer: torch.optim.Optimizer, params: list[Tensor], zero: Any) -> None:
    """A step with zero gradients and a rate of zero; both are put back."""
    rates = [group["lr"] for group in optimizer.param_groups]
    for param in params:
        param.grad = torch.zeros_like(param)
    for group in optimizer.param_groups:
        group["lr"] = copy.copy(zero)
    optimizer.step(closure=None)
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    optimizer.zero_grad()


@by_name()
@pytest.mark.parametrize(
    ("foreach", "zero", "settings"),  # all pairs
    [
        (False, 0.0, {}),
        (True, torch.tensor(0.0), {}),
        (False, torch.tensor(0.0), {"capturable": True}),
        (True, 0.0, {"capturable": True}),
        (False, torch.tensor(0.0), {"state_dtype": torch.float32, "maximize": True}),
        (True, 0.0, {"state_dtype": torch.float32, "maximize": True}),
    ],
)
def test_an_idle_step_makes_states_and_nothing_else(
    name: str, foreach: bool, zero: Any, settings: dict[str, Any]
) -> None:
    """Before the first step and later; what follows is what it would have been, to the last bit."""
    results = []
    for idle in (False, True):
        params = parameters()
        groups = [{"params": params[:2]}, {"params": params[2:]}]
        optimizer = load(PROGRAMS[name])(groups, foreach=foreach, **settings)
        for steps in (range(2), range(2, 4)):
            if idle:
                before, states = row(params), copy.deepcopy(optimizer.state_dict()["state"])
                idle_step(optimizer, params, zero)
                np.testing.assert_array_equal(row(params), before)
                made = optimizer.state_dict()["state"]
                assert not states or [*states] == [*made]
                for key, slots in made.items():
                    for slot, value in slots.items():
                        expected = states[key][slot] if states else torch.zeros_like(value)
                        kept = settings.get("state_dtype", torch.float64)
                        assert value.dtype == (torch.float32 if slot == "step" else kept)
                        assert torch.equal(value, expected)
            drive(optimizer, params, steps)
        assert set(optimizer.state_dict()["state"]) in (set(), set(range(len(params))))
        results.append(row(params))
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.complex64])
def test_an_idle_step_of_other_dtypes(dtype: torch.dtype) -> None:
    params = [torch.ones(3, dtype=dtype), torch.ones((), dtype=dtype), torch.ones(0, dtype=dtype)]
    idle_step(load(PROGRAMS["cosine_sim"])(params), params, 0.0)
    assert all(torch.equal(p, torch.ones_like(p)) for p in params)


@BOTH
@pytest.mark.parametrize("name", ["lion", "no rate", "cosine_sim", "one after another"])
@pytest.mark.parametrize("value", [1.0, float("nan")])
def test_one_gradient_makes_a_step_of_it(name: str, value: float, foreach: bool) -> None:
    """States take it in, also without a rate. NaN is none of the zeros."""
    params = parameters()
    optimizer = load(PROGRAMS[name])(params, foreach=foreach, lr=0.0)
    for param in params:
        param.grad = torch.zeros_like(param)
    params[-1].grad = torch.full_like(params[-1], value)
    optimizer.step()
    assert (optimizer.state[params[-1]]["m"] != 0).all()


@BOTH
def test_one_rate_makes_a_step_of_it(foreach: bool) -> None:
    params = parameters()
    groups = [{"params": params[:1]}, {"params": params[1:], "lr": 0.1}]
    optimizer = load(zoo.load("lion"))(groups, lr=0.0, foreach=foreach)
    for param in params:
        param.grad = torch.zeros_like(param)
    optimizer.step()
    torch.testing.assert_close(params[1], parameters()[1] * (1 - 0.1 * 0.01))


def test_a_rate_of_zero_is_a_step_of_the_rule() -> None:
    """As at the first step of a warm-up: weights stay, and the average takes the gradient in."""
    params = parameters()
    optimizer = load(zoo.load("lion"))(params, lr=0.0)
    drive(optimizer, params, range(1))
    np.testing.assert_array_equal(row(params), row(parameters()))
    torch.testing.assert_close(optimizer.state[params[0]]["m"], 0.01 * gradients(0)[0])


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
@by_name()
@pytest.mark.parametrize(("flatten", "state_dtype"), [(False, None), (True, torch.float64)])
def test_a_resumed_run_is_the_same_to_the_last_bit(
    name: str, flatten: bool, state_dtype: torch.dtype | None, tmp_path: Path
) -> None:
    """Through files, into an optimizer that has not made a step; settings come from the file."""
    import torch.distributed.checkpoint as dcp  # imported here: it takes seconds, and is needed in one process only
    from torch.distributed.checkpoint.state_dict import (
        StateDictOptions,
        get_optimizer_state_dict,
        set_optimizer_state_dict,
    )

    options = StateDictOptions(flatten_optimizer_state_dict=flatten)
    results = []
    for resume in (False, True):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
        optimizer = load(PROGRAMS[name])(net.parameters(), lr=0.3, state_dtype=state_dtype)
        drive(optimizer, list(net.parameters()), range(2))
        optimizer.zero_grad()
        if resume:
            state = {"net": net.state_dict(), "optimizer": get_optimizer_state_dict(net, optimizer, options=options)}
            dcp.save(state, checkpoint_id=tmp_path, no_dist=True)
            net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
            optimizer = load(PROGRAMS[name])(net.parameters(), state_dtype=state_dtype)
            state = {"net": net.state_dict(), "optimizer": get_optimizer_state_dict(net, optimizer, options=options)}
            dcp.load(state, checkpoint_id=tmp_path, no_dist=True)
            net.load_state_dict(state["net"])
            set_optimizer_state_dict(net, optimizer, state["optimizer"], options=options)
            optimizer.defaults["lr"] = 0.3
        drive(optimizer, list(net.parameters()), range(2, 4))
        results.append(row(list(net.parameters())))
    np.testing.assert_array_equal(*results)
