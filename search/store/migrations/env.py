"""Run by Alembic: applies the migrations on the connection that `search.store.versions` hands over."""

from __future__ import annotations

from alembic import context

from search.store.rows import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
context.run_migrations()
