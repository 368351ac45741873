"""Trainings may keep the norms of their gradients."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column; nothing was recorded before."""
    with op.batch_alter_table("training") as table:
        table.add_column(sa.Column("gradient_norms", sa.JSON(none_as_null=True)))
