"""The funnel: programs of a search against tuned baselines, on larger and larger tasks.

In every stage all competitors, candidates and baselines alike, get the same number of tuning trials on each task, on
seeds of that stage; then the tuned are trained again on fresh seeds, and only these decide. What is ahead of the
baselines at the level of a stage passes, the best few at most. Everything that is trained is kept in the store, so that
a funnel goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from programs.program import Program

from search.settings.baselines import BASELINES, Competitor, competitor
from search.settings.funnel import Stage
from search.settings.seeds import stage_fresh_seeds, stage_tuning_seeds
from search.settings.tasks import TaskSeeds
from search.training.service import Trainings, TrainingService
from search.training.statistics import Difference, combined, corrected, difference, limited, p_of
from search.training.tuning import TunedCompetitor, tune


class Entrant(NamedTuple):
    """A program in the funnel."""

    program_id: int
    program: Program

    @property
    def name(self) -> str:
        return f"program {self.program_id}"


class StageOnTask(NamedTuple):
    """How a competitor fared on a task of a stage: as tuned there, on fresh seeds."""

    fingerprint: str
    """Of the task."""
    tuned: TunedCompetitor
    fresh: Trainings


class StageResult(NamedTuple):
    """How a competitor fared in a stage.

    Programs are compared with every baseline over all tasks; `baseline` is the one that is hardest to beat, `ahead`
    what the program is ahead of it on each task, `z` that over all tasks and `p` corrected for the number of programs
    compared. z and p are None for baselines, and for programs that failed somewhere.
    """

    name: str
    program_id: int | None
    tasks: list[StageOnTask]
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
    examined: int,
    say: Callable[[str], None],
) -> list[StageResult]:
    """Tune everybody, train on fresh seeds, decide.

    Args:
        number: of the stage, from 1.
        stage: its settings.
        entrants: the programs.
        baselines: the names of what they must beat.
        service: that trains.
        examined: programs that were compared until these were the best, for the correction of p.
        say: told what is going on.

    Returns:
        Baselines first, then programs, best first.
    """
    competitors = [*(BASELINES[name] for name in baselines), *(competitor(e.name, e.program) for e in entrants)]
    columns = []
    for choice in stage.tasks:
        say(f"stage {number}: {len(competitors)} competitors, {stage.trials} trials each on {choice.name}")
        tuning = TaskSeeds(choice.task, stage_tuning_seeds(number, choice.seeds))
        deciding = TaskSeeds(choice.task, stage_fresh_seeds(number, stage.fresh_seeds))
        columns.append(tuned_then_fresh(competitors, tuning, deciding, stage.trials, service))
    of_each = [list(tasks) for tasks in zip(*columns, strict=True)]
    known = [
        StageResult(name, None, tasks, name, [None] * len(tasks), None, None, False)
        for name, tasks in zip(baselines, of_each, strict=False)
    ]
    programs = [
        _result(entrant, tasks, known, examined)
        for entrant, tasks in zip(entrants, of_each[len(baselines) :], strict=True)
    ]
    ranked = sorted(programs, key=lambda r: (r.z is None, -(r.z or 0.0)))
    passing = _distinct(result for result in ranked if _passes(result, stage))[: stage.keep]
    return [*known, *(result._replace(passed=result in passing) for result in ranked)]


def _passes(result: StageResult, stage: Stage) -> bool:
    return result.z is not None and result.z > 0 and p_of(result.z) < stage.level


def _distinct(results: Iterable[StageResult]) -> list[StageResult]:
    """Without those that are the same as an earlier one now that both are tuned."""
    seen, distinct = set(), []
    for result in results:
        keys = tuple(on.tuned.best.candidate.key for on in result.tasks)
        if keys not in seen:
            seen.add(keys)
            distinct.append(result)
    return distinct


def tuned_then_fresh(
    competitors: Sequence[Competitor], tuning: TaskSeeds, deciding: TaskSeeds, trials: int, service: TrainingService
) -> list[StageOnTask]:
    """Tune all with the same trials, train the tuned on fresh seeds, and return what came of it.

    Args:
        competitors: what is tuned.
        tuning: the task with the seeds to tune on.
        deciding: the same task with the fresh seeds.
        trials: for each competitor.
        service: that trains.
    """
    tuned = tune(competitors, service, [tuning], trials=trials)
    trained = [found for (found,) in service.train([one.program for one in tuned], [deciding])]
    return [StageOnTask(tuning.task.fingerprint, one, fresh) for one, fresh in zip(tuned, trained, strict=True)]


def _result(entrant: Entrant, tasks: list[StageOnTask], baselines: Sequence[StageResult], examined: int) -> StageResult:
    """Return the result of a program against the baseline that is hardest to beat on these very seeds."""
    rivals = [one for one in baselines if all(len(on.fresh.by_seed) > 1 for on in one.tasks)] or baselines
    found = [_against(tasks, rival.tasks) for rival in rivals]
    zs = [_over_all(ahead) for ahead in found]
    hardest = zs.index(None) if None in zs else zs.index(min(z for z in zs if z is not None))
    z = zs[hardest]
    p = None if z is None else corrected(z, examined)
    return StageResult(entrant.name, entrant.program_id, tasks, rivals[hardest].name, found[hardest], z, p, False)


def _against(ours: Sequence[StageOnTask], theirs: Sequence[StageOnTask]) -> list[Difference | None]:
    """Return the differences on each task; None where one of our trainings failed, which is no better than anything."""
    return [
        None if mine.fresh.failures else difference(mine.fresh.by_seed, other.fresh.by_seed)
        for mine, other in zip(ours, theirs, strict=True)
    ]


def _over_all(ahead: Sequence[Difference | None]) -> float | None:
    zs = [limited(one.z) for one in ahead if one is not None]
    return combined(zs) if len(zs) == len(ahead) else None
