"""Reading and writing the database. What one call writes is written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, and_, func, or_, select, text
from sqlalchemy.dialects import postgresql, sqlite

from programs.errors import InputError

from proxy_tasks import Task
from proxy_tasks.outcome import Outcome

from search.store import schema
from search.store.connections import location_of, sqlite_file, translated, writer
from search.store.encoding import clean_number, clean_text
from search.store.errors import StoreError
from search.store.keys import TrainingKey
from search.store.lease import fence, seconds_now
from search.store.rows import BaselineRow, MetaValidationRow, ProgramRow, SelectionRow
from search.store.validation import (
    checked,
    checked_baseline,
    checked_births,
    checked_curve,
    checked_meta_validation,
    checked_outcome,
    checked_settings,
    hurdle_losses_of,
)

MOST_KEYS = 500  # in one query: databases limit the number of bound parameters
LONGEST_NAME = 200  # characters
LONGEST_DEVICE = 50
CIRCUMSTANCES = ("timeout", "lost", "error")  # failures that say more of the machine than of the program


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


class Store:
    """An open database.

    Reading raises InputError for what optsearch cannot have written, reading and writing StoreError where the database
    cannot be used any more.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._writer = writer(engine)
        self._file = sqlite_file(engine)
        self._identity = _identity(self._file)

    @property
    def location(self) -> str:
        """The path of a SQLite file, otherwise the URL without its password."""
        return location_of(self.engine)

    @property
    def is_in_memory(self) -> bool:
        """Whether nobody else can see it."""
        return self._file is None and self.engine.dialect.name == "sqlite"

    @property
    def log_path(self) -> Path:
        """Where runs keep their log: beside a SQLite file, or under the name of a server's database in this folder."""
        if self.is_in_memory:
            return Path(os.devnull)
        return self._file.with_suffix(".log") if self._file else Path(f"{self.engine.url.database}.log")

    def close(self) -> None:
        self.engine.dispose()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes: committed at the end, undone by any exception.

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

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that reads.

        Raises:
            StoreError: the database cannot be reached any more.
            InputError: what it holds cannot be read.
        """
        with translated(self.engine, "read"), self.engine.connect() as connection:
            yield connection

    def rows(self, query: str, **parameters: Any) -> list[dict[str, Any]]:
        """The rows of an SQL query, as dictionaries. Columns called as in tables and views are checked."""
        with self.reading() as connection:
            found = connection.execute(text(query), parameters).mappings().all()
        return [checked(dict(row), self.location) for row in found]

    def clock(self) -> float:
        """Now, in seconds, by the clock that heartbeats are written with."""
        with self.reading() as connection:
            return seconds_now(connection)

    # --- searches ------------------------------------------------------------------------------------------------

    def find_search(self, name: str) -> tuple[int, dict[str, Any]] | None:
        """Id and settings of a search."""
        query = select(schema.search.c.id, schema.search.c.settings).where(schema.search.c.name == name)
        with self.reading() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else (row.id, checked_settings(row.settings, self.location))

    def create_search(self, name: str, settings: dict[str, Any]) -> int:
        """A new search, driven by nobody yet: its id.

        Raises:
            InputError: the name is too long, or another run has just made a search of this name.
        """
        if len(name) > LONGEST_NAME:
            raise InputError(f"name: {len(name)} characters, expected at most {LONGEST_NAME}")
        now = _now()
        values = {"name": name, "settings": settings, "state": "running", "created": now, "updated": now, "seconds": 0}
        insert = self.insert(schema.search).values(values).on_conflict_do_nothing(index_elements=["name"])
        with self.writing() as connection:
            made = connection.execute(insert.returning(schema.search.c.id)).scalar()
        if made is None:
            raise InputError(f"{self.location}: another run has just started search '{name}'; run again to join in")
        return int(made)

    def update_search(
        self, search_id: int, state: str, token: str, settings: dict[str, Any] | None = None, seconds: float = 0.0
    ) -> None:
        """Note the state of a search, its settings if given, and the seconds spent since the last note.

        Raises:
            LeaseLost: the search is no longer of this token.
        """
        values: dict[str, Any] = {"state": state}
        if settings is not None:
            values["settings"] = settings
        with self.writing() as connection:
            self._fence(connection, search_id, token, seconds, values)

    def _fence(
        self, connection: Connection, search_id: int, token: str, seconds: float, values: Mapping[str, Any]
    ) -> None:
        spent = {"updated": _now(), "seconds": schema.search.c.seconds + seconds}
        fence(connection, self.location, search_id, token, {**spent, **values})

    def insert(self, table: Table) -> Any:
        """An insertion that can say what to do about rows that are there already."""
        return (postgresql if self.engine.dialect.name == "postgresql" else sqlite).insert(table)

    # --- births --------------------------------------------------------------------------------------------------

    def add_births(self, search_id: int, births: Sequence[ProgramRow], seconds: float, token: str) -> None:
        """Commit births, all or none, with the seconds that they took.

        Raises:
            LeaseLost: the search is no longer of this token; nothing is written.
        """
        rows = [{"search_id": search_id, **b._asdict(), "reason": clean_text(b.reason)} for b in births]
        with self.writing() as connection:
            self._fence(connection, search_id, token, seconds, {})
            if rows:
                connection.execute(schema.program.insert(), rows)

    def births(self, search_id: int) -> Iterator[ProgramRow]:
        """All births of a search in order.

        Raises:
            InputError: one is missing, or not such as a run writes.
        """
        columns = [schema.program.c[name] for name in ProgramRow._fields]
        query = select(*columns).where(schema.program.c.search_id == search_id).order_by(schema.program.c.birth)
        settings = select(schema.search.c.settings).where(schema.search.c.id == search_id)
        with self.reading() as connection:
            hurdle_losses = hurdle_losses_of(checked_settings(connection.execute(settings).scalar_one(), self.location))
            rows = connection.execution_options(yield_per=10_000).execute(query)
            yield from checked_births(rows, self.location, hurdle_losses)

    # --- trainings -----------------------------------------------------------------------------------------------

    def trainings(self, task_fingerprint: str, keys: Sequence[str], seeds: Sequence[int]) -> dict[TrainingKey, Outcome]:
        """What is known of these programs on a task.

        Trainings that failed by circumstance (`CIRCUMSTANCES`) are no knowledge: a process that died, a training that
        was too slow or raised an error may fare better when the machine is idle, has more memory or a mended library,
        so they are trained again when somebody asks anew.
        """
        t = schema.training.c
        known = {}
        with self.reading() as connection:
            for start in range(0, len(keys), MOST_KEYS):
                query = select(
                    t.key, t.seed, t.status, t.fitness, t.curve, t.steps, t.seconds, t.reason, t.device
                ).where(
                    t.task_fingerprint == task_fingerprint,
                    t.key.in_(keys[start : start + MOST_KEYS]),
                    t.seed.in_(seeds),
                    t.status.not_in(CIRCUMSTANCES),
                )
                for key, seed, *values in connection.execute(query):
                    known[TrainingKey(key, task_fingerprint, seed)] = checked_outcome(values, self.location)
        return known

    def add_trainings(self, task: Task, outcomes: Iterable[tuple[TrainingKey, Outcome]]) -> None:
        """Keep outcomes. Those already known stay as they are, since another run may have drawn on them.

        Two kinds are replaced: trainings broken off at a hurdle by those that went further, and trainings that failed
        by circumstance (`CIRCUMSTANCES`) by whatever came later, since nothing follows from them about the program.
        """
        now = _now()
        rows = [
            {
                **key._asdict(),
                **outcome._asdict(),
                "fitness": clean_number(outcome.fitness),
                "reason": clean_text(outcome.reason),
                "task": task.name[:LONGEST_NAME],
                "device": outcome.device[:LONGEST_DEVICE],
                "created": now,
            }
            for key, outcome in outcomes
        ]
        t = schema.training.c
        insert = self.insert(schema.training)
        new = insert.excluded
        failed = or_(*(t.status == status for status in CIRCUMSTANCES))
        better = and_(*(new.status != status for status in CIRCUMSTANCES), new.steps > t.steps)
        upsert = insert.on_conflict_do_update(
            index_elements=[t.key, t.task_fingerprint, t.seed],
            set_={column.name: new[column.name] for column in t if column.name != "id"},
            where=failed | (t.status == "dropped") & better,
        )
        with self.writing() as connection:
            if rows:
                connection.execute(upsert, rows)

    def curve(self, training_id: int) -> list[float]:
        """The loss curve of an evaluation."""
        with self.reading() as connection:
            query = select(schema.training.c.curve).where(schema.training.c.id == training_id)
            return checked_curve(connection.execute(query).scalar_one(), self.location)

    # --- baselines, exports, simplifications ---------------------------------------------------------------------

    def baselines(self, search_id: int) -> dict[str, BaselineRow]:
        """The tuned baselines of a search by name."""
        columns = [schema.baseline.c[name] for name in BaselineRow._fields]
        with self.reading() as connection:
            query = select(*columns).where(schema.baseline.c.search_id == search_id).order_by(schema.baseline.c.id)
            baselines = [checked_baseline(row, self.location) for row in connection.execute(query)]
        return {baseline.name: baseline for baseline in baselines}

    def add_baseline(self, search_id: int, baseline: BaselineRow, token: str) -> None:
        """Keep a tuned baseline.

        Raises:
            LeaseLost: the search is no longer of this token; nothing is written.
        """
        with self.writing() as connection:
            self._fence(connection, search_id, token, 0.0, {})
            connection.execute(schema.baseline.insert().values(search_id=search_id, **baseline._asdict()))

    def meta_validation(self, search_id: int) -> list[MetaValidationRow]:
        """The meta-validation curve of a search."""
        columns = [schema.meta_validation.c[name] for name in MetaValidationRow._fields]
        query = select(*columns).where(schema.meta_validation.c.search_id == search_id)
        with self.reading() as connection:
            rows = connection.execute(query.order_by(schema.meta_validation.c.births))
            return [checked_meta_validation(row, self.location) for row in rows]

    def add_meta_validation(self, search_id: int, row: MetaValidationRow, token: str) -> None:
        """Keep a point of it.

        Raises:
            LeaseLost: the search is no longer of this token; nothing is written.
        """
        with self.writing() as connection:
            self._fence(connection, search_id, token, 0.0, {})
            connection.execute(schema.meta_validation.insert().values(search_id=search_id, **row._asdict()))

    def set_selection(self, funnel: str, search: str, stage: int, rows: Sequence[SelectionRow]) -> None:
        """Keep the results of a stage of a funnel; earlier ones of this stage and of those after it go."""
        table = schema.selection
        common = {"funnel": funnel, "search": search, "stage": stage, "created": _now()}
        with self.writing() as connection:
            connection.execute(table.delete().where(table.c.funnel == funnel, table.c.stage >= stage))
            connection.execute(table.insert(), [{**common, **row._asdict()} for row in rows])

    def add_export(self, program_id: int, target: str, class_name: str, source: str) -> None:
        with self.writing() as connection:
            values = {"program_id": program_id, "target": target, "class_name": class_name, "source": source}
            connection.execute(schema.export.insert().values(created=_now(), **values))

    def set_simplification(self, program_id: int, steps: Sequence[Mapping[str, Any]]) -> None:
        """Keep the steps of a simplification, each with kind, before, after, evidence, accepted; earlier ones go."""
        table = schema.simplification
        common = {"program_id": program_id, "created": _now()}
        with self.writing() as connection:
            connection.execute(table.delete().where(table.c.program_id == program_id))
            connection.execute(table.insert(), [{**common, "step": n, **step} for n, step in enumerate(steps)])

    def program(self, program_id: int) -> dict[str, Any]:
        """One birth with the name of its search.

        Raises:
            InputError: there is none.
        """
        query = (
            select(schema.program, schema.search.c.name.label("search"), schema.search.c.settings)
            .join(schema.search)
            .where(schema.program.c.id == program_id)
        )
        with self.reading() as connection:
            row = connection.execute(query).one_or_none() if 0 < program_id < 2**63 else None
            if row is None:
                last = connection.execute(select(func.max(schema.program.c.id))).scalar()
                raise InputError(
                    f"{self.location}: no program {program_id}; IDs go from 1 to {last or 0},"
                    " `optsearch leaderboard` lists the best"
                )
        checked_settings(row.settings, self.location)
        return checked(row._asdict(), self.location)


def _identity(file: Path | None) -> tuple[int, int] | None:
    """What tells a file from another of its name; None where there is none."""
    try:
        status = None if file is None else file.stat()
    except OSError:
        return None
    return None if status is None else (status.st_dev, status.st_ino)
