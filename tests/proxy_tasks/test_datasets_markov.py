"""The Markov chain against eigenvectors, frequencies and Gibbs' inequality."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import rel_entr
from torch import Tensor

from programs.errors import InputError

from proxy_tasks.datasets import Dataset, load_dataset
from proxy_tasks.datasets.markov import Array, entropy_rate, stationary, transition_table
from proxy_tasks.named import args

CHAINS = [(1, 2, 1.0), (1, 16, 0.3), (2, 5, 0.2), (3, 4, 1.0), (4, 3, 0.1)]


def transition_matrix(table: Array) -> Array:
    """The chain over states, [S, S], entry by entry: the oldest token leaves and the new one enters."""
    states, vocabulary = table.shape
    matrix = np.zeros((states, states))
    for state in range(states):
        for token in range(vocabulary):
            matrix[state, (state * vocabulary + token) % states] += table[state, token]
    return matrix


def eigenvector(table: Array) -> Array:
    values, vectors = np.linalg.eig(transition_matrix(table).T)
    p: Array = np.real(vectors[:, np.argmin(np.abs(values - 1))])
    return p / p.sum()


def state_before(tokens: list[int], order: int, vocabulary: int) -> int:
    state = 0
    for token in tokens[-order:]:
        state = state * vocabulary + token
    return state


# --- the chain -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("order", "vocabulary", "concentration"), CHAINS)
def test_table_holds_probabilities(order: int, vocabulary: int, concentration: float) -> None:
    table = transition_table(order, vocabulary, concentration, seed=0)
    assert table.shape == (vocabulary**order, vocabulary)
    np.testing.assert_allclose(table.sum(1), 1, rtol=1e-12)
    assert table.min() >= 0
    assert not np.array_equal(table, transition_table(order, vocabulary, concentration, seed=1))


@pytest.mark.parametrize(("order", "vocabulary", "concentration"), CHAINS)
def test_stationary_distribution_is_the_eigenvector(order: int, vocabulary: int, concentration: float) -> None:
    table = transition_table(order, vocabulary, concentration, seed=0)
    np.testing.assert_allclose(stationary(table), eigenvector(table), atol=1e-10)


@pytest.mark.parametrize(("order", "vocabulary", "concentration"), CHAINS)
def test_entropy_rate_is_the_sum_over_states(order: int, vocabulary: int, concentration: float) -> None:
    table = transition_table(order, vocabulary, concentration, seed=0)
    expected = sum(
        weight * sum(-p * np.log(p) for p in row if p > 0)
        for weight, row in zip(eigenvector(table), table, strict=True)
    )
    assert entropy_rate(table) == pytest.approx(expected, rel=1e-9)


def test_entropy_rates_known_by_heart() -> None:
    assert entropy_rate(np.full((16, 4), 0.25)) == pytest.approx(np.log(4))
    a, b = 0.1, 0.4  # leaves state 0 with probability a, state 1 with b: it is b/(a+b) of the time in state 0
    both = np.array([[1 - a, a], [b, 1 - b]])
    np.testing.assert_allclose(stationary(both), [0.8, 0.2], atol=1e-12)
    expected = -0.8 * (0.9 * np.log(0.9) + 0.1 * np.log(0.1)) - 0.2 * (0.4 * np.log(0.4) + 0.6 * np.log(0.6))
    assert entropy_rate(both) == pytest.approx(expected)
    assert entropy_rate(np.array([[0.0, 1.0], [0.5, 0.5]])) == pytest.approx(2 / 3 * np.log(2))  # nothing from 0 log 0


def test_concentration_makes_text_less_predictable() -> None:
    rates = [entropy_rate(transition_table(2, 8, c, seed=0)) for c in (0.1, 0.3, 1.0, 10.0)]
    assert rates == sorted(rates) and rates[-1] < np.log(8)


# --- the text --------------------------------------------------------------------------------------------------------


def test_text_follows_the_table() -> None:
    table = transition_table(2, 4, 0.5, seed=3)
    data = load_dataset("markov", args(order=2, vocabulary=4, concentration=0.5, train=400_000, seed=3))
    tokens = data.content[0].tolist()
    counts: Counter[tuple[int, ...]] = Counter(zip(tokens, tokens[1:], tokens[2:], strict=False))
    seen = np.array([[counts[a, b, c] for c in range(4)] for a in range(4) for b in range(4)])
    np.testing.assert_allclose(seen.sum(1) / seen.sum(), eigenvector(table), atol=0.01)
    visited = seen.sum(1)
    excess = np.array([rel_entr(row / row.sum(), p).sum() for row, p in zip(seen, table, strict=True)])
    # Twice the log-likelihood ratio of 16 rows with 3 degrees of freedom: chi-squared with mean 48, deviation 10.
    assert 2 * (visited * excess).sum() < 48 + 5 * 10


def test_text_does_not_depend_on_the_context_and_the_table_not_on_the_length() -> None:
    short, long = (load_dataset("markov", args(train=2_000, valid=500, context=c)).content[0] for c in (8, 32))
    assert torch.equal(short, long)
    longer = load_dataset("markov", args(train=4_000, valid=500)).content[0]
    assert torch.equal(short, longer[:2_000])


@settings(max_examples=25)
@given(order=st.integers(1, 4), vocabulary=st.integers(2, 5), extra=st.integers(0, 9), seed=st.integers(0, 99))
def test_targets_and_floor_are_those_of_the_state_that_each_position_sees(
    order: int, vocabulary: int, extra: int, seed: int
) -> None:
    context = order + extra
    arguments = {"order": order, "vocabulary": vocabulary, "context": context, "seed": seed}
    data = load_dataset.__wrapped__("markov", args(**arguments, train=100, valid=100))
    table = transition_table(order, vocabulary, 0.3, seed)
    positions = extra + 1
    assert data.train_y.shape == (100 - context, positions)
    assert data.valid_y.shape == (len(data.valid_x), positions, vocabulary)
    entropies = []
    for window, targets in zip(data.valid_x.tolist(), data.valid_y, strict=True):
        for i in range(positions):
            row = table[state_before(window[: order + i], order, vocabulary)]
            np.testing.assert_allclose(targets[i].numpy(), row, rtol=1e-6)
            entropies.append(-sum(p * np.log(p) for p in row if p > 0))
    assert data.floor == pytest.approx(np.mean(entropies), rel=1e-9)
    tokens = data.content[0]
    last = [tokens[i + order : i + context + 1].tolist() for i in range(100 - context)]
    assert data.train_y.tolist() == last


def loss_of(log_p: Tensor, data: Dataset) -> float:
    return float(-(data.valid_y.double() * log_p).sum(-1).mean())


@settings(max_examples=30)
@given(seed=st.integers(0, 1_000), scale=st.sampled_from([0.0, 1e-3, 0.1, 3.0]))
def test_no_prediction_is_better_than_the_floor(seed: int, scale: float) -> None:
    data = load_dataset("markov", args(train=100, valid=2_000))
    noise = torch.randn(data.valid_y.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    log_p = torch.log_softmax(data.valid_y.double().clamp_min(1e-300).log() + scale * noise, -1)
    assert loss_of(log_p, data) >= data.floor - 1e-7
    if scale == 0:
        assert loss_of(log_p, data) == pytest.approx(data.floor, abs=1e-6)
    if scale == 3.0:
        assert loss_of(log_p, data) > data.floor + 0.1


@pytest.mark.parametrize(("order", "vocabulary", "concentration"), CHAINS)
def test_floor_approaches_the_entropy_rate(order: int, vocabulary: int, concentration: float) -> None:
    arguments = args(order=order, vocabulary=vocabulary, concentration=concentration, train=100, valid=400_000)
    data = load_dataset.__wrapped__("markov", arguments)
    rate = entropy_rate(transition_table(order, vocabulary, concentration, seed=0))
    assert data.floor == pytest.approx(rate, rel=0.01, abs=0.005)  # the last chain mixes slowly


def test_digest_tells_arguments_apart() -> None:
    changes: list[dict[str, Any]] = [
        {}, {"order": 1}, {"vocabulary": 15}, {"concentration": 0.31}, {"context": 31}, {"train": 2_001},
        {"valid": 2_033}, {"seed": 1},
    ]  # fmt: skip
    digests = {load_dataset("markov", args(**({"train": 2_000, "valid": 2_000} | c))).digest for c in changes}
    assert len(digests) == len(changes)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"order": 0}, "'order' is 0"),
    ({"vocabulary": 1}, "'vocabulary' is 1"),
    ({"vocabulary": 1_000}, r"1000\^3 entries is too large; lower 'order' or 'vocabulary'"),
    ({"concentration": 0.0}, "'concentration' is 0.0"),
    ({"concentration": "0.3"}, "'concentration' is '0.3'"),
    ({"context": 1}, "'context' is 1; give a whole number from 2"),
    ({"train": 32}, "'train' is 32; give a whole number from 33"),
    ({"valid": 32}, "'valid' is 32; give a whole number from 33"),
    ({"seed": -1}, "'seed' is -1"),
    ({"seed": 0.5}, "'seed' is 0.5"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_argument_is_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"data set markov: .*{message}"):
        load_dataset("markov", args(**arguments))
