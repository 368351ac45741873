"""Measuring programs on proxy tasks: tuned alike on each, then trained on fresh seeds, as in the stages of a funnel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from programs.errors import InputError

from proxy_tasks import Task, get_task
from proxy_tasks.locked import refuse_locked
from proxy_tasks.preflight import check_task

from search.evidence.funnel import Entrant, StageOnTask, tuned_then_fresh
from search.settings import limits
from search.settings.baselines import competitor
from search.settings.seeds import stage_fresh_seeds, stage_tuning_seeds
from search.settings.tasks import TaskSeeds
from search.settings.yaml_text import number_of, shortened
from search.store import ProxyMeasurementRow
from search.store.encoding import clean_number
from search.training.service import TrainingService
from search.training.tuning import trainings_of_tuning

_STAGE = 1  # of a funnel, on whose seeds programs are measured: a funnel from the same programs trains nothing again


class ProxyTask(NamedTuple):
    """A task under the name that it has in results: its own, or NAME@STEPS for another length."""

    name: str
    task: Task


class Protocol(NamedTuple):
    """How all programs are measured on a task: tuning trials, the seeds of these, and the fresh seeds that count."""

    trials: int
    tuning_seeds: int
    fresh_seeds: int

    def trainings(self, on: ProxyTask) -> int:
        """Return how many trainings the measurement of one program takes at most."""
        return trainings_of_tuning([self.tuning(on)], self.trials) + self.fresh_seeds

    def tuning(self, on: ProxyTask) -> TaskSeeds:
        """Return a task with the seeds that programs are tuned on."""
        return TaskSeeds(on.task, stage_tuning_seeds(_STAGE, self.tuning_seeds))

    def deciding(self, on: ProxyTask) -> TaskSeeds:
        """Return a task with the fresh seeds."""
        return TaskSeeds(on.task, stage_fresh_seeds(_STAGE, self.fresh_seeds))


def proxy_task(text: str) -> ProxyTask:
    """Return the task that `NAME` or `NAME@STEPS` stands for.

    Raises:
        InputError: there is no such task, it cannot be trained on, or it is locked.
    """
    name, at, written = text.strip().partition("@")
    refuse_locked(name)
    task = get_task(name)
    if at:
        steps = number_of(written)
        if not isinstance(steps, int) or not 1 <= steps <= limits.STEPS.most:
            raise InputError(
                f"--tasks: '{shortened(text)}': expected NAME@STEPS with 1 to {limits.STEPS.most} steps, such as"
                f" {name}@{task.steps}"
            )
        task = replace(task, steps=steps)
    check_task(task)
    return ProxyTask(name if task == get_task(name) else f"{name}@{task.steps}", task)


def measure(
    entrants: Sequence[Entrant], on: ProxyTask, protocol: Protocol, service: TrainingService
) -> list[ProxyMeasurementRow]:
    """Return how programs fare on a task, in their order, tuned alike there and trained on fresh seeds."""
    competitors = [competitor(entrant.name, entrant.program) for entrant in entrants]
    found = tuned_then_fresh(competitors, protocol.tuning(on), protocol.deciding(on), protocol.trials, service)
    return [_row(entrant, on, protocol, one) for entrant, one in zip(entrants, found, strict=True)]


def _row(entrant: Entrant, on: ProxyTask, protocol: Protocol, measured: StageOnTask) -> ProxyMeasurementRow:
    tuned, fresh = measured.tuned, measured.fresh
    failed = len(fresh.failures)
    return ProxyMeasurementRow(
        program_id=entrant.program_id,
        task=on.name,
        task_fingerprint=measured.fingerprint,
        steps=on.task.steps,
        trials=protocol.trials,
        tuning_seeds=protocol.tuning_seeds,
        seeds=protocol.fresh_seeds,
        seeds_failed=failed,
        fitness=None if failed else clean_number(fresh.mean),
        standard_error=None if failed else clean_number(fresh.standard_error),
        learning_rate=tuned.best.learning_rate,
        weight_decay=tuned.best.weight_decay,
        genome=str(tuned.program),
    )
