"""The tasks of a search: which, on which seeds, and between which losses their scores lie."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, Field, field_validator, model_validator

from programs.errors import InputError
from programs.schedules import NAMES as SCHEDULES
from programs.schedules import Schedule

from proxy_tasks import Task, get_task
from proxy_tasks.fitness import Fitness
from proxy_tasks.named import frozen, is_users, name_of
from proxy_tasks.preflight import check_task
from proxy_tasks.references import reference
from proxy_tasks.task import Matmul

from search.settings import limits
from search.settings.fields import Arguments, Immutable, Number, ShortText, Within
from search.settings.seeds import MOST_SEARCH_SEEDS, tuning_seeds

_CHANGES = ("steps", "batch_size", "schedule", "decay", "average", "fitness")  # of a task, where they are given
_MOST_POINTS = 1_000  # of a schedule: its text is kept with every search
_LEAST_DISTANCE = 1e-9  # of two anchors, or scores would not be finite


def _form(value: Any) -> Any:
    """Return the form of a schedule, lists as they are kept."""
    form = tuple(value) if isinstance(value, list | tuple) else value
    if not isinstance(form, str | tuple) or len(form) > _MOST_POINTS:
        raise ValueError(f"expected {', '.join(SCHEDULES)}, or a list of 2 to {_MOST_POINTS} factors from 0 to 1")
    try:
        Schedule(form, decay=0.0).check("schedule")
    except InputError as error:
        raise ValueError(str(error).removeprefix("schedule: ")) from None
    return form


Loss = Annotated[Number, Within(limits.LOSS)]
Share = Annotated[Number, Field(ge=0, le=1)]
Form = Annotated[str | tuple[Share, ...], BeforeValidator(_form)]


class Anchors(NamedTuple):
    """Two losses, or error rates, on a task: that of a tuned baseline scores 0, that of the best known scores 1."""

    baseline: float
    best: float

    def place(self, loss: float) -> float:
        """Return the score of a loss; scores of several tasks have the same scale."""
        return (self.baseline - loss) / (self.baseline - self.best)


class TaskSeeds(NamedTuple):
    """A task and the seeds to train with. Without anchors a score is minus the loss itself.

    Where programs are raced, `first` is the number of seeds of the first rung; every further rung doubles the seeds
    until all are used. Without it there is one rung with all seeds.
    """

    task: Task
    seeds: tuple[int, ...]
    anchors: Anchors | None = None
    first: int | None = None

    @property
    def rungs(self) -> int:
        """The number of rungs."""
        return 1 if self.first is None else 1 + max(0, math.ceil(math.log2(len(self.seeds) / self.first)))

    def rung(self, number: int) -> tuple[int, ...]:
        """Return the seeds that a rung adds; those of the last may be fewer, and none come after it."""
        if self.first is None:
            return self.seeds if number == 0 else ()
        return self.seeds[self.first * 2 ** (number - 1) if number else 0 : self.first * 2**number]

    def place(self, loss: float) -> float:
        """Return the fitness of a loss: where there are anchors, its place between them."""
        return -loss if self.anchors is None else self.anchors.place(loss)

    @property
    def unraced(self) -> TaskSeeds:
        """The same task with all seeds at once."""
        return self._replace(first=None)


class RacedSeeds(Immutable):
    """Seeds on which programs are raced: promising programs get twice as many, again and again."""

    first: Annotated[int, Field(ge=1, le=MOST_SEARCH_SEEDS, strict=True)] = 1
    """Trainings of every program."""
    most: Annotated[int, Field(ge=1, le=MOST_SEARCH_SEEDS, strict=True)] = 16
    """Trainings of the best programs."""

    @model_validator(mode="after")
    def _rising(self) -> RacedSeeds:
        if self.most < self.first:
            raise ValueError(f"most ({self.most}) must not be below first ({self.first})")
        return self


class TaskChoice(Immutable):
    """A task to search on, and what to change in it."""

    name: Annotated[ShortText, BeforeValidator(lambda value: name_of(value) if callable(value) else value)]
    """A built-in task, or a user-defined one as module:function; from Python the function itself will do."""
    seeds: Annotated[int, Field(ge=1, le=MOST_SEARCH_SEEDS, strict=True)] = 1
    """Trainings of each program; their mean decides."""
    steps: Annotated[int, Within(limits.STEPS)] | None = None
    """Training steps instead of the task's own."""
    batch_size: Annotated[int, Within(limits.BATCH_SIZE)] | None = None
    """Samples of a training step instead of the task's own."""
    update_scale: Annotated[Number, Field(gt=0), Within(limits.UPDATE_SCALE)] = 1.0
    """Factor on the updates of all programs on this task, such as its best learning rate over the mean of all tasks."""
    matmul: Matmul = "float32"
    """Precision of matrix products in training; tf32 is for GPUs, bf16 for all devices. Everything else is float32."""
    schedule: Form | None = None
    """Schedule of the learning rate after the warm-up instead of the task's own, as a rule `cosine`: `linear` falls to
    0, `wsd` stays and falls over the last steps, `constant` stays; or factors from 0 to 1 at equal distances, such as
    `optsearch refine` finds."""
    decay: Share | None = None
    """Share of the steps over which `schedule: wsd` falls; 0.2 if not given."""
    average: Annotated[Share, Field(lt=1)] | None = None
    """Validate the moving average of the weights with this coefficient, such as 0.99, instead of the last weights. It
    begins when the warm-up ends, and is corrected for that; 0 is none."""
    fitness: Fitness | None = None
    """What decides instead of the task's own, as a rule `loss`: with `accuracy` fitness is minus the validation error
    rate."""
    data: Arguments = Field(default={})
    """Arguments of the data set, such as `path`, or of the function of a user-defined task."""
    model: Arguments = Field(default={})
    """Arguments of the model, such as `hidden`."""
    anchors: tuple[Loss, Loss] | None = None
    """Losses, or error rates where fitness is by accuracy, between which scores lie where there are several tasks: of
    a tuned baseline (0) and of the best known (1). Built-in tasks have recorded losses."""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if not is_users(name):
            get_task(name)
        return name

    @field_validator("anchors")
    @classmethod
    def _apart(cls, anchors: tuple[float, float] | None) -> tuple[float, float] | None:
        if anchors is not None and anchors[0] - anchors[1] < _LEAST_DISTANCE:
            raise ValueError("expected [loss of a tuned baseline, lower loss of the best known]")
        return anchors

    @property
    def task(self) -> Task:
        """The task with these changes."""
        task = get_task(self.name, frozen(self.data), frozen(self.model))
        changes = {key: value for key in _CHANGES if (value := getattr(self, key)) is not None}
        if self.decay is not None and changes.get("schedule", task.schedule) != "wsd":
            raise InputError(f"tasks: '{self.name}': decay is that of schedule: wsd; set that too, or leave decay out")
        return replace(
            task,
            update_scale=task.update_scale * self.update_scale,
            matmul=self.matmul,
            **changes,
        )

    @property
    def task_seeds(self) -> TaskSeeds:
        """The task with its seeds, without anchors."""
        return TaskSeeds(self.task, tuning_seeds(self.seeds))


Seeds = Annotated[int, Field(ge=1, le=MOST_SEARCH_SEEDS, strict=True)] | RacedSeeds


class SearchTaskChoice(TaskChoice):
    """A task to search on, and what to change in it."""

    seeds: Seeds = RacedSeeds()  # type: ignore[assignment]
    """Trainings of each program, or `{first: 1, most: 16}` to race programs over seeds: the default, or 1 where the
    kind of search is not `evolution`."""

    @property
    def task_seeds(self) -> TaskSeeds:
        """The task with its seeds, without anchors."""
        if isinstance(self.seeds, int):
            return super().task_seeds
        return TaskSeeds(self.task, tuning_seeds(self.seeds.most), None, self.seeds.first)


def as_choices(value: Any) -> Any:
    """Return tasks that are given by their names alone, or one by its name, in the form of settings."""
    if isinstance(value, str) or callable(value):
        value = [value]
    if not isinstance(value, list | tuple):
        return value
    return [{"name": one} if isinstance(one, str) or callable(one) else one for one in value]


def task_seeds(choices: Sequence[TaskChoice]) -> list[TaskSeeds]:
    """Return each task with its seeds and, where there are several tasks, its anchors.

    Raises:
        InputError: a task cannot be loaded, or its anchors are not known.
    """
    several = len(choices) > 1
    return [one.task_seeds._replace(anchors=_anchors(one) if several else None) for one in choices]


def load_tasks(choices: Sequence[TaskChoice]) -> None:
    """Load and check all tasks, so that what is missing or wrong is said before anything starts.

    Raises:
        InputError: a task cannot be loaded or trained on, or two have one name.
    """
    names: dict[str, str] = {}
    for choice in choices:
        task = choice.task
        check_task(task)
        if names.setdefault(task.name, choice.name) != choice.name:
            raise InputError(
                f"tasks: '{choice.name}' and '{names[task.name]}' are both called '{task.name}'; give one another name"
            )


def _anchors(choice: TaskChoice) -> Anchors:
    if choice.anchors is not None:
        return Anchors(*choice.anchors)
    known = reference(choice.task)
    if known is None or known.best is None:
        raise InputError(
            f"tasks: '{choice.name}' as set here has no recorded anchors; give it anchors: [{choice.task.error} of"
            " tuned AdamW, a lower one of the best known], or leave its settings as they are"
        )
    return Anchors(known.baseline, known.best)
