"""The first schema. A new database is made from the declarations in `search.store.schema` and begins at the newest
version; migrations alone change databases that are there already, and this is where they start."""

from __future__ import annotations

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Nothing comes before this version."""
