"""Samples that are drawn anew at every step: noise, views, masks; a function of the key, and fixed at validation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from programs import zoo

from proxy_tasks import TASKS, Replica, configured_process, train
from proxy_tasks.datasets import DATASETS, Dataset, digits, load_dataset

TRANSFORMED = ["masked_stdlib", "noisy_digits", "paired_digits"]


@pytest.fixture(autouse=True)
def _as_in_a_worker() -> Iterator[None]:
    with configured_process():
        yield


def drawn(data: Dataset, samples: int, key: int = 0) -> tuple[Tensor, Tensor]:
    """What a step sees of the first samples."""
    (x,), (y,) = data.minibatch(torch.arange(samples)[None], torch.tensor([key]))
    return x, y


# --- all of them -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TRANSFORMED)
def test_draws_follow_from_the_key_of_a_replica_alone(name: str) -> None:
    data = load_dataset(name)
    index, keys = torch.arange(18).view(3, 6), torch.tensor([7, -(2**63), 7])
    x, y = data.minibatch(index, keys)
    for r in range(3):
        for together, alone in zip((x, y), data.minibatch(index[r : r + 1], keys[r : r + 1]), strict=True):
            assert torch.equal(together[r], alone[0])
    same, _ = data.minibatch(index[[0, 0]], keys[:2])
    assert not torch.equal(same[0], same[1])


@pytest.mark.parametrize("name", TRANSFORMED)
def test_validation_samples_are_drawn_once(name: str) -> None:
    again, data = DATASETS[name](), load_dataset(name)
    assert torch.equal(again.valid_x, data.valid_x) and torch.equal(again.valid_y, data.valid_y)


def test_a_step_is_taken_on_what_the_keys_of_the_task_draw() -> None:
    task = replace(TASKS["digits_diffusion"], steps=1)
    data, model = task.load()
    index, keys = torch.from_numpy(task.minibatches(4)), torch.from_numpy(task.keys(4))
    expected = model.losses(model.parameters(model.initial_row(4)[None]), *data.minibatch(index, keys[:1]))
    (outcome,) = train(task, [Replica(zoo.load("sgd"), 4)])
    assert outcome.curve == [pytest.approx(float(expected))]
    other = model.losses(model.parameters(model.initial_row(4)[None]), *data.minibatch(index, keys[1:]))
    assert float(other) != pytest.approx(float(expected), rel=1e-3)


# --- noise -----------------------------------------------------------------------------------------------------------


def test_noisy_digits_are_the_image_and_the_noise_at_the_level_beside_them() -> None:
    data = load_dataset("noisy_digits")
    x, noise = drawn(data, 1000)
    signal, amount = x[:, 64:65], x[:, 65:]
    torch.testing.assert_close(x[:, :64], (2 * data.train_x - 1) * signal + noise * amount)
    torch.testing.assert_close(signal**2 + amount**2, torch.ones(1000, 1))
    assert stats.kstest(torch.atan2(amount, signal).flatten() / (math.pi / 2), "uniform").pvalue > 1e-3
    assert stats.kstest(noise.flatten(), "norm").pvalue > 1e-3
    assert abs(np.corrcoef(noise.T)[np.triu_indices(64, 1)]).max() < 5 / math.sqrt(1000)


# --- views -----------------------------------------------------------------------------------------------------------


def views_of(image: np.ndarray) -> dict[bytes, tuple[int, int]]:
    """Every image that is shifted by at most a pixel and has a square of 3x3 erased, with the shift."""
    found = {}
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            padded = np.pad(image, 1)[1 - down : 9 - down, 1 - right : 9 - right]
            for row in range(6):
                for column in range(6):
                    erased = padded.copy()
                    erased[row : row + 3, column : column + 3] = 0
                    found[erased.tobytes()] = (down, right)
    return found


def test_views_are_shifted_and_have_a_square_erased(monkeypatch: pytest.MonkeyPatch) -> None:
    data = load_dataset("paired_digits")
    noisy, labels = drawn(data, 60)
    monkeypatch.setattr(digits, "NOISE", 0.0)
    x, _ = drawn(data, 60)
    assert float((noisy - x).std()) == pytest.approx(0.1, rel=0.05)
    assert torch.equal(labels, data.train_y[:60])
    shifts = []
    for image, pair in zip(data.train_x.numpy(), x.numpy(), strict=False):
        possible = views_of(image.reshape(8, 8))
        shifts += [possible[view.reshape(8, 8).tobytes()] for view in pair]
    assert len(set(shifts)) == 9 and shifts[::2] != shifts[1::2]


# --- masks -----------------------------------------------------------------------------------------------------------


def test_masked_tokens_are_those_of_bert() -> None:
    """Of 5 in 32 tokens, 80 % are masked, 10 % replaced by any token, 10 % left; every position is as likely."""
    data, samples = load_dataset("masked_stdlib"), 4000
    x, y = drawn(data, samples)
    positions, targets = y.unbind(1)
    original, vocabulary = data.train_x[:samples], data.classes
    assert positions.shape == (samples, 5) and all(len(set(row)) == 5 for row in positions.tolist())
    assert torch.equal(original.gather(1, positions), targets)
    assert torch.equal(x.scatter(1, positions, targets), original), "the others stay as they are"
    shown = x.gather(1, positions)
    assert float((shown == vocabulary).float().mean()) == pytest.approx(0.8, abs=0.01)
    replaced = (shown != vocabulary) & (shown != targets)
    assert float(replaced.float().mean()) == pytest.approx(0.1 * (1 - 1 / vocabulary), abs=0.01)
    assert set(shown[replaced].tolist()) == set(range(vocabulary))
    assert stats.chisquare(positions.flatten().bincount(minlength=32)).pvalue > 1e-3
