"""The built-in tasks: of different regimes, since small-batch image tasks alone favour Adam-like rules.

Each has variants, `NAME_short` and so on: a quarter of the steps, four times the steps, eight times the batch over the
same samples, and about ten times the parameters.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import replace
from difflib import get_close_matches

from programs.errors import InputError

from proxy_tasks.named import Args, args, check_arguments, find, frozen, is_users
from proxy_tasks.task import Task
from proxy_tasks.user_task import UserTask, made_by

# Each task with the arguments that make its model (for the quadratic, its data) about ten times as large.
_SUITE = (
    (Task("digits_mlp", "digits", "mlp", model_args=args(hidden=(32,))), args(hidden=(320,))),
    (
        Task("digits_cnn", "digits", "cnn", model_args=args(channels=(8, 16), image=(1, 8, 8)), steps=400),
        args(channels=(30, 60)),
    ),
    (
        Task("digits_autoencoder", "digits", "autoencoder", model_args=args(hidden=(32, 8, 32)), steps=500),
        args(hidden=(300, 16, 300)),
    ),
    (Task("mnist1d_mlp", "mnist1d", "mlp", model_args=args(hidden=(64, 64)), steps=600), args(hidden=(240, 240))),
    (
        Task("mnist1d_cnn", "mnist1d", "cnn", model_args=args(channels=(8, 16, 32)), steps=600),
        args(channels=(32, 64, 128)),
    ),
    (
        Task(
            "pydoc_transformer", "pydoc", "transformer", args(context=32),
            args(layers=2, width=32, heads=4), steps=600, batch_size=32,
        ),
        args(width=112),
    ),
    (
        Task(
            "markov_transformer", "markov", "transformer", args(order=2, vocabulary=16, context=32),
            args(layers=2, width=32, heads=4), steps=600, batch_size=32,
        ),
        args(width=104),
    ),
    (
        Task("digits_diffusion", "noisy_digits", "mlp", model_args=args(hidden=(128,)), steps=500, batch_size=64),
        args(hidden=(1280,)),
    ),
    (
        Task("digits_contrastive", "paired_digits", "contrastive", steps=400, batch_size=32),
        args(hidden=(160, 100, 50)),
    ),
    (
        Task(
            "stdlib_masked", "masked_stdlib", "masked_transformer", args(context=32),
            args(layers=2, width=24, heads=3), steps=300, batch_size=16,
        ),
        args(width=84),
    ),
    (
        Task(
            "stdlib_transformer", "stdlib", "transformer", args(context=64),
            args(layers=3, width=24, heads=2), steps=400, batch_size=16,
        ),
        args(width=84),
    ),
    (Task("stdlib_gru", "stdlib", "gru", args(context=32), steps=300, batch_size=16), args(width=128)),
    (
        Task(
            "digits_finetune", "transfer_digits", "finetuned", model_args=args(hidden=(64, 64)), steps=200,
            batch_size=64,
        ),
        args(hidden=(250, 250)),
    ),
    (
        Task(
            "digits_lora", "transfer_digits", "lora", model_args=args(hidden=(64, 64), rank=4), steps=200,
            batch_size=64,
        ),
        args(hidden=(250, 250), rank=12),
    ),
    (
        Task(
            "digits_subspace", "transfer_digits", "subspace", model_args=args(dimensions=50, hidden=(64, 64)),
            steps=200, batch_size=64,
        ),
        args(dimensions=500),
    ),
    (
        Task("noisy_quadratic", "quadratic", "quadratic", args(dimensions=100), steps=500, batch_size=16),
        args(dimensions=1000),
    ),
    (
        Task("deep_linear", "linear", "deep_linear", model_args=args(hidden=(32, 32)), steps=500, batch_size=64),
        args(hidden=(150, 150)),
    ),
    (
        Task("clicks_deepfm", "clicks", "deepfm", model_args=args(width=4, hidden=(32,)), steps=600),
        args(width=44, hidden=(64,)),
    ),
    (
        Task("communities_gcn", "communities", "gcn", model_args=args(hidden=32), steps=300, batch_size=64),
        args(hidden=320),
    ),
    (
        Task("poisson_pinn", "poisson", "pinn", model_args=args(hidden=(16, 16)), steps=600, batch_size=64),
        args(hidden=(54, 54)),
    ),
    (
        Task("digits_label_noise", "changed", "mlp", args(dataset="digits", label_noise=0.3), args(hidden=(32,))),
        args(hidden=(320,)),
    ),
    (
        Task(
            "digits_long_tail", "changed", "mlp", args(dataset="digits", arguments=args(train=1_200), imbalance=20),
            args(hidden=(32,)),
        ),
        args(hidden=(320,)),
    ),
)  # fmt: skip

# Section A.1 of the Lion paper (arXiv 2302.06675); both read local data, given as `data: {path: ...}`.
_PAPER = (
    Task(
        "paper_vision", "images", "vit", args(size=64, share=0.1),
        args(layers=3, width=96, heads=3, patch=16), steps=30_000, batch_size=64,
    ),
    Task(
        "paper_language", "tokens", "transformer", args(vocabulary=3_000, context=32),
        args(layers=2, width=128, heads=2), steps=20_000, batch_size=64,
    ),
)  # fmt: skip


def _variants(task: Task, wider: Args) -> Iterator[Task]:
    name, steps, batch = task.name, task.steps, task.batch_size
    yield task
    yield replace(task, name=f"{name}_short", steps=steps // 4)
    yield replace(task, name=f"{name}_long", steps=steps * 4)
    yield replace(task, name=f"{name}_large_batch", steps=steps // 8, batch_size=batch * 8)
    if task.model == "quadratic":
        yield replace(task, name=f"{name}_wide", dataset_args=frozen(dict(task.dataset_args) | dict(wider)))
    else:
        yield replace(task, name=f"{name}_wide", model_args=frozen(dict(task.model_args) | dict(wider)))


TASKS = {task.name: task for base, wider in _SUITE for task in _variants(base, wider)}
TASKS |= {task.name: task for task in _PAPER}
SUITE = tuple(base.name for base, _ in _SUITE)


def get_task(name: str, data: Args = (), model: Args = ()) -> Task:
    """Return the built-in task called `name`, or that of the user's `module:function`, with these arguments.

    Args:
        name: of the task.
        data: arguments of its data set; of the user's function itself if it has any, or returns a `UserTask`.
        model: arguments of its model.

    Raises:
        InputError: there is none, or its function does not take these arguments.
    """
    if not is_users(name):
        if name not in TASKS:
            near = ", ".join(get_close_matches(name, TASKS, cutoff=0.5) or [SUITE[0]])
            raise InputError(
                f"unknown task '{name}'; `optsearch tasks` lists all, such as {near}; user-defined ones are"
                " module:function"
            )
        return _with_arguments(TASKS[name], data, model)
    function = find(name, {}, "task")
    takes = bool(inspect.signature(function).parameters)
    made = made_by("task", name, data if takes else ())
    if isinstance(made, UserTask):
        check_arguments(f"task '{name}'", function, (), data)
        return Task(made.name, name, name, data, model, **made.settings)
    if not isinstance(made, Task):
        raise InputError(f"task '{name}' returned {type(made).__name__}; it must return a UserTask or a Task")
    return _with_arguments(made, () if takes else data, model)


def _with_arguments(task: Task, data: Args, model: Args) -> Task:
    return replace(
        task,
        dataset_args=frozen(dict(task.dataset_args) | dict(data)),
        model_args=frozen(dict(task.model_args) | dict(model)),
    )
