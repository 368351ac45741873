"""The last proof of finalists, the noise of tasks, and how many stages a funnel has."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    with op.batch_alter_table("selection") as table:
        # Of funnels run until now nobody knows: none of their stages is the last.
        table.add_column(sa.Column("stages", sa.Integer, nullable=False, server_default="0"))
    op.create_table(
        "opening",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("individual_id", sa.Integer, sa.ForeignKey("individual.id"), nullable=False),
        sa.Column("dataflow_hash", sa.String(32), nullable=False, unique=True),
        sa.Column("funnel", sa.String(200), nullable=False),
        sa.Column("opened", sa.DateTime, nullable=False),
        sa.Column("finished", sa.DateTime),
    )
    op.create_table(
        "proof",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("opening_id", sa.Integer, sa.ForeignKey("opening.id"), nullable=False),
        sa.Column("competitor", sa.String(200), nullable=False),
        sa.Column("individual_id", sa.Integer, sa.ForeignKey("individual.id")),
        sa.Column("task", sa.String(200), nullable=False),
        sa.Column("task_fingerprint", sa.String(32), nullable=False),
        sa.Column("genome", sa.Text, nullable=False),
        sa.Column("learning_rate", sa.Float, nullable=False),
        sa.Column("weight_decay", sa.Float, nullable=False),
        sa.Column("trials", sa.Integer, nullable=False),
        sa.Column("trials_failed", sa.Integer, nullable=False),
        sa.Column("seeds", sa.Integer, nullable=False),
        sa.Column("seeds_failed", sa.Integer, nullable=False),
        sa.Column("fitness", sa.Float),
        sa.Column("standard_error", sa.Float),
        sa.Column("ahead", sa.Float),
        sa.Column("ahead_error", sa.Float),
        sa.Column("task_z", sa.Float),
        sa.Column("steps_to_adamw", sa.Float),
        sa.Column("tolerance", sa.Float),
        sa.Column("one_setting", sa.Float),
        sa.Column("state_per_weight", sa.Float, nullable=False),
        sa.Column("step_time", sa.Float, nullable=False),
        sa.Column("z", sa.Float),
        sa.Column("p", sa.Float),
        sa.UniqueConstraint("opening_id", "competitor", "task_fingerprint"),
    )
    op.create_table(
        "task_noise",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("task", sa.String(200), nullable=False),
        sa.Column("task_fingerprint", sa.String(32), nullable=False),
        sa.Column("key", sa.String(32), nullable=False),
        sa.Column("genome", sa.Text, nullable=False),
        sa.Column("seeds", sa.Integer, nullable=False),
        sa.Column("seeds_failed", sa.Integer, nullable=False),
        sa.Column("mean", sa.Float),
        sa.Column("sigma", sa.Float),
        sa.Column("created", sa.DateTime, nullable=False),
        sa.UniqueConstraint("key", "task_fingerprint"),
    )
