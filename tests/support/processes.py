"""Runs of the command that can be killed, and what they leave behind: processes, folders, rows of the database."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psutil

from tests.support.patience import OPTSEARCH, Started, Terminal, wait_for
from tests.support.scratch import SCRATCH

TABLES = ("program", "training", "baseline")
HISTORY = """birth, batch, parent_birth, mutation, genome, dataflow_hash, key, answered_by, status, fitness, reason,
             trainings, standard_error, hurdle_losses"""

_forks = multiprocessing.get_context("forkserver")  # its children have the libraries already: they start at once
_forks.set_forkserver_preload(["search.commands.run", "alembic.command", "ray"])


class Run(Started):
    """`optsearch run ARGS` as if started in a terminal; its output goes to files.

    Args:
        folder: where it works.
        args: of the command.
        forked: from a process that has imported the libraries, which saves seconds.
        on: a terminal that is its standard error; else that is the file `err` in the folder.
    """

    def __init__(self, folder: Path, *args: str, forked: bool = False, on: Terminal | None = None) -> None:
        self.folder = folder
        self.began = time.monotonic()
        self.temporary = Path(tempfile.mkdtemp(prefix="r", dir=SCRATCH))  # a short path, for sockets
        weakref.finalize(self, shutil.rmtree, self.temporary, ignore_errors=True)
        self._log_before = self._log_size()
        self._forked: Any = None
        environment = {**os.environ, "TMPDIR": str(self.temporary)}
        terminal = "err" if on is None else on.name
        if forked:
            self._forked = _forks.Process(target=_become, args=(folder, args, environment, terminal))
            self._forked.start()
            self.pid = int(self._forked.pid)
        else:
            with (folder / "out").open("w") as out, (folder / terminal).open("w") as err:
                self._process = subprocess.Popen(
                    [OPTSEARCH, "run", *args],
                    cwd=folder, stdout=out, stderr=err, env=environment, start_new_session=True,
                )  # fmt: skip
            self.pid = self._process.pid

    @property
    def code(self) -> int | None:
        """The exit code, None while it runs; minus the number of a signal that ended it."""
        code: int | None = self._forked.exitcode if self._forked is not None else self._process.poll()
        return code

    @property
    def err(self) -> str:
        """What it wrote to standard error."""
        return (self.folder / "err").read_bytes().decode()  # the redrawn line ends with \r, which is to stay one

    @property
    def log(self) -> str:
        """What this run added to the log."""
        with suppress(FileNotFoundError), (self.folder / "results.log").open() as file:
            file.seek(self._log_before)
            return file.read()
        return ""

    def _log_size(self) -> int:
        log = self.folder / "results.log"
        return log.stat().st_size if log.exists() else 0

    def wait_for(self, text: str) -> bool:
        """Whether the text appears in the log before the run ends.

        Raises:
            TimeoutError: neither happens.
        """
        wait_for(lambda: self.code is not None or text in self.log, f"'{text}' in the log", self.said)
        return text in self.log

    def said(self) -> str:
        return f"{self.log}\n{self.err if (self.folder / 'err').exists() else ''}"

    def kill(self) -> None:
        """SIGKILL for the driver alone."""
        os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def family(self) -> list[psutil.Process]:
        """The processes that this run started, itself not among them."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.pid != self.pid and process.environ().get("TMPDIR") == str(self.temporary):
                    found.append(process)
        return found

    def workers(self) -> list[psutil.Process]:
        """The processes that train."""
        found = []
        for process in self.family():
            with suppress(psutil.Error):
                if process.cmdline()[:1] and process.cmdline()[0].startswith("ray::Worker"):
                    found.append(process)
        return found

    def leftovers(self, seconds: float = 120) -> tuple[list[str], float]:
        """Processes and folders that are still there so long after the end, and how long the last took to go.

        What is left is removed, so that the next run is not blamed for it.
        """
        ended = time.monotonic()
        with suppress(TimeoutError):
            wait_for(lambda: not self._left(), "the end of what the run has started", seconds=seconds)
        left, took = self._left(), time.monotonic() - ended
        self._clear()
        return left, took

    def end(self) -> None:
        """Kill it and all that it has started."""
        if self.code is None:
            self.kill()
        self._clear()

    def _clear(self) -> None:
        for process in self.family():
            with suppress(psutil.Error):
                process.kill()
        shutil.rmtree(self.temporary, ignore_errors=True)

    def _left(self) -> list[str]:
        processes = []
        for process in self.family():
            with suppress(psutil.Error):
                if process.status() != psutil.STATUS_ZOMBIE:
                    processes.append(" ".join([str(process.pid), *process.cmdline()])[:150])
        return processes + [str(path) for path in self.temporary.glob("optsearch-*")]


def _become(folder: Path, args: Sequence[str], environment: Mapping[str, str], terminal: str) -> None:
    """What a forked child does: the command in a session of its own."""
    os.setsid()
    os.environ.update(environment)
    tempfile.tempdir = None
    os.chdir(folder)
    for number, name in ((1, "out"), (2, terminal)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOCTTY), number)
    sys.argv = ["optsearch", "run", *args]
    from search.commands.cli import main

    main()


# --- databases -------------------------------------------------------------------------------------------------------


def rows(database: Path, query: str) -> list[tuple[Any, ...]]:
    """What a query finds; nothing is written, not even what a crash left to be tidied up."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as connection:
        return connection.execute(query).fetchall()


def history(database: Path, name: str) -> list[tuple[Any, ...]]:
    """Everything of a search that must not depend on how it was run."""
    query = f"SELECT {HISTORY} FROM program i JOIN search s ON s.id = i.search_id WHERE s.name = '{name}'"
    return rows(database, f"{query} ORDER BY birth")


def snapshot(database: Path) -> dict[tuple[str, int], tuple[Any, ...]]:
    """Every row that is committed now, by table and id; none where there is no database yet."""
    found = {}
    for table in TABLES:
        with suppress(sqlite3.OperationalError):  # no database or no table yet
            for row in rows(database, f"SELECT id, * FROM {table}"):
                found[table, row[0]] = row
    return found


def lost(before: dict[tuple[str, int], Any], after: dict[tuple[str, int], Any]) -> list[tuple[str, int]]:
    """Rows that have gone or changed."""
    return [place for place, row in before.items() if after.get(place) != row]


def duplicates(database: Path) -> int:
    """Births and evaluations that are there more than once."""
    return sum(
        len(rows(database, f"SELECT 1 FROM {table} GROUP BY {key} HAVING count(*) > 1"))
        for table, key in (("program", "search_id, birth"), ("training", "key, task_fingerprint, seed"))
    )


def wait_for_write(database: Path, seconds: float) -> None:
    """Return the moment that something is written, to hit a commit while it goes on, or after so many seconds."""
    log = database.with_name(database.name + "-wal")
    deadline, before = time.monotonic() + seconds, _state(log)
    while _state(log) == before and time.monotonic() < deadline:
        pass


def _state(file: Path) -> tuple[int, int]:
    with suppress(FileNotFoundError):
        found = file.stat()
        return found.st_size, found.st_mtime_ns
    return 0, 0
