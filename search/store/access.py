"""What this user may do with a SQLite file, and how one is read beside which nothing may be written.

SQLite reads a database in WAL mode with the help of files beside it, which it makes where they are missing. Whoever may
not write the file must not leave such files either: the owner could not write them. Nothing here opens the file itself,
since closing it would drop the locks that SQLite holds in this process.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

from programs.errors import InputError

# How SQLite is told to read, as parameters of a URI.
WITH_LOCKS = "mode=ro"
"""A run may be writing, or was killed: SQLite shares what lies beside the file."""
ALONE = "mode=ro&vfs=unix-none"
"""No run is writing, but one has left a log of commits: SQLite reads that, too, with its index in memory alone."""
IMMUTABLE = "immutable=1"
"""There is the file alone."""


ROOM = 2**16  # bytes that SQLite needs beside a file to read it as usual


def beside(file: Path, suffix: str) -> Path:
    """Return what SQLite calls the `-wal`, `-shm` or `-journal` of a file, which lies beside the target of a link."""
    return Path(os.path.realpath(file) + suffix)


def is_there(file: Path) -> bool:
    """Return whether a file is there.

    Raises:
        InputError: this user may not even look.
    """
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise InputError(
            f"{file}: cannot be looked at ({error.strerror}); let this user through its folders, or name another with"
            " --store"
        ) from None
    return True


def require_readable(file: Path) -> None:
    """Refuse a file that this user may not read, or not what lies beside it.

    Raises:
        InputError: the cause, and the fix.
    """
    for needed in (file, beside(file, "-wal"), beside(file, "-shm")):
        if needed.exists() and not os.access(needed, os.R_OK):
            raise InputError(f"{needed}: may not be read by this user; allow it, or name another with --store")


def may_write(file: Path) -> bool:
    """Return whether this user may write the file, and SQLite beside it."""
    real = Path(os.path.realpath(file))
    return os.access(real, os.W_OK) and os.access(real.parent, os.W_OK)


def leaves_no_trace(file: Path) -> bool:
    """Return whether a file is to be read with `connect_read_only`: nothing may be written, or the disk is full."""
    return not may_write(file) or shutil.disk_usage(Path(os.path.realpath(file)).parent).free < ROOM


def connect_read_only(file: Path) -> sqlite3.Connection:
    """Open a file so that nothing is written beside it, and every commit is seen."""
    how = _way_to_read(file)
    uri = f"{Path(os.path.realpath(file)).as_uri()}?{how}"
    connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
    if how == ALONE:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")  # so that the index of the log needs no file
    return connection


def _way_to_read(file: Path) -> str:
    wal, shared, journal = (beside(file, suffix) for suffix in ("-wal", "-shm", "-journal"))
    if journal.exists() or (wal.exists() and shared.exists()):
        return WITH_LOCKS
    return ALONE if wal.exists() and wal.stat().st_size else IMMUTABLE
