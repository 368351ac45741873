"""What a search trained on, as its row says it: nothing is loaded because a database names it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from programs.errors import InputError
from programs.schedules import DECAY, DEFAULT_SCHEDULE, WARMUP, Schedule

from proxy_tasks.fitness import ERRORS
from proxy_tasks.tasks import TASKS

from search.results.text import listed, printable
from search.store.views import SearchEntry

SCORE = "score"
"""What fitness is where there are several tasks."""


def tasks_of(search: SearchEntry) -> list[str]:
    """Return the names of the tasks that a search trains on."""
    return [task["name"] for task in search.settings.get("tasks", [])]


def searches_on(task: str, searches: Iterable[SearchEntry], name: str | None, location: str) -> list[str]:
    """Return the names of the searches that train on a task; of this one alone if it is named.

    Raises:
        InputError: there is none in the database at this location; says which tasks there are.
    """
    some = [row for row in searches if name in (None, row.search)]
    found = [row.search for row in some if task in tasks_of(row)]
    if not found:
        who = "no search trains" if name is None else f"search '{name}' does not train"
        there = listed(of for row in some for of in tasks_of(row))
        raise InputError(f"{location}: --task {task}: {who} on it; there are: {there}")
    return found


def steps_of(search: SearchEntry) -> int | None:
    """Return how long a search trains; None if its tasks differ in that, or only the user's code knows."""
    lengths = set[int | None]()
    for task in search.settings.get("tasks", []):
        own = TASKS[task["name"]].steps if task["name"] in TASKS else None
        lengths.add(task.get("steps") or own)
    return lengths.pop() if len(lengths) == 1 else None


def schedule_of(search: SearchEntry) -> Schedule:
    """Return the schedule of the learning rate that a search trains with: that of its first task."""
    for meant in _meanings(search):
        form = meant.get("schedule", DEFAULT_SCHEDULE.form)
        found = Schedule(
            tuple(form) if isinstance(form, list) else form, meant.get("warmup", WARMUP), meant.get("decay", DECAY)
        )
        try:
            found.check("schedule")
        except (InputError, TypeError):  # anybody may have written it
            return DEFAULT_SCHEDULE
        return found
    return DEFAULT_SCHEDULE


def error_of(search: SearchEntry) -> str:
    """Return what the fitness of a search is minus, such as the validation loss; `SCORE` for several tasks."""
    errors = [ERRORS.get(meant.get("fitness", "loss"), SCORE) for meant in _meanings(search)]
    return errors[0] if len(errors) == 1 else SCORE


def remarks_on_fitness(searches: Iterable[SearchEntry]) -> list[str]:
    """Return a sentence for each search whose fitness is something else than minus the validation loss, or a score."""
    errors = {search.search: error_of(search) for search in searches}
    usual = (ERRORS["loss"], SCORE)
    return [f"fitness of {printable(n)} is minus the {error}" for n, error in errors.items() if error not in usual]


def _meanings(search: SearchEntry) -> Iterator[Mapping[str, Any]]:
    """Yield for each task its settings as stored, with what they meant when the search began, which has all of them."""
    meant = (search.settings.get("versions") or {}).get("tasks")
    for task in search.settings.get("tasks", []):
        found = meant.get(task["name"]) if isinstance(meant, dict) else None
        chosen = {key: value for key, value in task.items() if value is not None}
        yield chosen | (found if isinstance(found, dict) else {})
