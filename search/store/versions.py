"""The schema version of a database: made, checked and upgraded by Alembic."""

from __future__ import annotations

import re
from pathlib import Path
from threading import Lock

from sqlalchemy import Connection, text

from programs.errors import InputError

from search.store.connections import location_of
from search.store.encoding import ForeignDataError
from search.store.rows import VIEWS, definition, metadata
from search.store.shape import VERSION_TABLE, check_kinds, check_shape, things

CURRENT = "0001"
MIGRATIONS = Path(__file__).parent / "migrations"
_UPGRADE_LOCK = 0x6F707473  # any number that other programs on a server will not take
_MIGRATING = Lock()  # Alembic keeps what it works on in variables of its module


def version_of(connection: Connection) -> str | None:
    """Return the schema version, None for an empty database.

    Raises:
        InputError: the database holds something else.
    """
    found = things(connection)
    tables = {thing.name for thing in found if thing.kind == "table"}
    if not found:
        return None
    check_kinds(connection, found)
    if {VERSION_TABLE, "program"} <= tables:
        versions = connection.execute(text("SELECT version_num FROM alembic_version LIMIT 2")).scalars().all()
        if len(versions) == 1 and isinstance(versions[0], str) and re.fullmatch(r"[0-9]{4}", versions[0]):
            return versions[0]
    raise InputError(
        f"{location_of(connection.engine)}: holds tables of another program; name another database with --store"
    )


def check(connection: Connection) -> None:
    """Refuse a database that this version cannot read.

    Raises:
        InputError: with the command to run.
    """
    version, place = version_of(connection), location_of(connection.engine)
    if version is not None and version > CURRENT:
        raise InputError(
            f"{place}: written by a newer optsearch (schema {version}, this one reads {CURRENT}); upgrade optsearch"
        )
    if version is None or version < CURRENT:
        raise InputError(
            f"{place}: schema {version or 'missing'}, expected {CURRENT}; `optsearch run` upgrades it in place"
        )
    check_shape(connection, things(connection))


def upgrade(connection: Connection) -> None:
    """Make or upgrade tables and views in place, in the transaction of the connection.

    Raises:
        InputError: the database is foreign or newer.
    """
    if connection.dialect.name == "postgresql":  # others wait here, and then find it done
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _UPGRADE_LOCK})
    version = version_of(connection)
    if version is None or version < CURRENT:
        try:
            with _MIGRATING:
                _migrate(connection, is_new=version is None)
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            said = f"searches of schema {version} with other settings: {type(error).__name__}"
            raise ForeignDataError(location_of(connection.engine), said) from None
    check(connection)


def _migrate(connection: Connection, is_new: bool) -> None:
    from alembic import command  # imported here: only a new or old database needs it
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    for name in reversed(VIEWS):  # views may stand on earlier ones
        connection.execute(text(f"DROP VIEW IF EXISTS {name}"))
    if is_new:
        metadata.create_all(connection)
        command.stamp(config, CURRENT)
    else:
        command.upgrade(config, CURRENT)
    for name in VIEWS:
        connection.exec_driver_sql(definition(name))
