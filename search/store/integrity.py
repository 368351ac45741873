"""Whether a SQLite file is whole, and lies where SQLite can keep it whole."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import psutil
from sqlalchemy import Engine

from programs.errors import InputError

FULL_BYTES = 256 * 2**20  # up to this size a file to be written is checked in full, 9 s per GB; beyond, 1.4 s per GB
READ_BYTES = 2**30  # up to this size a file that is only read is checked, 1.4 s per GB

# File systems shared over a network. SQLite's log needs memory shared by all who write, and locks that hold.
NETWORK = {
    "9p", "afs", "afpfs", "beegfs", "ceph", "cifs", "davfs", "fuse.ceph", "fuse.davfs2", "fuse.glusterfs",
    "fuse.rclone", "fuse.s3fs", "fuse.sshfs", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs3", "nfs4", "smb2",
    "smb3", "smbfs", "webdav",
}  # fmt: skip

_log = logging.getLogger("optsearch.store")


def check_file(engine: Engine, file: Path, to_write: bool) -> None:
    """Look for damage.

    Raises:
        InputError: what is damaged, and the fix.
    """
    size = file.stat().st_size
    if not to_write and size > READ_BYTES:
        return
    pragma = "integrity_check" if to_write and size <= FULL_BYTES else "quick_check"
    with engine.connect() as connection:
        found = connection.exec_driver_sql(f"PRAGMA {pragma}(1)").scalar()
    if found != "ok":
        raise InputError(damage(file, str(found)))


def damage(file: Path, found: str) -> str:
    """Return what to say of a damaged file."""
    return (
        f"{file}: is damaged ({' '.join(found.split())[:200]}); restore a copy, or save what can be read into a new"
        f" file with: sqlite3 {file} .recover | sqlite3 saved.db"
    )


def warn_of_network(file: Path) -> None:
    """Warn where the file lies on a network file system."""
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
