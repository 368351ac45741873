"""Writing down for which finalist the locked tasks were opened, what came of it, and the noise of tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import and_

from search.store.evidence_views import OpeningEntry
from search.store.store import Store, table_of
from search.store.tables import NoiseRow, OpeningRow, ProofRow, SelectionRow


def passed_funnel(store: Store, program_id: int) -> SelectionRow | None:
    """Return a result of the last stage of the last funnel that a program has passed."""
    where = "program_id = :id AND passed = 1 AND stage = stages"
    rows = store.select(SelectionRow, where, order="selection.id DESC", limit=1, id=program_id)
    return rows[0] if rows else None


def find_opening(store: Store, dataflow_hash: str) -> OpeningEntry | None:
    """Return the opening for this program, or for another that computes the same."""
    return store.first(OpeningEntry, "dataflow_hash = :hash", hash=dataflow_hash)


def open_locked(
    store: Store, program_id: int, dataflow_hash: str, funnel: str, trainings: int, settings: dict[str, Any]
) -> OpeningEntry:
    """Record that the locked tasks are opened for a finalist, how many trainings its proof takes at most, and what the
    tasks mean, before any training on them."""
    row = OpeningRow(program_id, dataflow_hash, funnel, store.now(), None, trainings, settings)
    table = table_of(OpeningRow)
    with store.writing() as connection:  # of two that do this at once, the second finds what the first has written
        insert = store.upsert(table).values(row.as_columns())
        connection.execute(insert.on_conflict_do_nothing(index_elements=[table.c.dataflow_hash]))
    found = find_opening(store, dataflow_hash)
    assert found is not None
    return found


def set_proof(store: Store, opening: OpeningEntry, rows: Sequence[ProofRow]) -> None:
    """Keep what was measured on whole locked sets; what was kept of the same sets goes."""
    t = table_of(ProofRow)
    with store.writing() as connection:
        same = t.c.locked_set.in_({row.locked_set for row in rows})
        connection.execute(t.delete().where(t.c.opening_id == opening.id, same))
        store.insert(connection, rows, opening_id=opening.id)


def finish_proof(store: Store, opening: OpeningEntry) -> None:
    """Write down that everything was measured."""
    t = table_of(OpeningRow)
    with store.writing() as connection:
        connection.execute(t.update().where(t.c.id == opening.id).values(finished=store.now()))


def set_noise(store: Store, rows: Sequence[NoiseRow]) -> None:
    """Keep the noise of tasks; what was known of the same optimizer there goes."""
    t = table_of(NoiseRow)
    with store.writing() as connection:
        for row in rows:
            same = and_(t.c.key == row.key, t.c.task_fingerprint == row.task_fingerprint)
            connection.execute(t.delete().where(same))
        store.insert(connection, rows)
