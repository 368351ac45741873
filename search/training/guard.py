"""A process that outlives the driver by a moment, so that nothing of the Ray that the driver started stays behind.

Ray's daemons end with the driver, but some only after a minute, and workers that were stopped never do. Run as a script
with a folder, it waits until its standard input closes, which happens however the driver ends; then it kills every
process that has a file of that folder open and removes the folder.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

import psutil

PATIENCE = 60.0  # seconds; a process that is being killed may take a moment to go, on a busy machine a long one
CHECKS, BETWEEN_CHECKS = 2, 0.2  # that find no process, seconds apart: one may be just starting


def users_of(folder: Path, spared: Collection[int]) -> Iterator[psutil.Process]:
    """Yield the processes, except some, that have a file open in the folder or name it on their command line."""
    for process in psutil.process_iter():
        if process.pid in spared:
            continue
        try:
            named = any(f"{folder}/" in argument for argument in process.cmdline())
            if named or any(Path(opened.path).is_relative_to(folder) for opened in process.open_files()):
                yield process
        except (psutil.Error, OSError):
            continue  # gone, or not ours


def clear(folder: Path, spared: Collection[int]) -> None:
    """Kill the processes that use the folder, except some, and remove it."""
    deadline, empty_checks = time.monotonic() + PATIENCE, 0
    while empty_checks < CHECKS and time.monotonic() < deadline:
        users = list(users_of(folder, spared))
        empty_checks = 0 if users else empty_checks + 1
        for process in users:
            with suppress(psutil.Error):
                process.kill()
        if users:
            psutil.wait_procs(users, timeout=1)
        else:
            time.sleep(BETWEEN_CHECKS)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    driver = os.getppid()  # if it lives on, it has only closed Ray
    sys.stdin.read()
    clear(Path(sys.argv[1]), (os.getpid(), driver))
