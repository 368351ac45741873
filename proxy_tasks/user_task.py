"""A task made of what people have: a module, samples, a loss, a metric."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, InitVar, dataclass, field
from typing import TYPE_CHECKING, Any

from programs.errors import InputError

from proxy_tasks.fitness import Fitness
from proxy_tasks.named import Args, call

if TYPE_CHECKING:  # who only asks which tasks there are does not wait for torch
    from torch import Tensor, nn

    from proxy_tasks.datasets.dataset import Dataset

_OF_TASK = ("steps", "batch_size", "warmup", "loss_bound", "schedule", "decay", "average", "fitness")


@dataclass(frozen=True, eq=False)
class UserTask:
    """What a user's function of a task returns; settings and workers know the task by the name of that function.

    `model` is a class or a function that makes an `nn.Module`, called anew under each seed, with the training data as
    `dataset` if it has such a parameter; or a module, from whose weights trainings start under all seeds. `train` and
    `valid` are pairs (x, y) of tensors or arrays, map-style data sets of torch, or data loaders; they are read once, as
    tensors `data`. `loss(output, y)` returns a scalar; without it the loss is what a method `loss(x, y)` of the
    module's class returns if there is one, otherwise the cross-entropy for whole numbers and the mean squared error for
    others. `metric(output, y)` returns a number about validation samples, for people alone; with
    `fitness="accuracy"` it is the share predicted right, and decides. What else is not given is as in `Task`.

    Raises:
        InputError: one of these is something else; says which, and what to give.
    """

    name: str
    _: KW_ONLY
    model: nn.Module | Callable[..., nn.Module]
    train: InitVar[Any]
    valid: InitVar[Any]
    loss: Callable[[Tensor, Tensor], Tensor] | None = None
    metric: Callable[[Tensor, Tensor], Tensor | float] | None = None
    steps: int | None = None
    batch_size: int | None = None
    warmup: float | None = None
    loss_bound: float | None = None
    schedule: str | Sequence[float] | None = None
    decay: float | None = None
    average: float | None = None
    fitness: Fitness | None = None
    data: Dataset = field(init=False)

    def __post_init__(self, train: Any, valid: Any) -> None:
        from proxy_tasks.datasets.dataset import Dataset
        from proxy_tasks.datasets.samples import samples_of

        if not isinstance(self.name, str):
            raise InputError(f"a task's name is {type(self.name).__name__}; begin with it: UserTask('mine', model=...)")
        what = f"task '{self.name}'"
        if not callable(self.model):
            raise InputError(f"{what}: model is {type(self.model).__name__}; give the class of a module, or a function")
        for name in ("loss", "metric"):
            value = getattr(self, name)
            if isinstance(value, type):
                raise InputError(f"{what}: {name} is the class {value.__name__}; make one: {name}={value.__name__}()")
            if value is not None and not callable(value):
                raise InputError(f"{what}: {name} is {type(value).__name__}; give a function of (output, y)")
        x, y = samples_of(f"{what}: train", train)
        valid_x, valid_y = samples_of(f"{what}: valid", valid)
        labels = [part for part in (y, valid_y) if part.numel() and not part.is_floating_point()]
        counted = len(labels) == 2 and min(int(part.min()) for part in labels) >= 0
        classes = 1 + max(int(part.max()) for part in labels) if counted else 0
        object.__setattr__(self, "data", Dataset(x, y, valid_x, valid_y, classes=classes))

    @property
    def settings(self) -> dict[str, Any]:
        """What is given of the settings that a `Task` has too."""
        known = {name: getattr(self, name) for name in _OF_TASK}
        return {name: value for name, value in known.items() if value is not None}


_made: dict[tuple[str, Args], Any] = {}


def made_by(what: str, name: str, args: Args = ()) -> Any:
    """Return what a user's function returns, which is called once in each process: it may read much data.

    Args:
        what: the function makes, for messages.
        name: of the function, `module:function`.
        args: of the function.

    Raises:
        InputError: there is no such function, it does not take these arguments, or raises something.
    """
    if (name, args) not in _made:
        _made[name, args] = made_again(what, name, args)
    return _made[name, args]


def made_again(what: str, name: str, args: Args = ()) -> Any:
    """Return what a user's function returns when it is called now, under a fixed seed."""
    from proxy_tasks.randomness import seeded

    with seeded(0):
        return call(name, {}, what, args=args)
