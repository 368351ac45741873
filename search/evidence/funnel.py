"""The funnel: programs of a search against tuned baselines, on larger and larger tasks.

In every stage all competitors, candidates and baselines alike, get the same number of tuning trials on each task, on
seeds of that stage; then the tuned are trained again on fresh seeds, and only these decide. A stage passes what beats
the baseline, and at most the best few. Everything that is trained is kept in the store, so that a funnel goes on where
it stopped.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, NamedTuple

from pydantic import Field, field_validator, model_validator

from programs.program import Program

from proxy_tasks.locked import refuse_locked

from search.settings.baselines import BASELINES, Competitor, competitor
from search.settings.settings import BaselineNames, Dedup, EvaluatorSettings, Immutable, PositiveInt, TaskChoice
from search.training.service import TaskSeeds, TrainingService
from search.training.statistics import Difference, combined, corrected, difference, limited
from search.training.tuning import TRIALS, Trainings, Tuned, train_programs, tune

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
    """What a program must beat, each of them, over all tasks of a stage."""
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

    program_id: int
    program: Program

    @property
    def name(self) -> str:
        return f"program {self.program_id}"


class OnTask(NamedTuple):
    """How a competitor fared on a task of a stage: as tuned there, on fresh seeds."""

    fingerprint: str
    """Of the task."""
    tuned: Tuned
    fresh: Trainings


class Result(NamedTuple):
    """How a competitor fared in a stage.

    Programs are compared with every baseline over all tasks; `baseline` is the one that is hardest to beat, `ahead`
    what the program is ahead of it on each task, `z` that over all tasks and `p` corrected for the number of programs
    compared. z and p are None for baselines, and for programs that failed somewhere.
    """

    name: str
    program_id: int | None
    tasks: list[OnTask]
    baseline: str
    ahead: list[Difference | None]
    z: float | None
    p: float | None
    passed: bool


def run_stage(
    number: int,
    stage: Stage,
    entrants: Sequence[Entrant],
    baselines: Sequence[str],
    service: TrainingService,
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
        columns.append(_on_task(number, stage, place, competitors, service, dedup))
    of_each = [list(tasks) for tasks in zip(*columns, strict=True)]
    known = [
        Result(name, None, tasks, name, [None] * len(tasks), None, None, False)
        for name, tasks in zip(baselines, of_each, strict=False)
    ]
    programs = [
        _result(entrant, tasks, known, examined)
        for entrant, tasks in zip(entrants, of_each[len(baselines) :], strict=True)
    ]
    ranked = sorted(programs, key=lambda r: (r.z is None, -(r.z or 0.0)))
    passing = _distinct(result for result in ranked if result.z is not None and result.z > 0)[: stage.keep]
    return [*known, *(result._replace(passed=result in passing) for result in ranked)]


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
    number: int, stage: Stage, place: int, competitors: Sequence[Competitor], service: TrainingService, dedup: Dedup
) -> list[OnTask]:
    choice, first = stage.tasks[place], STAGE_SEED * number
    tuning = TaskSeeds(choice.task, tuple(range(first, first + choice.seeds)))
    deciding = TaskSeeds(choice.task, tuple(range(first + DECIDING, first + DECIDING + stage.fresh_seeds)))
    tuned = tune(competitors, service, [tuning], dedup, trials=stage.trials)
    trained = [found for (found,) in train_programs([one.program for one in tuned], service, [deciding], dedup)]
    return [OnTask(choice.task.fingerprint, one, fresh) for one, fresh in zip(tuned, trained, strict=True)]


def _result(entrant: Entrant, tasks: list[OnTask], baselines: Sequence[Result], examined: int) -> Result:
    """Of a program, beside the baseline that is hardest to beat on these very seeds, even if by luck."""
    rivals = [one for one in baselines if all(len(on.fresh.by_seed) > 1 for on in one.tasks)] or baselines
    found = [_against(tasks, rival.tasks) for rival in rivals]
    zs = [_over_all(ahead) for ahead in found]
    hardest = zs.index(None) if None in zs else zs.index(min(z for z in zs if z is not None))
    z = zs[hardest]
    p = None if z is None else corrected(z, examined)
    return Result(entrant.name, entrant.program_id, tasks, rivals[hardest].name, found[hardest], z, p, False)


def _against(ours: Sequence[OnTask], theirs: Sequence[OnTask]) -> list[Difference | None]:
    """On each task; None where one of our trainings failed, which is no better than anything."""
    return [
        None if mine.fresh.failures else difference(mine.fresh.by_seed, other.fresh.by_seed)
        for mine, other in zip(ours, theirs, strict=True)
    ]


def _over_all(ahead: Sequence[Difference | None]) -> float | None:
    zs = [limited(one.z) for one in ahead if one is not None]
    return combined(zs) if len(zs) == len(ahead) else None
