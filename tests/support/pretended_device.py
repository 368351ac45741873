"""The trainer's steps on a device without arithmetic; run by `test_backend` in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from programs import zoo
from programs.layout import Layout
from programs.run.matrices import MATRIX_FUNCTIONS
from programs.run.sharing import Skeletons

from proxy_tasks import Replica, get_task
from proxy_tasks.backend import Bind, Cpu
from proxy_tasks.datasets import Dataset
from proxy_tasks.models import Model
from proxy_tasks.models.chunks import Losses
from proxy_tasks.models.module import model_of
from proxy_tasks.models.module_checks import Nature
from proxy_tasks.models.objective import Objective
from proxy_tasks.trainer import TrainingCohorts

TASKS = (
    "digits_mlp", "digits_autoencoder", "digits_cnn", "mnist1d_cnn", "markov_transformer", "noisy_quadratic",
    "clicks_deepfm", "communities_gcn", "poisson_pinn",
    "digits_diffusion", "digits_contrastive", "stdlib_masked", "stdlib_gru", "digits_finetune", "digits_lora",
    "digits_subspace",
)  # fmt: skip
backend_registration._setup_privateuseone_for_python_backend("pretended")


class OneDevice(TorchDispatchMode):
    """While entered, refuses tensors that are elsewhere.

    A GPU would wait for them to be copied, and no recording would hold them.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self._device = device

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = tree_flatten((args, kwargs))[0]
        elsewhere = [x for x in found if isinstance(x, Tensor) and x.device != self._device]
        assert not elsewhere, f"{func} is given a tensor on {elsewhere[0].device}"
        return func(*args, **(kwargs or {}))


class _Moves(TorchFunctionMode):
    """Lets tensors with values be moved to where there are none."""

    def __init__(self, mode: FakeTensorMode) -> None:
        super().__init__()
        self._mode = mode

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.to and isinstance(args[0], FakeTensor):
            args[0].constant = None  # or it would be moved with its values
        elif func is Tensor.to:
            args = (self._mode.from_tensor(args[0], static_shapes=True), *args[1:])
        return func(*args, **(kwargs or {}))


@contextmanager
def pretended_device() -> Iterator[torch.device]:
    """A device whose tensors have shapes and no values. A look at a value is an error, as is mixing it with another."""
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, _Moves(mode):
        yield torch.device("pretended", 0)


class Pretended(Cpu):
    """The trainer's own operations, on a device without arithmetic; kernels have their own tests."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def losses(self, model: Model) -> Losses:
        return model.losses

    def compiled(self, _skeletons: Skeletons) -> Bind:
        return lambda *_: self

    def step(self, lr: Tensor, taken: Tensor) -> None:
        for number in (lr, taken):
            assert number.shape == (1,)
            assert number.device == self.device


class Buffered(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)
        self.register_buffer("shift", torch.linspace(0, 1, 64))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.flatten(1) + self.shift)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("seeds", [[0] * 9, [0, 1] * 5], ids=["one seed", "two seeds"])
def test_a_step_stays_on_the_device_and_never_waits(task: str, seeds: list[int]) -> None:
    replicas = [Replica(zoo.load("adamw"), seed) for seed in seeds]
    task = replace(get_task(task), steps=20)
    task.load()  # with values, for those who come after
    with pretended_device() as device:
        training = TrainingCohorts(task, replicas, [], Pretended(device))
        assert training.dataset.train_x.device == device
        cohort = training._start(range(len(replicas)))
        with OneDevice(device):
            training.backend.repeated(cohort._step)(2)
        assert cohort.total.device == device


@pytest.mark.parametrize("function", MATRIX_FUNCTIONS)
def test_functions_of_matrices_stay_on_the_device_and_never_wait(function: str) -> None:
    """What torch computes between the phases of fused kernels."""
    layout = Layout.of_shapes([(9, 4), (3,), (4, 2, 3), (1, 5)])
    with pretended_device() as device:
        x = torch.zeros(7, layout.width, device=device)[:, : layout.total]
        with OneDevice(device):
            assert MATRIX_FUNCTIONS[function](layout, x).device == device


def test_modules_of_ones_own_take_their_buffers_along() -> None:
    """On torch's device without memory, which stand-ins cannot move modules to."""
    device = torch.device("meta")
    x, y = torch.zeros(5, 64, device=device), torch.zeros(5, dtype=torch.int64, device=device)
    for replicas in (2, 9):  # one by one, and through vmap
        objectives = [Objective(Buffered().to(device)) for _ in range(2)]
        model = model_of("own", Buffered, Dataset(x, y, x, y), objectives, Nature((), (), False, False, ""))
        rows = torch.stack([model.initial_row(seed) for seed in range(replicas)])
        assert rows.device.type == "cpu"
        assert model.losses(model.parameters(rows.to(device)), x[None], y[None]).device == device


def test_the_stand_in_notices_what_a_gpu_would_not_bear() -> None:
    with pretended_device() as device:
        here, there = torch.zeros(3), torch.zeros(3, device=device)
        with pytest.raises(Exception, match=r"data-dependent|_local_scalar_dense"):
            bool((there == 0).all())
        with pytest.raises(Exception, match="same device"):
            there + here
        with OneDevice(device), pytest.raises(AssertionError, match="is given a tensor on cpu"):
            there.copy_(here)


def test_overlapping_windows_stay_views_of_one_text() -> None:
    text = torch.arange(10_000)
    windows = text.unfold(0, 33, 1)
    data = Dataset(windows[:, :32], windows[:, 1:], windows[:5, :32], windows[:5, 1:], classes=99)
    with pretended_device() as device:
        moved = data.on(device)
        for name in ("train_x", "train_y"):
            one, other = getattr(moved, name), getattr(data, name)
            assert (one.shape, one.stride(), one.storage_offset()) == (
                other.shape,
                other.stride(),
                other.storage_offset(),
            )
            assert one.untyped_storage().nbytes() == text.nbytes
    again = data.on(torch.device("cpu"))
    assert torch.equal(again.train_y, data.train_y)
