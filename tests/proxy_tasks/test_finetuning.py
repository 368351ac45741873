"""What fine-tuning starts from: the same weights everywhere, kept on the disk, and new where a file is broken."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from proxy_tasks import TASKS
from proxy_tasks.datasets import Dataset, load_dataset
from proxy_tasks.models import MODELS, Model, pretraining
from proxy_tasks.models.mlp import mlp
from proxy_tasks.models.pretraining import pretrained

from tests.support.references import classification

BUILD = partial(mlp, hidden=(5,))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where weights are kept, not there yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "optsearch" / "pretrained"


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows with every pretraining."""
    trained, times = pretraining._trained, list[int]()
    monkeypatch.setattr(pretraining, "_trained", lambda *given: (times.append(1), trained(*given))[1])
    return times


def flat(weights: list[Tensor]) -> Tensor:
    return torch.cat([weight.flatten() for weight in weights])


@pytest.fixture
def data() -> Dataset:
    return classification(6, classes=3)


def test_weights_are_trained_once_and_then_read(folder: Path, data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    times = counted(monkeypatch)
    first, second = (flat(pretrained("mlp", BUILD, data)) for _ in range(2))
    assert len(times) == 1 and torch.equal(first, second)
    assert [file.stat().st_size for file in folder.iterdir()] == [4 * len(first) + 32]
    assert torch.equal(first * 4096, (first * 4096).round())


def broken(content: bytes) -> list[bytes]:
    flipped = bytes([content[0] ^ 1]) + content[1:]
    return [b"", content[:-1], content[4:], flipped, content + b"\0"]


@pytest.mark.parametrize("kind", range(5))
def test_a_broken_file_is_written_anew(kind: int, folder: Path, data: Dataset) -> None:
    whole = pretrained("mlp", BUILD, data)
    (file,) = folder.iterdir()
    content = file.read_bytes()
    file.write_bytes(broken(content)[kind])
    assert torch.equal(flat(pretrained("mlp", BUILD, data)), flat(whole))
    assert file.read_bytes() == content


def test_without_a_place_for_files_weights_are_computed(folder: Path, data: Dataset) -> None:
    expected = flat(pretrained("mlp", BUILD, data))
    (file,) = folder.iterdir()
    file.unlink()
    folder.rmdir()
    folder.write_text("a file, where a folder should be")
    assert torch.equal(flat(pretrained("mlp", BUILD, data)), expected)


def test_files_are_named_after_all_that_weights_depend_on(
    folder: Path, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretrained("mlp", BUILD, data)
    pretrained("mlp", partial(mlp, hidden=(4,)), data)
    pretrained("mlp", BUILD, replace(data, train_x=data.train_x + 1))
    for name, value in (("STEPS", 3), ("LEARNING_RATE", 1e-3), ("VERSION", 99)):
        monkeypatch.setattr(pretraining, name, value)
        pretrained("mlp", BUILD, data)
    assert len(list(folder.iterdir())) == 6


def test_many_at_once_read_and_write_whole_files(folder: Path, data: Dataset) -> None:
    expected = flat(pretrained("mlp", BUILD, data))
    (file,) = folder.iterdir()

    def again(_: int) -> bool:
        pretraining._write(file, expected)
        found = pretraining._read(file, len(expected))
        return found is not None and torch.equal(found, expected)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(again, range(100)))
    assert list(folder.iterdir()) == [file], "nothing of what was written on the way is left"


def test_a_writer_that_dies_leaves_no_half_file(folder: Path, data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", dies)
    with pytest.raises(KeyboardInterrupt):
        pretrained("mlp", BUILD, data)
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder.parents[1]))
    times = counted(monkeypatch)
    pretrained("mlp", BUILD, data)
    assert len(times) == 1, "what was not yet in place is not taken for weights"
    assert len(list(folder.iterdir())) == 1


# --- the models ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def transfer() -> Dataset:
    return load_dataset("transfer_digits")


def validation(model: Model, row: Tensor, data: Dataset) -> float:
    return float(model.losses(model.parameters(row[None]), data.valid_x[None], data.valid_y[None]))


def test_pretrained_weights_know_the_source(transfer: Dataset) -> None:
    assert transfer.source is not None
    build = partial(mlp, hidden=(64, 64))
    model, weights = build(transfer.source), pretrained("mlp", build, transfer.source)
    assert validation(model, flat(weights), transfer.source) < 0.1


def test_all_ways_start_from_the_pretrained_network_and_lora_changes_nothing_at_first(transfer: Dataset) -> None:
    whole, low_rank, few = (
        MODELS[name](transfer, hidden=(64, 64), **arguments)
        for name, arguments in (("finetuned", {}), ("lora", {"rank": 2}), ("subspace", {"dimensions": 3}))
    )
    rows = [whole.initial_row(seed) for seed in (0, 1)]
    assert torch.equal(rows[0][: 64 * 64], rows[1][: 64 * 64]) and not torch.equal(rows[0], rows[1])
    with_head = low_rank.initial_row(1)
    head = 64 * 5 + 5
    with_head[low_rank.layout.total - head : low_rank.layout.total] = rows[1][whole.layout.total - head :][:head]
    assert validation(low_rank, with_head, transfer) == pytest.approx(validation(whole, rows[1], transfer), rel=1e-5)
    assert validation(few, few.initial_row(1), transfer) == pytest.approx(
        validation(whole, rows[0], transfer), rel=1e-5
    )
    assert torch.equal(few.initial_row(0), few.initial_row(1))


def test_directions_of_the_subspace_have_about_length_one(transfer: Dataset) -> None:
    _, directions = MODELS["subspace"](transfer, dimensions=20, hidden=(64, 64)).constants
    lengths = directions.norm(dim=1)
    assert bool(((lengths - 1).abs() < 0.05).all())
    cosines = (directions @ directions.T).fill_diagonal_(0)
    assert float(cosines.abs().max()) < 0.06


def test_a_convolutional_network_can_be_fine_tuned(data: Dataset) -> None:
    images = classification(1, 8, 8, classes=3)
    made = MODELS["lora"](replace(images, source=images), network="cnn", channels=(4,))
    assert [leaf.name for leaf in made.leaves] == ["kernel1_down", "kernel1_up", "output", "bias"]


def test_a_task_means_the_weights_it_starts_from() -> None:
    task = TASKS["digits_subspace"]
    assert task.meaning["start"] == task.load()[1].digest
    assert "start" not in TASKS["digits_mlp"].meaning
