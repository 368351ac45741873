"""The tasks of a search, ready to be evaluated on."""

from __future__ import annotations

from collections.abc import Sequence

from programs.errors import InputError

from proxy_tasks.references import reference

from search.settings.settings import Settings, TaskChoice
from search.training.service import Anchors, TaskSeeds


def task_seeds(settings: Settings) -> list[TaskSeeds]:
    """Each task with its seeds and, where there are several tasks, its anchors.

    Raises:
        InputError: a task cannot be loaded, or nobody knows its anchors.
    """
    return _with_seeds(settings.tasks)


def meta_validation_tasks(settings: Settings) -> list[TaskSeeds]:
    """The same for the tasks that the search never sees.

    Raises:
        InputError: a task cannot be loaded, or nobody knows its anchors.
    """
    return _with_seeds(settings.meta_validation.tasks) if settings.meta_validation is not None else []


def _with_seeds(choices: Sequence[TaskChoice]) -> list[TaskSeeds]:
    several = len(choices) > 1
    return [
        TaskSeeds(choice.task, tuple(choice.training_seeds), _anchors(choice) if several else None)
        for choice in choices
    ]


def _anchors(choice: TaskChoice) -> Anchors:
    if choice.anchors is not None:
        return Anchors(*choice.anchors)
    known = reference(choice.task)
    if known is None or known.best is None:
        raise InputError(
            f"tasks: '{choice.name}' as set here has no recorded anchors; give it anchors: [loss of tuned AdamW, lower"
            " loss of the best known], or leave its settings as they are"
        )
    return Anchors(known.baseline, known.best)
