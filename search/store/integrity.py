"""Whether a SQLite file is whole, and lies where SQLite can keep it whole."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from sqlalchemy import Engine

from programs.errors import InputError

from search.store.access import beside
from search.store.wal import unreadable_commits

FULL_BYTES = 256 * 2**20  # up to this size a file is checked in full, 7 s per GB; beyond, page by page, 1.5 s per GB
MOST_KNOWN = 100  # files whose state is remembered

# File systems shared over a network. SQLite's log needs memory shared by all who write, and locks that hold.
NETWORK = {
    "9p", "afs", "afpfs", "beegfs", "ceph", "cifs", "davfs", "fuse.ceph", "fuse.davfs2", "fuse.glusterfs",
    "fuse.rclone", "fuse.s3fs", "fuse.sshfs", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs3", "nfs4", "smb2",
    "smb3", "smbfs", "webdav",
}  # fmt: skip

_log = logging.getLogger("optsearch.store")


class DamageError(InputError):
    """A file is damaged: `what` says where."""

    def __init__(self, file: Path | str, what: str) -> None:
        self.what = " ".join(what.split())[:200]
        where = f"{self.what}; `optsearch check` lists all that is wrong"
        super().__init__(f"{file}: is damaged ({where}); {mend_of_damage(file)}")


def check_file(engine: Engine, file: Path) -> None:
    """Look for damage, once for each state of a file: one that is as it was when it was found whole is not read again.

    Raises:
        DamageError: where it is damaged.
    """
    state = _state(file)
    if _known().get(_name(file)) == state:
        return
    pragma = "integrity_check" if file.stat().st_size <= FULL_BYTES else "quick_check"
    with engine.connect() as connection:
        found = connection.exec_driver_sql(f"PRAGMA {pragma}(1)").scalar()
    if found != "ok":
        raise DamageError(file, str(found))
    _remember(file, state)


def mend_of_damage(file: Path | str) -> str:
    """Return what to do about a damaged file."""
    return f"restore a copy, or save what can be read into a new file with: sqlite3 {file} .recover | sqlite3 saved.db"


def damage_of_log(file: Path | None) -> str | None:
    """Return what was committed to a file but cannot be read any more, None for nothing.

    It is to be asked before SQLite opens the file, which may remove what it cannot read.
    """
    log = None if file is None else beside(file, "-wal")
    found = None if log is None else unreadable_commits(log)
    if found is None:
        return None
    where = f"frame {found.frame} is" if found.frame else "its head is"
    commits = f"{found.commits} commit{'s' * (found.commits > 1)}" if found.frame else "all commits"
    return f"{log}: {where} damaged, and {commits} from there on cannot be read; the database is as it was before"


# --- files that were found whole -------------------------------------------------------------------------------------


def _state(file: Path) -> list[int]:
    """Return what changes when any process writes a file or its log."""
    state: list[int] = []
    for part in (file, beside(file, "-wal")):
        with suppress(FileNotFoundError):
            found = part.stat()
            if found.st_size:  # a log without commits comes and goes with readers
                state += [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]
    return state


def _name(file: Path) -> str:
    return os.path.realpath(file)


def _notes() -> Path:
    folder = os.environ.get("XDG_CACHE_HOME")
    return (Path(folder) if folder else Path.home() / ".cache") / "optsearch" / "whole.json"


def _known() -> dict[str, list[int]]:
    """Return the states in which files were found whole, by their names."""
    with suppress(OSError, ValueError, RuntimeError):  # the last where there is no home
        known = json.loads(_notes().read_text("utf-8"))
        return known if isinstance(known, dict) else {}
    return {}


def _remember(file: Path, state: list[int]) -> None:
    """Note that a file was found whole, where this user may write notes; else it is checked again the next time."""
    known = {name: kept for name, kept in _known().items() if name != _name(file)}
    kept = dict([*known.items(), (_name(file), state)][-MOST_KNOWN:])
    with suppress(OSError, RuntimeError):
        notes = _notes()
        notes.parent.mkdir(parents=True, exist_ok=True)
        part = notes.with_name(f"{notes.name}.{os.getpid()}")
        part.write_text(json.dumps(kept), "utf-8")
        part.replace(notes)


# --- where a file lies -----------------------------------------------------------------------------------------------


def warn_of_network(file: Path) -> None:
    """Warn where the file lies on a network file system."""
    import psutil  # here: who only reads a database need not know its file system

    system = file_system(file, [(p.mountpoint, p.fstype) for p in psutil.disk_partitions(all=True)])
    if system in NETWORK:
        _log.warning(
            "%s lies on a network file system (%s), where SQLite cannot keep several writers apart: let one machine"
            " alone write it, or use a PostgreSQL server (docs/store.md)", file, system,
        )  # fmt: skip


def file_system(file: Path, partitions: Iterable[tuple[str, str]]) -> str | None:
    """Return the kind of file system that a file lies on: of its longest mount point, and of those the last mounted."""
    path, best, kind = file.absolute().resolve(), -1, None
    for mount_point, system in partitions:
        if path.is_relative_to(mount_point) and len(mount_point) >= best:
            best, kind = len(mount_point), system
    return kind
