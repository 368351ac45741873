"""Damage of SQLite files that is found before they are used, and file systems that are warned of."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
from collections import namedtuple
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from sqlalchemy import Engine, event

from search.store import integrity, open_store

from tests.support.searches import (
    filled,
    opened,
    refusal,
)

# --- damage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("create", [True, False])
def test_bytes_overwritten_in_the_middle_are_found(
    path: Path, create: bool, full: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(path)
    if not full:
        monkeypatch.setattr(integrity, "FULL_BYTES", 0)
    content = bytearray(path.read_bytes())
    middle = len(content) // 8192 * 4096
    content[middle : middle + 512] = bytes(range(256)) * 2
    path.write_bytes(bytes(content))
    message = refusal(path, create)
    assert f"{path}: is damaged (" in message and ".recover" in message
    assert path.read_bytes() == bytes(content)


def test_an_index_that_does_not_fit_its_table_is_found_before_writing(path: Path) -> None:
    """Every page is good in itself: only the full check compares."""
    filled(path)
    columns = "type, name, tbl_name, rootpage, sql"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        row = connection.execute(f"SELECT {columns} FROM sqlite_master WHERE name = 'ix_program_key'").fetchone()
        connection.execute("DELETE FROM sqlite_master WHERE name = 'ix_program_key'")
        connection.commit()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE program SET key = 'x' || key WHERE birth = 3")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(f"INSERT INTO sqlite_master ({columns}) VALUES (?, ?, ?, ?, ?)", row)
        connection.commit()
    assert "is damaged (" in refusal(path, create=True) and "ix_program_key" in refusal(path, create=True)


def test_what_is_whole_is_opened(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(path)
    for most in (0, 2**40):
        monkeypatch.setattr(integrity, "FULL_BYTES", most)
        for create in (False, True):
            open_store(str(path), create).close()


@pytest.fixture
def examined(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked about the structure of files."""
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "_check" in statement:
            asked.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    yield asked
    event.remove(Engine, "before_cursor_execute", note)


def test_a_file_is_examined_once_for_each_state(path: Path, examined: list[str]) -> None:
    filled(path)
    examined.clear()
    for create in (False, True, False):
        open_store(str(path), create).close()
    assert examined == ["PRAGMA integrity_check(1)"]
    with opened(path) as store:
        store.create_search("another", {})
    open_store(str(path)).close()
    assert len(examined) == 2
    os.utime(path, ns=(0, 0))
    open_store(str(path)).close()
    assert len(examined) == 3, "another file may have come in its place"


def test_damage_after_it_was_found_whole_is_found(path: Path) -> None:
    filled(path)
    open_store(str(path)).close()
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(before.st_size // 2 // 4096 * 4096)
        file.write(bytes(range(256)))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert "is damaged (" in refusal(path)
    assert "is damaged (" in refusal(path), "what is damaged is not remembered as whole"


@pytest.mark.parametrize("notes", [b"", b"[]", b"\xff", b'{"x": 5}', None])
def test_notes_that_cannot_be_used_are_done_without(
    path: Path, notes: bytes | None, examined: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    filled(path)
    open_store(str(path)).close()  # which makes notes
    if notes is None:
        shutil.rmtree(tmp_path / "cache")
        (tmp_path / "cache").write_text("a file in the place of the folder")
    else:
        integrity._notes().write_bytes(notes)
    examined.clear()
    for _ in range(2):
        open_store(str(path)).close()
    assert len(examined) == (1 if notes is not None else 2)


# --- where the file lies ---------------------------------------------------------------------------------------------

Partition = namedtuple("Partition", ["mountpoint", "fstype"])


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "lustre"])
def test_a_network_file_system_is_warned_of(
    path: Path, kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    mounts = [Partition("/", "ext4"), Partition(str(path.parent), kind), Partition("/proc", "proc")]
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_: mounts)
    with caplog.at_level(logging.WARNING, "optsearch.store"):
        open_store(str(path), create=True).close()
    (record,) = caplog.records
    assert f"{path} lies on a network file system ({kind})" in record.getMessage()
    assert "\n" not in record.getMessage()
    caplog.clear()
    open_store(str(path)).close()
    assert caplog.records == [], "reading is safe"


def test_a_local_file_system_is_not_warned_of(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "optsearch.store"):
        open_store(str(path), create=True).close()
    assert caplog.records == []


def test_the_longest_mount_point_decides() -> None:
    mounts = [("/", "ext4"), ("/home", "nfs"), ("/home/me/local", "xfs"), ("/home/me", "cifs"), ("/ho", "zfs")]
    for file, kind in (
        ("/home/you/r.db", "nfs"), ("/home/me/local/r.db", "xfs"), ("/home/me/r.db", "cifs"),
        ("/homes/r.db", "ext4"), ("/r.db", "ext4"),
    ):  # fmt: skip
        assert integrity.file_system(Path(file), mounts) == kind
