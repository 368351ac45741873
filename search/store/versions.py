"""The schema version of a database: made, checked and upgraded by Alembic."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from programs.errors import InputError

from search.store.views import VIEWS

CURRENT = "0004"


def version_of(connection: Connection) -> str | None:
    """The schema version, None for an empty database.

    Raises:
        InputError: the database holds something else.
    """
    tables = set(inspect(connection).get_table_names())
    if not tables:
        return None
    if "alembic_version" in tables and "individual" in tables:
        version = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        if version is not None:
            return str(version)
    raise InputError(f"{connection.engine.url}: holds tables of another program; name another database with --store")


def check(connection: Connection) -> None:
    """Refuse a database that this version cannot read.

    Raises:
        InputError: with the command to run.
    """
    version = version_of(connection)
    if version is not None and version > CURRENT:
        raise InputError(
            f"{connection.engine.url}: written by a newer optsearch (schema {version}, this one reads {CURRENT});"
            " upgrade optsearch"
        )
    if version is None or version < CURRENT:
        raise InputError(
            f"{connection.engine.url}: schema {version or 'missing'}, expected {CURRENT};"
            " `optsearch run` upgrades it in place"
        )


def upgrade(connection: Connection) -> None:
    """Make or upgrade tables and views in place.

    Raises:
        InputError: the database is foreign or newer.
    """
    version = version_of(connection)
    if version == CURRENT:
        return
    if version is not None and version > CURRENT:
        check(connection)
    from alembic import command  # imported here: only a new or old database needs it
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    for name in VIEWS:
        connection.execute(text(f"DROP VIEW IF EXISTS {name}"))
    command.upgrade(config, CURRENT)
    for name, query in VIEWS.items():
        connection.execute(text(f"CREATE VIEW {name} AS {query}"))
