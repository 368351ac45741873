"""Databases that may be read but not written: every command that reads works, sees every commit, and leaves nothing."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from functools import cache
from pathlib import Path

import pytest

from programs.errors import InputError

from search.store import access, open_store
from search.training.session import logging_to

from tests.support.command_line import contents
from tests.support.forked import ForkServer, Result
from tests.support.mounts import read_only, small_disk
from tests.support.scratch import SCRATCH
from tests.support.searches import CurvedEvaluator, opened, run, settings_of, stop_at

SETTINGS = settings_of(baselines=["adamw"], tasks=[{"name": "digits_mlp", "steps": 20}])
READING = (  # nothing of it changes with the time
    "leaderboard", "leaderboard --csv", "failures", "show 4", "lineage 4", "export 4", "export 4 --to dsl",
    "export 4 --to optax",
)  # fmt: skip
State = Callable[[Path], None]
"""Makes a database at a path that is in this state."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that others may look into."""
    folder = Path(tempfile.mkdtemp(dir=SCRATCH))
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


class Owner:
    """Who may write: what commands say to them about databases in their states, each asked once."""

    def __init__(self, server: ForkServer) -> None:
        self._server = server
        self._said: dict[tuple[State, str], Result] = {}

    def hears(self, state: State, line: str) -> Result:
        if (state, line) not in self._said:
            with tempfile.TemporaryDirectory(dir=SCRATCH) as other:
                put(state, Path(other, "results.db"))
                self._said[state, line] = self._server.optsearch(Path(other), *line.split())
        return self._said[state, line]


class Reader:
    """Whoever may do what the modes of files allow."""

    def __init__(self, server: ForkServer, owner: Owner, folder: Path) -> None:
        self.server, self.owner, self.folder = server, owner, folder

    def says(self, line: str, store: str = "results.db") -> Result:
        return self.server.optsearch(self.folder, *line.split(), "--store", store, bound=True)

    def refused(self, line: str, store: str = "results.db", code: int = 2) -> str:
        said = self.says(line, store)
        assert (said.code, said.out) == (code, ""), said
        assert said.err.startswith("error: ") and said.err.count("\n") == 1, said
        return said.err


@pytest.fixture(scope="module")
def owner(server: ForkServer) -> Owner:
    return Owner(server)


@pytest.fixture
def reader(server: ForkServer, owner: Owner, folder: Path) -> Reader:
    if os.geteuid() == 0 and sys.platform != "linux":
        pytest.skip("modes of files do not bind root")
    return Reader(server, owner, folder)


# --- states of a database --------------------------------------------------------------------------------------------


def finished(path: Path) -> None:
    with opened(path) as store:
        run(SETTINGS, store, CurvedEvaluator())


def killed(path: Path) -> None:
    """What lies there while a run writes is what stays when it is killed: most of it is in the log."""
    inner = path.parent / "running"
    inner.mkdir()
    with opened(inner / path.name) as store:
        run(SETTINGS, store, CurvedEvaluator(), stop_at(60))
        for file in inner.iterdir():
            shutil.copy(file, path.parent)
    shutil.rmtree(inner)
    assert path.with_name(f"{path.name}-wal").stat().st_size > path.stat().st_size


def killed_and_copied_in_part(path: Path) -> None:
    killed(path)
    path.with_name(f"{path.name}-shm").unlink()


def copied_by_sqlite(path: Path) -> None:
    """A copy whose journal is no log."""
    finished(path.with_name("first.db"))
    with closing(sqlite3.connect(path.with_name("first.db"))) as connection:
        connection.execute("VACUUM INTO ?", [str(path)])
    path.with_name("first.db").unlink()


STATES = (finished, killed, killed_and_copied_in_part, copied_by_sqlite)


def put(state: State, path: Path) -> None:
    """Put a database in this state at the path."""
    for ending, held in _files(state).items():
        path.with_name(f"{path.name}{ending}").write_bytes(held)


@cache
def _files(state: State) -> dict[str, bytes]:
    """What its files hold, by what their names have after that of the database."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "results.db")
        state(path)
        return {file.name.removeprefix(path.name): file.read_bytes() for file in path.parent.iterdir()}


def data(folder: Path) -> dict[str, str]:
    """What the files of a folder hold; SQLite keeps no data in its shared memory."""
    return {name: held for name, held in contents(folder).items() if not name.endswith("-shm")}


def reads_everything(path: Path, reader: Reader, state: State, lines: Sequence[str] = READING[1::2]) -> None:
    before, names = data(path.parent), set(path.parent.iterdir())
    for line in lines:
        expected = reader.owner.hears(state, line)
        assert expected.code == 0 and expected.out, expected
        assert reader.says(line) == expected
    status = reader.says("status")
    assert (status.code, status.err) == (0, "") and "small: how births were answered" in status.out
    assert data(path.parent) == before and set(path.parent.iterdir()) == names, "nothing is written"


@pytest.mark.parametrize("state", STATES)
def test_in_a_folder_that_may_not_be_written(folder: Path, reader: Reader, state: State) -> None:
    path = folder / "results.db"
    put(state, path)
    folder.chmod(0o555)
    reads_everything(path, reader, state, READING)


@pytest.mark.parametrize("state", STATES)
def test_a_file_that_may_not_be_written_in_a_folder_that_may(folder: Path, reader: Reader, state: State) -> None:
    """Files that SQLite left beside it would belong to who has read, and its owner could not write any more."""
    path = folder / "results.db"
    put(state, path)
    for file in folder.iterdir():
        file.chmod(0o444)
    folder.chmod(0o777)
    reads_everything(path, reader, state)


@pytest.mark.parametrize("state", STATES)
def test_on_a_file_system_that_nobody_may_write(folder: Path, reader: Reader, state: State) -> None:
    path = folder / "results.db"
    put(state, path)
    with read_only(folder):
        reads_everything(path, reader, state)
        assert "results.db: may not be written by this user; make the file" in reader.refused("eval lion")


@pytest.mark.parametrize("state", [finished, killed])
def test_on_a_full_disk(tmp_path: Path, reader: Reader, state: State) -> None:
    put(state, tmp_path / "results.db")
    with small_disk(tmp_path / "disk") as disk:
        for file in tmp_path.glob("results.db*"):
            shutil.copy(file, disk)
        with suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(b"\0" * 4096)
        reader.folder = disk
        reads_everything(disk / "results.db", reader, state)


@pytest.mark.parametrize(
    "name",
    ["link.db", "sqlite:///results.db", "sqlite:///file:results.db?mode=ro&uri=true", "sqlite:///file:{}?uri=true"],
)
@pytest.mark.parametrize("state", [finished, killed_and_copied_in_part])
def test_by_any_name(folder: Path, reader: Reader, name: str, state: State) -> None:
    path = folder / "results.db"
    put(state, path)
    (folder / "aside").mkdir()
    (folder / "link.db").symlink_to("aside/other.db")
    (folder / "aside" / "other.db").symlink_to(path)
    for place in (folder, folder / "aside"):
        place.chmod(0o555)
    assert reader.says("leaderboard --csv", name.format(path)) == reader.owner.hears(state, "leaderboard --csv")


def test_names_with_characters_that_addresses_give_a_meaning_to(folder: Path, reader: Reader) -> None:
    path = folder / "100% re#sults?.db"
    put(finished, path)
    folder.chmod(0o555)
    for name in (path.name, "sqlite:///file:100%25%20re%23sults%3F.db?mode=ro&uri=true"):
        assert reader.says("status", name).code == 0


def test_while_another_user_writes(folder: Path, reader: Reader) -> None:
    with opened(folder / "results.db") as store:
        run(SETTINGS, store, CurvedEvaluator(), stop_at(20))
        folder.chmod(0o555)
        for stop in (40, 60, 80):
            run(SETTINGS, store, CurvedEvaluator(), stop_at(stop))
            births, said = len(list(store.births(1))), reader.says("status --csv")
            assert births >= stop and said.out.splitlines()[1].split(",")[4] == str(births), said
        folder.chmod(0o755)
    assert [p.name for p in folder.iterdir()] == ["results.db"], "the writer tidies up as always"


def test_a_reader_that_stays_sees_a_run_that_begins_and_ends(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `--watch`: with each look it is decided anew how the file is to be read."""
    path = folder / "results.db"
    with opened(path) as store:
        run(SETTINGS, store, CurvedEvaluator(), stop_at(20))
    with monkeypatch.context() as patched:
        patched.setattr(access, "leaves_no_trace", lambda _file: True)
        reading = open_store(str(path))
    before = len(list(reading.births(1)))
    with opened(path) as store:
        run(SETTINGS, store, CurvedEvaluator(), stop_at(50))
        assert 20 <= before < len(list(reading.births(1))) == len(list(store.births(1)))
    assert len(list(reading.births(1))) >= 50
    reading.close()


def test_reports_and_python_read_too(folder: Path, reader: Reader) -> None:
    put(killed_and_copied_in_part, folder / "results.db")
    (folder / "look.py").write_text(
        "from search import open_store\nwith open_store('results.db') as results:\n"
        "    print(len(results.leaderboard(None)), len(results.progress()))\n"
    )
    folder.chmod(0o555)
    said = reader.server.python(folder, "look.py", bound=True)
    assert said.code == 0 and min(map(int, said.out.split())) > 0, said
    with tempfile.TemporaryDirectory(dir=SCRATCH) as pages:
        Path(pages).chmod(0o777)
        assert reader.says(f"report -o {pages}/page.html").code == 0
        assert "<html" in Path(pages, "page.html").read_text()
    assert "report.html: cannot be written (Permission denied); name another file with -o" in reader.refused("report")


# --- what may not even be read ---------------------------------------------------------------------------------------


def test_what_may_not_be_read_is_one_line_that_says_so(folder: Path, reader: Reader) -> None:
    path = folder / "inner" / "results.db"
    path.parent.mkdir()
    put(killed, path)
    for file in ("results.db", "results.db-wal", "results.db-shm"):
        (path.parent / file).chmod(0)
        for line in ("status", "leaderboard", "show 4", "export 4", "report"):
            assert f"{file}: may not be read by this user; allow it" in reader.refused(line, str(path))
        (path.parent / file).chmod(0o644)
    path.parent.chmod(0o600)
    for line in ("status", "eval lion"):
        assert f"{path}: cannot be looked at (Permission denied)" in reader.refused(line, str(path))
    path.parent.chmod(0o755)


@pytest.mark.parametrize("line", ["eval lion", "simplify 4", "simplify 4 --no-training", "verify --search small"])
@pytest.mark.parametrize("state", [finished, killed])
def test_what_writes_says_so_before_anything_is_done(folder: Path, reader: Reader, line: str, state: State) -> None:
    put(state, folder / "results.db")
    folder.chmod(0o555)
    before = data(folder)
    said = reader.refused(line, code=2 if line.startswith("eval") else 1)
    assert "results.db: " in said and "writable" in said
    assert data(folder) == before


def test_a_log_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "results.log").mkdir()
    with pytest.raises(InputError, match=r"results.log: the log of a run cannot be written .is a directory.; let"):
        logging_to(tmp_path / "results.log").__enter__()
