"""The command `optsearch dashboard`: Datasette over the views of a SQLite file, for those who want SQL.

It needs the extra `dashboard`; importing this module without it raises ModuleNotFoundError.
"""

from __future__ import annotations

import socket
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

import uvicorn
from datasette.app import Datasette
from datasette.database import Database
from datasette.plugins import pm
from datasette.utils.sqlite import sqlite3

from programs.errors import InputError

from search.store import open_store, schema
from search.store.connections import LONGEST_VALUE, engine_of, location_of, sqlite_file

HOST = "127.0.0.1"  # never another: there is no password
NAME = "results"  # of the database in addresses, whatever its file is called
SECONDS = 10  # that a query may take
ROWS = 1000  # of a query that a page shows
PATIENCE = 1  # seconds for requests under way when the server is ended


class Query(NamedTuple):
    """A prepared query; what stands in it as `:word` is asked for on its page."""

    title: str
    description: str
    sql: str


QUERIES = {
    "searches": Query(
        "Every search",
        "How far each is, and how many of its births had to be trained.",
        """
        SELECT search, state, births, trained, ROUND(100.0 * trained / births, 1) AS trained_percent, best,
               ROUND(seconds / 3600, 2) AS hours, started, last_written
        FROM v_searches
        """,
    ),
    "best": Query(
        "The best programs of each search",
        "Ten of each, with their margins over the tuned baselines. Fitness is minus a loss: higher is better.",
        """
        SELECT search, place, id, fitness, over_adamw, over_best_baseline, live_statements, state_slots, genome
        FROM (
            SELECT *, ROW_NUMBER() OVER (PARTITION BY search ORDER BY fitness DESC, id) AS place FROM v_leaderboard
        )
        WHERE place <= 10
        ORDER BY search, place
        """,
    ),
    "births": Query(
        "Births over time",
        "Batch by batch: when its trainings were written (UTC), what there was by then, and how births were answered.",
        """
        SELECT search, batch, pace.ended AS written, births_so_far, trained_so_far, by_hash_so_far,
               by_fingerprint_so_far, in_flight_so_far, rejected_so_far, best_so_far
        FROM v_progress LEFT JOIN v_pace AS pace USING (search, batch)
        ORDER BY search, batch
        """,
    ),
    "failures": Query(
        "Failures by reason",
        "Programs that were trained or rejected, without the births that repeat a failure; an example of each.",
        """
        SELECT search, status, reason, programs,
               ROUND(100.0 * programs / SUM(programs) OVER (PARTITION BY search), 1) AS percent, example_id
        FROM v_failures
        ORDER BY search, programs DESC
        """,
    ),
    "funnel": Query(
        "Funnel",
        "Stage by stage, programs and tuned baselines on fresh seeds; `ahead` is the lead over the best baseline.",
        """
        SELECT funnel, search, stage, task, competitor, program_id, passed, z, p, ahead, ahead_error, baseline,
               fitness, standard_error, seeds, trials, learning_rate, weight_decay
        FROM v_funnel
        ORDER BY funnel, stage, task, fitness DESC
        """,
    ),
    "proofs": Query(
        "Proofs",
        "Finalists against tuned baselines on the locked tasks, which are opened once.",
        """
        SELECT finalist, funnel, task, competitor, fitness, standard_error, ahead, ahead_error, task_z, steps_to_adamw,
               z, p, seeds, seeds_failed, state_per_weight, step_time, finished
        FROM v_proof
        ORDER BY finalist, task, fitness DESC
        """,
    ),
    "pareto": Query(
        "Pareto front",
        "Programs of each search that no other beats in fitness, live statements and state slots at once.",
        """
        WITH fittest AS (
            SELECT search, live_statements, state_slots, MAX(fitness) AS fitness, id, genome
            FROM v_leaderboard
            GROUP BY search, live_statements, state_slots
        )
        SELECT search, id, fitness, live_statements, state_slots, genome
        FROM fittest AS one
        WHERE NOT EXISTS (
            SELECT 1 FROM fittest AS other
            WHERE other.search = one.search AND other.fitness >= one.fitness
                  AND other.live_statements <= one.live_statements AND other.state_slots <= one.state_slots
                  AND other.id <> one.id
        )
        ORDER BY search, fitness DESC
        """,
    ),
    "lineage": Query(
        "Lineage of a program",
        "From the start program to the program with the ID that you enter, birth by birth.",
        # Found by id first, without texts. UNION: even data in which somebody is their own ancestor has an end.
        """
        WITH RECURSIVE line (id, parent_id) AS (
            SELECT id, parent_id FROM v_lineage WHERE id = CAST(:id AS INTEGER)
            UNION
            SELECT born.id, born.parent_id FROM line JOIN v_lineage AS born ON born.id = line.parent_id
        )
        SELECT born.search, born.id, born.birth, born.mutation, born.status, born.fitness, born.gain, born.genome
        FROM line JOIN v_lineage AS born ON born.id = line.id
        ORDER BY born.id
        """,
    ),
}


def serve(location: str, port: int) -> None:
    """Serve a database on this machine until Ctrl-C. A search may write it at the same time.

    Args:
        location: of a SQLite file.
        port: to listen on; with 0 any that is free.

    Raises:
        InputError: the database cannot be served, or the port not had.
    """
    engine = engine_of(location)
    file = sqlite_file(engine)
    if file is None:
        place = location_of(engine)
        raise InputError(f"{place}: the dashboard reads SQLite files alone; psql shows the same views of a server")
    # The store stays open until the end: it is the last to leave the file, and clears away what SQLite keeps beside it.
    with closing(open_store(location)), closing(_listening(port)) as listener:
        url = f"http://{HOST}:{listener.getsockname()[1]}/{NAME}"
        print(f"{file}: {url} (read-only; Ctrl-C ends)", flush=True)
        _serve(file, listener)


def _listening(port: int) -> socket.socket:
    """A socket of this machine alone; who connects from now on is served as soon as there is a server."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # or a port could not be had again for a minute
    try:
        listener.bind((HOST, port))
        listener.listen()
    except OSError as error:
        listener.close()
        said = (error.strerror or str(error)).lower()
        raise InputError(f"--port {port}: cannot be had ({said}); name another, or 0 for any that is free") from None
    return listener


def _serve(file: Path, listener: socket.socket) -> None:
    for plugin, _ in pm.list_plugin_distinfo():  # whatever else is installed
        pm.unregister(plugin)
    pm.get_plugin("datasette.handle_exception").rich = None  # it would print the stack of every mistyped address
    server = Datasette(files=[], metadata=_metadata(file), settings=_SETTINGS)
    server.remove_database("_memory")
    database = _ReadOnly(server, path=str(file))
    server.add_database(database, name=NAME)
    config = uvicorn.Config(
        server.app(), log_config=None, log_level="critical", timeout_graceful_shutdown=PATIENCE, ws="none"
    )
    try:
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])
    finally:
        server.executor.shutdown(wait=False, cancel_futures=True)
        database.interrupt()
        server.executor.shutdown()
        database.close()


class _ReadOnly(Database):  # type: ignore[misc] # it has no types
    """A file that is read as those read it who do not trust it, and whose path may hold any character."""

    def connect(self, write: bool = False) -> Any:  # noqa: ARG002 - nobody may write
        uri = f"{Path(self.path).absolute().as_uri()}?mode=ro"
        connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_VALUE)
        connection.execute("PRAGMA trusted_schema = OFF")
        self._all_file_connections.append(connection)
        return connection

    def interrupt(self) -> None:
        """End the queries that run now."""
        for connection in self._all_file_connections:
            connection.interrupt()


_SETTINGS = {
    "sql_time_limit_ms": 1000 * SECONDS,
    "max_returned_rows": ROWS,
    "suggest_facets": False,  # it would count the values of every column of a view at every look
    "allow_download": False,
}


def _metadata(file: Path) -> dict[str, Any]:
    """What Datasette shows: the views and the prepared queries. Tables may change with any version."""
    hidden = {table: {"allow": False} for table in (*schema.metadata.tables, "alembic_version")}
    queries = {
        name: {"title": query.title, "description": query.description, "sql": query.sql.strip()}
        for name, query in QUERIES.items()
    }
    database = {"title": file.name, "tables": hidden, "queries": queries}
    return {"title": "optsearch", "databases": {NAME: database}}
