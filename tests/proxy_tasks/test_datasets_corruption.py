"""Wrong labels and long tails: as many as asked, and nowhere else."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from programs.errors import InputError

from proxy_tasks.datasets import Dataset, load_dataset
from proxy_tasks.datasets.corruption import corrupted
from proxy_tasks.named import args


def labelled(classes: int, each: int) -> Dataset:
    """Samples that say which they are, in random order."""
    total = classes * each
    x = torch.arange(total).float().unsqueeze(1)
    y = torch.randperm(total, generator=torch.Generator().manual_seed(0)) % classes
    return Dataset(x, y, x + total, y, classes=classes)


@settings(max_examples=30, deadline=None)
@given(classes=st.integers(2, 10), each=st.integers(1, 40), share=st.floats(0, 1))
def test_just_the_share_of_labels_is_wrong(classes: int, each: int, share: float) -> None:
    clean = labelled(classes, each)
    noisy = corrupted("data", clean, share, 1.0)
    assert int((noisy.train_y != clean.train_y).sum()) == round(share * classes * each)
    assert 0 <= int(noisy.train_y.min()) <= int(noisy.train_y.max()) < classes
    for name in ("train_x", "valid_x", "valid_y"):
        assert torch.equal(getattr(noisy, name), getattr(clean, name))


def test_wrong_labels_are_each_of_the_others_alike() -> None:
    clean = labelled(5, 2_000)
    noisy = corrupted("data", clean, 1.0, 1.0)
    shift = (noisy.train_y - clean.train_y) % 5
    assert stats.chisquare(shift.bincount()[1:].numpy()).pvalue > 1e-4


@settings(max_examples=30, deadline=None)
@given(classes=st.integers(2, 10), each=st.integers(5, 60), imbalance=st.floats(1.01, 5))
def test_classes_fall_off_exponentially(classes: int, each: int, imbalance: float) -> None:
    clean = labelled(classes, each)
    tailed = corrupted("data", clean, 0.0, imbalance)
    sizes = tailed.train_y.bincount(minlength=classes).tolist()
    expected = [each * math.exp(-math.log(imbalance) * c / (classes - 1)) for c in range(classes)]
    assert all(abs(size - e) <= 0.5 + 1e-9 for size, e in zip(sizes, expected, strict=True))
    label_of = dict(zip(clean.train_x[:, 0].tolist(), clean.train_y.tolist(), strict=True))
    assert [label_of[x] for x in tailed.train_x[:, 0].tolist()] == tailed.train_y.tolist()


def test_validation_of_a_long_tail_is_balanced_and_clean() -> None:
    """Digits are not: their classes have different sizes, and the order is a random one."""
    plain = load_dataset("digits", args(train=1_200))
    tailed = load_dataset("digits", args(train=1_200, imbalance=20, label_noise=0.5))
    assert len(set(plain.valid_y.bincount().tolist())) > 1
    sizes = tailed.valid_y.bincount().tolist()
    assert len(sizes) == 10 and set(sizes) == {int(plain.valid_y.bincount().min())}
    known = {x.numpy().tobytes(): int(y) for x, y in zip(plain.valid_x, plain.valid_y, strict=True)}
    assert all(known[x.numpy().tobytes()] == int(y) for x, y in zip(tailed.valid_x, tailed.valid_y, strict=True))
    truth = {x.numpy().tobytes(): int(y) for x, y in zip(plain.train_x, plain.train_y, strict=True)}
    true = np.array([truth[x.numpy().tobytes()] for x in tailed.train_x])
    sizes = np.bincount(true).tolist()
    assert sizes == sorted(sizes, reverse=True) and sizes[0] / sizes[-1] == pytest.approx(20, rel=0.1)
    assert abs(float((true != tailed.train_y.numpy()).mean()) - 0.5) < 1 / len(true)


def test_without_arguments_nothing_changes() -> None:
    assert load_dataset("digits", args(label_noise=0.0, imbalance=1)).digest == load_dataset("digits").digest


def test_a_class_without_a_sample_is_named_before_training() -> None:
    with pytest.raises(InputError, match="data: a class would have no sample"):
        corrupted("data", labelled(3, 4), 0.0, 100.0)
