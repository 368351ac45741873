"""Searches say who drives them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    with op.batch_alter_table("search") as table:
        table.add_column(sa.Column("holder", sa.Text))
        table.add_column(sa.Column("holder_token", sa.String(32)))
        table.add_column(sa.Column("holder_machine", sa.Text))
        table.add_column(sa.Column("holder_pid", sa.Integer))
        table.add_column(sa.Column("heartbeat", sa.Float))
