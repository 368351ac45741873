"""Exported torch optimizers inside what torch builds around optimizers: checkpoints, schedulers, scaling, compiling."""

from __future__ import annotations

import copy
import io
import pickle
import sys
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings as hypothesis_settings
from test_export_torch import BOTH, PROGRAMS, by_name, drive, gradients, load, parameters, row
from torch import Tensor, nn
from torch.optim import lr_scheduler

from programs import parse, zoo
from programs.export import torch_source
from programs.layout import Layout
from programs.run.reference import initial_state, numpy_step

SOME = ("lion", "adamw", "raw_lion", "one after another", "functions of the rate")


def some() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("name", SOME)


@pytest.fixture
def exported(name: str) -> Iterator[Any]:
    """The class in a module of its own, as pickle needs it."""
    module = types.ModuleType("exported_optimizer")
    sys.modules[module.__name__] = module
    exec(compile(torch_source(PROGRAMS[name], "Found"), "<export>", "exec"), module.__dict__)  # noqa: S102
    yield module.Found
    del sys.modules[module.__name__]


def saved_and_loaded(state: Any) -> Any:
    """Through a file, with torch's safe loader."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


# --- checkpoints ------------------------------------------------------------------------------------------------------


@by_name()
@pytest.mark.parametrize(
    ("foreach", "dtype", "state_dtype"),
    [
        (True, torch.float32, None),
        (False, torch.bfloat16, torch.float32),
        (True, torch.bfloat16, torch.float32),
        (False, torch.float32, torch.float64),
    ],
)
def test_resuming_from_a_checkpoint_changes_nothing(
    name: str, foreach: bool, dtype: torch.dtype, state_dtype: torch.dtype | None
) -> None:
    """To the last bit, also where states are more precise than parameters; settings come from the file."""
    kind = load(PROGRAMS[name])
    params = parameters(dtype=dtype)
    optimizer = kind(params, lr=0.5, foreach=foreach, state_dtype=state_dtype)
    drive(optimizer, params, range(4))
    checkpoint = saved_and_loaded({"weights": params, "optimizer": optimizer.state_dict()})
    others = checkpoint["weights"]
    resumed = kind(others)
    resumed.load_state_dict(checkpoint["optimizer"])
    resumed.defaults["lr"] = 0.5
    drive(optimizer, params, range(4, 8))
    drive(resumed, others, range(4, 8))
    assert all(torch.equal(a, b) for a, b in zip(params, others, strict=True))
    for a, b in zip(params, others, strict=True):
        for key, state in optimizer.state[a].items():
            kept = torch.float32 if key == "step" else state_dtype or dtype
            assert state.dtype == resumed.state[b][key].dtype == kept


def test_a_loaded_state_is_what_hooks_made_of_it() -> None:
    kind, params, others = load(zoo.load("lion")), parameters(dtype=torch.bfloat16), parameters(dtype=torch.bfloat16)
    optimizer = kind(params, state_dtype=torch.float32)
    drive(optimizer, params, range(2))
    other = kind(others)

    def double(_: Any, state: dict[str, Any]) -> dict[str, Any]:
        return {**state, "state": {k: {n: 2 * t for n, t in v.items()} for k, v in state["state"].items()}}

    other.register_load_state_dict_pre_hook(double)
    other.load_state_dict(optimizer.state_dict())
    assert torch.equal(other.state[others[0]]["m"], 2 * optimizer.state[params[0]]["m"])


@some()
def test_pickle_and_deepcopy_go_on_alike(name: str, exported: Any) -> None:
    params = parameters()
    optimizer = exported(params)
    drive(optimizer, params, range(3))
    copies = [copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))]
    drive(optimizer, params, range(3, 6))
    for other in copies:
        others = [p for group in other.param_groups for p in group["params"]]
        drive(other, others, range(3, 6))
        np.testing.assert_array_equal(row(others), row(params))


def test_everything_that_varies_is_in_the_groups() -> None:
    optimizer = load(zoo.load("lion"))(parameters())
    plain = torch.optim.SGD(parameters())
    assert set(vars(optimizer)) <= set(vars(plain))


# --- learning rates ---------------------------------------------------------------------------------------------------

SCHEDULERS: list[Any] = [
    lambda o: lr_scheduler.StepLR(o, 2),
    lambda o: lr_scheduler.CosineAnnealingLR(o, 10),
    lambda o: lr_scheduler.OneCycleLR(o, 1.0, total_steps=20, cycle_momentum=False),
    lambda o: lr_scheduler.SequentialLR(o, [lr_scheduler.LinearLR(o), lr_scheduler.ExponentialLR(o, 0.9)], [3]),
    lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 5),
]
CYCLES: list[Any] = [
    lambda o: lr_scheduler.OneCycleLR(o, 1.0, total_steps=20),
    lambda o: lr_scheduler.CyclicLR(o, 0.1, 1.0, step_size_up=3),
]


@some()
@pytest.mark.parametrize("schedule", SCHEDULERS)
def test_schedulers_drive_the_rate(name: str, schedule: Any) -> None:
    """The same weights as with the same rates set by hand."""
    params, others = parameters(), parameters()
    optimizer, other = load(PROGRAMS[name])(params, lr=0.1), load(PROGRAMS[name])(others)
    scheduler = schedule(optimizer)
    for t in range(8):
        other.param_groups[0]["lr"] = scheduler.get_last_lr()[0]
        for param, twin, grad in zip(params, others, gradients(t), strict=True):
            param.grad, twin.grad = grad, grad.clone()
        optimizer.step()
        other.step()
        scheduler.step()
    assert scheduler.get_last_lr()[0] != 0.1
    np.testing.assert_array_equal(row(params), row(others))


@BOTH
@pytest.mark.parametrize("schedule", CYCLES)
def test_schedulers_drive_the_coefficient_of_the_first_moment(schedule: Any, foreach: bool) -> None:
    """Without being told to leave it. The second moment is computed first here, and spelled out as a sum."""
    text = (
        "g2 = square(g)\nn = dot(g, g2)\nv = v * 0.99\nv = v + g2\nm = interp(g, m, {0!r})\nd = sqrt(v)\n"
        "d = d + n\nupdate = m / d\nupdate = update * lr"
    )
    params, layout = parameters(), Layout.of_shapes([p.shape for p in parameters()])
    w, state, betas = row(params), initial_state(parse(text.format(0.9)), layout), []
    optimizer = load(parse(text.format(0.9)))(params, foreach=foreach)
    scheduler = schedule(optimizer)
    for t in range(8):
        rate, (first, second) = (optimizer.param_groups[0][key] for key in ("lr", "betas"))
        update, state = numpy_step(parse(text.format(first)), layout)(w, row(gradients(t)), state, rate)
        w = w - update
        betas.append(first)
        for param, grad in zip(params, gradients(t), strict=True):
            param.grad = grad
        optimizer.step()
        scheduler.step()
        np.testing.assert_allclose(row(params), w, rtol=1e-9)
    assert second == 0.99 and len(set(betas)) > 3


@pytest.mark.parametrize("name", ["lion", "adamw", "adabelief", "nadamw", "sgd_momentum", "nesterov"])
@pytest.mark.parametrize("schedule", CYCLES)
def test_known_optimizers_have_a_momentum_to_cycle(name: str, schedule: Any) -> None:
    optimizer = load(zoo.load(name))(parameters())
    before = dict(optimizer.param_groups[0])
    schedule(optimizer)
    changed = {key for key, value in before.items() if optimizer.param_groups[0][key] is not value} - {"lr"}
    assert changed == ({"momentum"} if "momentum" in before else {"betas"})


@pytest.mark.parametrize("name", ["sgd", "rmsprop", "signum", "raw_lion"])
def test_where_schedulers_find_no_momentum_the_docstring_says_so(name: str) -> None:
    kind = load(zoo.load(name))
    with pytest.raises(ValueError, match="cycle_momentum"):
        CYCLES[0](kind(parameters()))
    assert "need cycle_momentum=False" in " ".join(kind.__doc__.split())


def test_reduce_on_plateau() -> None:
    params = parameters()
    optimizer = load(zoo.load("lion"))(params, lr=1.0)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
    for _ in range(3):
        scheduler.step(1.0)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.01)


@by_name()
@pytest.mark.parametrize(("capturable", "foreach"), [(False, True), (True, False), (True, True)])
def test_a_tensor_as_learning_rate(name: str, capturable: bool, foreach: bool) -> None:
    """On the device it is read only, not out, when capturable; the numbers agree up to its own precision."""
    params, others = parameters(), parameters()
    lr = torch.tensor([0.3], dtype=torch.float64)
    optimizer = load(PROGRAMS[name])(params, lr=lr, capturable=capturable, foreach=foreach)
    other = load(PROGRAMS[name])(others, lr=0.3, foreach=foreach)
    for t in range(3):
        for param, twin, grad in zip(params, others, gradients(t), strict=True):
            param.grad, twin.grad = grad, grad.clone()
        optimizer.step()
        other.step()
    np.testing.assert_allclose(row(params), row(others), rtol=1e-12)


# --- training loops ---------------------------------------------------------------------------------------------------


def test_closures_hooks_and_the_loss() -> None:
    model = nn.Linear(3, 1)
    optimizer, seen = load(zoo.load("lion"))(model.parameters()), []
    optimizer.register_step_pre_hook(lambda *_: seen.append("before"))
    optimizer.register_step_post_hook(lambda *_: seen.append("after"))

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss: Tensor = model(torch.ones(2, 3)).square().sum()
        loss.backward()
        return loss

    before = model.weight.clone()
    assert optimizer.step(closure).requires_grad
    assert seen == ["before", "after"]
    assert not torch.equal(before, model.weight)


@pytest.mark.parametrize("name", zoo.names())
def test_every_optimizer_of_the_zoo_trains_a_model(name: str) -> None:
    """With named parameters and a schedule, least squares gets better by half at least."""
    torch.manual_seed(0)
    x, model = torch.randn(64, 5), nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 1))
    y = x.sum(1, keepdim=True)
    optimizer = load(zoo.load(name))(model.named_parameters())
    rates = {"sgd": 0.05, "sgd_momentum": 0.02, "nesterov": 0.02, "raw_lion": 1.0, "muon": 0.05, "normuon": 0.05}
    optimizer.param_groups[0]["lr"] = rates.get(name, 0.01)
    if name == "raw_lion":
        optimizer.param_groups[0]["c2"] = 0.01
        optimizer.param_groups[0]["weight_decay"] = 0.0
    losses = []
    for _ in range(100):
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@some()
def test_gradient_scaler(name: str) -> None:
    """Unscaled gradients reach the rule, and a step with infinite ones is left out."""
    params, others = parameters(dtype=torch.float32), parameters(dtype=torch.float32)
    optimizer, other = load(PROGRAMS[name])(params), load(PROGRAMS[name])(others)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for t in range(3):
        for param, twin, grad in zip(params, others, gradients(t, dtype=torch.float32), strict=True):
            param.grad, twin.grad = 4.0 * grad, grad.clone()
        scaler.scale(torch.ones(()))  # which starts the scaler
        scaler.step(optimizer)
        scaler.update(4.0)
        other.step()
    np.testing.assert_array_equal(row(params), row(others))
    params[0].grad = torch.full_like(params[0], torch.inf)
    scaler.step(optimizer)
    np.testing.assert_array_equal(row(params), row(others))


def test_autocast() -> None:
    torch.manual_seed(0)
    model = nn.Linear(4, 4)
    optimizer = load(zoo.load("lion"))(model.parameters(), lr=0.01)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(torch.randn(8, 4)).square().mean()
    loss.backward()
    before = model.weight.clone()
    optimizer.step()
    torch.testing.assert_close((model.weight - before).abs(), torch.full((4, 4), 0.01), rtol=0.02, atol=0)


# --- torch's own tables -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table() -> Any:
    """torch's module of that table: importing it takes seconds, and loads another profile of hypothesis."""
    from torch.testing._internal import common_optimizers

    hypothesis_settings.load_profile("optsearch")
    return common_optimizers


@pytest.mark.parametrize("name", zoo.names())
def test_every_configuration_of_torchs_own_machinery(name: str, table: Any) -> None:
    """Each optimizer of the zoo as a row of torch's table of optimizers: all flags, settings and schedulers of a row.

    The weights must be those of the plain path with the same settings.
    """
    kind = load(zoo.load(name))
    given = [{}, {"lr": 0.01}, {"lr": torch.tensor(0.01), "capturable": True}, {"maximize": True}]
    info = table.OptimizerInfo(
        kind,
        optim_inputs_func=lambda device: [table.OptimizerInput(None, s, str(s)) for s in given],  # noqa: ARG005
        has_capturable_arg=True,
    )
    inputs = table._get_optim_inputs_including_global_cliquey_kwargs("cpu", torch.float32, info)
    inputs += [table.OptimizerInput(None, {**s, "foreach": True}, f"{s} & foreach") for s in given]  # not on CPUs
    assert {"differentiable", "foreach", "capturable", "maximize"} <= {k for i in inputs for k in i.kwargs}
    for case in inputs:
        plain = {k: v for k, v in case.kwargs.items() if k not in ("differentiable", "foreach")}
        (schedulers,) = info.scheduler_inputs
        for schedule in schedulers:
            found, expected = (_scheduled(kind, kwargs, schedule) for kwargs in (case.kwargs, plain))
            np.testing.assert_allclose(found, expected, rtol=1e-12, err_msg=case.desc)


def _scheduled(kind: Any, kwargs: dict[str, Any], schedule: Any) -> np.ndarray:
    params = parameters()
    optimizer = kind(params, **copy.deepcopy(kwargs))
    scheduler = schedule(optimizer)
    for t in range(6):
        for param, grad in zip(params, gradients(t), strict=True):
            param.grad = grad
        optimizer.step()
        scheduler.step(*([1.0] if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau) else []))
    return row(params)


# --- autograd and the compiler ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "lion",
        "adamw",
        "sgd_momentum",
        "clip by a number",
        "one after another",
        "functions of the rate",
        "dot",
        "states swap",
    ],
)
def test_autograd_passes_through_two_steps(name: str) -> None:
    """Against finite differences, in weights, gradients and the learning rate."""

    def weights_after(w: Tensor, g: Tensor, lr: Tensor) -> Tensor:
        param = w.clone()
        optimizer = load(PROGRAMS[name])([param], lr=lr, differentiable=True)
        for k in (1.0, 0.5):
            param.grad = k * g
            optimizer.step()
        return param

    w, g = torch.tensor([0.7, -1.1], dtype=torch.float64), torch.tensor([0.4, 0.9], dtype=torch.float64)
    lr = torch.tensor(0.3, dtype=torch.float64)
    assert torch.autograd.gradcheck(weights_after, [x.requires_grad_() for x in (w, g, lr)], atol=1e-5)


def test_no_graph_is_kept_unless_asked_for() -> None:
    params = [p.requires_grad_() for p in parameters()]
    drive(load(zoo.load("adamw"))(params), params, range(2))
    assert all(p.is_leaf for p in params)


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)  # of the compiler
@pytest.mark.parametrize(
    ("name", "foreach"),
    [("lion", False), ("lion", True), ("one after another", False), ("functions of the rate", True)],
)
def test_compiled_step_equals_the_plain_one(name: str, foreach: bool) -> None:
    params, others = parameters(), parameters()
    lr = torch.tensor(0.3, dtype=torch.float64)
    optimizer = load(PROGRAMS[name])(params, lr=lr, foreach=foreach)
    other = load(PROGRAMS[name])(others, lr=0.3, foreach=foreach)
    torch.compiler.reset()
    compiled = torch.compile(optimizer.step, backend="aot_eager")
    for t in range(3):
        for param, twin, grad in zip(params, others, gradients(t), strict=True):
            param.grad, twin.grad = grad, grad.clone()
        compiled()
        other.step()
    np.testing.assert_allclose(row(params), row(others), rtol=1e-9)


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": -1.0}, "Invalid learning rate: -1.0"),
        ({"lr": float("nan")}, "Invalid learning rate: nan"),
        ({"lr": torch.ones(2)}, "Tensor lr must be 1-element"),
        ({"betas": (1.0, 0.9)}, "Invalid beta1 value: 1.0"),
        ({"betas": [0.9, -0.1]}, "Invalid beta2 value: -0.1"),
        ({"betas": (0.9,)}, "expected 2, got 1"),
        ({"weight_decay": -0.1}, "Invalid weight_decay value: -0.1"),
        ({"state_dtype": torch.int64}, "Invalid state_dtype value: torch.int64"),
        ({"foreach": True, "differentiable": True}, "foreach and differentiable cannot both be True"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        load(zoo.load("lion"))(parameters(), **settings)


def test_bad_constants() -> None:
    with pytest.raises(ValueError, match="Invalid c1 value: inf"):
        load(zoo.load("nesterov"))(parameters(), c1=float("inf"))


def test_a_module_of_the_users_may_be_called_optimizer() -> None:
    """Only torch's own of that name hands out some of the parameters."""
    module = types.ModuleType("optimizer")
    exec("def make(kind, params):\n    return kind(params)", module.__dict__)  # noqa: S102
    assert module.make(load(zoo.load("raw_lion")), parameters()).param_groups


def test_no_parameters() -> None:
    with pytest.raises(ValueError, match="empty parameter list"):
        load(zoo.load("lion"))([])
