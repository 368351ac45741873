"""Training many replicas at once: exactly what training each alone gives, and what ordinary torch loops give."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from random import Random

import pytest
import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from programs import Program, parse, zoo
from programs.hyperparameters import learning_rate_of, with_decay, with_learning_rate

from proxy_tasks import Replica, Task, configure_process, configured_process, get_task, train
from proxy_tasks.outcome import diverged_outcome, validated

from tests.support.trainings import evolved, short_task, train_all, train_each

STILL = parse("update = w * 0.0")
EXPLODES = parse("update = w * -3.0")  # weights grow fourfold at every step
TURNS_NAN = parse("x = log(0.0)\nx = x - x\nupdate = w * x")
REDUCING = [
    "n = norm(g)\nupdate = g / n\nlr = lr * 0.1\nupdate = update * lr",
    "n = global_norm(w)\nupdate = g / n\nupdate = update * 0.3",
    "d = dot(w, g)\nd = tanh(d)\nupdate = g * d",
    "c = cosine_sim(g, m)\nm = interp(g, m, 0.9)\nupdate = m * c\nupdate = update * lr",
    "g = clip(g, 0.5)\nm = interp(g, m, 0.9)\nupdate = tanh(m)\nupdate = update * 0.1",
    "g = clip(g, lr)\nx = sinh(w)\nx = norm(x)\nv = interp(x, v, 0.5)\nv = cbrt(v)\nupdate = g * v",
]


@pytest.fixture(autouse=True)
def _as_in_a_worker() -> Iterator[None]:
    with configured_process():
        yield


# --- batched equals one by one -------------------------------------------------------------------------------------


def test_the_zoo_in_one_batch_equals_one_by_one() -> None:
    task = short_task(50)
    replicas = [Replica(zoo.load(name), seed) for name in zoo.names() for seed in (0, 1)]
    assert train_all(task, replicas) == train_each(task, replicas)


@pytest.mark.parametrize("seed", range(3))
def test_evolved_programs_in_one_batch_equal_one_by_one(seed: int) -> None:
    rng = Random(seed)
    programs = [parse(text) for text in REDUCING] + [evolved(rng) for _ in range(40)]
    replicas = [Replica(program, rng.randrange(3)) for program in programs]
    rng.shuffle(replicas)
    together = train_all(short_task(30), replicas)
    assert {outcome.status for outcome in together} == {"ok", "diverged"}
    assert together == train_each(short_task(30), replicas)


def test_batches_of_any_size_give_the_same() -> None:
    """More replicas than one validation pass takes, too."""
    replicas = [Replica(zoo.load("adamw"), seed) for seed in range(100)]
    alone = train_each(short_task(5), replicas[:8])
    for size in (2, 33, 100):
        assert train_all(short_task(5), replicas[:size])[:8] == alone[:size], f"in a batch of {size}"


def test_one_seed_for_all_equals_mixed_seeds() -> None:
    """Replicas of one seed share each minibatch in memory; those of several seeds have copies."""
    replicas = [Replica(with_learning_rate(zoo.load("adamw"), lr), 0) for lr in (1e-3, 1e-2, 1e-1)]
    mixed = [*replicas, Replica(zoo.load("sgd"), 1)]
    assert train_all(short_task(), replicas) == train_all(short_task(), mixed)[:3]


def test_the_scale_of_a_task_is_a_factor_on_every_update() -> None:
    """A power of two, so that it rounds alike wherever it is multiplied."""
    programs = [with_learning_rate(zoo.load(name), rate) for name, rate in (("adamw", 2**-7), ("lion", 2**-9))]
    task = replace(get_task("digits_mlp"), steps=40)
    scaled_task = train(replace(task, update_scale=4.0), [Replica(p, 0) for p in programs])
    faster = [with_learning_rate(p, 4.0 * (learning_rate_of(p) or 0.0)) for p in programs]
    expected = train(task, [Replica(p, 0) for p in faster])
    assert [o._replace(seconds=0.0) for o in scaled_task] == [o._replace(seconds=0.0) for o in expected]
    assert all(o.status == "ok" for o in expected)


def test_neighbours_that_diverge_leave_no_trace() -> None:
    """They are dropped at different times, and every time the rows of the others move."""
    survivors = [Replica(zoo.load(name), 0) for name in ("adamw", "lion", "sgd_momentum")]
    alone = train_all(short_task(), survivors)
    late = [parse(f"update = w * {-0.1 * k}") for k in range(1, 7)]
    crowd = [EXPLODES, TURNS_NAN, *late]
    rng = Random(0)
    for _ in range(3):
        replicas = survivors + [Replica(program, 0) for program in crowd]
        rng.shuffle(replicas)
        outcomes = dict(zip(replicas, train_all(short_task(), replicas), strict=True))
        assert [outcomes[replica] for replica in survivors] == alone
        assert len({outcomes[Replica(program, 0)].steps for program in crowd}) > 2


def test_outcomes_come_in_the_order_of_the_replicas() -> None:
    rates = [10 ** -(1 + k / 7) for k in range(14)]
    programs = [with_learning_rate(zoo.load(name), rate) for rate in rates for name in ("sgd", "lion")]
    order = Random(1).sample(range(len(programs)), len(programs))
    straight = train_all(short_task(10), [Replica(program, 0) for program in programs])
    shuffled = train_all(short_task(10), [Replica(programs[i], 0) for i in order])
    assert [straight[i] for i in order] == shuffled
    assert len({outcome.fitness for outcome in straight}) == len(programs)


# --- against ordinary torch ----------------------------------------------------------------------------------------


class AdamWithoutBiasCorrection(torch.optim.Optimizer):
    """torch.optim.AdamW with its step count held where both bias corrections are 1, by torch's own single step."""

    def __init__(self, params: Iterable[Tensor], lr: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state.setdefault(p, {"m": torch.zeros_like(p), "v": torch.zeros_like(p)})
                adamw(
                    [p], [p.grad], [state["m"]], [state["v"]], [], [torch.tensor(1e9)], foreach=False,
                    amsgrad=False, beta1=0.9, beta2=0.999, lr=group["lr"], weight_decay=group["weight_decay"],
                    eps=1e-8, maximize=False,
                )  # fmt: skip


def plain_loop(task: Task, seed: int, optimizer_of: Callable[[Iterable[Tensor]], torch.optim.Optimizer]) -> float:
    """Validation loss after an ordinary training loop from the same start and with the same minibatches."""
    data, model = task.load()
    start = [p[0] for p in model.parameters(model.initial_row(seed)[None])]
    module = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    names = ["0.weight", "0.bias", "2.weight", "2.bias"]
    module.load_state_dict({n: p.T if p.ndim == 2 else p for n, p in zip(names, start, strict=True)})
    optimizer = optimizer_of(module.parameters())
    peak = [group["lr"] for group in optimizer.param_groups]
    for lr, index in zip(task.learning_rates().tolist(), torch.from_numpy(task.minibatches(seed)), strict=True):
        for group, highest in zip(optimizer.param_groups, peak, strict=True):
            group["lr"] = highest * lr
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(data.train_x[index]), data.train_y[index]).backward()
        optimizer.step()
    with torch.no_grad():
        return float(nn.functional.cross_entropy(module(data.valid_x), data.valid_y))


def tuned(name: str, lr: float, weight_decay: float) -> Program:
    return with_decay(with_learning_rate(zoo.load(name), lr), weight_decay)


@pytest.mark.parametrize("seed", [0, 7])
def test_sgd_momentum_trains_as_torch_does(seed: int) -> None:
    task = short_task(60)
    loss = plain_loop(task, seed, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-3))
    (outcome,) = train_all(task, [Replica(tuned("sgd_momentum", 0.1, 1e-3), seed)])
    assert outcome.fitness == pytest.approx(-loss, rel=1e-4)
    assert loss < 1.0, "the comparison is only worth something where training works"


@pytest.mark.parametrize("seed", [0, 7])
def test_adamw_trains_as_torch_without_bias_correction_does(seed: int) -> None:
    task = short_task(60)
    loss = plain_loop(task, seed, lambda p: AdamWithoutBiasCorrection(p, lr=3e-3, weight_decay=0.1))
    (outcome,) = train_all(task, [Replica(tuned("adamw", 3e-3, 0.1), seed)])
    assert outcome.fitness == pytest.approx(-loss, rel=1e-3)
    assert loss < 1.0


def test_the_curve_holds_mean_training_losses_of_twentieths() -> None:
    """A program that never moves has the loss of the initial weights on each minibatch."""
    task = short_task(40)
    data, model = task.load()
    parameters = model.parameters(model.initial_row(2)[None])
    index = torch.from_numpy(task.minibatches(2))
    losses = [float(model.losses(parameters, data.train_x[i][None], data.train_y[i][None])) for i in index]
    (outcome,) = train_all(task, [Replica(STILL, 2)])
    assert outcome.curve == pytest.approx([(a + b) / 2 for a, b in zip(losses[::2], losses[1::2], strict=True)])
    assert (outcome.status, outcome.steps, outcome.reason) == ("ok", 40, None)


# --- replicas that diverge -----------------------------------------------------------------------------------------


def test_diverged_replicas_have_a_reason_and_no_fitness() -> None:
    still, explodes, nan = train_all(short_task(), [Replica(p, 0) for p in (STILL, EXPLODES, TURNS_NAN)])
    assert still.status == "ok" and still.fitness is not None
    for outcome in (explodes, nan):
        assert outcome.status == "diverged" and outcome.fitness is None
        assert 0 < outcome.steps < 40
    assert nan.reason == "training loss is not finite by step 2"
    assert explodes.reason is not None and explodes.reason.startswith("training loss exceeds 100 by step ")


def test_divergence_at_the_last_step_is_found_by_validation() -> None:
    """The schedule is 1 at step 0 and 0 at step 1: a single update, after the last training loss."""
    (outcome,) = train_all(short_task(1), [Replica(TURNS_NAN, 0)])
    assert (outcome.status, outcome.fitness, outcome.steps) == ("diverged", None, 1)
    assert outcome.reason is not None and "validation loss" in outcome.reason


def test_the_bound_is_the_tasks() -> None:
    task = replace(short_task(), loss_bound=0.5)
    (outcome,) = train_all(task, [Replica(STILL, 0)])
    assert outcome.status == "diverged"
    assert outcome.reason is not None and "exceeds 0.5" in outcome.reason


def test_nothing_that_is_not_finite_ever_comes_out() -> None:
    rng = Random(11)
    replicas = [Replica(evolved(rng, 60), 0) for _ in range(60)]
    outcomes = train_all(short_task(20), replicas)
    for outcome in outcomes:
        assert (outcome.fitness is None) == (outcome.status != "ok") == (outcome.reason is not None)
        assert outcome.fitness is None or math.isfinite(outcome.fitness)
        json.dumps(outcome.curve, allow_nan=False)
        assert len(outcome.curve) == 20 or outcome.status == "diverged"
    assert {outcome.status for outcome in outcomes} == {"ok", "diverged"}


# --- processes -----------------------------------------------------------------------------------------------------


def test_denormals_are_flushed() -> None:
    """Weights shrunk below the smallest normal number and grown again are gone: this program does not move."""
    to_and_fro = parse("x = g * 1e-30\nx = x * 1e-12\nx = x * 1e30\nx = x * 1e12\nupdate = x * 0.1")
    sgd, flushed, still = (
        train_all(short_task(10), [Replica(p, 0)])[0] for p in (parse("update = g * 0.1"), to_and_fro, STILL)
    )
    assert flushed.fitness == still.fitness != sgd.fitness


def test_a_process_that_trains_has_one_thread() -> None:
    torch.set_num_threads(2)
    configure_process()
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize("loss", [math.inf, -math.inf, math.nan])
def test_a_loss_that_is_not_finite_has_diverged(loss: float) -> None:
    """Also below all others, as a log-density or decibels may be."""
    early, late = diverged_outcome(loss, 100.0, 5), validated(get_task("digits_mlp"), loss, None, None)
    assert early is not None and early.status == late.status == "diverged"
    assert "is not finite" in early.reason and "is not finite" in late.reason
