"""Exported optimizers with states in 8 bits: what they compute, what they keep, and that a checkpoint resumes them."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from test_export_torch import BOTH, load
from torch import Tensor, nn

from programs import parse, zoo
from programs.export import torch_source
from programs.quantization import BLOCK, SMALLEST, dequantize, quantize

SHAPES = ((96, 64), (8,), (63, 65))  # above the smallest size, far below, and just below
PROGRAMS = {
    "lion": zoo.load("lion"),
    "torch_adamw": zoo.load("torch_adamw"),
    "raw_lion": zoo.load("raw_lion"),  # sums over all parameters
    "adafactor": parse(
        "s = square(g)\ns = row_mean(s)\nv = interp(s, v, 0.9)\nm = interp(g, m, 0.9)\nu = m / v\nupdate = u * lr"
    ),
}


def parameters(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in SHAPES]


def drive(optimizer: torch.optim.Optimizer, params: list[Tensor], steps: range) -> None:
    for step in steps:
        generator = torch.Generator().manual_seed(100 + step)
        for p in params:
            p.grad = torch.randn(p.shape, generator=generator).to(p.dtype)
        optimizer.step()


@BOTH
@pytest.mark.parametrize("name", PROGRAMS)
def test_states_are_those_of_the_rule_rounded_after_every_step(name: str, foreach: bool) -> None:
    """Beside an optimizer in float32 whose large states are put through 8 bits by hand."""
    ours, theirs = parameters(), parameters()
    packed = load(PROGRAMS[name])(ours, foreach=foreach, state_bits=8)
    plain = load(PROGRAMS[name])(theirs, foreach=foreach)
    for step in range(3):
        drive(packed, ours, range(step, step + 1))
        drive(plain, theirs, range(step, step + 1))
        for p in theirs:
            for slot, x in plain.state[p].items():
                if slot != "step" and x.shape == p.shape and x.numel() >= SMALLEST:
                    unsigned = slot == "v" and name == "torch_adamw"
                    x.copy_(dequantize(*quantize(x.flatten(), unsigned), unsigned).view(x.shape))
    for p, q in zip(ours, theirs, strict=True):
        assert torch.equal(p, q)


def test_bytes_of_states_are_as_stated() -> None:
    """A byte for each number and four for each block; small tensors, and states by rows, stay as they are."""
    for name, large, small in (("lion", 1, 4), ("torch_adamw", 2, 8)):
        params = parameters()
        optimizer = load(PROGRAMS[name])(params, state_bits=8)
        drive(optimizer, params, range(1))
        kept = [sum(x.nbytes for key, x in optimizer.state[p].items() if key != "step") for p in params]
        size = params[0].numel()
        assert kept == [large * (size + 4 * -(-size // BLOCK)), small * 8, small * 63 * 65]
        assert f"{1 + 4 / BLOCK:.4g} bytes instead of 4" in " ".join(str(type(optimizer).__doc__).split())
    params = parameters()
    optimizer = load(PROGRAMS["adafactor"])(params, state_bits=8)
    drive(optimizer, params, range(1))
    state = optimizer.state[params[0]]
    assert state["m"].dtype == torch.uint8 and state["v"].dtype == torch.float32 and state["v"].shape == (96, 1)


@BOTH
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["lion", "torch_adamw"])
def test_a_resumed_run_is_the_same_to_the_last_bit(name: str, dtype: torch.dtype, foreach: bool) -> None:
    """Through a file, into an optimizer that was made without the setting, which comes from the file."""
    whole = parameters(dtype)
    optimizer = load(PROGRAMS[name])(whole, foreach=foreach, state_bits=8)
    drive(optimizer, whole, range(3))
    file = io.BytesIO()
    torch.save({"optimizer": optimizer.state_dict(), "params": copy.deepcopy(whole)}, file)
    drive(optimizer, whole, range(3, 6))
    file.seek(0)
    saved: dict[str, Any] = torch.load(file, weights_only=False)
    resumed = saved["params"]
    again = load(PROGRAMS[name])(resumed, foreach=foreach)
    again.load_state_dict(saved["optimizer"])
    assert again.state[resumed[0]]["m"].dtype == torch.uint8
    drive(again, resumed, range(3, 6))
    for p, q in zip(whole, resumed, strict=True):
        assert torch.equal(p, q)
    for mine, other in zip(optimizer.state.values(), again.state.values(), strict=True):
        assert all(torch.equal(mine[key], other[key]) and mine[key].dtype == other[key].dtype for key in mine)


def test_an_idle_step_leaves_the_bits_as_they_are() -> None:
    params = parameters()
    optimizer = load(PROGRAMS["torch_adamw"])(params, lr=0.0, state_bits=8)
    for p in params:
        p.grad = torch.zeros_like(p)
    optimizer.step()
    optimizer.param_groups[0]["lr"] = 0.1
    drive(optimizer, params, range(2))
    before = copy.deepcopy(optimizer.state_dict()["state"])
    optimizer.param_groups[0]["lr"] = 0.0
    for p in params:
        p.grad = torch.zeros_like(p)
    optimizer.step()
    after = optimizer.state_dict()["state"]
    assert all(torch.equal(before[p][key], after[p][key]) for p in before for key in before[p])


def test_what_cannot_be_packed_is_said() -> None:
    kind = load(PROGRAMS["lion"])
    with pytest.raises(ValueError, match="Invalid state_bits value: 4"):
        kind(parameters(), state_bits=4)
    with pytest.raises(ValueError, match="state_bits and differentiable"):
        kind(parameters(), state_bits=8, differentiable=True)


def test_a_rule_without_such_states_has_no_option() -> None:
    for program in (
        zoo.load("sgd"),
        parse("s = square(g)\ns = row_mean(s)\nv = interp(s, v, 0.9)\nu = g / v\nupdate = u * lr"),
    ):
        source = torch_source(program, "Plain")
        assert "state_bits" not in source and "_quantize" not in source and "opened" not in source
