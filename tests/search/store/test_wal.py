"""What of a write-ahead log SQLite will not read, against what SQLite does read."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.store import wal
from search.store.wal import FRAME_HEAD, HEAD, Unreadable, unreadable_commits

PAGE = 512
FRAME = FRAME_HEAD + PAGE
ROWS = 30  # committed one by one


@contextmanager
def writing(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection whose log is never emptied."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA page_size = {PAGE}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("CREATE TABLE IF NOT EXISTS t (x)")
        yield connection


def copied(path: Path, name: str) -> Path:
    """What a killed process would leave now."""
    copy = path.with_name(name)
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
    return copy


def log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def rows_read(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        try:
            return int(connection.execute("SELECT COUNT(*) FROM t").fetchone()[0])
        except sqlite3.OperationalError:  # not even the table
            return 0


@pytest.fixture(scope="module", params=["once", "again"])
def left(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with a log of `ROWS` commits; `again`, the log was begun anew, and older frames lie behind them."""
    path = tmp_path_factory.mktemp("log") / "running.db"
    with writing(path) as connection:
        if request.param == "again":
            for n in range(2 * ROWS):
                connection.execute("INSERT INTO t VALUES (?)", [os.urandom(300 + n)])
            connection.execute("PRAGMA wal_checkpoint(FULL)")
            connection.execute("DELETE FROM t")
            connection.execute("PRAGMA wal_checkpoint(FULL)")
        for n in range(ROWS):
            connection.execute("INSERT INTO t VALUES (?)", [os.urandom(300 + n)])
        return copied(path, "left.db")


def test_a_log_is_whole_wherever_its_writer_was_killed(left: Path) -> None:
    log = log_of(left)
    assert unreadable_commits(log) is None and rows_read(copied(left, "read.db")) == ROWS
    content = log.read_bytes()
    cut = log.with_name("cut")
    for end in (0, 1, HEAD - 1, HEAD, HEAD + 1, HEAD + FRAME - 1, HEAD + FRAME, len(content) - PAGE, len(content) - 1):
        cut.write_bytes(content[:end])
        assert unreadable_commits(cut) is None
    assert unreadable_commits(log.with_name("absent")) is None


@settings(max_examples=60)
@given(share=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_changed_bit_is_found_or_harmless(left: Path, share: float, bit: int) -> None:
    """It is found in the frame where it is; what SQLite then reads is what was committed before that."""
    content = bytearray(log_of(left).read_bytes())
    place = int(share * len(content))
    content[place] ^= 1 << bit
    copy = copied(left, "changed.db")
    log_of(copy).write_bytes(content)
    found = unreadable_commits(log_of(copy))
    rows = rows_read(copy)
    if found is None:
        last_over_older = rows == ROWS - 1 and len(content) > HEAD + 3 * ROWS * FRAME
        assert rows == ROWS or last_over_older, "a killed writer may have left the very last commit like this"
    else:
        assert found.frame == (0 if place < HEAD else (place - HEAD) // FRAME + 1)
        assert rows < ROWS and (found.frame == 0 or found.commits == ROWS - rows or rows == 0)


def test_a_commit_cut_short_over_older_frames_is_no_damage(tmp_path: Path) -> None:
    """A process was killed between the head of the last frame and its page."""
    path = tmp_path / "running.db"
    with writing(path) as connection:
        for _ in range(ROWS):
            connection.execute("INSERT INTO t VALUES (?)", [os.urandom(400)])
        connection.execute("PRAGMA wal_checkpoint(FULL)")
        connection.execute("UPDATE t SET x = 1 WHERE rowid = 1")
        copy = copied(path, "copy.db")
    content = bytearray(log_of(copy).read_bytes())
    content[HEAD + FRAME_HEAD : HEAD + FRAME] = os.urandom(PAGE)
    log_of(copy).write_bytes(content)
    assert unreadable_commits(log_of(copy)) is None and rows_read(copy) == ROWS


@pytest.mark.parametrize("content", [b"\1" * 5000, b"\0" * 5000, b"", b"\1" * HEAD])
def test_a_log_that_is_none(tmp_path: Path, content: bytes) -> None:
    log = tmp_path / "log"
    log.write_bytes(content)
    assert unreadable_commits(log) == (Unreadable(0, 1) if content[:1] == b"\1" and len(content) > HEAD else None)


def test_a_log_that_is_being_written_is_not_blamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is begun anew again and again, pages are written twice, and looks fall between any two writes."""
    monkeypatch.setattr(wal, "_SETTLE_SECONDS", 0.02)
    path = tmp_path / "running.db"
    done = threading.Event()

    def write() -> None:
        with writing(path) as connection:
            connection.execute("PRAGMA wal_autocheckpoint = 20")
            connection.execute("PRAGMA cache_size = 5")
            for n in range(150):
                connection.execute("BEGIN")
                for _ in range(n % 40 + 1):
                    connection.execute("INSERT INTO t VALUES (?)", [os.urandom(700)])
                connection.execute("UPDATE t SET x = x || 'x' WHERE rowid > (SELECT MAX(rowid) FROM t) - 30")
                connection.execute("COMMIT")
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    looks = [unreadable_commits(log_of(path))]
    while not done.is_set():
        looks.append(unreadable_commits(log_of(path)))
    writer.join()
    assert set(looks) == {None}
