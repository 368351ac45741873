"""Programs are recognised by what they do: their hash and the key of their evaluations part ways."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

# What searches of schema 0001 did, as settings of this version: they may be continued with exactly these.
OLD_DEDUP = {"fingerprint": False, "bits": 24, "reevaluate": 0.0, "remutate": 0, "cache": 200_000}


def upgrade() -> None:
    with op.batch_alter_table("individual") as table:
        table.add_column(sa.Column("dataflow_hash", sa.String(32), nullable=False, server_default="unknown"))
        table.add_column(sa.Column("rounds", sa.Integer, nullable=False, server_default="1"))
        table.add_column(sa.Column("variance", sa.Float))
    op.execute("UPDATE individual SET dataflow_hash = key")
    connection = op.get_bind()
    for search_id, settings in connection.execute(sa.text("SELECT id, settings FROM search")).all():
        old = json.loads(settings) if isinstance(settings, str) else settings
        new = json.dumps(old | {"dedup": OLD_DEDUP})
        connection.execute(sa.text("UPDATE search SET settings = :new WHERE id = :id"), {"new": new, "id": search_id})
