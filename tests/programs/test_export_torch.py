"""Exported torch optimizers move weights as the program does, whatever the tensors, the groups and the path taken."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from programs import InputError, Program, live, parse, zoo
from programs.export import export_torch, torch_source, verify_torch
from programs.layout import Layout
from programs.liveness import live_functions
from programs.lowering import lower
from programs.phases import SUM
from programs.run.reference import initial_state, numpy_step

from proxy_tasks import TASKS

from tests.support.strategies import mutated_program, random_program

SHAPES = ((4, 3), (3,), (), (2, 2), (1,))
STEPS = 60

# Every reduction, over trees, leaves and numbers, and values that cross from one loop over the parameters to the next.
REDUCING = {
    "clip by a number": "g = clip(g, 0.5)\nupdate = g * lr",
    "clip by the rate": "g = clip(g, lr)\nm = interp(g, m, 0.9)\nupdate = m * 0.1",
    "clip of a leaf": "n = norm(g)\nn = clip(n, 0.1)\nupdate = g * n",
    "norm": "n = norm(w)\nh = norm(g)\nn = n / h\nn = n * lr\nupdate = g * n",
    "norm of a leaf": "n = norm(g)\nn = norm(n)\nupdate = g * n",
    "global norm": "n = global_norm(g)\nupdate = g / n\nupdate = update * lr",
    "global norm of a leaf": "n = norm(g)\nn = global_norm(n)\nupdate = g / n",
    "norms of numbers": "n = global_norm(lr)\nk = norm(lr)\nn = n * k\nn = clip(n, 0.3)\nupdate = g * n",
    "dot": "d = dot(g, w)\nd = d * 0.01\nwd = w * d\nupdate = g + wd\nupdate = update * 0.1",
    "cosine_sim": (
        "m = interp(g, m, 0.9)\nc = cosine_sim(g, m)\nupdate = m * c\nupdate = update * lr\nupdate = update * 0.1"
    ),
    "one after another": (
        "h = tanh(g)\nn = global_norm(h)\nh = h / n\nd = dot(h, w)\nm = interp(h, m, d)\nc = cosine_sim(m, h)\n"
        "u = clip(m, c)\nupdate = u + h\nupdate = update * 0.1"
    ),
    "interp by a total": "d = cosine_sim(g, w)\nm = interp(g, m, d)\nupdate = m * 0.01",
    "state in an early loop": (
        "m = m * 0.9\nm = m + g\nn = global_norm(m)\nupdate = m / n\nv = interp(update, v, 0.5)\nupdate = v * lr"
    ),
}
# Numbers made of the learning rate, names that get in the way, constants that fold, swapped states.
AWKWARD = {
    "functions of the rate": "s = sin(lr)\nt = maximum(s, 0.5)\nu = power(t, 2.0)\nupdate = g * u",
    "rate at zero": "s = reciprocal(lr)\ns = minimum(s, 2.0)\nupdate = g * s",
    "rate against a tree": "s = maximum(g, lr)\nt = power(lr, s)\nupdate = t * 0.1",
    "number becomes a tree": "x = lr * lr\ny = x + 1.0\nx = g * y\nx = x * y\nupdate = x * 0.1",
    "names": (
        "torch = g * 0.1\nbeta = torch + w\ngroup = beta * lr\n"
        "abs_ = sign(group)\nlr_2 = abs_ * 0.5\nupdate = lr_2 * lr"
    ),
    "names of inputs": "w = arccos(lr)\nm = g * w\nv = m + g\ng = v * 0.1\nupdate = g + g",
    "states swap": "a = v * 0.9\nb = m * 0.9\nm = a + g\nv = b + w\nupdate = m * 0.01",
    "folded constants": (
        "a = get_pi()\nb = sqrt(0.04)\nc = a * b\nd = get_eps()\n"
        "x = g / d\ny = x * c\nupdate = sign(y)\nupdate = update * lr"
    ),
    "folded peak": "a = sqrt(1e-4)\nr = lr * a\nupdate = g * r",
    "pi beside a tree": "a = get_pi()\nx = w * a\nx = sin(x)\nupdate = x * 0.1",
    "state never written": "x = m + g\nupdate = x * lr",
    "no rate": "m = interp(g, m, 0.9)\nupdate = m * 0.1",
    "no gradient": "update = w * 0.1",
    "small constant added": (
        "x = square(g)\nv = interp(x, v, 0.99)\ns = sqrt(v)\ns = s + 1e-6\nupdate = g / s\nupdate = update * 0.01"
    ),
    "every elementwise": (
        "a = cbrt(g)\nb = log1p(g)\nc = exp10(w)\nd = cube(g)\ne = arctan(d)\nf = maximum(a, b)\nh = minimum(c, e)\n"
        "k = arcsinh(f)\nq = negative(h)\nr = k - q\n"
        "u = 1.5 - r\nx = 2.0 / c\ny = u * x\nz = expm1(a)\nt = y + z\nupdate = t * 0.01"
    ),
}


def given_programs() -> dict[str, Program]:
    """The zoo and the programs above."""
    texts = {name: parse(text, name) for name, text in (REDUCING | AWKWARD).items()}
    return {name: zoo.load(name) for name in zoo.names()} | texts


PROGRAMS = given_programs()


@lru_cache(maxsize=512)
def load(program: Program, class_name: str = "Found") -> Any:
    """The class in the exported file."""
    namespace: dict[str, Any] = {"__name__": "exported"}
    exec(compile(torch_source(program, class_name, total_steps=STEPS), "<export>", "exec"), namespace)  # noqa: S102
    return namespace[class_name]


def by_name() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("name", PROGRAMS)


def gradients(step: int, shapes: Any = SHAPES, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Gradients of mixed magnitude, some exactly zero, the same for everybody."""
    return [torch.tensor(array, dtype=dtype) for array in _gradients(step, tuple(map(tuple, shapes)))]


@lru_cache(maxsize=512)
def _gradients(step: int, shapes: tuple[tuple[int, ...], ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(1000 + step)
    scales = [10.0 ** (i % 4 - 2) for i in range(len(shapes))]
    return [k * rng.normal(size=s) * (rng.random(s) > 0.2) for k, s in zip(scales, shapes, strict=True)]


def parameters(shapes: Any = SHAPES, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    rng = np.random.default_rng(0)
    return [torch.tensor(rng.normal(size=s), dtype=dtype) for s in shapes]


def rate(step: int) -> float:
    """Up and down again, to exactly zero at the end."""
    return min(step + 1, STEPS - 1 - step) / (STEPS / 2)


def drive(optimizer: torch.optim.Optimizer, params: list[Tensor], steps: range, scheduler: Any = None) -> None:
    """Steps on the recorded gradients; without a scheduler the rates are set by hand."""
    for step in steps:
        for param, grad in zip(params, gradients(step, [p.shape for p in params], params[0].dtype), strict=True):
            param.grad = grad
        if scheduler is None:
            for group in optimizer.param_groups:
                group["lr"] = optimizer.defaults["lr"] * rate(step)
        optimizer.step()
        if scheduler is not None:
            scheduler.step()


def expected_weights(program: Program, shapes: Any = SHAPES, steps: int = STEPS) -> list[np.ndarray]:
    """The weights after each step by the NumPy reference, one row each."""
    step = numpy_step(program, Layout.of_shapes(shapes), steps=STEPS)
    w = torch.cat([p.flatten() for p in parameters(shapes)]).numpy()
    state, rows = initial_state(program, Layout.of_shapes(shapes)), []
    with np.errstate(all="ignore"):
        for t in range(steps):
            g = torch.cat([g.flatten() for g in gradients(t, shapes)]).numpy()
            update, state = step(w, g, state, rate(t))
            w = w - update
            rows.append(w)
    return rows


def row(params: list[Tensor]) -> np.ndarray:
    return torch.cat([p.detach().flatten() for p in params]).numpy()


# --- against the program ----------------------------------------------------------------------------------------------


@by_name()
def test_weights_follow_the_program_under_a_scheduler(name: str) -> None:
    params = parameters()
    optimizer = load(PROGRAMS[name])(params)
    scheduler = LambdaLR(optimizer, rate)
    for t, expected in enumerate(expected_weights(PROGRAMS[name])):
        drive(optimizer, params, range(t, t + 1), scheduler)
        np.testing.assert_allclose(row(params), expected, rtol=1e-9, atol=1e-11)


@by_name()
def test_foreach_equals_single_tensor_to_the_last_bit(name: str) -> None:
    results = []
    for foreach in (False, True):
        params = parameters(dtype=torch.float32)
        drive(load(PROGRAMS[name])(params, foreach=foreach), params, range(10))
        results.append(row(params))
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("make", [mutated_program, random_program])
@pytest.mark.parametrize("part", range(8))
def test_evolved_programs_follow_the_program(make: Any, part: int) -> None:
    """Refusals are for programs that are nowhere finite, or that amplify rounding; the latter are few."""
    refused = 0
    for seed in range(20 * part, 20 * part + 20):
        program = make(Random(seed), 30)
        if np.isfinite(expected_weights(program, steps=1)[0]).any():
            refused += not verify_torch(torch_source(program, "Found"), "Found", program) <= 1e-6
        results = []
        for foreach in (False, True):
            params = parameters(dtype=torch.float32)
            drive(load(program)(params, foreach=foreach), params, range(3))
            results.append(row(params))
        np.testing.assert_array_equal(*results, err_msg=f"seed {seed}")
    assert refused <= 1


def test_the_evolved_programs_include_all_reductions() -> None:
    programs = [make(Random(seed), 30) for make in (mutated_program, random_program) for seed in range(160)]
    functions = {value.function for program in programs for value in lower(program).values}
    assert {"norm", "global_norm", "cosine_sim", "clip", SUM} <= functions


def test_lion_is_lion() -> None:
    """Beside an independent one, written as the paper has it, in float32 with decay by group."""
    params, weights = parameters(dtype=torch.float32), parameters(dtype=torch.float32)
    optimizer = load(zoo.load("lion"))(params, lr=3e-3, betas=(0.95, 0.98), weight_decay=0.1)
    averages = [torch.zeros_like(w) for w in weights]
    for t in range(STEPS):
        for i, grad in enumerate(gradients(t, dtype=torch.float32)):
            params[i].grad = grad
            direction = torch.sign(0.95 * averages[i] + 0.05 * grad)
            weights[i] = weights[i] - 3e-3 * (direction + 0.1 * weights[i])
            averages[i] = 0.98 * averages[i] + 0.02 * grad
        optimizer.step()
    for param, weight in zip(params, weights, strict=True):
        torch.testing.assert_close(param, weight, rtol=1e-5, atol=1e-6)


def test_adamw_is_adamw_with_the_bias_correction_undone() -> None:
    """lr_t = lr (1 - b1^t) / sqrt(1 - b2^t) and eps_t = eps / sqrt(1 - b2^t) make torch's rule the uncorrected one."""
    params, others = parameters(), parameters()
    optimizer = load(zoo.load("adamw"))(params, lr=0.02, weight_decay=0.0)
    reference = torch.optim.AdamW(others, weight_decay=0.0)
    for t in range(STEPS):
        for param, other, grad in zip(params, others, gradients(t), strict=True):
            param.grad, other.grad = grad, grad.clone()
        first, second = 1 - 0.9 ** (t + 1), 1 - 0.999 ** (t + 1)
        reference.param_groups[0].update(lr=0.02 * first / second**0.5, eps=1e-8 / second**0.5)
        optimizer.step()
        reference.step()
    np.testing.assert_allclose(row(params), row(others), rtol=1e-9)
    assert np.abs(row(params) - row(parameters())).max() > 0.1


def test_adamw_decays_weights_as_torch_does() -> None:
    params, others = parameters(), parameters()
    optimizer, reference = (
        load(zoo.load("adamw"))(params, lr=0.1, weight_decay=0.5),
        torch.optim.AdamW(others, lr=0.1, weight_decay=0.5),
    )
    for param in (*params, *others):
        param.grad = torch.zeros_like(param)
    optimizer.step()
    reference.step()
    np.testing.assert_allclose(row(params), row(others), rtol=1e-12)


# --- the check itself -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("m.lerp_(g, 1 - beta2)", "m.lerp_(g, beta2)"),
        ('beta1=group["betas"][0]', 'beta1=group["betas"][1]'),
        ("+ w * weight_decay", ""),
        ("update * lr", "update"),
        ("torch.sign", "torch.tanh"),
    ],
)
def test_verification_sees_a_wrong_rule(right: str, wrong: str) -> None:
    source = torch_source(zoo.load("lion"), "Lion")
    assert right in source
    assert verify_torch(source, "Lion", zoo.load("lion")) <= 1e-12
    assert verify_torch(source.replace(right, wrong), "Lion", zoo.load("lion")) > 1e-3


def test_verification_sees_a_state_that_is_not_kept() -> None:
    source = torch_source(zoo.load("lion"), "Lion").replace("m.lerp_(g, 1 - beta2)", "pass")
    assert verify_torch(source, "Lion", zoo.load("lion")) > 1e-3


def test_export_states_the_largest_difference() -> None:
    text = export_torch(zoo.load("lion"), "Lion", {"search": "quickstart"})
    assert "search: quickstart" in text
    assert "largest relative difference" in text


@pytest.mark.parametrize(
    "text",
    [
        "d = dot(w, w)\nd = d * 1e16\nd = sin(d)\nupdate = g * d",  # sums are rounded in another order
        "x = log(m)\nupdate = x * lr",
    ],
)
def test_what_rounding_decides_or_is_never_finite_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(InputError) as error:
        export_torch(parse(text), "Found")
    assert "\n" not in str(error.value)


# --- tensors and groups -----------------------------------------------------------------------------------------------

BOTH: pytest.MarkDecorator = pytest.mark.parametrize("foreach", [False, True])


@BOTH
@by_name()
def test_hyperparameters_are_those_of_the_group(name: str, foreach: bool) -> None:
    """Two groups of equal settings are one; another value in one group moves that group alone, but for reductions."""
    program, kind = PROGRAMS[name], load(PROGRAMS[name])
    params, others = parameters(), parameters()
    drive(kind(params, foreach=foreach), params, range(5))
    split = kind([{"params": others[:2]}, {"params": others[2:]}], foreach=foreach)
    drive(split, others, range(5))
    np.testing.assert_allclose(row(others), row(params), rtol=1e-12)
    names = [
        key
        for key in kind(parameters()).defaults
        if key[-1].isdigit() or key in ("beta", "betas", "momentum", "weight_decay", "max_norm")
    ]
    for key in names if not lower(program).is_global else []:
        changed = parameters()
        value = (0.5, 0.6) if key == "betas" else split.defaults[key] * 0.5
        drive(kind([{"params": changed[:2]}, {"params": changed[2:], key: value}], foreach=foreach), changed, range(5))
        assert all(torch.equal(a, b) for a, b in zip(changed[:2], others[:2], strict=True))
    assert set(split.param_groups[0]) - {"params"} == set(split.defaults)


@BOTH
def test_a_reduction_runs_over_all_groups_with_the_numbers_of_each(foreach: bool) -> None:
    kind = load(PROGRAMS["clip by a number"])
    params = [torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)]
    optimizer = kind([{"params": params[:1]}, {"params": params[1:], "max_norm": 2.5, "lr": 0.1}], foreach=foreach)
    params[0].grad, params[1].grad = torch.tensor([3.0]).double(), torch.tensor([4.0]).double()
    optimizer.step()
    torch.testing.assert_close(params[0], torch.tensor([-0.5 * 3 / 5]).double())
    torch.testing.assert_close(params[1], torch.tensor([-0.1 * 2.5 * 4 / 5]).double())


@BOTH
@pytest.mark.parametrize("name", ["lion", "adamw", "raw_lion", "one after another", "norm"])
def test_added_group_and_missing_gradients(name: str, foreach: bool) -> None:
    params = parameters()
    optimizer = load(PROGRAMS[name])(params[:2], foreach=foreach)
    optimizer.add_param_group({"params": params[2:]})
    before = row(params[4:])
    for param, grad in zip(params[:4], gradients(0), strict=False):
        param.grad = grad
    optimizer.step()
    np.testing.assert_array_equal(row(params[4:]), before)
    assert params[4] not in optimizer.state
    optimizer.zero_grad()
    after = row(params)
    optimizer.step()
    np.testing.assert_array_equal(row(params), after)


shapes = st.lists(st.lists(st.integers(0, 4), max_size=3).map(tuple), min_size=1, max_size=4)


@settings(max_examples=60)
@given(
    shapes,
    st.sampled_from(sorted(PROGRAMS)),
    st.sampled_from([torch.float32, torch.float64]),
    st.booleans(),
    st.booleans(),
)
def test_any_shape_dtype_and_layout(
    shapes: list[tuple[int, ...]], name: str, dtype: torch.dtype, foreach: bool, flip: bool
) -> None:
    """0-d, empty and transposed tensors follow the same rule as plain ones; the reference sees no empty leaves."""
    params = parameters(shapes, dtype)
    if flip:
        params = [p.mT.contiguous().mT if p.ndim > 1 else p for p in params]
    optimizer = load(PROGRAMS[name])(params, foreach=foreach)
    drive(optimizer, params, range(4))
    full = [i for i, s in enumerate(shapes) if 0 not in s]
    assert all(p.shape == s for p, s in zip(params, shapes, strict=True))
    if full and dtype == torch.float64 and len(full) == len(shapes):
        expected = expected_weights(PROGRAMS[name], shapes, 4)[-1]
        np.testing.assert_allclose(row(params), expected, rtol=1e-7, atol=1e-9)


@by_name()
def test_maximize_is_the_rule_on_the_negative_gradient(name: str) -> None:
    params, others = parameters(), parameters()
    optimizer, other = load(PROGRAMS[name])(params, maximize=True), load(PROGRAMS[name])(others)
    for t in range(5):
        for param, twin, grad in zip(params, others, gradients(t), strict=True):
            param.grad, twin.grad = grad, -grad
        optimizer.step()
        other.step()
    np.testing.assert_array_equal(row(params), row(others))


@BOTH
@by_name()
def test_complex_parameters_are_pairs_of_real_ones(name: str, foreach: bool) -> None:
    params = [
        torch.complex(*torch.randn(2, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(i)).unbind(0))
        for i in range(2)
    ]
    real = [torch.view_as_real(p).clone() for p in params]
    optimizer, other = load(PROGRAMS[name])(params, foreach=foreach), load(PROGRAMS[name])(real, foreach=foreach)
    for t in range(5):
        for param, twin in zip(params, real, strict=True):
            twin.grad = torch.randn(twin.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(t))
            param.grad = torch.view_as_complex(twin.grad)
        optimizer.step()
        other.step()
    np.testing.assert_array_equal(row([torch.view_as_real(p) for p in params]), row(real))


@BOTH
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@by_name()
def test_half_precision_with_states_in_float32_is_close_to_float32(
    name: str, dtype: torch.dtype, foreach: bool
) -> None:
    """The arithmetic is that of float32 up to the rounding of weights and gradients, over one step."""
    params = [p.to(dtype) for p in parameters()]
    others = [p.float() for p in params]
    optimizer = load(PROGRAMS[name])(params, foreach=foreach, state_dtype=torch.float32)
    other = load(PROGRAMS[name])(others, foreach=foreach)
    for param, twin, grad in zip(params, others, gradients(0), strict=True):
        param.grad = grad.to(dtype)
        twin.grad = param.grad.float()
    optimizer.step()
    other.step()
    for param, twin in zip(params, others, strict=True):
        torch.testing.assert_close(param, twin.to(dtype), rtol=torch.finfo(dtype).eps, atol=1e-6)
        for key, state in optimizer.state[param].items():
            assert state.dtype == torch.float32
            torch.testing.assert_close(state, other.state[twin][key], rtol=1e-6, atol=0)


@BOTH
@by_name()
def test_states_of_half_precision_parameters_are_theirs_by_default(name: str, foreach: bool) -> None:
    params = [p.bfloat16() for p in parameters()]
    optimizer = load(PROGRAMS[name])(params, foreach=foreach)
    drive(optimizer, params, range(3))
    kept = [state for p in params for key, state in optimizer.state[p].items() if key != "step"]
    assert all(state.dtype == torch.bfloat16 for state in kept)
    assert all(p.dtype == torch.bfloat16 for p in params)


def test_norms_of_half_precision_do_not_overflow() -> None:
    param = torch.full((4096,), 100.0, dtype=torch.float16)
    param.grad = torch.full_like(param, 100.0)
    load(PROGRAMS["clip by a number"])([param], lr=1.0, max_norm=64.0).step()
    torch.testing.assert_close(param, torch.full_like(param, 99.0))


@BOTH
@by_name()
def test_only_states_in_use_are_allocated_and_only_at_the_first_step(name: str, foreach: bool) -> None:
    params = parameters()
    optimizer = load(PROGRAMS[name])(params, foreach=foreach)
    assert not optimizer.state
    drive(optimizer, params, range(1))
    expected = {{2: "m", 3: "v"}[slot] for slot in live(PROGRAMS[name].dataflow).states}
    expected |= {"step"} & {function.removeprefix("get_") for function in live_functions(PROGRAMS[name])}
    assert {key for p in params for key in optimizer.state[p]} == expected


def test_sparse_gradients_are_refused_in_the_words_of_torch() -> None:
    param = torch.zeros(3)
    param.grad = torch.zeros(3).to_sparse()
    with pytest.raises(RuntimeError, match="Found does not support sparse gradients"):
        load(zoo.load("lion"))([param]).step()


# --- the schedule that comes with the file ---------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 2, 19, 20, 150, 1001])
def test_the_schedule_in_the_file_is_that_of_the_tasks(steps: int) -> None:
    names: dict[str, Any] = {}
    exec(compile(torch_source(zoo.load("lion"), "Lion"), "<export>", "exec"), names)  # noqa: S102
    assert names["__all__"] == ["Lion", "warmup_cosine"]
    optimizer = names["Lion"]([torch.nn.Parameter(torch.ones(2))], lr=0.3)
    scheduler = names["warmup_cosine"](optimizer, steps)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"] / 0.3)
        optimizer.step()
        scheduler.step()
    expected = replace(TASKS["digits_mlp"], steps=steps).learning_rates()
    assert rates == pytest.approx(expected.tolist(), abs=1e-6)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.0, abs=1e-12)


def test_a_rule_without_a_learning_rate_is_told_of_no_schedule() -> None:
    document = {
        text: torch_source(parse(text), "Plain").split('"""')[3] for text in ("update = g * 0.1", "update = g * lr")
    }
    assert ["warmup_cosine(" in said for said in document.values()] == [False, True]
