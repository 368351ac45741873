"""What sections of a data sheet are made of, and what they are about."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from programs.analysis.properties import Subject
from programs.program import Program

from proxy_tasks import Task

from search.training.service import TrainingService

Found = TypeVar("Found")


class SheetTable(NamedTuple):
    """Rows, plain and unrounded; columns named in `left` are texts, the others numbers, None where there is none.

    The last column but one may be shown `across`: a column for each of its values, filled from the last. Rows may be
    shown as a table for each value of the column `facet`, the first.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Mapping[str, Any]]
    left: Sequence[str] = ()
    across: str = ""
    facet: str = ""


class SheetSection(NamedTuple):
    """Sentences, then tables."""

    sentences: Sequence[str]
    tables: Sequence[SheetTable] = ()


def finite(value: float) -> float | None:
    """Return a number as tables have it, None for what is not finite."""
    return value if math.isfinite(value) else None


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
