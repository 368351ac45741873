"""File systems that forbid."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """The folder as a file system that nobody may write, not even root."""
    with _mounted(folder, ["--bind", str(folder)], ["-o", "remount,bind,ro"]):
        yield


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A real file system of one megabyte in a new folder."""
    folder.mkdir()
    with _mounted(folder, ["-t", "tmpfs", "-o", "size=1m", "tmpfs"]):
        yield folder


@contextmanager
def _mounted(folder: Path, *steps: list[str]) -> Iterator[None]:
    """Mount; the test is skipped where that cannot be."""
    if shutil.which("mount") is None:
        pytest.skip("there is no mount command")
    for options in steps:
        done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"nothing can be mounted: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
