"""Reading and writing the database. One driver writes; everything it commits is whole."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, create_engine, event, func, make_url, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError

from programs.errors import InputError

from proxy_tasks import Task
from proxy_tasks.outcome import Outcome

from search.evaluation import EvaluationKey
from search.store import schema, versions

BUSY_MILLISECONDS = 30_000
MOST_KEYS = 500  # in one query: databases limit the number of bound parameters


class IndividualRow(NamedTuple):
    """One birth, as the table `individual` holds it."""

    birth: int
    batch: int
    parent_birth: int | None
    mutation: str
    genome: str
    dataflow_hash: str
    key: str
    answered_by: str
    statements: int
    live_statements: int
    state_slots: int
    status: str
    fitness: float | None
    reason: str | None
    rounds: int
    variance: float | None
    marks: Sequence[float] | None = None


class BaselineRow(NamedTuple):
    """A tuned baseline of a search."""

    name: str
    genome: str
    key: str
    learning_rate: float
    weight_decay: float
    fitness: float | None
    trials: int


def open_store(location: str, create: bool = False) -> Store:
    """Open a database by URL or path.

    Args:
        location: `sqlite:///results.db` or another SQLAlchemy URL, or the path of a SQLite file.
        create: make the database, or upgrade it, if need be.

    Raises:
        InputError: it is missing, foreign, of another version, or cannot be opened.
    """
    url = location if "://" in location else f"sqlite:///{location}"
    try:
        engine = create_engine(url)
    except ModuleNotFoundError as error:
        raise InputError(f"store: the driver of this kind of database is missing; pip install {error.name}") from None
    except (ArgumentError, NoSuchModuleError) as error:
        shown = re.sub(r":[^:@/]*@", ":***@", location)
        raise InputError(f"store {shown}: not a database URL ({error}); expected e.g. sqlite:///results.db") from None
    path = make_url(url).database
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        if path and not create and not Path(path).exists():
            raise InputError(f"{path}: no such database; `optsearch run CONFIG` writes one, --store names another")
    try:
        with engine.begin() as connection:
            versions.upgrade(connection) if create else versions.check(connection)
        if create and engine.dialect.name == "sqlite":
            with engine.connect() as connection:  # kept in the file; set only now that the database is known to be ours
                connection.execute(text("PRAGMA journal_mode = WAL"))
    except DatabaseError as error:
        mend = "name another with --store"
        if create:
            mend = "name a database in a folder that can be written with --store, or for a search with --set store=..."
        raise InputError(f"{path or url}: cannot be used as a database ({error.orig}); {mend}") from None
    return Store(engine)


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


class Store:
    """An open database."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @property
    def location(self) -> str:
        """The path of a SQLite file, otherwise the URL without its password."""
        url = self.engine.url
        return url.database or str(url) if self.engine.dialect.name == "sqlite" else url.render_as_string()

    def close(self) -> None:
        self.engine.dispose()

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with self.engine.begin() as connection:
            yield connection

    def rows(self, query: str, **parameters: Any) -> list[dict[str, Any]]:
        """The rows of an SQL query, as dictionaries."""
        with self.engine.connect() as connection:
            return [dict(row._mapping) for row in connection.execute(text(query), parameters)]

    # --- searches ------------------------------------------------------------------------------------------------

    def find_search(self, name: str) -> tuple[int, dict[str, Any]] | None:
        """Id and settings of a search."""
        query = select(schema.search.c.id, schema.search.c.settings).where(schema.search.c.name == name)
        with self.engine.connect() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else (row.id, row.settings)

    def create_search(self, name: str, settings: dict[str, Any]) -> int:
        with self._write() as connection:
            values = {
                "name": name,
                "settings": settings,
                "state": "running",
                "created": _now(),
                "updated": _now(),
                "seconds": 0,
            }
            result = connection.execute(schema.search.insert().values(values).returning(schema.search.c.id))
            return int(result.scalar_one())

    def update_search(
        self, search_id: int, state: str, settings: dict[str, Any] | None = None, seconds: float = 0.0
    ) -> None:
        """Note the state of a search, its settings if given, and the seconds spent since the last note."""
        table = schema.search
        values: dict[str, Any] = {"state": state, "updated": _now(), "seconds": table.c.seconds + seconds}
        if settings is not None:
            values["settings"] = settings
        with self._write() as connection:
            connection.execute(table.update().where(table.c.id == search_id).values(values))

    # --- births --------------------------------------------------------------------------------------------------

    def add_births(self, search_id: int, births: Sequence[IndividualRow], seconds: float) -> None:
        """Commit births, all or none, with the seconds that they took.

        Raises:
            InputError: another run has written one of them.
        """
        table = schema.search
        with self._write() as connection:
            if births:
                connection.execute(
                    schema.individual.insert(), [{"search_id": search_id, **b._asdict()} for b in births]
                )
            values = {"updated": _now(), "seconds": table.c.seconds + seconds}
            connection.execute(table.update().where(table.c.id == search_id).values(values))

    def births(self, search_id: int) -> Iterator[IndividualRow]:
        """All births of a search in order."""
        columns = [schema.individual.c[name] for name in IndividualRow._fields]
        query = select(*columns).where(schema.individual.c.search_id == search_id).order_by(schema.individual.c.birth)
        with self.engine.connect() as connection:
            for row in connection.execution_options(yield_per=10_000).execute(query):
                yield IndividualRow(*row)

    # --- evaluations ---------------------------------------------------------------------------------------------

    def evaluations(
        self, task_fingerprint: str, keys: Sequence[str], seeds: Sequence[int]
    ) -> dict[EvaluationKey, Outcome]:
        """What is known of these programs on a task."""
        t = schema.evaluation.c
        known = {}
        with self.engine.connect() as connection:
            for start in range(0, len(keys), MOST_KEYS):
                query = select(t.key, t.seed, t.status, t.fitness, t.curve, t.steps, t.seconds, t.reason).where(
                    t.task_fingerprint == task_fingerprint,
                    t.key.in_(keys[start : start + MOST_KEYS]),
                    t.seed.in_(seeds),
                )
                for key, seed, *outcome in connection.execute(query):
                    known[EvaluationKey(key, task_fingerprint, seed)] = Outcome(*outcome)
        return known

    def add_evaluations(
        self, task: Task, outcomes: Iterable[tuple[EvaluationKey, Outcome]], device: str = "cpu"
    ) -> None:
        """Keep outcomes; those already known stay as they are, unless training was broken off at a hurdle."""
        rows = [
            {**key._asdict(), **outcome._asdict(), "task": task.name, "device": device, "created": _now()}
            for key, outcome in outcomes
        ]
        dialect = postgresql if self.engine.dialect.name == "postgresql" else sqlite
        t = schema.evaluation.c
        insert = dialect.insert(schema.evaluation)
        upsert = insert.on_conflict_do_update(
            index_elements=[t.key, t.task_fingerprint, t.seed],
            set_={column.name: insert.excluded[column.name] for column in t if column.name != "id"},
            where=(t.status == "dropped") & (insert.excluded.steps > t.steps),
        )
        with self._write() as connection:
            connection.execute(upsert, rows)

    def curve(self, evaluation_id: int) -> list[float]:
        """The loss curve of an evaluation."""
        with self.engine.connect() as connection:
            query = select(schema.evaluation.c.curve).where(schema.evaluation.c.id == evaluation_id)
            return list(connection.execute(query).scalar_one())

    # --- baselines, exports, simplifications ---------------------------------------------------------------------

    def baselines(self, search_id: int) -> dict[str, BaselineRow]:
        """The tuned baselines of a search by name."""
        columns = [schema.baseline.c[name] for name in BaselineRow._fields]
        with self.engine.connect() as connection:
            query = select(*columns).where(schema.baseline.c.search_id == search_id).order_by(schema.baseline.c.id)
            return {row.name: BaselineRow(*row) for row in connection.execute(query)}

    def add_baseline(self, search_id: int, baseline: BaselineRow) -> None:
        with self._write() as connection:
            connection.execute(schema.baseline.insert().values(search_id=search_id, **baseline._asdict()))

    def add_export(self, individual_id: int, target: str, class_name: str, source: str) -> None:
        with self._write() as connection:
            values = {"individual_id": individual_id, "target": target, "class_name": class_name, "source": source}
            connection.execute(schema.export.insert().values(created=_now(), **values))

    def set_simplification(self, individual_id: int, steps: Sequence[Mapping[str, Any]]) -> None:
        """Keep the steps of a simplification, each with kind, before, after, evidence, accepted; earlier ones go."""
        table = schema.simplification
        common = {"individual_id": individual_id, "created": _now()}
        with self._write() as connection:
            connection.execute(table.delete().where(table.c.individual_id == individual_id))
            connection.execute(table.insert(), [{**common, "step": n, **step} for n, step in enumerate(steps)])

    def individual(self, individual_id: int) -> dict[str, Any]:
        """One birth with the name of its search.

        Raises:
            InputError: there is none.
        """
        query = (
            select(schema.individual, schema.search.c.name.label("search"), schema.search.c.settings)
            .join(schema.search)
            .where(schema.individual.c.id == individual_id)
        )
        with self.engine.connect() as connection:
            row = connection.execute(query).one_or_none() if 0 < individual_id < 2**63 else None
            if row is None:
                last = connection.execute(select(func.max(schema.individual.c.id))).scalar()
                raise InputError(
                    f"{self.location}: no program {individual_id}; IDs go from 1 to {last or 0},"
                    " `optsearch leaderboard` lists the best"
                )
        return dict(row._mapping)
