"""A search for the tests of the command, and what a database and a folder hold."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

CONFIG = """\
name: tiny
seed: 3
strategy: {population: 10, tournament: 3, start: sgd_momentum}
budget: {programs: 60}
tasks: [{name: digits_mlp, steps: 20, seeds: 1}]
evaluator: {kind: inline, batch: 4, lookahead: 2}
baselines: [adamw]
"""

HISTORY = """SELECT birth, batch, parent_birth, mutation, genome, key, answered_by, status, fitness
             FROM program ORDER BY birth"""


def rows(database: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(query).fetchall()


def contents(folder: Path) -> dict[str, str]:
    """What the files of a folder hold, as digests."""
    return {str(p.relative_to(folder)): sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()}
