"""Programs may be dropped at hurdles: births keep their losses there."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def _completed(old: dict[str, Any]) -> dict[str, Any]:
    """What searches of older schemas did, as settings of this version."""
    tasks = [{"data": {}, "model": {}, "anchors": None} | task for task in old["tasks"]]
    versions = {"fingerprint": 1 if old["dedup"]["fingerprint"] else None}
    return old | {"tasks": tasks, "score": "mean", "hurdles": None, "versions": versions}


def upgrade() -> None:
    with op.batch_alter_table("individual") as table:
        table.add_column(sa.Column("marks", sa.JSON(none_as_null=True)))
    connection = op.get_bind()
    for search_id, settings in connection.execute(sa.text("SELECT id, settings FROM search")).all():
        old = json.loads(settings) if isinstance(settings, str) else settings
        new = json.dumps(_completed(old))
        connection.execute(sa.text("UPDATE search SET settings = :new WHERE id = :id"), {"new": new, "id": search_id})
