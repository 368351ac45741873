"""Searches say who drives them, and how their best fare on tasks that they never see."""

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
    op.create_table(
        "meta_validation",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("search_id", sa.Integer, sa.ForeignKey("search.id"), nullable=False),
        sa.Column("births", sa.Integer, nullable=False),
        sa.Column("birth", sa.Integer, nullable=False),
        sa.Column("fitness", sa.Float, nullable=False),
        sa.Column("meta_fitness", sa.Float),
        sa.UniqueConstraint("search_id", "births"),
    )
    op.drop_table("selection")  # nothing ever wrote it
    op.create_table(
        "selection",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("funnel", sa.String(200), nullable=False),
        sa.Column("search", sa.String(200), nullable=False),
        sa.Column("stage", sa.Integer, nullable=False),
        sa.Column("competitor", sa.String(200), nullable=False),
        sa.Column("individual_id", sa.Integer, sa.ForeignKey("individual.id")),
        sa.Column("task", sa.String(200), nullable=False),
        sa.Column("task_fingerprint", sa.String(32), nullable=False),
        sa.Column("trials", sa.Integer, nullable=False),
        sa.Column("learning_rate", sa.Float, nullable=False),
        sa.Column("weight_decay", sa.Float, nullable=False),
        sa.Column("genome", sa.Text, nullable=False),
        sa.Column("seeds", sa.Integer, nullable=False),
        sa.Column("fitness", sa.Float),
        sa.Column("standard_error", sa.Float),
        sa.Column("baseline", sa.String(200), nullable=False),
        sa.Column("ahead", sa.Float),
        sa.Column("ahead_error", sa.Float),
        sa.Column("z", sa.Float),
        sa.Column("p", sa.Float),
        sa.Column("passed", sa.Integer, nullable=False),
        sa.Column("created", sa.DateTime, nullable=False),
        sa.UniqueConstraint("funnel", "stage", "competitor", "task_fingerprint"),
    )
