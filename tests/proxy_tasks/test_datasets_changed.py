"""Data sets with something changed: wrong labels, another split, fewer samples."""

from __future__ import annotations

import pytest
import torch

from programs import InputError

from proxy_tasks.datasets import DATASETS, load_dataset
from proxy_tasks.named import args


def test_wrong_labels_are_as_many_as_asked_for_and_never_right() -> None:
    plain, noisy = load_dataset("digits"), load_dataset("changed", args(dataset="digits", label_noise=0.2))
    wrong = plain.train_y != noisy.train_y
    assert int(wrong.sum()) == 200 and set(noisy.train_y.tolist()) == set(range(10))
    assert torch.equal(plain.train_x, noisy.train_x) and torch.equal(plain.valid_y, noisy.valid_y)
    counts = torch.bincount((noisy.train_y - plain.train_y)[wrong] % 10, minlength=10)
    assert counts[0] == 0 and counts[1:].min() > 5  # all other classes
    assert noisy.digest != plain.digest


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
