"""Clicks against the law of Zipf, their probabilities, and the bound that no model can pass."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import entr, expit, logit

from proxy_tasks import get_task
from proxy_tasks.datasets import Dataset, load_dataset
from proxy_tasks.datasets.clicks import log_odds, truth
from proxy_tasks.models import build_model
from proxy_tasks.models.losses import binary_cross_entropy
from proxy_tasks.named import args


def small(**arguments: object) -> Dataset:
    sizes = {"fields": 4, "categories": 50, "buckets": 40, "train": 500, "valid": 400}
    return load_dataset("clicks", args(**(sizes | arguments)))


def test_log_odds_are_those_of_the_definition() -> None:
    rng = np.random.default_rng(0)
    x, weights, vectors = rng.integers(9, size=(20, 5)), rng.standard_normal(9), rng.standard_normal((9, 3))
    for sample, odds in zip(x, log_odds(x, weights, vectors, -0.5), strict=True):
        pairs = sum(float(vectors[f] @ vectors[g]) for f, g in combinations(sample, 2))
        expected = -0.5 + sum(weights[f] for f in sample) / math.sqrt(5) + pairs / math.sqrt(10 * 3)
        assert odds == pytest.approx(expected)


def test_frequencies_of_categories_follow_the_law_of_zipf() -> None:
    """Where there are so many buckets that hardly two categories share one."""
    data = small(fields=2, categories=20, buckets=2**20, exponent=1.3, train=50_000)
    expected = np.arange(1.0, 21) ** -1.3
    expected /= expected.sum()
    for field in data.train_x.T.numpy():
        counts = np.sort(np.unique(field, return_counts=True)[1])[::-1]
        assert len(counts) == 20
        assert (abs(counts - 50_000 * expected) < 5 * np.sqrt(50_000 * expected) + 5).all()


def test_clicks_have_the_probabilities_that_validation_knows() -> None:
    """A probability is a function of the buckets of a sample, so each combination tells its own."""
    data = small(fields=2, categories=3, train=60_000)
    combos = {tuple(x): p for x, p in zip(data.valid_x.tolist(), data.valid_y.tolist(), strict=True)}
    assert len(combos) > 4 and len(set(combos.values())) == len(combos)
    for combo, p in combos.items():
        clicks = data.train_y[(data.train_x == torch.tensor(combo)).all(1)]
        assert abs(float(clicks.mean()) - p) < 5 * math.sqrt(p * (1 - p) / len(clicks))


def test_the_floor_is_the_mean_entropy() -> None:
    data = small()
    p = data.valid_y.double().numpy()
    assert data.floor == pytest.approx(float((entr(p) + entr(1 - p)).mean()), rel=1e-12)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), distance=st.floats(0, 5))
def test_no_log_odds_lose_less_than_the_floor(seed: int, distance: float) -> None:
    data = small()
    true = torch.from_numpy(logit(data.valid_y.double().numpy()))
    moved = true + distance * torch.randn(len(true), generator=torch.Generator().manual_seed(seed))
    loss = float(binary_cross_entropy(moved[None], data.valid_y[None].double()))
    assert loss >= data.floor - 1e-12
    if distance == 0:
        assert loss == pytest.approx(data.floor, rel=1e-9)


def test_the_model_can_be_what_clicks_come_from() -> None:
    """Then its validation loss is the floor."""
    data = small(rank=3, bias=-2.0)
    model = build_model("deepfm", data, args(width=3))
    _, weights, vectors = truth(4, 50, 40, 3, 0)
    row = torch.zeros(1, model.layout.width)
    p_weights, p_vectors, *_, bias = model.parameters(row)
    p_weights[0, :, 0] = torch.from_numpy(weights) / math.sqrt(4)
    p_vectors[0] = torch.from_numpy(vectors) / (6 * 3) ** 0.25
    bias.fill_(-2.0)
    loss = model.losses(model.parameters(row), data.valid_x[None], data.valid_y[None])
    assert float(loss) == pytest.approx(data.floor, rel=1e-6)


@pytest.mark.parametrize("odds", [-200.0, -1.0, 0.0, 1.0, 200.0])
@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_the_loss_and_its_gradient_are_finite_and_right_far_out(odds: float, p: float) -> None:
    z, y = torch.tensor([[odds]], requires_grad=True), torch.tensor([[p]])
    loss = binary_cross_entropy(z, y)
    torch.testing.assert_close(loss[0], torch.nn.functional.binary_cross_entropy_with_logits(z, y))
    (gradient,) = torch.autograd.grad(loss.sum(), z)
    assert float(gradient) == pytest.approx(float(expit(odds)) - p, abs=1e-6)


def test_gradients_of_a_minibatch_are_sparse() -> None:
    """Only buckets that are in it have any, and in the built-in task most are not."""
    task = get_task("clicks_deepfm")
    data, model = task.load()
    parameters = [p.detach().requires_grad_() for p in model.parameters(model.initial_row(0)[None])]
    index = torch.from_numpy(task.minibatches(0)[:1])
    losses = model.losses(parameters, data.train_x[index], data.train_y[index])
    for table in torch.autograd.grad(losses.sum(), parameters)[:2]:
        touched = set(table[0].any(1).nonzero().flatten().tolist())
        assert touched == set(data.train_x[index].flatten().tolist())
        assert len(touched) < data.classes / 2
