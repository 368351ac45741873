"""What the sections of a data sheet are about, and what they have found so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from programs.analysis.properties import Subject
from programs.program import Program

from proxy_tasks import Task

from search.training.service import TrainingService

Found = TypeVar("Found")


class Analysis:
    """A program on a task. Whatever is found of it is found once, whichever sections ask.

    Attributes:
        name: what the program is called.
        program: it.
        subject: it, as the analysis of the language takes it.
        task: what it is trained on.
        seeds: what it is trained with.
        service: trains.
    """

    def __init__(self, name: str, program: Program, task: Task, seeds: Sequence[int], service: TrainingService) -> None:
        self.name = name
        self.program = program
        self.subject = Subject(program)
        self.task = task
        self.seeds = tuple(seeds)
        self.service = service
        self._found: dict[Callable[..., Any], Any] = {}

    def of(self, measure: Callable[[Analysis], Found]) -> Found:
        """Return what a function finds of this analysis, which is called once."""
        if measure not in self._found:
            self._found[measure] = measure(self)
        found: Found = self._found[measure]
        return found

    def known(self, measure: Callable[[Analysis], Found]) -> Found | None:
        """Return what a function has found of this analysis, None if nothing has asked for it."""
        return self._found.get(measure)
