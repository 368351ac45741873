"""Programs of the store, of files and of the zoo as source text that people use."""

from __future__ import annotations

import re
from typing import NamedTuple

from programs.errors import InputError
from programs.hashing import dataflow_hash
from programs.program import Program
from programs.schedules import DEFAULT_SCHEDULE, Schedule
from programs.user_functions import as_text

from search.results.data_sheets import short_form
from search.results.text import failure, in_trainings
from search.store.tables import DataSheetRow
from search.store.views import ProgramEntry

TARGETS = ("torch", "optax", "dsl")


class NamedProgram(NamedTuple):
    """A program, what to call it, its row in the store if it has one, and tasks, steps and schedule of its search."""

    name: str
    program: Program
    entry: ProgramEntry | None = None
    tasks: tuple[str, ...] = ()
    steps: int | None = None
    search: str | None = None
    schedule: Schedule = DEFAULT_SCHEDULE


def class_name_of(name: str) -> str:
    """Return what the class of an export is called unless another name is given: Program42 for `program 42`."""
    return "".join(part.capitalize() for part in re.findall(r"[A-Za-z0-9]+", name))


def export_source(
    found: NamedProgram, target: str, class_name: str | None = None, sheet: DataSheetRow | None = None
) -> str:
    """Return the text of an export; that of a program of the store names its search, tasks and fitness.

    Args:
        found: the program.
        target: one of `TARGETS`.
        class_name: of the optimizer; that of `class_name_of` without it.
        sheet: the data sheet of the program, whose short form goes into the docstring.

    Raises:
        InputError: unknown target, an export that does not move weights as the program does, or a data sheet that
            optsearch did not write.
    """
    if target not in TARGETS:
        raise InputError(f"--to {target}: unknown target; there are {', '.join(TARGETS)}")
    if target == "dsl":
        return as_text(found.program)
    from programs.export import export_torch, optax_source  # here: results are read without torch, which checks exports

    write = export_torch if target == "torch" else optax_source
    provenance = _provenance(found) | ({} if sheet is None else short_form(sheet))
    return write(found.program, class_name or class_name_of(found.name), provenance, found.steps, found.schedule)


def _provenance(found: NamedProgram) -> dict[str, str]:
    provenance = {"program": found.name, "hash": dataflow_hash(found.program)}
    if found.entry is not None:
        tasks = ", ".join(found.tasks)
        provenance |= {"search": found.entry.search, "task": tasks}
        error = found.entry.standard_error
        fitness = f"{found.entry.fitness}"
        fitness += "" if error is None else f" +- {error:.2g} over {in_trainings(found.entry.trainings)}"
        provenance |= {"outcome": failure(found.entry)} if found.entry.fitness is None else {"fitness": fitness}
    return provenance
