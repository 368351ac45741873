"""The schedule, the stream of minibatches, fingerprints of tasks, and the digits."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import datasets

from programs.errors import InputError

from proxy_tasks import TASKS, Task, get_task
from proxy_tasks.datasets import DATASETS, Dataset, load_dataset

from tests.support.trainings import short_task

# --- schedule ------------------------------------------------------------------------------------------------------


@given(steps=st.integers(1, 3000), warmup=st.sampled_from([0.0, 0.05, 0.2]))
def test_schedule_rises_linearly_and_falls_along_a_cosine(steps: int, warmup: float) -> None:
    task = replace(get_task("digits_mlp"), steps=steps, warmup=warmup)
    warm = max(1, round(warmup * steps))
    expected = [
        (t + 1) / warm if t < warm else (1 + math.cos(math.pi * (t - warm) / (steps - warm))) / 2
        for t in range(steps)
    ]  # fmt: skip
    assert task.schedule().dtype == np.float32
    np.testing.assert_allclose(task.schedule(), expected, rtol=1e-6, atol=1e-7)


def test_default_warmup_is_a_twentieth_and_the_peak_is_one() -> None:
    schedule = short_task(100).schedule()
    np.testing.assert_allclose(schedule[:6], [0.2, 0.4, 0.6, 0.8, 1.0, 1.0], rtol=1e-6)
    assert np.all(np.diff(schedule[5:]) < 0)
    assert schedule[-1] < 1e-3


# --- minibatches ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [128, 100, 1000, 1500])
def test_minibatches_are_shuffled_epochs(batch_size: int) -> None:
    stream = replace(short_task(30), batch_size=batch_size).minibatches(seed=3)
    assert stream.shape == (30, batch_size)
    flat = stream.ravel()
    epochs = [flat[start : start + 1000] for start in range(0, len(flat), 1000)]
    for epoch in epochs:
        assert len(set(epoch.tolist())) == len(epoch), "a sample comes twice in one epoch"
        assert set(epoch.tolist()) <= set(range(1000))
    assert not np.array_equal(epochs[0], np.sort(epochs[0]))
    assert not np.array_equal(epochs[0][:500], epochs[1][:500])


def test_minibatches_depend_on_the_seed_alone() -> None:
    task = short_task(30)
    np.testing.assert_array_equal(task.minibatches(5), task.minibatches(5))
    assert not np.array_equal(task.minibatches(5), task.minibatches(6))
    renamed = replace(task, name="other", model_args=(("hidden", (7,)),), loss_bound=1.0)
    np.testing.assert_array_equal(renamed.minibatches(5), task.minibatches(5))
    np.testing.assert_array_equal(replace(task, steps=12).minibatches(5), task.minibatches(5)[:12])


# --- fingerprint ---------------------------------------------------------------------------------------------------

CHANGES: dict[str, Any] = {
    "dataset": "tiny",
    "dataset_args": (("train", 900),),
    "model": "another",
    "model_args": (("hidden", (16,)),),
    "steps": 41,
    "batch_size": 64,
    "warmup": 0.1,
    "loss_bound": 50.0,
    "update_scale": 2.0,
    "matmul": "bf16",
    "states": "8bit",
}


def _tiny_dataset(value: float) -> Dataset:
    x = torch.full((4, 2), value)
    y = torch.tensor([0, 1, 0, 1])
    return Dataset(x, y, x, y, classes=2)


def test_every_field_but_the_name_is_tried() -> None:
    assert CHANGES.keys() | {"name"} == {field.name for field in fields(Task)}


@pytest.mark.parametrize("field", CHANGES)
def test_fingerprint_changes_with_the_field(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DATASETS, "tiny", lambda: _tiny_dataset(0.0))
    load_dataset.cache_clear()
    task = short_task()
    assert replace(task, **{field: CHANGES[field]}).fingerprint != task.fingerprint


def test_fingerprint_leaves_the_name_out() -> None:
    assert replace(short_task(), name="other").fingerprint == short_task().fingerprint
    assert len(short_task().fingerprint) == 32
    int(short_task().fingerprint, 16)


def test_fingerprint_changes_with_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    fingerprints = []
    for i, value in enumerate((0.0, 1.0, 0.0)):
        monkeypatch.setitem(DATASETS, "tiny", lambda value=value: _tiny_dataset(value))
        load_dataset.cache_clear()
        # Fingerprints are kept by task: the name, which they leave out, keeps these tasks apart.
        fingerprints.append(replace(short_task(), dataset="tiny", name=f"tiny{i}").fingerprint)
    load_dataset.cache_clear()
    assert fingerprints[0] == fingerprints[2] != fingerprints[1]


def test_unknown_task_is_named() -> None:
    with pytest.raises(InputError, match=r"unknown task 'cifar'.*digits_mlp"):
        get_task("cifar")


# --- digits --------------------------------------------------------------------------------------------------------


def test_digits_are_split_1000_to_797_and_hold_every_image_once() -> None:
    digits = load_dataset("digits")
    assert digits.train_x.shape == (1000, 64) and digits.valid_x.shape == (797, 64)
    assert digits.train_y.shape == (1000,) and digits.valid_y.shape == (797,)
    bunch = datasets.load_digits()
    ours = torch.cat([torch.cat([digits.train_x, digits.valid_x]) * 16,
                      torch.cat([digits.train_y, digits.valid_y])[:, None].float()], dim=1)  # fmt: skip
    theirs = np.column_stack([bunch.data, bunch.target])
    assert sorted(map(tuple, ours.tolist())) == sorted(map(tuple, theirs.tolist()))
    assert digits.train_x.min() == 0 and digits.train_x.max() == 1


def test_digits_split_mixes_the_classes() -> None:
    digits = load_dataset("digits")
    for y in (digits.train_y, digits.valid_y):
        shares = torch.bincount(y, minlength=10) / len(y)
        assert 0.07 < shares.min() and shares.max() < 0.13


def test_digits_stay_the_same_for_ever() -> None:
    """Evaluations in databases were made on this data; another digest makes all of them useless."""
    assert load_dataset("digits").digest == DIGITS_DIGEST


DIGITS_DIGEST = "f0912a76058a2692552aeb3b55d955c5f0421cc71a2a84778ce560a2e423771b"


def test_model_initialisation_is_a_function_of_the_seed() -> None:
    _, model = TASKS["digits_mlp"].load()
    torch.testing.assert_close(model.initial_row(1), model.initial_row(1), rtol=0, atol=0)
    assert not torch.equal(model.initial_row(1), model.initial_row(2))
