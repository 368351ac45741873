"""Exports of programs that know the step, work on matrices, or keep states by rows and columns."""

from __future__ import annotations

import copy
import io
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from test_export_torch import BOTH, parameters, row
from torch import Tensor

from programs import Program, Statement, parse
from programs.export import optax_source, torch_source, verify_torch
from programs.kinds import COLUMN, ROW, SCALAR, TREE, WEIGHTS
from programs.layout import Layout
from programs.lowering import lower
from programs.ops import OPS
from programs.run.reference import initial_state, numpy_step

SHAPES = ((4, 3), (3,), (), (2, 2, 3), (1,))
TOTAL_STEPS = 7

ADAMW = """
t = get_step()
g2 = square(g)
m = interp(g, m, 0.9)
v = interp(g2, v, 0.999)
b1 = power(0.9, t)
b1 = 1.0 - b1
b2 = power(0.999, t)
b2 = 1.0 - b2
d = v / b2
d = sqrt(d)
update = m / b1
update = update / d
wd = w * 0.01
update = update + wd
update = update * lr
"""
MUON = """
m = interp(g, m, 0.95)
u = interp(g, m, 0.95)
update = orthogonalize(u)
update = update * lr
"""
PROGRAMS = {
    "corrected adamw": ADAMW,
    "muon": MUON,
    "rows": "g2 = square(g)\ns = row_mean(g2)\nv = interp(s, v, 0.9)\ns = sqrt(v)\nu = g / s\nupdate = u * lr",
    "columns": "n = column_norm(g)\nm = m * 0.9\nm = m + n\nu = g / m\nupdate = u * lr",
    "factored": (
        "g2 = square(g)\nr = row_mean(g2)\nm = interp(r, m, 0.9)\nc = column_mean(g2)\nv = interp(c, v, 0.9)\n"
        "x = m * v\nx = sqrt(x)\nu = g / x\nr = rms(u)\nu = u / r\nupdate = u * lr"
    ),
    "update of rows": "update = row_mean(g)\nupdate = update * lr",
    "sums of rows": (
        "r = row_norm(g)\nn = global_norm(r)\nk = norm(r)\nc = clip(r, 0.5)\nu = g / n\nu = u * k\nupdate = u + c"
    ),
    "schedule": (
        "t = get_step()\nT = get_steps()\nt = t / T\nt = t * 1.5\nt = cos(t)\nt = abs(t)\nu = g * t\nupdate = u * lr"
    ),
    "length": "T = get_steps()\nT = log(T)\nu = g / T\nupdate = u * lr",
    "steps and totals": (
        "t = get_step()\nd = dot(g, w)\nd = d / t\nm = interp(g, m, d)\nn = norm(m)\nu = m / n\nupdate = u * t"
    ),
    "infinite": "t = get_step()\nt = t - 2.0\nt = reciprocal(t)\nt = minimum(t, 2.0)\nupdate = g * t",
    "bounds": "t = get_step()\nx = maximum(g, t)\ny = minimum(x, 1.5)\nz = power(y, t)\nupdate = z * lr",
}


def parsed(name: str) -> Program:
    return parse(PROGRAMS[name], name)


def load(program: Program, total_steps: int | None = TOTAL_STEPS) -> Any:
    namespace: dict[str, Any] = {"__name__": "exported"}
    source = torch_source(program, "Found", total_steps=total_steps)
    exec(compile(source, "<export>", "exec"), namespace)  # noqa: S102
    return namespace["Found"]


def by_name() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("name", PROGRAMS)


def gradients(step: int, shapes: Any = SHAPES, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    rng = np.random.default_rng(step)
    return [torch.tensor(rng.normal(size=shape), dtype=dtype) for shape in shapes]


def drive(optimizer: torch.optim.Optimizer, params: list[Tensor], steps: range) -> None:
    for step in steps:
        for param, grad in zip(params, gradients(step, [p.shape for p in params], params[0].dtype), strict=True):
            param.grad = grad
        optimizer.step()


def random_program(rng: Random, statements: int) -> Program:
    """Any calls that fit, a third of them of functions beyond those of the paper."""
    beyond = [op.name for op in OPS.values() if op.set in ("steps", "matrices")]
    scope, lines = dict.fromkeys("wgmv", TREE) | {"lr": SCALAR}, list[Statement]()
    while len(lines) < statements:
        op = OPS[rng.choice(beyond if rng.random() < 1 / 3 else sorted(OPS))]
        args = tuple(rng.gauss(0, 1) if rng.random() < 0.15 else rng.choice([*scope]) for _ in op.accepts)
        kind = op.results.get(tuple(scope[a] if isinstance(a, str) else SCALAR for a in args))
        target = rng.choice([*scope, f"t{len(lines)}", f"t{len(lines)}", "update"])
        if kind is not None and (target != "w" or kind == TREE):
            lines.append(Statement(target, op.name, args))
            scope[target] = kind
    trees = [name for name, kind in scope.items() if kind in WEIGHTS]
    ends = [name for name in ("update", "m", "v") if scope.get(name) not in WEIGHTS]
    return Program((*lines, *(Statement(name, "mul", (rng.choice(trees), 0.5)) for name in ends)))


def test_random_programs_move_weights_as_the_reference_does() -> None:
    """In both forms, which agree to the last bit; refused are those that are nowhere finite."""
    compared = 0
    for seed in range(8):
        program = random_program(Random(seed), 12)
        kind, results = load(program), []
        for foreach in (False, True):
            params = parameters(SHAPES, torch.float32)
            drive(kind(params, foreach=foreach), params, range(3))
            results.append(row(params))
        np.testing.assert_array_equal(*results, err_msg=f"seed {seed}")
        difference = verify_torch(torch_source(program, "Found"), "Found", program)
        assert difference <= 1e-6 or difference == np.inf, f"seed {seed}: {difference}"
        compared += difference <= 1e-6
    assert compared > 4


@BOTH
@by_name()
def test_weights_and_states_follow_the_program(name: str, foreach: bool) -> None:
    program, layout, params = parsed(name), Layout.of_shapes(SHAPES), parameters(SHAPES)
    optimizer = load(program)(params, foreach=foreach)
    step, state, w = numpy_step(program, layout, steps=TOTAL_STEPS), initial_state(program, layout), row(params)
    with np.errstate(all="ignore"):
        for t in range(5):
            update, state = step(w, row(gradients(t)), state, optimizer.defaults["lr"] / lower(program).lr)
            w = w - update
            drive(optimizer, params, range(t, t + 1))
            np.testing.assert_allclose(row(params), w, rtol=1e-8, atol=1e-10)
    for slot in set(optimizer.state[params[0]]) - {"step"}:
        np.testing.assert_allclose(row([optimizer.state[p][slot] for p in params]), getattr(state, slot), rtol=1e-8)


# --- the step ---------------------------------------------------------------------------------------------------------


@BOTH
@by_name()
def test_a_counter_is_kept_exactly_where_the_step_is_read(name: str, foreach: bool) -> None:
    params = parameters(SHAPES)
    optimizer = load(parsed(name))(params, foreach=foreach)
    drive(optimizer, params, range(3))
    assert {"step" in optimizer.state[p] for p in params} == {"get_step()" in PROGRAMS[name]}
    for param in params:
        step = optimizer.state[param].get("step", torch.tensor(3.0))
        assert (step.dtype, step.shape, step.item()) == (torch.float32, (), 3.0)
    assert ("total_steps" in optimizer.defaults) == ("get_steps" in PROGRAMS[name])


@BOTH
def test_adamw_with_bias_correction_is_torchs(foreach: bool) -> None:
    """Another epsilon aside: x / y is x / (y + 1e-8) here."""
    params, others = parameters(SHAPES, torch.float32), parameters(SHAPES, torch.float32)
    optimizer = load(parsed("corrected adamw"))(params, lr=0.01, betas=(0.8, 0.95), weight_decay=0.1, foreach=foreach)
    reference = torch.optim.AdamW(others, lr=0.01, betas=(0.8, 0.95), weight_decay=0.1)
    for t in range(20):
        drive(optimizer, params, range(t, t + 1))
        drive(reference, others, range(t, t + 1))
        np.testing.assert_allclose(row(params), row(others), rtol=1e-5, atol=1e-6)


def test_coefficients_of_averages_correct_their_bias_too() -> None:
    optimizer = load(parsed("corrected adamw"))(parameters())
    assert set(optimizer.defaults) >= {"betas", "weight_decay"}
    assert not any(name.startswith("c") and name != "capturable" for name in optimizer.defaults)


@BOTH
@pytest.mark.parametrize("name", ["corrected adamw", "schedule", "steps and totals", "infinite", "bounds"])
def test_capturable_counts_with_tensors(name: str, foreach: bool) -> None:
    results = []
    for capturable in (False, True):
        params = parameters(SHAPES)
        drive(load(parsed(name))(params, foreach=foreach, capturable=capturable), params, range(4))
        results.append(row(params))
    np.testing.assert_allclose(*results, rtol=1e-7)


@BOTH
def test_each_parameter_has_a_count_of_its_own(foreach: bool) -> None:
    """As in torch: a parameter without a gradient has taken no step."""
    params, others = parameters(SHAPES), parameters(SHAPES)
    optimizer, reference = (
        load(parsed("corrected adamw"))(params, lr=0.01, foreach=foreach),
        torch.optim.AdamW(others, lr=0.01),
    )
    for t in range(4):
        for one, another in ((optimizer, params), (reference, others)):
            for i, (param, grad) in enumerate(zip(another, gradients(t), strict=True)):
                param.grad = None if (i + t) % 2 else grad
            one.step()
    np.testing.assert_allclose(row(params), row(others), rtol=1e-5)
    assert [optimizer.state[p]["step"].item() for p in params] == [2.0] * len(params)


@BOTH
def test_an_idle_step_does_not_count(foreach: bool) -> None:
    params = parameters(SHAPES)
    for name in ("corrected adamw", "steps and totals"):
        optimizer = load(parsed(name))(params, foreach=foreach, lr=0.0)
        for param in params:
            param.grad = torch.zeros_like(param)
        optimizer.step()
        assert {state["step"].item() for state in optimizer.state.values()} <= {0.0, 1.0}
        assert [state["step"].item() for state in optimizer.state.values()] == [0.0] * len(params)


def test_the_length_of_the_training_is_an_argument() -> None:
    """With what the program was found with as default; without one it must be given."""
    params = parameters()
    assert load(parsed("schedule"))(params).defaults["total_steps"] == TOTAL_STEPS
    assert load(parsed("schedule"))(params, total_steps=9).defaults["total_steps"] == 9
    with pytest.raises(TypeError, match="total_steps"):
        load(parsed("schedule"), None)(params)
    assert load(parsed("schedule"), None)(params, total_steps=9).defaults["total_steps"] == 9
    with pytest.raises(ValueError, match="Invalid total_steps value: 0"):
        load(parsed("schedule"))(params, total_steps=0)


@BOTH
@by_name()
@pytest.mark.parametrize("state_dtype", [None, torch.float64])
def test_resuming_from_a_checkpoint_changes_nothing(name: str, foreach: bool, state_dtype: torch.dtype | None) -> None:
    kind, params = load(parsed(name)), parameters(SHAPES, torch.float32)
    optimizer = kind(params, foreach=foreach, state_dtype=state_dtype)
    drive(optimizer, params, range(3))
    file = io.BytesIO()
    torch.save({"weights": params, "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    checkpoint = torch.load(file, weights_only=True)
    others = checkpoint["weights"]
    resumed = kind(others)
    resumed.load_state_dict(checkpoint["optimizer"])
    drive(optimizer, params, range(3, 5))
    drive(resumed, others, range(3, 5))
    np.testing.assert_array_equal(row(params), row(others))
    for param, other in zip(params, others, strict=True):
        states, again = optimizer.state[param], copy.deepcopy(resumed.state[other])
        assert {n: (s.dtype, s.shape) for n, s in states.items()} == {n: (s.dtype, s.shape) for n, s in again.items()}


# --- matrices, rows and columns ---------------------------------------------------------------------------------------


@BOTH
def test_muon_is_torchs(foreach: bool) -> None:
    """Up to its arithmetic in bfloat16, and its scale: 0.2 times ours, as it has it to match AdamW."""
    shapes = ((16, 8), (8, 24), (12, 12))
    params = parameters(shapes, torch.float32)
    others: list[Tensor] = [torch.nn.Parameter(p.clone()) for p in params]
    optimizer = load(parsed("muon"))(params, lr=0.02, foreach=foreach)
    reference = torch.optim.Muon(others, lr=0.1, weight_decay=0.0, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    for t in range(5):
        before = row(params)
        drive(optimizer, params, range(t, t + 1))
        drive(reference, others, range(t, t + 1))
        moved = row(params) - before
        error = row(params) - row(others)
        assert np.sqrt(np.mean(error**2)) < 0.03 * np.sqrt(np.mean(moved**2)) * (t + 1)


@BOTH
@by_name()
def test_small_states_are_allocated_small(name: str, foreach: bool) -> None:
    params = parameters(SHAPES)
    optimizer = load(parsed(name))(params, foreach=foreach, state_dtype=torch.float32)
    drive(optimizer, params, range(2))
    shapes = {
        TREE: SHAPES,
        ROW: ((4, 1), (3,), (1,), (2, 1, 1), (1,)),
        COLUMN: ((1, 3), (1,), (1,), (1, 2, 3), (1,)),
    }
    flow = parsed(name).dataflow
    for number, slot in ((2, "m"), (3, "v")):
        found = tuple(tuple(optimizer.state[p][slot].shape) for p in params if slot in optimizer.state[p])
        assert found in ((), shapes[flow.nodes[number].kind])
        assert all(optimizer.state[p][slot].dtype == torch.float32 for p in params if found)


@BOTH
@by_name()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_keeps_its_dtypes(name: str, dtype: torch.dtype, foreach: bool) -> None:
    params = parameters(SHAPES, dtype)
    optimizer = load(parsed(name))(params, foreach=foreach)
    drive(optimizer, params, range(2))
    assert all(p.dtype == dtype for p in params)
    assert {s.dtype for p in params for n, s in optimizer.state[p].items() if n != "step"} <= {dtype}


def test_sums_of_half_precision_do_not_overflow() -> None:
    param = torch.zeros(4, 512, dtype=torch.float16)
    param.grad = torch.full_like(param, 300.0)
    load(parse("n = row_norm(g)\nk = column_norm(g)\nx = orthogonalize(g)\nu = g / n\nu = u + x\nupdate = u + k"))(
        [param]
    ).step()
    assert param.isfinite().all()


def test_complex_parameters_are_pairs_of_real_ones() -> None:
    for name in PROGRAMS:
        params = [torch.view_as_complex(torch.tensor(np.random.default_rng(0).normal(size=(3, 4, 2))))]
        others = [torch.view_as_real(params[0]).clone()]
        one, other = load(parsed(name))(params), load(parsed(name))(others)
        for t in range(2):
            (others[0].grad,) = gradients(t, [(3, 4, 2)])
            params[0].grad = torch.view_as_complex(others[0].grad)
            one.step()
            other.step()
        np.testing.assert_array_equal(torch.view_as_real(params[0]).numpy(), others[0].numpy())


def test_autograd_passes_through_a_step() -> None:
    def weights_after(w: Tensor, g: Tensor, lr: Tensor, name: str) -> Tensor:
        param = w.clone()
        optimizer = load(parsed(name))([param], lr=lr, differentiable=True)
        for k in (1.0, 0.5):
            param.grad = k * g
            optimizer.step()
        return param

    rng = np.random.default_rng(0)
    w, g = (torch.tensor(rng.normal(size=(2, 3)), requires_grad=True) for _ in range(2))
    lr = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    for name in ("corrected adamw", "muon", "factored"):
        assert torch.autograd.gradcheck(lambda w, g, lr, n=name: weights_after(w, g, lr, n), [w, g, lr], atol=1e-5)


# --- the text ---------------------------------------------------------------------------------------------------------


def test_the_docstring_says_what_is_kept() -> None:
    text = " ".join(load(parsed("factored")).__doc__.split())
    assert "``m`` is kept as one number for each row, in the shape [n, 1, ..]" in text
    assert "``v`` is kept as one number for each column" in text
    assert "``step``" not in text
    assert "in the state ``step``, a float32 tensor" in " ".join(load(parsed("corrected adamw")).__doc__.split())


def test_helpers_stand_only_where_they_are_called() -> None:
    for name, text in PROGRAMS.items():
        source = torch_source(parse(text), "Found", total_steps=5)
        assert ("def _orthogonalize" in source) == ("orthogonalize" in text), name
        assert ("def _number" in source) == ("get_step()" in text), name
        assert ('"total_steps": total_steps' in source) == ("get_steps" in text), name
        assert ("def _row_sum" in source) == ("row_" in text), name


@by_name()
def test_optax_follows_the_program(name: str) -> None:
    needs = "jax and optax are not installed; `pip install jax optax` to run this test"
    jax, optax = pytest.importorskip("jax", reason=needs), pytest.importorskip("optax", reason=needs)
    jax.config.update("jax_enable_x64", True)
    program, layout, namespace = parsed(name), Layout.of_shapes(SHAPES), dict[str, Any]()
    exec(compile(optax_source(program, "found", total_steps=TOTAL_STEPS), "<export>", "exec"), namespace)  # noqa: S102
    transformation = namespace["found"]()
    params = [jax.numpy.array(p.numpy()) for p in parameters(SHAPES)]
    step, state, w = (
        numpy_step(program, layout, steps=TOTAL_STEPS),
        initial_state(program, layout),
        row(parameters(SHAPES)),
    )
    kept, update = transformation.init(params), jax.jit(transformation.update)
    with np.errstate(all="ignore"):
        for t in range(3):
            updates, kept = update([jax.numpy.array(g.numpy()) for g in gradients(t)], kept, params)
            params = optax.apply_updates(params, updates)
            moved, state = step(w, row(gradients(t)), state, 1.0)
            w = w - moved
    np.testing.assert_allclose(np.concatenate([np.ravel(p) for p in params]), w, rtol=1e-8, atol=1e-10)
    for slot in ("m", "v"):
        if hasattr(kept, slot):
            sizes = [x.size for x in getattr(kept, slot)]
            assert sum(sizes) == getattr(state, slot).size
