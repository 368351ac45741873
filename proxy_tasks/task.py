"""A task: everything that decides how good a program looks, apart from the program and the seed.

What a task is can be read without torch and NumPy: methods import them, and the data, when they are called.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal, get_args

from programs.errors import InputError
from programs.schedules import DECAY, WARMUP, Schedule

from proxy_tasks.checks import real, whole
from proxy_tasks.fitness import ERRORS, Fitness
from proxy_tasks.named import Args, is_users, source_meaning
from proxy_tasks.user_task import made_by

if TYPE_CHECKING:
    import numpy as np
    import torch

    from proxy_tasks.datasets import Dataset
    from proxy_tasks.models import Model

Matmul = Literal["float32", "tf32", "bf16"]
Norm = Literal["l1", "l2"]
StateForm = Literal["float32", "bf16", "8bit", "low_rank"]
MOST_STEPS = 10**9  # of a training, and samples of a step
TRAINER_VERSION = 4  # increased with every change that alters what training computes

# Left out of meanings, as before these settings existed.
_USUAL = {
    "update_scale": 1.0, "matmul": "float32", "schedule": "cosine", "decay": DECAY, "average": 0.0, "fitness": "loss",
    "gradient_norm": None, "states": "float32",
}  # fmt: skip


@dataclass(frozen=True)
class Task:
    """What to train, on what, for how long.

    The learning-rate schedule that programs see as `lr` rises linearly to 1 over the first `warmup` share of the steps
    and then does what `schedule` says: `cosine` and `linear` fall to 0, `wsd` stays and falls over the last `decay`
    share of the steps, `constant` stays, and a list of factors at equal distances is followed (`programs.schedules`).
    A replica whose mean training loss over one twentieth of the steps is not finite or above `loss_bound` (nats, or the
    loss's own unit) has diverged.

    `fitness` is minus the validation loss at the end, or with `accuracy` minus the share of validation labels that are
    predicted wrong. With `average` b above 0, what is validated are not the last weights but the mean of those after
    each step since the warm-up ended, each b times as heavy as the next.

    `gradient_norm` has the norms of the gradients of each step reported, of the kind `l1` or `l2`.

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
    warmup: float = WARMUP
    loss_bound: float = 100.0
    update_scale: float = 1.0
    matmul: Matmul = "float32"
    schedule: str | tuple[float, ...] = "cosine"
    decay: float = DECAY
    average: float = 0.0
    fitness: Fitness = "loss"
    gradient_norm: Norm | None = None
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
        real(what, "decay", self.decay, 0, 1)
        if real(what, "average", self.average, 0, 1) == 1:
            raise InputError(f"{what}: 'average' is 1, with which no step would count; give less, such as 0.99")
        if self.fitness not in get_args(Fitness):
            raise InputError(f"{what}: 'fitness' is {self.fitness!r}; give one of {', '.join(get_args(Fitness))}")
        if isinstance(self.schedule, list):
            object.__setattr__(self, "schedule", tuple(self.schedule))
        self.lr_schedule.check(what)

    @property
    def lr_schedule(self) -> Schedule:
        """The schedule of the learning rate."""
        return Schedule(self.schedule, self.warmup, self.decay)

    @property
    def error(self) -> str:
        """What fitness is minus: the validation loss, or the validation error rate."""
        return ERRORS[self.fitness]

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

    def learning_rates(self) -> np.ndarray:
        """Return [steps] values of `lr` in 0..1."""
        return self.lr_schedule.values(self.steps)

    def averaging(self) -> np.ndarray:
        """Return [steps] shares of the newest weights in their average: 1 up to the end of the warm-up.

        Of the k-th weights since then it is (1 - b) / (1 - b^k), so that in their average each are b times as heavy as
        the next: the corrected average of Kingma and Ba (arXiv 1412.6980, section 3).
        """
        import numpy as np

        b = self.average
        counted = np.maximum(1, np.arange(self.steps) - self.lr_schedule.warm_steps(self.steps) + 2)
        return ((1 - b) / (1 - b**counted)).astype(np.float32)

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

    data = load_dataset(task.dataset, task.dataset_args)
    meaning = asdict(task) | {
        "data": data.digest,
        **source_meaning(task.model),
        "trainer": TRAINER_VERSION,
        "torch": ".".join(torch.__version__.split(".")[:2]),
    }
    if is_users(task.model) or data.source is not None:
        meaning["start"] = task.load()[1].digest
    del meaning["name"], meaning["dataset"]  # names do not matter, only data
    if task.model != task.dataset:  # otherwise loss and model may follow from them too
        del meaning["dataset_args"]
    for key, usual in _USUAL.items():
        if meaning[key] == usual or (key == "decay" and task.schedule != "wsd"):
            del meaning[key]
    return meaning
