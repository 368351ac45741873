"""Whether rows are such as optsearch writes: what is read from a database passes through here, and nowhere else.

A database may come from anyone, and SQLite keeps any value in any column. What is accepted is one table: types, words
and patterns from the declaration of a row, and rules between its values. Types are looked up by their combination, of
which a query has few, so that a row costs one look-up.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, NamedTuple

from proxy_tasks.outcome import CURVE_POINTS, Status

from search.store.data_sheets import are_sections
from search.store.encoding import ForeignDataError, from_json
from search.store.rows import Kind, Row, RowType
from search.store.tables import DataSheetRow, ProgramColumns, ProposalRow, ProxyMeasurementRow, SearchRow, TrainingRow
from search.store.views import SearchEntry

_TASK_NAME = re.compile(r"[\w.:-]{1,500}")


class RowRule(NamedTuple):
    """Something that holds for every row that optsearch writes; `what` names it in messages."""

    what: str
    holds: Callable[[Any], bool]


def _is_trained_long_enough(row: TrainingRow) -> bool:
    """Return whether the curve of a training that went to its end has all its points, if it had that many steps."""
    points = len(row.curve)
    if row.status == Status.OK and row.steps >= CURVE_POINTS:
        return points == CURVE_POINTS
    return points <= CURVE_POINTS


def _are_norms(norms: Sequence[Any], steps: int) -> bool:
    """Return whether these are norms, one for each step."""
    return len(norms) == steps and all(type(norm) in (float, int) and norm >= 0 for norm in norms)


def _is_settings(settings: Mapping[str, Any]) -> bool:
    """Return whether settings can be looked into before they are validated."""
    tasks = settings.get("tasks", [])
    parts = ("budget", "evaluator", "strategy", "dedup", "versions")
    return (
        all(type(settings.get(part, {})) is dict for part in parts)
        and type(settings.get("hurdles")) in (dict, type(None))
        and type(tasks) is list
        and all(type(task) is dict and _is_task_name(task.get("name")) for task in tasks)
    )


def _is_task_name(name: Any) -> bool:
    return type(name) is str and _TASK_NAME.fullmatch(name) is not None


RULES: dict[type[Row], tuple[RowRule, ...]] = {
    SearchRow: (RowRule("settings of a search", lambda row: _is_settings(row.settings)),),
    SearchEntry: (RowRule("settings of a search", lambda row: _is_settings(row.settings)),),
    ProgramColumns: (
        RowRule("the parent of a birth", lambda row: row.parent_birth is None or 0 <= row.parent_birth < row.birth),
        RowRule("the fitness of a birth", lambda row: (row.fitness is None) is not (row.status == Status.OK)),
        RowRule(
            "the counts of a birth",
            lambda row: row.trainings >= 0 <= row.replica_steps and 0 <= row.live_statements <= row.statements,
        ),
        RowRule("the batch of a birth", lambda row: row.batch >= 0),
    ),
    TrainingRow: (
        RowRule("the fitness of a training", lambda row: (row.fitness is None) is not (row.status == Status.OK)),
        RowRule("the curve of a training", _is_trained_long_enough),
        RowRule(
            "the gradient norms of a training",
            lambda row: row.gradient_norms is None or _are_norms(row.gradient_norms, row.steps),
        ),
    ),
    ProxyMeasurementRow: (
        RowRule("the steps of a measurement", lambda row: row.steps > 0),
        RowRule("the factor of a measurement", lambda row: row.learning_rate > 0),
    ),
    ProposalRow: (
        RowRule("the place of a proposal", lambda row: min(row.birth, row.population, row.number) >= 0),
        RowRule("a proposal without text", lambda row: row.text is not None or row.problem is not None),
    ),
    DataSheetRow: (RowRule("the sections of a data sheet", lambda row: are_sections(row.sections)),),
}
"""What must hold between the values of a row, for its class and all that have its columns."""


class Reader(Generic[RowType]):
    """Makes rows of one class from what a database holds.

    Args:
        kind: the class of the rows.
        place: what to call the database in messages.
    """

    def __init__(self, kind: type[RowType], place: str) -> None:
        self._kind = kind
        self._place = place
        self._checks = _CHECKS[kind] if kind in _CHECKS else _CHECKS.setdefault(kind, _checks_of(kind))

    def row(self, values: Sequence[Any]) -> RowType:
        """Return the values of a row, in the order of its fields, as a row.

        Raises:
            InputError: optsearch cannot have written them.
        """
        checks = self._checks
        if checks.converted:
            values = self._converted(values)
        types = tuple(map(type, values))
        if types not in checks.right_types:
            self._check_types(values)
            checks.right_types.add(types)
        for place in checks.numbers:
            value = values[place]
            if type(value) is float and value - value != 0:
                raise self._refused(place, str(value))
        for place, allowed in checks.texts:
            value = values[place]
            if value is not None and not allowed(value):
                raise self._refused(place, repr(value[:40]))
        row = self._kind(*values)
        for what, holds in checks.rules:
            if not holds(row):
                raise ForeignDataError(self._place, what)
        return row

    def _converted(self, values: Sequence[Any]) -> list[Any]:
        """Return the values with JSON decoded and truth values made of numbers."""
        converted = list(values)
        for place, convert in self._checks.converted:
            try:
                converted[place] = convert(values[place])
            except (ValueError, RecursionError):
                raise self._refused(place, "no JSON") from None
        return converted

    def _check_types(self, values: Sequence[Any]) -> None:
        for place, (kind, value) in enumerate(zip(self._checks.kinds, values, strict=True)):
            if type(value) not in kind.types:
                raise self._refused(place, f"a {type(value).__name__}")

    def _refused(self, place: int, what: str) -> Exception:
        return ForeignDataError(self._place, f"{what} as {self._checks.names[place]}")


class _Checks(NamedTuple):
    """What is checked of the rows of one class; places are those of the columns."""

    names: tuple[str, ...]
    kinds: tuple[Kind, ...]
    converted: tuple[tuple[int, Callable[[Any], Any]], ...]
    numbers: tuple[int, ...]
    texts: tuple[tuple[int, Callable[[str], Any]], ...]
    rules: tuple[RowRule, ...]
    right_types: set[tuple[type, ...]]


_CHECKS: dict[type[Row], _Checks] = {}


def _checks_of(kind: type[Row]) -> _Checks:
    kinds = kind.kinds
    converted: list[tuple[int, Callable[[Any], Any]]] = []
    numbers: list[int] = []
    texts: list[tuple[int, Callable[[str], Any]]] = []
    for place, one in enumerate(kinds.values()):
        if one.is_json:
            converted.append((place, _numbers if list in one.types else _decoded))
        if bool in one.python:
            converted.append((place, _truth))
        if float in one.types:
            numbers.append(place)
        if one.words is not None:
            texts.append((place, one.words.__contains__))
        if one.pattern is not None:
            texts.append((place, one.pattern.fullmatch))
    rules = tuple(rule for base in kind.__mro__ for rule in RULES.get(base, ()))
    return _Checks(tuple(kinds), tuple(kinds.values()), tuple(converted), tuple(numbers), tuple(texts), rules, set())


def _decoded(value: Any) -> Any:
    """Return what JSON says; drivers of some databases have decoded it."""
    return from_json(value) if isinstance(value, str | bytes | int | float) else value


def _numbers(value: Any) -> Any:
    """Return a list of finite numbers.

    Raises:
        ValueError: it is none.
    """
    value = _decoded(value)
    if type(value) is list and not all(type(number) is float and math.isfinite(number) for number in value):
        raise ValueError("not a list of finite numbers")
    return value


def _truth(value: Any) -> Any:
    return bool(value) if type(value) is int else value
