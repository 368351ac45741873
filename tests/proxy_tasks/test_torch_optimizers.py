"""Optimizers of torch beside programs: the same training, whoever computes the update."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.optim import SGD, AdamW, NAdam, Optimizer

from programs import Program, zoo
from programs.hyperparameters import with_decay, with_learning_rate

from proxy_tasks import Outcome, Replica, Task, configured_process, get_task, train
from proxy_tasks.outcome import TorchOptimizer, TorchReplica
from proxy_tasks.torch_optimizers import Weight, hidden_matrices, muon, train_torch_optimizer, train_with

from tests.support.trainings import short_task

TASKS = ("digits_diffusion", "digits_cnn", "digits_autoencoder", "mnist1d_cnn", "pydoc_transformer", "noisy_quadratic")


@pytest.fixture(autouse=True)
def _as_workers_do() -> Iterator[None]:
    with configured_process():
        yield


def few_steps(name: str, steps: int = 45) -> Task:
    """Not a multiple of twenty: some twentieths are of two steps, some of three."""
    return replace(get_task(name), steps=steps)


def tuned(name: str, learning_rate: float, weight_decay: float) -> Program:
    return with_decay(with_learning_rate(zoo.load(name), learning_rate), weight_decay)


def values(weights: Sequence[Weight]) -> list[Tensor]:
    return [weight.value for weight in weights]


def after_infinitely_many_steps(optimizer: Optimizer) -> list[Optimizer]:
    """Moments at zero, but all corrections of their bias at one: programs have none."""
    for group in optimizer.param_groups:
        for p in group["params"]:
            optimizer.state[p].update(
                step=torch.tensor(1e9), exp_avg=torch.zeros_like(p), exp_avg_sq=torch.zeros_like(p)
            )
            if isinstance(optimizer, NAdam):
                optimizer.state[p]["mu_product"] = torch.tensor(0.0)
    return [optimizer]


PAIRS: dict[str, tuple[Program, Callable[[Sequence[Weight]], list[Optimizer]]]] = {
    "adamw": (
        tuned("adamw", 3e-3, 0.1),
        lambda w: after_infinitely_many_steps(AdamW(values(w), lr=3e-3, weight_decay=0.1)),
    ),
    "nadamw": (
        tuned("nadamw", 3e-3, 0.1),
        lambda w: after_infinitely_many_steps(
            NAdam(values(w), lr=3e-3, weight_decay=0.1, momentum_decay=1.0, decoupled_weight_decay=True)
        ),
    ),
    "sgd_momentum": (
        tuned("sgd_momentum", 0.03, 1e-3), lambda w: [SGD(values(w), lr=0.03, momentum=0.9, weight_decay=1e-3)],
    ),
    "nesterov": (
        tuned("nesterov", 0.03, 1e-3),
        lambda w: [SGD(values(w), lr=0.03, momentum=0.9, weight_decay=1e-3, nesterov=True)],
    ),
}  # fmt: skip


def both(name: str, task: Task, seed: int) -> tuple[Outcome, Outcome]:
    """The zoo's program through the trainer, torch's optimizer through this path."""
    program, optimizers = PAIRS[name]
    (by_trainer,) = train(task, [Replica(program, seed)])
    return by_trainer, train_with(task, seed, optimizers)


@pytest.mark.parametrize(
    ("name", "task"),
    [
        *((name, "digits_mlp") for name in sorted(PAIRS)), *(("adamw", task) for task in TASKS),
        ("nesterov", "mnist1d_cnn"), ("nesterov", "noisy_quadratic"),
    ],
)  # fmt: skip
def test_optimizers_of_torch_train_as_their_programs_do(name: str, task: str) -> None:
    ours, native = both(name, few_steps(task), 3)
    assert ours.status == native.status == "ok"
    assert native.fitness == pytest.approx(ours.fitness, rel=2e-3)
    assert native.curve == pytest.approx(ours.curve, rel=2e-3)
    assert (native.steps, native.reason, len(native.curve)) == (ours.steps, ours.reason, 20)
    assert native.seconds > 0
    assert native.curve[-1] < 0.99 * native.curve[0], "the comparison is only worth something where training works"


def test_the_comparison_sees_seeds_schedules_and_optimizers() -> None:
    task = few_steps("digits_mlp")
    ours, native = both("adamw", task, 3)
    for other in (both("adamw", task, 4), both("nadamw", task, 3), both("adamw", replace(task, warmup=0.3), 3)):
        assert native.curve != pytest.approx(other[1].curve, rel=1e-2)
        assert ours.curve != pytest.approx(other[1].curve, rel=1e-2)


def test_trainings_can_be_repeated_to_the_last_bit() -> None:
    replica = TorchReplica(TorchOptimizer("torch_muon", 0.01, 0.1), 1)
    first, second = (train_torch_optimizer(few_steps("digits_mlp"), replica)._replace(seconds=0.0) for _ in range(2))
    assert first == second


def test_divergence_is_told_as_the_trainer_tells_it() -> None:
    for rate, task in ((3e3, short_task()), (1e30, short_task()), (1e30, short_task(1))):
        (ours,) = train(task, [Replica(tuned("sgd_momentum", rate, 0.0), 0)])
        native = train_with(task, 0, lambda w, rate=rate: [SGD(values(w), lr=rate, momentum=0.9)])
        assert ours.status == native.status == "diverged"
        assert native._replace(seconds=0.0, curve=[]) == ours._replace(seconds=0.0, curve=[])
        assert native.curve == pytest.approx(ours.curve, rel=1e-3)


# --- Muon ---------------------------------------------------------------------------------------------------------


def chosen(task: str) -> list[str]:
    model = get_task(task).load()[1]
    weights = [Weight(leaf.name, torch.zeros(leaf.shape)) for leaf in model.leaves]
    found = hidden_matrices(weights)
    return [weight.name for weight in weights if any(weight.value is matrix for matrix in found)]


@pytest.mark.parametrize(
    ("task", "hidden"),
    [
        ("digits_mlp", ["weight1"]),
        ("mnist1d_mlp", ["weight1", "weight2"]),
        ("digits_autoencoder", ["weight1", "weight2", "weight3"]),
        ("digits_cnn", ["kernel1", "kernel2"]),
        ("pydoc_transformer", [f"{part}{i}" for i in (1, 2) for part in ("qkv", "out", "up", "down")]),
        ("noisy_quadratic", []),
    ],
)
def test_which_weights_are_matrices(task: str, hidden: list[str]) -> None:
    assert chosen(task) == hidden


def test_every_weight_is_in_one_optimizer_and_the_rest_in_adamw() -> None:
    weights = [
        Weight("embed.weight", torch.zeros(5, 4)), Weight("body.weight", torch.zeros(4, 4)),
        Weight("body.bias", torch.zeros(4)), Weight("head.weight", torch.zeros(3, 4)),
    ]  # fmt: skip
    first, second = muon(weights, 0.02, 0.3)
    assert isinstance(first, torch.optim.Muon) and isinstance(second, AdamW)
    ((one,), three) = (optimizer.param_groups[0]["params"] for optimizer in (first, second))
    assert one is weights[1].value and [id(p) for p in three] == [id(weights[i].value) for i in (0, 2, 3)]
    for optimizer in (first, second):
        assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["weight_decay"]) == (0.02, 0.3)
    assert len(muon(weights[2:3], 0.1, 0.0)) == 1


def test_steps_of_muon_are_about_as_large_as_those_of_adamw() -> None:
    """What its adjusted rate is for: a root mean square of about 0.2 times the rate, whatever the shape."""
    generator = torch.Generator().manual_seed(0)
    for shape in ((64, 32), (32, 64), (16, 128)):
        weights = [Weight("body", torch.zeros(shape)), Weight("head", torch.zeros(3, 3))]
        optimizer, _ = muon(weights, 0.5, 0.0)
        weights[0].value.grad = torch.randn(shape, generator=generator)
        optimizer.step()
        assert float(weights[0].value.square().mean().sqrt()) == pytest.approx(0.2 * 0.5, rel=0.25)


@pytest.mark.parametrize(("task", "bound"), [("digits_mlp", 0.3), ("digits_cnn", 0.4)])
def test_muon_learns(task: str, bound: float) -> None:
    outcome = train_torch_optimizer(few_steps(task, 120), TorchReplica(TorchOptimizer("torch_muon", 0.03, 0.1), 0))
    assert outcome.status == "ok" and outcome.fitness is not None and -outcome.fitness < bound


def test_without_matrices_muon_is_adamw_of_torch() -> None:
    task = few_steps("noisy_quadratic")
    outcome = train_torch_optimizer(task, TorchReplica(TorchOptimizer("torch_muon", 0.01, 0.1), 0))
    adamw = train_with(task, 0, lambda w: [AdamW(values(w), lr=0.01, weight_decay=0.1)])
    assert outcome._replace(seconds=0.0) == adamw._replace(seconds=0.0)


def test_the_scale_of_a_task_is_a_factor_on_the_learning_rate() -> None:
    task, replica = few_steps("digits_mlp"), TorchReplica(TorchOptimizer("torch_adamw", 0.02, 0.1), 0)
    outcome = train_torch_optimizer(replace(task, update_scale=0.5), replica)
    slower = train_torch_optimizer(task, TorchReplica(TorchOptimizer("torch_adamw", 0.01, 0.1), 0))
    assert outcome._replace(seconds=0.0) == slower._replace(seconds=0.0)


def test_keys_tell_natives_apart_and_survive_a_journey() -> None:
    natives = [TorchOptimizer("torch_muon", lr, wd) for lr in (0.01, 0.02) for wd in (0.0, 0.01)]
    assert len({native.key for native in natives}) == 4
    assert all(len(bytes.fromhex(native.key)) == 16 for native in natives)
    assert pickle.loads(pickle.dumps(natives)) == natives
    assert str(natives[1]) == "torch_muon(learning_rate=0.01, weight_decay=0.01)"
    assert math.isclose(natives[3].learning_rate, 0.02)
