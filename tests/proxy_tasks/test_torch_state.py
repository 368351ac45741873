"""A program that uses torch in its own way gets the outcomes that everybody gets, and finds torch as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from programs import zoo

from proxy_tasks import Outcome, Replica, Task, configured_process, get_task, train
from proxy_tasks.torch_state import usual_torch

USER_MODULE = """\
import torch
from proxy_tasks import Task
from proxy_tasks.datasets import Dataset

torch.set_default_dtype(torch.float64)
torch.set_default_device("meta")
torch.set_grad_enabled(False)

def data():
    x = torch.arange(40.0).reshape(20, 2) / 40
    return Dataset(x, torch.arange(20) % 2, x, torch.arange(20) % 2, classes=2)

def net(dataset):
    return torch.nn.Linear(2, 2)

def task():
    return Task("own", dataset="changes_torch:data", model="changes_torch:net", steps=5, batch_size=8)
"""


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def default_device() -> Iterator[None]:
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)


SURROUNDINGS: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "float64": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "default device": default_device,
    "device": lambda: torch.device("meta"),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
}


def state() -> tuple[object, ...]:
    return (
        torch.get_default_dtype(), torch.get_default_device(), torch.get_num_threads(), torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu"),
    )  # fmt: skip


def outcomes(name: str) -> list[Outcome]:
    task = replace(get_task(name), steps=4)
    return [outcome._replace(seconds=0.0) for outcome in train(task, [Replica(zoo.load("adamw"), 0)])]


@pytest.mark.parametrize("name", ["digits_mlp", "markov_transformer"])
@pytest.mark.parametrize("surroundings", SURROUNDINGS.values(), ids=SURROUNDINGS)
def test_outcomes_are_the_same_in_any_surroundings(
    surroundings: Callable[[], AbstractContextManager[object]], name: str
) -> None:
    with configured_process():
        expected = outcomes(name)
    assert expected[0].status == "ok"
    with surroundings():
        before = state()
        with configured_process():
            assert outcomes(name) == expected
        assert state() == before


def test_data_and_models_of_a_module_that_changes_torch_are_the_usual(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "changes_torch.py").write_text(USER_MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    with default_dtype(torch.float32), default_device(), torch.enable_grad():
        task: Task = get_task("changes_torch:task")
        assert torch.get_default_dtype() == torch.float64, "the module has done nothing"
        dataset, _ = task.load()
        assert dataset.train_x.dtype == torch.float32 and dataset.train_x.device.type == "cpu"
        with usual_torch():
            (outcome,) = train(task, [Replica(zoo.load("adamw"), 0)])
    assert outcome.status == "ok"


def test_nothing_is_entered_where_torch_is_as_usual() -> None:
    """A device as context takes part in every call of torch, which would cost time in each step."""
    with usual_torch():
        assert torch._C._len_torch_function_stack() == 0
