"""The command `optsearch dashboard`: Datasette, which is an extra, over the views of a SQLite file."""

from __future__ import annotations

import socket
from contextlib import closing, suppress
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from programs.errors import InputError

from search.commands.options import RESULTS, PortOption, StoreOption
from search.report.loopback import HOST, hosts_of, listening
from search.settings.yaml_text import read_yaml
from search.store import access, open_store, rows
from search.store.connections import LONGEST_VALUE, engine_of, location_of, sqlite_file

NAME = "results"  # of the database in addresses, whatever its file is called
GRACE_SECONDS = 1  # for requests under way when the server ends
SETTINGS = {
    "sql_time_limit_ms": 10_000,
    "max_returned_rows": 1000,
    "suggest_facets": False,  # it would count the values of every column of a view each time the view is shown
    "allow_download": False,
}


def command(
    store: StoreOption = RESULTS,
    port: PortOption = 8001,
) -> None:
    """For those who want SQL: Datasette, read-only and for this machine alone, with prepared queries; until Ctrl-C."""
    try:
        from datasette.app import Datasette  # noqa: F401 - whether the extra is installed
    except ModuleNotFoundError:
        raise InputError("dashboard: Datasette is not installed; pip install 'optsearch[dashboard]'") from None
    serve(store, port)


def serve(location: str, port: int) -> None:
    """Serve a database on this machine until Ctrl-C. A search may write it at the same time.

    Args:
        location: of a SQLite file.
        port: to listen on; with 0 any that is free.

    Raises:
        InputError: the database cannot be served, or the port cannot be used.
    """
    engine = engine_of(location)
    file = sqlite_file(engine)
    if file is None:
        place = location_of(engine)
        raise InputError(f"{place}: the dashboard reads SQLite files only; psql shows the same views of a server")
    # The store stays open until the end: the last to close the file removes what SQLite keeps beside it.
    with closing(open_store(location)), closing(listening(port)) as listener:
        url = f"http://{HOST}:{listener.getsockname()[1]}/{NAME}"
        print(f"{file}: {url} (read-only; Ctrl-C ends)", flush=True)
        _serve(file, listener)


def _serve(file: Path, listener: socket.socket) -> None:
    import uvicorn
    from datasette import hookimpl
    from datasette.app import Datasette
    from datasette.plugins import pm
    from datasette.utils.sqlite import sqlite3

    connections: list[Any] = []

    class Limits:
        """A plugin that treats the file as data of unknown origin."""

        @staticmethod
        @hookimpl  # type: ignore[untyped-decorator]
        def prepare_connection(conn: Any) -> None:
            conn.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_VALUE)
            conn.execute("PRAGMA trusted_schema = OFF")
            connections.append(conn)

    for plugin, _ in pm.list_plugin_distinfo():  # those that happen to be installed
        pm.unregister(plugin)
    pm.register(Limits)
    pm.get_plugin("datasette.handle_exception").rich = None  # it would print a traceback for every mistyped address
    with TemporaryDirectory() as folder:
        link = Path(folder, f"{NAME}.db")  # Datasette cannot open a path with characters that URLs give a meaning to
        link.symlink_to(file.absolute())
        server = Datasette([], metadata=metadata(file.name), settings=SETTINGS)
        server.add_database(_database(server, link, file), NAME)
        config = uvicorn.Config(
            asked_by_name(server.app(), listener.getsockname()[1]),
            log_config=None,
            log_level="critical",
            timeout_graceful_shutdown=GRACE_SECONDS,
            ws="none",
        )
        try:
            with suppress(KeyboardInterrupt):
                uvicorn.Server(config).run(sockets=[listener])
        finally:
            _close(server, connections)


def _close(server: Any, connections: list[Any]) -> None:
    """End the queries that run now, and close the database."""
    server.executor.shutdown(wait=False, cancel_futures=True)
    for connection in connections:
        with suppress(connection.ProgrammingError):  # it is closed already
            connection.interrupt()
    server.executor.shutdown()
    server.databases[NAME].close()


def _database(server: Any, link: Path, file: Path) -> Any:
    """Return what Datasette reads: a file, by a name that it can open."""
    from datasette.database import Database

    class Unwritable(Database):  # type: ignore[misc]  # Datasette has no types
        """A file that this user may not write."""

        def connect(self, write: bool = False) -> Any:  # noqa: ARG002 - as Datasette has it
            connection = access.connect_read_only(file)
            self._all_file_connections.append(connection)
            return connection

    return (Unwritable if access.leaves_no_trace(file) else Database)(server, str(link))


def asked_by_name(application: Any, port: int) -> Any:
    """Return an ASGI application that refuses requests for other hosts than this machine."""
    hosts = hosts_of(port)

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        asked = [value.decode("latin-1").lower() for name, value in scope.get("headers", ()) if name == b"host"]
        if scope["type"] != "http" or (len(asked) == 1 and asked[0] in hosts):
            await application(scope, receive, send)
            return
        text = f"This dashboard answers only to http://{HOST}:{port}; forward it to a port of the same number.\n"
        headers = [(b"content-type", b"text/plain; charset=utf-8")]
        await send({"type": "http.response.start", "status": 403, "headers": headers})
        await send({"type": "http.response.body", "body": text.encode()})

    return answer


def metadata(title: str) -> dict[str, Any]:
    """Return what Datasette shows: views and prepared queries. Tables are hidden, since they change with versions.

    Args:
        title: of the database.
    """
    text = resources.files(__package__).joinpath("dashboard.yaml").read_text("utf-8")
    data: dict[str, Any] = read_yaml(text, "dashboard.yaml").data
    views = {name: {"description": " ".join(kind.about.split())} for name, kind in rows.VIEWS.items()}
    hidden = {table: {"allow": False} for table in (*rows.metadata.tables, "alembic_version")}
    data["databases"][NAME] |= {"title": title, "tables": views | hidden}
    return data
