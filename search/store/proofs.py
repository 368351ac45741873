"""For whom the locked tasks were opened, what came of it, and the noise of tasks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import and_

from search.store import schema
from search.store.rows import NoiseRow, Opening, ProofRow
from search.store.store import Store


def passed_funnel(store: Store, program_id: int) -> str | None:
    """The last funnel whose last stage a program has passed."""
    rows = store.rows(
        "SELECT funnel AS name FROM selection WHERE program_id = :id AND passed = 1 AND stage = stages"
        " ORDER BY id DESC LIMIT 1",
        id=program_id,
    )
    return str(rows[0]["name"]) if rows else None


def find_opening(store: Store, dataflow_hash: str) -> Opening | None:
    """The opening for this program, or for another that does the same."""
    rows = store.rows(
        "SELECT id, program_id, CAST(opened AS TEXT) AS opened, CAST(finished AS TEXT) AS finished FROM opening"
        " WHERE dataflow_hash = :hash",
        hash=dataflow_hash,
    )
    return Opening(**rows[0]) if rows else None


def open_locked(store: Store, program_id: int, dataflow_hash: str, funnel: str) -> Opening:
    """Record that the locked tasks are opened for a finalist, before anything is trained on them."""
    values = {"program_id": program_id, "dataflow_hash": dataflow_hash, "funnel": funnel, "opened": _now()}
    with store.writing() as connection:  # of two that do this at once, the second finds what the first has written
        insert = store.insert(schema.opening).values(**values)
        connection.execute(insert.on_conflict_do_nothing(index_elements=[schema.opening.c.dataflow_hash]))
    found = find_opening(store, dataflow_hash)
    assert found is not None
    return found


def openings_until(store: Store, opening: Opening) -> int:
    """How many finalists the locked tasks have been opened for, this one included."""
    (row,) = store.rows("SELECT COUNT(*) AS programs FROM opening WHERE id <= :id", id=opening.id)
    return int(row["programs"])


def finish_proof(store: Store, opening: Opening, rows: Sequence[ProofRow]) -> None:
    """Keep what was measured, and that this was all."""
    table, of = schema.proof, schema.opening
    with store.writing() as connection:
        connection.execute(table.delete().where(table.c.opening_id == opening.id))
        connection.execute(table.insert(), [{"opening_id": opening.id, **row._asdict()} for row in rows])
        connection.execute(of.update().where(of.c.id == opening.id).values(finished=_now()))


def set_noise(store: Store, rows: Sequence[NoiseRow]) -> None:
    """Keep the noise of tasks; what was known of the same optimizer there goes."""
    table = schema.task_noise
    with store.writing() as connection:
        for row in rows:
            same = and_(table.c.key == row.key, table.c.task_fingerprint == row.task_fingerprint)
            connection.execute(table.delete().where(same))
            connection.execute(table.insert().values(created=_now(), **row._asdict()))


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
