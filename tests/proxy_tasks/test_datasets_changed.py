"""Data sets with something changed: wrong labels, a long tail, another split, fewer samples."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from programs import InputError

from proxy_tasks.datasets import DATASETS, Dataset, load_dataset
from proxy_tasks.datasets.changed import changed
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
    noisy = changed(clean, label_noise=share)
    assert int((noisy.train_y != clean.train_y).sum()) == round(share * classes * each)
    assert 0 <= int(noisy.train_y.min()) <= int(noisy.train_y.max()) < classes
    for name in ("train_x", "valid_x", "valid_y"):
        assert torch.equal(getattr(noisy, name), getattr(clean, name))


def test_wrong_labels_are_each_of_the_others_alike() -> None:
    clean = labelled(5, 2_000)
    noisy = changed(clean, label_noise=1.0)
    shift = (noisy.train_y - clean.train_y) % 5
    assert stats.chisquare(shift.bincount()[1:].numpy()).pvalue > 1e-4


@settings(max_examples=30, deadline=None)
@given(classes=st.integers(2, 10), each=st.integers(5, 60), imbalance=st.floats(1.01, 5))
def test_classes_fall_off_exponentially(classes: int, each: int, imbalance: float) -> None:
    clean = labelled(classes, each)
    tailed = changed(clean, imbalance=imbalance)
    sizes = tailed.train_y.bincount(minlength=classes).tolist()
    expected = [each * math.exp(-math.log(imbalance) * c / (classes - 1)) for c in range(classes)]
    assert all(abs(size - e) <= 0.5 + 1e-9 for size, e in zip(sizes, expected, strict=True))
    label_of = dict(zip(clean.train_x[:, 0].tolist(), clean.train_y.tolist(), strict=True))
    assert [label_of[x] for x in tailed.train_x[:, 0].tolist()] == tailed.train_y.tolist()


def test_validation_of_a_long_tail_is_balanced_and_clean() -> None:
    """Digits are not: their classes have different sizes, and the order is a random one."""
    plain = load_dataset("digits", args(train=1_200))
    tailed = changed(plain, label_noise=0.5, imbalance=20)
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


def test_another_split_has_the_same_samples() -> None:
    plain, other = load_dataset("digits"), load_dataset("changed", args(dataset="digits", split=1))
    assert other.train_x.shape == plain.train_x.shape and not torch.equal(other.valid_x, plain.valid_x)

    def pairs(data: object) -> list[tuple[float, ...]]:
        x = torch.cat([data.train_x, data.valid_x])  # type: ignore[attr-defined]
        y = torch.cat([data.train_y, data.valid_y])  # type: ignore[attr-defined]
        return sorted((*row.tolist(), label) for row, label in zip(x, y.tolist(), strict=True))

    assert pairs(other) == pairs(plain)
    third = load_dataset("changed", args(dataset="digits", split=2))
    assert not torch.equal(third.train_x, other.train_x)


def test_fewer_samples_are_the_first_ones() -> None:
    plain = load_dataset("digits", args(train=400))
    fewer = load_dataset("changed", args(dataset="digits", arguments=args(train=400), share=0.25))
    assert torch.equal(fewer.train_x, plain.train_x[:100]) and torch.equal(fewer.valid_x, plain.valid_x)


def test_nothing_changed_is_the_data_set_itself() -> None:
    for name in ("digits", "mnist1d"):
        assert load_dataset("changed", args(dataset=name)).digest == load_dataset(name).digest


def test_a_class_without_a_sample_is_named_before_training() -> None:
    with pytest.raises(InputError, match="changed: a class would have no sample"):
        changed(labelled(3, 4), imbalance=100.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (args(dataset="quadratic"), "it has no label for each sample; name one of a classification"),
        (args(dataset="pydoc"), "it has no label for each sample"),
        (args(dataset="digits", label_noise=1.5), "'label_noise' is 1.5; give a number from 0 to 1"),
        (args(dataset="digits", split=-1), "'split' is -1"),
        (args(dataset="letters"), "unknown data set 'letters'"),
    ],
)
def test_what_cannot_be_changed_is_said(arguments: tuple[tuple[str, object], ...], message: str) -> None:
    assert "changed" in DATASETS
    with pytest.raises(InputError, match=message):
        load_dataset("changed", arguments)
