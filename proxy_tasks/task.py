"""A task: everything that decides how good a program looks, apart from the program and the seed.

What a task is can be read without torch and NumPy: methods import them, and the data, when they are called.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

from programs.errors import InputError

from proxy_tasks.checks import real, whole
from proxy_tasks.named import Args, is_users, source_meaning
from proxy_tasks.user_task import made_by

if TYPE_CHECKING:
    import numpy as np
    import torch

    from proxy_tasks.datasets import Dataset
    from proxy_tasks.models import Model

Matmul = Literal["float32", "tf32", "bf16"]
StateForm = Literal["float32", "bf16", "8bit", "low_rank"]
MOST_STEPS = 10**9  # of a training, and samples of a step
TRAINER_VERSION = 2  # increased with every change that alters what training computes


@dataclass(frozen=True)
class Task:
    """What to train, on what, for how long.

    The learning-rate schedule that programs see as `lr` rises linearly to 1 over the first `warmup` share of the steps
    and falls to 0 along a cosine. A replica whose mean training loss over one twentieth of the steps is not finite or
    above `loss_bound` (nats, or the loss's own unit) has diverged. Fitness is minus the validation loss at the end.

    `update_scale` multiplies the update of every program: where one program is trained on several tasks, each of which
    needs another learning rate, programs can be compared only if the task sets this scale.

    `dataset` and `model` name what makes them, perhaps one function of the user's that returns a `UserTask`.

    `matmul` is the precision of matrix products in training: weights, states, update rules and validation are always
    float32. `tf32` is for GPUs and changes nothing elsewhere.

    `states` is how the states of programs are kept from step to step (`proxy_tasks.state_forms`).
    """

    name: str
    dataset: str
    model: str
    dataset_args: Args = ()
    model_args: Args = ()
    steps: int = 500
    batch_size: int = 128
    warmup: float = 0.05
    loss_bound: float = 100.0
    update_scale: float = 1.0
    matmul: Matmul = "float32"
    states: StateForm = "float32"

    def __post_init__(self) -> None:
        what = f"task '{self.name}'"
        for key in ("name", "dataset", "model"):
            if not isinstance(value := getattr(self, key), str):
                raise InputError(
                    f"{what}: {key} is {type(value).__name__}; a Task has names, such as 'mine:{key}': for a module and"
                    " samples return a UserTask"
                )
        whole(what, "steps", self.steps, 1, MOST_STEPS)
        whole(what, "batch_size", self.batch_size, 1, MOST_STEPS)
        real(what, "warmup", self.warmup, 0, 1)
        real(what, "loss_bound", self.loss_bound, 1e-30, 1e30)
        real(what, "update_scale", self.update_scale, 1e-30, 1e30)

    @property
    def meaning(self) -> dict[str, Any]:
        """What outcomes depend on besides programs and seeds, as plain data: settings, data, source and versions.

        Raises:
            InputError: data or model cannot be loaded, or their source has changed since it was imported.
        """
        return _meaning(self)

    @property
    def fingerprint(self) -> str:
        """Equal for two tasks on which every program has the same outcomes; 32 hex digits."""
        return _fingerprint(self)

    def schedule(self) -> np.ndarray:
        """Return [steps] values of `lr` in 0..1."""
        import numpy as np

        warm = max(1, round(self.warmup * self.steps))
        step = np.arange(self.steps)
        cosine = 0.5 * (1 + np.cos(math.pi * (step - warm) / max(1, self.steps - warm)))
        return np.where(step < warm, (step + 1) / warm, cosine).astype(np.float32)

    def minibatches(self, seed: int) -> np.ndarray:
        """Return [steps, batch] indices into the training samples: shuffled epochs, a function of the seed alone."""
        import numpy as np

        from proxy_tasks.datasets import load_dataset

        rng = np.random.default_rng((seed, 1))
        samples = len(load_dataset(self.dataset, self.dataset_args).train_x)
        epochs = math.ceil(self.steps * self.batch_size / samples)
        stream = np.concatenate([rng.permutation(samples) for _ in range(epochs)])
        return stream[: self.steps * self.batch_size].reshape(self.steps, self.batch_size)

    def keys(self, seed: int) -> np.ndarray:
        """Return [steps + 1] 64-bit numbers that what a model draws at each step, and at validation, follows from."""
        import numpy as np

        rng = np.random.default_rng((seed, 2))
        return rng.integers(-(2**63), 2**63, self.steps + 1)

    def load(self, device: torch.device | None = None) -> tuple[Dataset, Model]:
        """Return data and model on a device, the CPU without one, built once for each process."""
        elsewhere = None if device is None or device.type == "cpu" else device  # one copy, however the CPU is named
        return _load(self.dataset, self.dataset_args, self.model, self.model_args, elsewhere)


@lru_cache(maxsize=64)
def _load(
    dataset: str, dataset_args: Args, model: str, model_args: Args, device: torch.device | None
) -> tuple[Dataset, Model]:
    from proxy_tasks.datasets import load_dataset
    from proxy_tasks.models import build_model, user_model

    data = load_dataset(dataset, dataset_args)
    data = data if device is None else data.on(device)
    if is_users(model) and model == dataset:  # one function of the user's gives both
        return data, user_model(model, made_by("task", model, dataset_args), data, model_args)
    return data, build_model(model, data, model_args)


@lru_cache(maxsize=1024)
def _fingerprint(task: Task) -> str:
    return sha256(json.dumps(task.meaning, sort_keys=True).encode()).hexdigest()[:32]


def _meaning(task: Task) -> dict[str, Any]:
    import torch

    from proxy_tasks.datasets import load_dataset

    meaning = asdict(task) | {
        "data": load_dataset(task.dataset, task.dataset_args).digest,
        **source_meaning(task.model),
        "trainer": TRAINER_VERSION,
        "torch": ".".join(torch.__version__.split(".")[:2]),
    }
    if is_users(task.model):
        meaning["start"] = task.load()[1].digest
    del meaning["name"], meaning["dataset"]  # names do not matter, only data
    if task.model != task.dataset:  # otherwise loss and model may follow from them too
        del meaning["dataset_args"]
    usual_values = (("update_scale", 1.0), ("matmul", "float32"), ("states", "float32"))
    for key, usual in usual_values:  # left out, as before these settings existed
        if meaning[key] == usual:
            del meaning[key]
    return meaning
