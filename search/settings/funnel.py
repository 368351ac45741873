"""The settings of a funnel: stages of larger and larger tasks, each of which lets the best programs pass."""

from __future__ import annotations

import itertools
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from proxy_tasks.locked import refuse_locked

from search.settings import limits
from search.settings.baselines import TRIALS
from search.settings.fields import BaselineNames, Immutable, Number, SearchName, ShortText, Text, Within
from search.settings.seeds import MOST_STAGE_SEEDS
from search.settings.settings import EvaluatorSettings, TaskChoices
from search.settings.tasks import TaskChoice


class Stage(Immutable):
    """One stage of a funnel."""

    tasks: TaskChoices
    """The tasks, each with the number of seeds to tune on; without them those of the search, with 3 seeds."""
    keep: Annotated[int, Within(limits.PASSING)]
    """The most programs that pass to the next stage."""
    trials: Annotated[int, Within(limits.TRIALS)] = TRIALS
    """Settings of learning rate and weight decay that every competitor tries on each task."""
    fresh_seeds: Annotated[int, Field(ge=2, le=MOST_STAGE_SEEDS, strict=True)] = 8
    """Number of seeds of the trainings that decide."""
    level: Annotated[Number, Field(gt=0, le=0.5)] = 0.05
    """What passes is ahead of the baseline that is hardest to beat, with a chance below this that it only looks so:
    0.05 is z above 1.64, 0.5 anything ahead."""

    @field_validator("tasks")
    @classmethod
    def _unlocked(cls, tasks: tuple[TaskChoice, ...]) -> tuple[TaskChoice, ...]:
        for choice in tasks:
            refuse_locked(choice.name)
        return tasks


class Funnel(Immutable):
    """The settings of a funnel."""

    name: SearchName
    """What the funnel is called in its store."""
    search: ShortText
    """The search whose programs enter."""
    enter: Annotated[int, Within(limits.PASSING)] = 50
    """How many of its best programs enter."""
    baselines: Annotated[BaselineNames, Field(min_length=1)]
    """What a program must beat, each of them, over all tasks of a stage."""
    stages: Annotated[tuple[Stage, ...], Field(min_length=1, max_length=limits.STAGE.most)]
    """The stages, one after another."""
    evaluator: EvaluatorSettings = EvaluatorSettings()
    """Where programs are trained."""
    store: Text = "sqlite:///results.db"
    """The database of the search."""

    @model_validator(mode="after")
    def _narrowing(self) -> Funnel:
        kept = [self.enter, *(stage.keep for stage in self.stages)]
        if any(later > earlier for earlier, later in itertools.pairwise(kept)):
            raise ValueError("stages: keep must not grow from stage to stage, nor exceed enter")
        return self
