"""Where tests keep their files: in memory where there is room, as deleting from a disk may take milliseconds a file."""

import os
import shutil
import tempfile

MEMORY, DISK = "/dev/shm", "/tmp"  # noqa: S108 - names in them are made by `mkdtemp`; all may write, and paths are short
ROOM = 8 * 2**30  # bytes: for all tests at one time and Ray's stores of objects, many times over


def _roomy() -> bool:
    return os.access(MEMORY, os.W_OK | os.X_OK) and shutil.disk_usage(MEMORY).free >= ROOM


SCRATCH = MEMORY if _roomy() else DISK
"""A folder whose path is short enough for sockets below it, and that all may write into."""


def prefer_memory() -> None:
    """Make memory, if it has room, the place for temporary files of this process and of those that it starts."""
    if SCRATCH == MEMORY:
        os.environ["TMPDIR"] = tempfile.tempdir = MEMORY
