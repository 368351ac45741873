"""Writing down how programs of a search fared on proxy tasks."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import and_, or_

from search.store.store import Store, table_of
from search.store.tables import ProxyMeasurementRow


def set_proxy_measurements(store: Store, search_id: int, rows: Sequence[ProxyMeasurementRow]) -> None:
    """Keep how programs fared on one task; what cannot be compared with it goes.

    That is what was known of these programs there, of a task of this name that meant something else, and all
    measurements of the search with other numbers of trials or seeds.
    """
    t, (first, *_) = table_of(ProxyMeasurementRow), rows
    again = and_(t.c.task_fingerprint == first.task_fingerprint, t.c.program_id.in_([row.program_id for row in rows]))
    changed = and_(t.c.task == first.task, t.c.task_fingerprint != first.task_fingerprint)
    otherwise = or_(*(t.c[name] != getattr(first, name) for name in ("trials", "tuning_seeds", "seeds")))
    with store.writing() as connection:
        connection.execute(t.delete().where(t.c.search_id == search_id, or_(again, changed, otherwise)))
        store.insert(connection, rows, search_id=search_id)
