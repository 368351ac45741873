"""Schedules, averaged weights, accuracies and gradient norms, in training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from programs import parse, zoo
from programs.errors import InputError

from proxy_tasks import Hurdle, Replica, Resources, Task, UserTask, get_task, train
from proxy_tasks.datasets import Dataset
from proxy_tasks.models import module_model, user_model
from proxy_tasks.models.classifier import share_right
from proxy_tasks.outcome import Outcome, Status, TorchOptimizer, TorchReplica
from proxy_tasks.preflight import check_task
from proxy_tasks.torch_optimizers import train_torch_optimizer

from tests.support.trainings import short_task, train_all, train_each

GRADIENT_DESCENT = parse("x = g * 0.5\nupdate = x * lr")
SETTINGS = replace(short_task(30), schedule="linear", average=0.9, fitness="accuracy", gradient_norm="l1")
REPLICAS = [Replica(zoo.load(name), seed) for seed in (0, 1) for name in ("adamw", "lion", "adamw", "sgd_momentum")]


class _Walk:
    """The digits MLP trained by torch's autograd and SGD, with what is to be known of each step."""

    def __init__(self, task: Task, seed: int) -> None:
        self.data, model = task.load()
        leaves = model.parameters(model.initial_row(seed)[None])
        self.weights = [leaf[0].clone().requires_grad_() for leaf in leaves]
        optimizer = torch.optim.SGD(self.weights, lr=0.5)
        self.after: list[list[Tensor]] = []  # each step
        self.gradients: list[Tensor] = []
        for rate, batch in zip(task.learning_rates().tolist(), task.minibatches(seed), strict=True):
            optimizer.param_groups[0]["lr"] = 0.5 * rate
            optimizer.zero_grad()
            index = torch.from_numpy(batch)
            logits = self.logits(self.weights, self.data.train_x[index])
            functional.cross_entropy(logits, self.data.train_y[index]).backward()  # type: ignore[no-untyped-call]
            self.gradients.append(torch.cat([w.grad.flatten() for w in self.weights if w.grad is not None]))
            optimizer.step()
            self.after.append([w.detach().clone() for w in self.weights])

    @staticmethod
    def logits(weights: Sequence[Tensor], x: Tensor) -> Tensor:
        first, bias, second, last = weights
        return torch.relu(x.flatten(1) @ first + bias) @ second + last

    @torch.no_grad()
    def validated(self, weights: Sequence[Tensor]) -> tuple[float, float]:
        """The loss and the error rate of these weights."""
        logits = self.logits(weights, self.data.valid_x)
        wrong = (logits.argmax(1) != self.data.valid_y).float().mean()
        return float(functional.cross_entropy(logits, self.data.valid_y)), float(wrong)


@pytest.mark.parametrize("form", ["linear", "wsd", "constant", (0.2, 1.0, 0.5, 0.0)])
def test_training_equals_that_of_torch_with_the_same_schedule(form: str | tuple[float, ...]) -> None:
    task = replace(short_task(30), schedule=form)
    walk = _Walk(task, 3)
    (outcome,) = train(task, [Replica(GRADIENT_DESCENT, 3)])
    assert outcome.fitness == pytest.approx(-walk.validated(walk.weights)[0], rel=1e-5)
    assert outcome.gradient_norms is None and outcome.metric is None


@pytest.mark.parametrize(("norm", "order"), [("l1", 1), ("l2", 2)])
def test_norms_are_those_of_the_gradients_of_each_step(norm: str, order: int) -> None:
    task = replace(short_task(30), gradient_norm=norm)
    (outcome,) = train(task, [Replica(GRADIENT_DESCENT, 3)])
    expected = [float(torch.linalg.vector_norm(g.double(), order)) for g in _Walk(task, 3).gradients]
    assert outcome.gradient_norms == pytest.approx(expected, rel=1e-4)
    (plain,) = train(replace(task, gradient_norm=None), [Replica(GRADIENT_DESCENT, 3)])
    assert plain.fitness == outcome.fitness, "to note them changes nothing"


@pytest.mark.parametrize("b", [0.5, 0.9])
def test_averaged_weights_are_the_weighted_mean_of_the_weights_since_the_warm_up(b: float) -> None:
    task = replace(short_task(30), average=b, warmup=0.2)
    walk = _Walk(task, 3)
    since = walk.after[6 - 1 :]  # 6 steps of warm-up, the last of them included
    heavy = [b ** (len(since) - 1 - k) for k in range(len(since))]
    leaves = zip(*since, strict=True)
    mean = [sum(h * w for h, w in zip(heavy, leaf, strict=True)) / sum(heavy) for leaf in leaves]
    (outcome,) = train(task, [Replica(GRADIENT_DESCENT, 3)])
    assert outcome.fitness == pytest.approx(-walk.validated(mean)[0], rel=1e-5)  # type: ignore[arg-type]
    assert abs(walk.validated(walk.weights)[0] + outcome.fitness) > 1e-3, "the last weights are others"


def test_fitness_by_accuracy_is_minus_the_error_rate() -> None:
    task = replace(short_task(60), fitness="accuracy")
    walk = _Walk(task, 3)
    (outcome,) = train(task, [Replica(GRADIENT_DESCENT, 3)])
    assert outcome.fitness == pytest.approx(-walk.validated(walk.weights)[1], abs=1e-6)
    assert outcome.metric == pytest.approx(1 + outcome.fitness) and 0.5 < outcome.metric < 1
    curves = train(replace(task, fitness="loss"), [Replica(GRADIENT_DESCENT, 3)])[0].curve
    assert outcome.curve == curves, "curves are of training losses all the same"


@given(b=st.floats(0, 0.999), warmup=st.floats(0, 1), steps=st.integers(1, 60))
def test_the_shares_of_an_average_give_each_weights_their_place(b: float, warmup: float, steps: int) -> None:
    task = replace(short_task(steps), average=b, warmup=warmup)
    shares = task.averaging().astype(float)
    counted = np.zeros(steps)
    for step, share in enumerate(shares):
        counted *= 1 - share
        counted[step] = share
    first = min(task.lr_schedule.warm_steps(steps), steps) - 1
    assert not counted[:first].any() and counted.sum() == pytest.approx(1)
    for older, newer in pairwise(counted[first:]):
        assert older == pytest.approx(b * newer, rel=1e-3, abs=1e-9)


# --- determinism ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def together() -> list[Outcome]:
    return train_all(SETTINGS, REPLICAS)


def test_replicas_together_are_those_alone(together: list[Outcome]) -> None:
    assert train_each(SETTINGS, REPLICAS) == together
    assert len({outcome.fitness for outcome in together}) > 2


def test_training_twice_is_equal_also_in_cohorts_that_are_regrouped(together: list[Outcome]) -> None:
    assert train_all(SETTINGS, REPLICAS) == together
    hurdles = [Hurdle(4, together[0].curve[3] + 0.02), Hurdle(8, 9.0)]
    of_parts = train(SETTINGS, REPLICAS, hurdles, Resources(rows=3))
    assert {outcome.status for outcome in of_parts} == {Status.OK, Status.DROPPED}
    for part, whole in zip(of_parts, together, strict=True):
        if part.status == Status.OK:
            assert part._replace(seconds=0.0) == whole
        else:
            assert part.gradient_norms is None


def test_optimizers_of_torch_get_the_same() -> None:
    program = zoo.load("torch_adamw")
    rate, decay = 1e-3, 1e-2
    ours = train(SETTINGS, [Replica(program, 0)])[0]
    torchs = train_torch_optimizer(SETTINGS, TorchReplica(TorchOptimizer("torch_adamw", rate, decay), 0))
    assert torchs.gradient_norms == pytest.approx(ours.gradient_norms, rel=1e-3)
    assert torchs.fitness == pytest.approx(ours.fitness, abs=2e-3)
    assert torchs.metric == pytest.approx(1 + torchs.fitness)


# --- accuracy ---------------------------------------------------------------------------------------------------------


@given(st.integers(2, 5), st.booleans(), st.integers(0, 10**6))
def test_the_share_right_counts_labels_or_their_probabilities(classes: int, shared: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(3, 4, 2, classes))
    labels = rng.integers(classes, size=(1 if shared else 3, 4, 2))
    chances = rng.dirichlet(np.ones(classes), size=labels.shape)
    places = [(r, b, t) for r in range(3) for b in range(4) for t in range(2)]
    right, likely = np.zeros(3), np.zeros(3)
    for r, b, t in places:
        best = max(range(classes), key=lambda c, at=(r, b, t): logits[at][c])  # type: ignore[misc]
        right[r] += best == labels[0 if shared else r, b, t]
        likely[r] += chances[0 if shared else r, b, t, best]
    given = torch.from_numpy(logits).float()
    np.testing.assert_allclose(share_right(given, torch.from_numpy(labels)), right / 8, rtol=1e-6)
    np.testing.assert_allclose(share_right(given, torch.from_numpy(chances).float()), likely / 8, rtol=1e-5)


@pytest.mark.parametrize("name", ["digits_cnn", "markov_transformer"])
def test_other_classifiers_have_an_accuracy(name: str) -> None:
    task = replace(get_task(name), steps=2, fitness="accuracy", batch_size=8)
    (outcome,) = train(task, [Replica(zoo.load("lion"), 0)])
    assert outcome.fitness is not None and -1 < outcome.fitness < 0


@pytest.mark.parametrize("name", ["digits_autoencoder", "noisy_quadratic"])
def test_tasks_without_labels_have_none(name: str) -> None:
    with pytest.raises(InputError, match=f"task '{name}': fitness is by accuracy, and its model .* predicts no labels"):
        check_task(replace(get_task(name), fitness="accuracy"))


X = torch.randn(16, 3, generator=torch.Generator().manual_seed(0))
Y = torch.arange(16) % 2
DATA = Dataset(X, Y, X, Y, classes=2)


def test_modules_have_that_of_the_largest_output_or_their_metric() -> None:
    def of(metric: object) -> float:
        made = UserTask("mine", model=lambda: nn.Linear(3, 2), train=(X, Y), valid=(X, Y), metric=metric)  # type: ignore[arg-type]
        model = user_model("mine:task", made, made.data, ())
        assert model.accuracy is not None and (model.metrics is None) is (metric is None)
        parameters = model.parameters(torch.stack([model.initial_row(0)] * 2))
        first, second = model.accuracy(model.inputs(parameters, [], torch.zeros(2)), X[None], Y[None]).tolist()
        assert first == second
        return float(first)

    model = module_model("mine:net", lambda: nn.Linear(3, 2), DATA)
    weight, bias = model.parameters(model.initial_row(0)[None])
    assert of(None) == pytest.approx(float(((X @ weight[0].T + bias[0]).argmax(1) == Y).float().mean()))
    assert of(lambda _output, _y: 0.25) == 0.25
