"""Whether rows are such as optsearch writes. What runs and commands read passes through here, and nowhere else.

Types are looked at first, by a set of the combinations that are right, so that a row costs one look-up; SQLite keeps
any value in any column. Values are looked at as far as somebody relies on them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from proxy_tasks.outcome import CURVE_POINTS, Outcome

from search.store.encoding import foreign_data_error
from search.store.rows import BaselineRow, MetaValidationRow, ProgramRow

STATUSES = {"ok", "diverged", "dropped", "rejected", "timeout", "error", "lost"}
ANSWERS = {"training", "reevaluation", "hash", "fingerprint", "in_flight", "rejection"}
STATES = {"running", "interrupted", "finished"}

_NONE = type(None)
_INTEGER, _NUMBER, _TEXT = (int,), (float, int), (str,)
_SOME_INTEGER, _SOME_NUMBER, _SOME_TEXT = (int, _NONE), (float, int, _NONE), (str, _NONE)

# Types of columns of tables and views, and of what commands name in their queries.
KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(
        ("id", "search_id", "birth", "batch", "statements", "live_statements", "state_slots", "rounds", "births",
         "trained", "by_hash", "by_fingerprint", "in_flight", "rejected", "births_so_far", "trained_so_far",
         "by_hash_so_far", "by_fingerprint_so_far", "in_flight_so_far", "rejected_so_far", "programs", "example_id",
         "seed", "steps", "trials", "stage", "stages", "seeds", "passed", "step", "accepted", "trials_failed",
         "seeds_failed", "opening_id", "finalist", "trainings"),
        _INTEGER,
    ),
    **dict.fromkeys(("parent_birth", "parent_id", "holder_pid", "program_id"), _SOME_INTEGER),
    **dict.fromkeys(
        ("seconds", "redundant_share", "learning_rate", "weight_decay", "state_per_weight", "step_time"), _NUMBER
    ),
    **dict.fromkeys(
        ("fitness", "variance", "over_adamw", "over_best_baseline", "best", "best_so_far", "parent_fitness", "gain",
         "standard_error", "meta_fitness", "ahead", "ahead_error", "z", "p", "heartbeat", "task_z", "steps_to_adamw",
         "tolerance", "one_setting", "mean", "sigma"),
        _SOME_NUMBER,
    ),
    **dict.fromkeys(
        ("name", "search", "state", "key", "dataflow_hash", "mutation", "genome", "answered_by", "status", "task",
         "task_fingerprint", "device", "funnel", "competitor", "baseline", "opened", "started", "last_written",
         "written", "began", "ended", "kind", "before", "after"),
        _TEXT,
    ),
    **dict.fromkeys(("reason", "holder", "holder_token", "holder_machine", "finished"), _SOME_TEXT),
}  # fmt: skip
_NAME = re.compile(r"[\w.-]{1,200}")  # of searches and baselines; it is shown, and written into exports
_TASK_NAME = re.compile(r"[\w.:-]{1,500}")
_ALLOWED: dict[str, Collection[str]] = {"status": STATUSES, "answered_by": ANSWERS, "state": STATES}


def checked(row: Mapping[str, Any], place: str) -> dict[str, Any]:
    """A row by the names of its columns.

    Raises:
        InputError: a column holds another type than its name stands for, or a value that is not finite or unknown.
    """
    for name, value in row.items():
        kinds = KINDS.get(name)
        if kinds is not None and type(value) not in kinds:
            raise foreign_data_error(place, f"a {type(value).__name__} as {name}")
        if type(value) is float and not math.isfinite(value):
            raise foreign_data_error(place, f"{value} as {name}")
        if name in ("name", "search") and not _NAME.fullmatch(value):
            raise foreign_data_error(place, f"{value[:40]!r} as {name}")
        if name in _ALLOWED and value not in _ALLOWED[name]:
            raise foreign_data_error(place, f"{value[:40]!r} as {name}")
    return dict(row)


def checked_births(rows: Iterable[Sequence[Any]], place: str, hurdle_losses: int | None) -> Iterator[ProgramRow]:
    """The births of a search, of which none may be missing.

    Args:
        rows: in the order of `ProgramRow`.
        place: the database, for messages.
        hurdle_losses: how many every birth has that has any; None where that is not known.

    Raises:
        InputError: at the first that is not such as a run writes.
    """
    right: set[tuple[type, ...]] = set()
    for expected, values in enumerate(rows):
        types = tuple(map(type, values))
        if types not in right:
            checked(dict(zip(ProgramRow._fields, values, strict=True)), place)
            right.add(types)
        row = ProgramRow._make(values)
        if wrong := _wrong_birth(row, expected, hurdle_losses):
            raise foreign_data_error(place, f"{wrong} of birth {expected}")
        yield row


def _wrong_birth(row: ProgramRow, expected: int, hurdle_losses: int | None) -> str | None:
    """What is wrong with a birth whose types are right."""
    if row.birth != expected or (row.parent_birth is not None and not 0 <= row.parent_birth < expected):
        return "the number or the parent"
    if row.status not in STATUSES or row.answered_by not in ANSWERS:
        return "the status"
    if (row.fitness is None) is (row.status == "ok") or (row.fitness is not None and row.fitness - row.fitness != 0):
        return "the fitness"
    if row.rounds < 1 or row.batch < 0 or not 0 <= row.live_statements <= row.statements:
        return "the counts"
    if row.hurdle_losses is not None and not _is_curve(row.hurdle_losses, hurdle_losses):
        return "the hurdle_losses"
    return None


def _is_curve(values: Any, length: int | None) -> bool:
    """Whether these are finite numbers, and as many as they should be."""
    if type(values) is not list or (length is not None and len(values) != length):
        return False
    return all(type(value) is float and value - value == 0 for value in values)


def checked_outcome(values: Sequence[Any], place: str) -> Outcome:
    """An evaluation.

    Raises:
        InputError: it is not such as a run writes.
    """
    outcome = Outcome(*values)
    good = (
        outcome.status in STATUSES
        and type(outcome.fitness) is (float if outcome.status == "ok" else _NONE)
        and (outcome.fitness is None or math.isfinite(outcome.fitness))
        and _is_curve(outcome.curve, None)
        and type(outcome.steps) is int
        and _is_long_enough(outcome)
        and type(outcome.seconds) is float
        and type(outcome.reason) in _SOME_TEXT
        and type(outcome.device) is str
    )
    if not good:
        raise foreign_data_error(place, "an evaluation")
    return outcome


def _is_long_enough(outcome: Outcome) -> bool:
    """Whether the curve of a training that went to its end has a point for every twentieth, if it had so many steps."""
    points = len(outcome.curve)
    if outcome.status == "ok" and outcome.steps >= CURVE_POINTS:
        return points == CURVE_POINTS
    return points <= CURVE_POINTS


def checked_curve(values: Any, place: str) -> list[float]:
    """A loss curve.

    Raises:
        InputError: it is none.
    """
    if not _is_curve(values, None):
        raise foreign_data_error(place, "a curve")
    return list(values)


def checked_baseline(values: Sequence[Any], place: str) -> BaselineRow:
    """A tuned baseline.

    Raises:
        InputError: it is none.
    """
    return BaselineRow(**checked(dict(zip(BaselineRow._fields, values, strict=True)), place))


def checked_meta_validation(values: Sequence[Any], place: str) -> MetaValidationRow:
    """A point of a meta-validation curve.

    Raises:
        InputError: it is none.
    """
    return MetaValidationRow(**checked(dict(zip(MetaValidationRow._fields, values, strict=True)), place))


def checked_settings(settings: Any, place: str) -> dict[str, Any]:
    """The settings of a search, as far as one may look into them before they are validated.

    Raises:
        InputError: they are no settings.
    """
    good = type(settings) is dict and all(
        type(settings.get(part, {})) in kinds
        for part, kinds in (
            ("budget", (dict,)), ("evaluator", (dict,)), ("strategy", (dict,)), ("dedup", (dict,)),
            ("hurdles", (dict, _NONE)), ("versions", (dict,)),
        )
    )  # fmt: skip
    tasks = settings.get("tasks", []) if good else None
    if type(tasks) is not list or not all(type(task) is dict and _is_task_name(task.get("name")) for task in tasks):
        raise foreign_data_error(place, "settings of a search")
    return dict(settings)


def _is_task_name(name: Any) -> bool:
    return type(name) is str and _TASK_NAME.fullmatch(name) is not None


def hurdle_losses_of(settings: Mapping[str, Any]) -> int | None:
    """How many losses at hurdles births of a search have, by its settings; None where these do not say."""
    at = (settings.get("hurdles") or {}).get("at")
    return len(at) * len(settings.get("tasks", [])) if type(at) is list else None
