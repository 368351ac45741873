"""The tables of the first released schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "search",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(200), nullable=False, unique=True),
        sa.Column("settings", sa.JSON, nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("created", sa.DateTime, nullable=False),
        sa.Column("updated", sa.DateTime, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
    )
    op.create_table(
        "individual",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("search_id", sa.Integer, sa.ForeignKey("search.id"), nullable=False),
        sa.Column("birth", sa.Integer, nullable=False),
        sa.Column("batch", sa.Integer, nullable=False),
        sa.Column("parent_birth", sa.Integer),
        sa.Column("mutation", sa.String(20), nullable=False),
        sa.Column("genome", sa.Text, nullable=False),
        sa.Column("key", sa.String(32), nullable=False),
        sa.Column("answered_by", sa.String(20), nullable=False),
        sa.Column("statements", sa.Integer, nullable=False),
        sa.Column("live_statements", sa.Integer, nullable=False),
        sa.Column("state_slots", sa.Integer, nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("fitness", sa.Float),
        sa.Column("reason", sa.Text),
        sa.UniqueConstraint("search_id", "birth"),
    )
    op.create_index("ix_individual_fitness", "individual", ["search_id", "answered_by", "fitness"])
    op.create_index("ix_individual_key", "individual", ["key"])
    op.create_table(
        "evaluation",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("key", sa.String(32), nullable=False),
        sa.Column("task_fingerprint", sa.String(32), nullable=False),
        sa.Column("seed", sa.Integer, nullable=False),
        sa.Column("task", sa.String(200), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("fitness", sa.Float),
        sa.Column("curve", sa.JSON, nullable=False),
        sa.Column("steps", sa.Integer, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("device", sa.String(50), nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("created", sa.DateTime, nullable=False),
        sa.UniqueConstraint("key", "task_fingerprint", "seed"),
    )
    op.create_table(
        "baseline",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("search_id", sa.Integer, sa.ForeignKey("search.id"), nullable=False),
        sa.Column("name", sa.String(50), nullable=False),
        sa.Column("genome", sa.Text, nullable=False),
        sa.Column("key", sa.String(32), nullable=False),
        sa.Column("learning_rate", sa.Float, nullable=False),
        sa.Column("weight_decay", sa.Float, nullable=False),
        sa.Column("fitness", sa.Float),
        sa.Column("trials", sa.Integer, nullable=False),
        sa.UniqueConstraint("search_id", "name"),
    )
    op.create_table(
        "selection",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("individual_id", sa.Integer, sa.ForeignKey("individual.id"), nullable=False),
        sa.Column("stage", sa.Integer, nullable=False),
        sa.Column("task", sa.String(200), nullable=False),
        sa.Column("task_fingerprint", sa.String(32), nullable=False),
        sa.Column("seeds", sa.Integer, nullable=False),
        sa.Column("fitness", sa.Float),
        sa.Column("standard_error", sa.Float),
        sa.Column("baseline_fitness", sa.Float),
        sa.Column("passed", sa.Integer, nullable=False),
        sa.Column("created", sa.DateTime, nullable=False),
        sa.UniqueConstraint("individual_id", "stage", "task_fingerprint"),
    )
    op.create_table(
        "simplification",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("individual_id", sa.Integer, sa.ForeignKey("individual.id"), nullable=False),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("before", sa.Text, nullable=False),
        sa.Column("after", sa.Text, nullable=False),
        sa.Column("evidence", sa.JSON, nullable=False),
        sa.Column("accepted", sa.Integer, nullable=False),
        sa.Column("created", sa.DateTime, nullable=False),
        sa.UniqueConstraint("individual_id", "step"),
    )
    op.create_table(
        "export",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("individual_id", sa.Integer, sa.ForeignKey("individual.id"), nullable=False),
        sa.Column("target", sa.String(20), nullable=False),
        sa.Column("class_name", sa.String(200), nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("created", sa.DateTime, nullable=False),
    )
