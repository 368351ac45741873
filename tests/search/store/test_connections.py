"""URLs of databases: which are taken, and what is said of the others."""

from __future__ import annotations

import pytest

from programs.errors import InputError

from search.store.connections import engine_of


@pytest.mark.parametrize(
    "location",
    [
        "mysql://me:sesame@host/x", "mysql+pymysql://me:sesame@host/x", "mssql+pyodbc://me:sesame@host/x",
        "oracle://me:sesame@host/x", "duckdb:///x.db", "postgresql+asyncpg://me:sesame@host/x",
        "postgresql+psycopg2://me:sesame@host/x", "postgresql+absent://me:ses@ame:sesame@host/x",
        "sqlite+aiosqlite:///x.db", "sqlite+pysqlcipher://:sesame@/x.db", "redis://host", "https://host/x.db",
        "SQLITE:///x.db", "sqlite://x.db", "sqlite:///", "", "a\0b.db", "sqlite:///a\0b.db", "://",
        "postgresql://host:many/x", "sqlite:///x.db?timeout=soon",
    ],
)  # fmt: skip
def test_other_kinds_of_databases_are_refused_by_naming_those_that_are_offered(location: str) -> None:
    with pytest.raises(InputError) as refused:
        engine_of(location)
    message = str(refused.value)
    assert message.endswith(
        ": not a database URL of SQLite or PostgreSQL; give the path of a file, sqlite:///PATH, or"
        " postgresql://USER@HOST/DATABASE"
    )
    assert "sesame" not in message and "pip" not in message and "\n" not in message


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("a b.db", "sqlite:///a b.db"), ("sqlite:///x.db", "sqlite:///x.db"), ("sqlite://", "sqlite://"),
        ("sqlite+pysqlite:///x.db", "sqlite:///x.db"), ("postgres://host/x", "postgresql+psycopg://host/x"),
        ("postgresql://host/x", "postgresql+psycopg://host/x"),
        ("postgresql+psycopg://host/x", "postgresql+psycopg://host/x"),
    ],
)  # fmt: skip
def test_the_two_that_are_offered(location: str, url: str) -> None:
    assert str(engine_of(location).url) == url
