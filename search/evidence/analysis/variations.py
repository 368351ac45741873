"""Tasks that differ from one in a single respect: batch size, steps, width, depth, data, or how states are kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from programs.errors import InputError

from proxy_tasks import Task
from proxy_tasks.named import frozen, is_users
from proxy_tasks.preflight import check_task
from proxy_tasks.task import StateForm

BATCHES = (1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8)  # over the task's own
STEPS = (1 / 4, 1 / 2, 1, 2, 4)
WIDTHS = (1 / 2, 1, 2, 4)
DEPTHS = (1, 2, 3)
CHANGES: dict[str, dict[str, Any]] = {
    "20 % wrong labels": {"label_noise": 0.2},
    "another split": {"split": 1},
    "a quarter of the samples": {"share": 0.25},
}


class Axis(NamedTuple):
    """What is varied, and the task at each of its values, in order."""

    name: str
    tasks: dict[float, Task]


def axes(task: Task) -> tuple[list[Axis], list[str]]:
    """Return what of a task can be varied, and a sentence for each that cannot be."""
    found = [
        Axis("batch size", {b: _named(task, batch_size=b) for b in _multiples(task.batch_size, BATCHES)}),
        Axis("steps", {s: _named(task, steps=s) for s in _multiples(task.steps, STEPS)}),
        Axis("width", dict(_models(task, WIDTHS, _wider))),
        Axis("depth", dict(_models(task, DEPTHS, _deeper))),
    ]
    left_out = [
        f"{axis.name} is left out: no argument of the model of {task.name} says it alone"
        for axis in found
        if len(axis.tasks) < 2
    ]
    return [axis for axis in found if len(axis.tasks) > 1], left_out


def changed_tasks(task: Task) -> tuple[dict[str, Task], str]:
    """Return the task on changed data, by the change; without any, a sentence that says why."""
    found = {}
    for what, change in CHANGES.items():
        arguments = {"dataset": task.dataset, "arguments": task.dataset_args, **change}
        other = replace(task, dataset="changed", dataset_args=frozen(arguments))
        try:
            if is_users(task.dataset) and task.dataset == task.model:
                raise InputError("one function gives its data and its model")
            check_task(other)
        except InputError as error:
            return {}, f"changed data are left out for {task.name}: {error}"
        found[what] = replace(other, name=f"{task.name}, {what}")
    return found, ""


def with_states(task: Task, form: StateForm) -> Task:
    """Return the task with states kept in a form."""
    return task if form == task.states else replace(task, name=f"{task.name}, states in {form}", states=form)


def _named(task: Task, **change: int) -> Task:
    return replace(task, **change)  # type: ignore[arg-type]  # of whole numbers


def _multiples(own: int, factors: tuple[float, ...]) -> list[int]:
    return list(dict.fromkeys(max(1, round(own * factor)) for factor in factors))


def _models(task: Task, factors: tuple[float, ...], change: Any) -> Iterator[tuple[float, Task]]:
    """Yield the task with other arguments of its model; those that it does not take are left out."""
    for factor in factors:
        arguments = change(dict(task.model_args), factor)
        if arguments is None:
            return
        other = replace(task, model_args=frozen(arguments))
        try:
            check_task(other)
        except InputError:
            continue
        yield factor, other


def _wider(arguments: Mapping[str, Any], factor: float) -> dict[str, Any] | None:
    """Return the arguments of a model of other widths; None where no argument is one."""
    for name in ("hidden", "channels", "width"):
        if name in arguments:
            own = arguments[name]
            wider = [max(1, round(factor * width)) for width in own] if isinstance(own, tuple) else round(factor * own)
            return {**arguments, name: wider}
    return None


def _deeper(arguments: Mapping[str, Any], factor: int) -> dict[str, Any] | None:
    """Return the arguments of a model with more layers; None where no argument says how many, or layers differ."""
    if "layers" in arguments:
        return {**arguments, "layers": factor * arguments["layers"]}
    hidden = arguments.get("hidden", ())
    return {**arguments, "hidden": hidden * factor} if hidden and len(set(hidden)) == 1 else None
