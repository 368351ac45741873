"""The funnel: programs of a search against tuned baselines, on larger and larger tasks.

In every stage all competitors, candidates and baselines alike, get the same number of tuning trials on each task, on
seeds of that stage; then the tuned are trained again on fresh seeds, and only these decide. A stage passes what beats
the baseline, and at most the best few. Everything that is trained is kept in the store, so that a funnel goes on where
it stopped.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, NamedTuple

from pydantic import Field, field_validator, model_validator

from programs.program import Program

from search.baselines import BASELINES, Competitor, competitor
from search.config import BaselineNames, Dedup, EvaluatorSettings, Immutable, PositiveInt, TaskChoice
from search.evaluation import EvaluationService, TaskSeeds
from search.locked import refuse_locked
from search.statistics import Difference, combined, corrected, difference, limited
from search.tuning import TRIALS, Trainings, Tuned, train_programs, tune

STAGE_SEED = 10_000  # stage n tunes on seeds from n times this, and decides on those from half a step later
DECIDING = 5_000


class Stage(Immutable):
    """One stage of a funnel."""

    tasks: Annotated[tuple[TaskChoice, ...], Field(min_length=1)]
    """Each with the number of seeds to tune on."""
    keep: PositiveInt
    """Programs that go on at most."""
    trials: PositiveInt = TRIALS
    """Settings of learning rate and weight decay that every competitor may try on each task."""
    fresh_seeds: Annotated[int, Field(ge=2, le=DECIDING, strict=True)] = 8
    """On which it is decided."""

    @field_validator("tasks")
    @classmethod
    def _unlocked(cls, tasks: tuple[TaskChoice, ...]) -> tuple[TaskChoice, ...]:
        for choice in tasks:
            refuse_locked(choice.name)
        return tasks


class Funnel(Immutable):
    """Settings of a funnel."""

    name: str = Field(pattern=r"^[\w.-]+$")
    """What the funnel is called in its store."""
    search: str
    """Whose programs enter."""
    enter: PositiveInt = 50
    """How many of its best."""
    baselines: Annotated[BaselineNames, Field(min_length=1)]
    """What a program must beat: on each task the best of these there."""
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]
    """One after another."""
    evaluator: EvaluatorSettings = EvaluatorSettings()
    """Where all is trained."""
    store: str = "sqlite:///results.db"
    """The database of the search."""

    @model_validator(mode="after")
    def _narrowing(self) -> Funnel:
        kept = [self.enter, *(stage.keep for stage in self.stages)]
        if any(later > earlier for earlier, later in itertools.pairwise(kept)):
            raise ValueError("stages: keep must not grow from stage to stage, nor exceed enter")
        return self


class Entrant(NamedTuple):
    """A program in the funnel."""

    individual_id: int
    program: Program

    @property
    def name(self) -> str:
        return f"program {self.individual_id}"


class OnTask(NamedTuple):
    """How a competitor fared on a task of a stage: on fresh seeds, and against the best baseline of that task there."""

    tuned: Tuned
    fresh: Trainings
    ahead: Difference | None
    baseline: str
    fingerprint: str
    """Of the task."""


class Result(NamedTuple):
    """How a competitor fared in a stage. `z` is over all tasks, None where it failed on one; `p` is corrected for the
    number of programs compared."""

    name: str
    individual_id: int | None
    tasks: list[OnTask]
    z: float | None
    p: float | None
    passed: bool


def run_stage(
    number: int,
    stage: Stage,
    entrants: Sequence[Entrant],
    baselines: Sequence[str],
    service: EvaluationService,
    dedup: Dedup,
    examined: int,
    say: Callable[[str], None],
) -> list[Result]:
    """Tune everybody, train on fresh seeds, decide.

    Args:
        number: of the stage, from 1.
        stage: its settings.
        entrants: the programs.
        baselines: the names of what they must beat.
        service: that trains.
        dedup: how keys are made.
        examined: programs that were compared until these were the best, for the correction of p.
        say: told what is going on.

    Returns:
        Baselines first, then programs, best first.
    """
    competitors = [*(BASELINES[name] for name in baselines), *(competitor(e.name, e.program) for e in entrants)]
    columns = []
    for place, choice in enumerate(stage.tasks):
        say(f"stage {number}: {len(competitors)} competitors, {stage.trials} trials each on {choice.name}")
        columns.append(_on_task(number, stage, place, competitors, len(baselines), service, dedup))
    of_each = [list(tasks) for tasks in zip(*columns, strict=True)]
    found = [_result(c.name, None, tasks, examined) for c, tasks in zip(competitors, of_each, strict=False)]
    programs = [
        result._replace(individual_id=entrant.individual_id)
        for result, entrant in zip(found[len(baselines) :], entrants, strict=True)
    ]
    ranked = sorted(programs, key=lambda r: (r.z is None, -(r.z or 0.0)))
    passing = _distinct(result for result in ranked if result.z is not None and result.z > 0)[: stage.keep]
    return [*found[: len(baselines)], *(result._replace(passed=result in passing) for result in ranked)]


def _distinct(results: Iterable[Result]) -> list[Result]:
    """Without those that are the same as an earlier one now that both are tuned."""
    seen, distinct = set(), []
    for result in results:
        keys = tuple(on.tuned.best.candidate.key for on in result.tasks)
        if keys not in seen:
            seen.add(keys)
            distinct.append(result)
    return distinct


def _on_task(
    number: int,
    stage: Stage,
    place: int,
    competitors: Sequence[Competitor],
    baselines: int,
    service: EvaluationService,
    dedup: Dedup,
) -> list[OnTask]:
    choice, first = stage.tasks[place], STAGE_SEED * number
    tuning = TaskSeeds(choice.task, tuple(range(first, first + choice.seeds)))
    deciding = TaskSeeds(choice.task, tuple(range(first + DECIDING, first + DECIDING + stage.fresh_seeds)))
    tuned = tune(competitors, service, [tuning], dedup, trials=stage.trials)
    trained = [found for (found,) in train_programs([one.program for one in tuned], service, [deciding], dedup)]
    # Chosen by the seeds of tuning: to choose by the deciding ones would favour whoever was lucky there.
    # The one that fares best on the deciding seeds, even if by luck: that can only make it harder for programs.
    means = [-math.inf if math.isnan(one.mean) else one.mean for one in trained[:baselines]]
    best = means.index(max(means))
    against = trained[best]
    return [
        OnTask(one, fresh, _ahead(fresh, against), tuned[best].name, choice.task.fingerprint)
        for one, fresh in zip(tuned, trained, strict=True)
    ]


def _ahead(ours: Trainings, theirs: Trainings) -> Difference | None:
    """None where one of ours failed: that is no better than any baseline."""
    return None if ours.failures else difference(ours.by_seed, theirs.by_seed)


def _result(name: str, individual_id: int | None, tasks: list[OnTask], examined: int) -> Result:
    zs = [limited(on.ahead.z) for on in tasks if on.ahead is not None]
    z = combined(zs) if len(zs) == len(tasks) else None
    return Result(name, individual_id, tasks, z, None if z is None else corrected(z, examined), False)
