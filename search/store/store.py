"""Reading and writing the database. What one call writes is written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Table, and_, bindparam, or_, select, text

from programs.errors import InputError

from proxy_tasks import Task
from proxy_tasks.outcome import Outcome, Status

from search.store.clock import SteadyClock, seconds_now
from search.store.connections import location_of, sqlite_file, translated, writer
from search.store.encoding import ForeignDataError, clean_number, clean_text
from search.store.errors import StoreError
from search.store.keys import CIRCUMSTANCES, SearchState, TrainingKey
from search.store.rows import Name, Row, RowType, query, selected
from search.store.tables import (
    BaselineRow,
    DataSheetRow,
    ExportRow,
    FunnelRow,
    ProgramRow,
    SearchRow,
    SelectionRow,
    SimplificationRow,
    TrainingRow,
    VerdictRow,
)
from search.store.validation import Reader

MOST_VALUES = 500  # in one query: databases limit the number of bound parameters
LONGEST_NAME = 200  # characters
LONGEST_DEVICE = 50
LONGEST_HOST = 100

Value = TypeVar("Value")


@query("SELECT id, name, settings FROM search")
class StoredSearch(Row):
    """What a run needs of a search in the database."""

    id: int
    """Its ID."""
    name: Name
    """Its name."""
    settings: dict[str, Any]
    """Its settings as they were stored."""


class Store:
    """An open database.

    Reading raises InputError for what optsearch cannot have written; reading and writing raise StoreError where the
    database can no longer be used. What belongs to a search is written through its `Lease`.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._writer = writer(engine)
        self._file = sqlite_file(engine)
        self._identity = _identity(self._file)
        self._steady = SteadyClock()

    @property
    def location(self) -> str:
        """The path of a SQLite file, otherwise the URL without its password."""
        return location_of(self.engine)

    @property
    def is_in_memory(self) -> bool:
        """Whether no other connection can see it."""
        return self._file is None and self.engine.dialect.name == "sqlite"

    @property
    def log_path(self) -> Path:
        """Where runs keep their log: beside a SQLite file, or under the name of a server's database in this folder."""
        if self.is_in_memory:
            return Path(os.devnull)
        if self._file is None:
            return Path(f"{self.engine.url.database}.log")
        beside = self._file.with_suffix(".log")
        return beside if beside != self._file else self._file.with_name(f"{self._file.name}.log")

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open a transaction that writes: committed at the end, undone by any exception.

        Raises:
            StoreError: the database cannot be written.
        """
        if self._file is not None and _identity(self._file) != self._identity:
            raise StoreError(
                f"{self.location}: has been moved or deleted while in use; put it back where it was and run again:"
                " nothing committed is lost"
            )
        with translated(self.engine, "written"), self._writer.begin() as connection:
            yield connection

    def require_writable(self) -> None:
        """Refuse a database that this user may not write, before work is done whose result would be written.

        Raises:
            StoreError: the database cannot be written.
        """
        with self.writing():
            pass

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a connection that reads.

        Raises:
            StoreError: the database cannot be reached any more.
            InputError: what it holds cannot be read.
        """
        with translated(self.engine, "read"), self.engine.connect() as connection:
            yield connection

    def clock(self) -> float:
        """Return the time in seconds, by the clock that heartbeats are written with."""
        with self.reading() as connection:
            return seconds_now(connection)

    def now(self) -> datetime:
        """Return the time in UTC, as the tables keep it: never before one that this store has given or was told of."""
        return self._steady.now()

    def not_before(self, written: datetime) -> None:
        """Let what is written from now on have a later time than something that is written already."""
        self._steady.not_before(written)

    # --- rows ------------------------------------------------------------------------------------------------------

    def select(
        self, kind: type[RowType], where: str = "", *, order: str = "", limit: int | None = None, **parameters: Any
    ) -> list[RowType]:
        """Return the rows of a table, a view or a query.

        Args:
            kind: the class of the rows.
            where: a condition in SQL; values stand in it as `:name`.
            order: the columns to order by; without it the order is that of the view or of the query, by ID of a table.
            limit: how many rows at most.
            parameters: the values. A list stands for all its values (`birth IN :births`) and may be of any length;
                one parameter may be a list.
        """
        return list(self.iterate(kind, where, order=order, limit=limit, **parameters))

    def iterate(
        self, kind: type[RowType], where: str = "", *, order: str = "", limit: int | None = None, **parameters: Any
    ) -> Iterator[RowType]:
        """Yield the rows one by one; see `select`."""
        query = select(*selected(kind)).select_from(kind.table if kind.table is not None else text(kind.relation))
        lists = [name for name, value in parameters.items() if isinstance(value, list | tuple)]
        if where:
            query = query.where(text(where).bindparams(*(bindparam(name, expanding=True) for name in lists)))
        if order or kind.table is not None:
            query = query.order_by(text(order or f"{kind.relation}.id"))
        if limit is not None:
            query = query.limit(limit)
        reader = Reader(kind, self.location)
        with self.reading() as connection:
            streaming = connection.execution_options(yield_per=10_000)
            for part in _parts(parameters, lists):
                yield from map(reader.row, streaming.execute(query, part))

    def first(self, kind: type[RowType], where: str = "", *, order: str = "", **parameters: Any) -> RowType | None:
        """Return the first row, None where there is none; see `select`."""
        return next(iter(self.select(kind, where, order=order, limit=1, **parameters)), None)

    def insert(self, connection: Connection, rows: Sequence[Row], **common: Any) -> None:
        """Insert rows of one table, with values that they all have in common, in a transaction that writes."""
        if rows:
            table = type(rows[0]).table
            assert table is not None
            if "created" in table.c:
                common["created"] = self.now()
            connection.execute(table.insert(), [{**_storable(row), **common} for row in rows])

    def upsert(self, table: Table) -> Any:
        """Return an insertion that can say what to do about rows that are there already."""
        dialect = import_module(f"sqlalchemy.dialects.{self.engine.dialect.name}")  # the engine has loaded it
        return dialect.insert(table)

    # --- searches ----------------------------------------------------------------------------------------------------

    def find_search(self, name: str) -> StoredSearch | None:
        """Return the id and the settings of a search, None if there is none of this name."""
        return self.first(StoredSearch, "name = :name", name=name)

    def create_search(self, name: str, settings: dict[str, Any]) -> int:
        """Create a search that no run drives yet, and return its id.

        Raises:
            InputError: the name is too long, or another run has just made a search of this name.
        """
        if len(name) > LONGEST_NAME:
            raise InputError(f"name: {len(name)} characters, expected at most {LONGEST_NAME}")
        t, created = table_of(SearchRow), self.now()
        row = SearchRow(name, settings, SearchState.RUNNING, created, created, 0.0, None, None, None, None, None)
        insert = self.upsert(t).values(row.as_columns()).on_conflict_do_nothing(index_elements=["name"])
        with self.writing() as connection:
            made = connection.execute(insert.returning(t.c.id)).scalar()
        if made is None:
            raise InputError(f"{self.location}: another run has just started search '{name}'; run again to join in")
        return int(made)

    def births(self, search_id: int) -> Iterator[ProgramRow]:
        """Yield all births of a search in order.

        Raises:
            InputError: one is missing, or not such as a run writes.
        """
        losses = hurdle_losses_of(self.select(StoredSearch, "id = :id", id=search_id)[0].settings)
        rows = self.iterate(ProgramRow, "search_id = :id", order="birth", id=search_id)
        for expected, row in enumerate(rows):
            if row.birth != expected:
                raise ForeignDataError(self.location, f"the number of birth {expected}")
            if losses is not None and row.hurdle_losses is not None and len(row.hurdle_losses) != losses:
                raise ForeignDataError(self.location, f"the losses at hurdles of birth {expected}")
            yield row

    def baselines(self, search_id: int) -> dict[str, BaselineRow]:
        """Return the tuned baselines of a search by name."""
        return {row.name: row for row in self.select(BaselineRow, "search_id = :id", id=search_id)}

    # --- trainings ---------------------------------------------------------------------------------------------------

    def trainings(self, task_fingerprint: str, keys: Sequence[str], seeds: Sequence[int]) -> dict[TrainingKey, Outcome]:
        """Return what is known of programs on a task.

        Trainings that failed by circumstance (`CIRCUMSTANCES`) are no knowledge: a process that died, a training that
        was too slow or raised an error may fare better when the machine is idle, has more memory or a mended library,
        so they are trained again when they are asked for anew.
        """
        reader = Reader(TrainingRow, self.location)
        t = table_of(TrainingRow)
        known = {}
        with self.reading() as connection:
            for some in chunks(keys):
                query = select(*selected(TrainingRow)).where(
                    t.c.task_fingerprint == task_fingerprint,
                    t.c.key.in_(some),
                    t.c.seed.in_(seeds),
                    t.c.status.not_in(CIRCUMSTANCES),
                )
                for row in map(reader.row, connection.execute(query)):
                    known[TrainingKey(row.key, task_fingerprint, row.seed)] = Outcome(
                        Status(row.status), row.fitness, list(row.curve), row.steps, row.seconds, row.reason,
                        row.device, row.host, row.pid, row.metric, row.gradient_norms,
                    )  # fmt: skip
        return known

    def has_trained(self, task_fingerprint: str) -> bool:
        """Return whether any training on a task has not failed by circumstance."""
        t = table_of(TrainingRow).c
        query = select(t.id).where(t.task_fingerprint == task_fingerprint, t.status.not_in(CIRCUMSTANCES)).limit(1)
        with self.reading() as connection:
            return connection.execute(query).first() is not None

    def add_trainings(self, task: Task, outcomes: Iterable[tuple[TrainingKey, Outcome]]) -> None:
        """Keep outcomes. Those already known stay as they are, since another run may have drawn on them.

        Two kinds are replaced: trainings broken off at a hurdle by those that went further, and trainings that failed
        by circumstance (`CIRCUMSTANCES`) by whatever came later, since nothing follows from them about the program.
        """
        name = task.name[:LONGEST_NAME]
        rows = [
            TrainingRow(
                *key, name, o.status, clean_number(o.fitness), o.curve, o.steps, o.seconds, o.device[:LONGEST_DEVICE],
                o.host and o.host[:LONGEST_HOST], o.pid, o.reason, clean_number(o.metric), o.gradient_norms,
            )
            for key, o in outcomes
        ]  # fmt: skip
        t = table_of(TrainingRow).c
        insert = self.upsert(table_of(TrainingRow))
        new = insert.excluded
        failed = or_(*(t.status == status for status in CIRCUMSTANCES))
        better = and_(*(new.status != status for status in CIRCUMSTANCES), new.steps > t.steps)
        statement = insert.on_conflict_do_update(
            index_elements=[t.key, t.task_fingerprint, t.seed],
            set_={column.name: new[column.name] for column in t if column.name != "id"},
            where=failed | (t.status == Status.DROPPED) & better,
        )
        with self.writing() as connection:
            if rows:
                written = self.now()
                connection.execute(statement, [{**_storable(row), "created": written} for row in rows])

    # --- evidence ----------------------------------------------------------------------------------------------------

    def begin_funnel(self, name: str, settings: dict[str, Any]) -> dict[str, Any]:
        """Keep the settings of a funnel, unless it was begun before, and return those that it was begun with."""
        t = table_of(FunnelRow)
        with self.writing() as connection:
            insert = self.upsert(t).values(created=self.now(), **FunnelRow(name, settings).as_columns())
            connection.execute(insert.on_conflict_do_nothing(index_elements=["name"]))
        (kept,) = self.select(FunnelRow, "name = :name", name=name)
        return kept.settings

    def set_selection(self, rows: Sequence[SelectionRow]) -> None:
        """Keep the results of a stage of a funnel; earlier ones of this stage and of those after it go."""
        t = table_of(SelectionRow)
        with self.writing() as connection:
            connection.execute(t.delete().where(t.c.funnel == rows[0].funnel, t.c.stage >= rows[0].stage))
            self.insert(connection, rows)

    def set_simplification(self, program_id: int, steps: Sequence[SimplificationRow]) -> None:
        """Keep the steps of a simplification; earlier ones of the program go."""
        t = table_of(SimplificationRow)
        with self.writing() as connection:
            connection.execute(t.delete().where(t.c.program_id == program_id))
            self.insert(connection, steps, program_id=program_id)

    def set_verdict(self, search: str, verdict: VerdictRow) -> None:
        """Write the verdict on a search, in place of an earlier one."""
        found = self.find_search(search)
        assert found is not None
        table = table_of(VerdictRow)
        with self.writing() as connection:
            connection.execute(table.delete().where(table.c.search_id == found.id))
            self.insert(connection, [verdict], search_id=found.id)

    def keep_data_sheet(self, sheet: DataSheetRow) -> None:
        """Keep a data sheet; sections that were made before and not now stay."""
        where = "dataflow_hash = :hash AND task_fingerprint = :task"
        known = self.first(DataSheetRow, where, hash=sheet.dataflow_hash, task=sheet.task_fingerprint)
        sections = {**(known.sections if known else {}), **sheet.sections}
        t = table_of(DataSheetRow).c
        with self.writing() as connection:
            condition = and_(t.dataflow_hash == sheet.dataflow_hash, t.task_fingerprint == sheet.task_fingerprint)
            connection.execute(table_of(DataSheetRow).delete().where(condition))
            self.insert(connection, [replace(sheet, sections=sections)])

    def add_export(self, program_id: int, export: ExportRow) -> None:
        """Keep an exported program."""
        with self.writing() as connection:
            self.insert(connection, [export], program_id=program_id)


def table_of(kind: type[Row]) -> Table:
    """Return the table that holds such rows."""
    assert kind.table is not None
    return kind.table


def _storable(row: Row) -> dict[str, Any]:
    """Return a row by its columns, with texts that any database takes."""
    values = row.as_columns()
    if values.get("reason"):
        values["reason"] = clean_text(values["reason"])
    return values


def chunks(values: Sequence[Value]) -> Iterator[Sequence[Value]]:
    """Yield values in parts that fit into one query."""
    for start in range(0, len(values), MOST_VALUES):
        yield values[start : start + MOST_VALUES]


def _parts(parameters: dict[str, Any], lists: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the parameters with their list, if there is one, in parts that fit into one query."""
    if not lists:
        yield parameters
        return
    (name,) = lists
    for some in chunks(parameters[name]):
        yield {**parameters, name: list(some)}


def hurdle_losses_of(settings: dict[str, Any]) -> int | None:
    """Return how many losses at hurdles the births of a search have; None where the settings do not say."""
    at = (settings.get("hurdles") or {}).get("at")
    return len(at) * len(settings.get("tasks", [])) if type(at) is list else None


def _identity(file: Path | None) -> tuple[int, int] | None:
    """Return what tells a file from another of its name; None where there is none."""
    try:
        status = None if file is None else file.stat()
    except OSError:
        return None
    return None if status is None else (status.st_dev, status.st_ino)
