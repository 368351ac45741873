"""The log of a run: everything in a file beside the database, warnings on the terminal too."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import RotatingFileHandler
from pathlib import Path

from tqdm import tqdm

LARGEST_FILE = 10 * 2**20  # bytes; older parts are kept in two more files
OLDER_FILES = 2

_FORMAT = "%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"


class _Terminal(logging.Handler):
    """One line for each warning, above the line that shows the progress."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(f"warning: {' '.join(record.getMessage().split())}", file=sys.stderr)


@contextmanager
def logging_to(path: Path, terminal_too: bool = True) -> Iterator[None]:
    """Keep what happens in this file, Python's own warnings, too; show ours on the terminal unless told otherwise."""
    root = logging.getLogger()
    file = RotatingFileHandler(path, maxBytes=LARGEST_FILE, backupCount=OLDER_FILES, encoding="utf-8", delay=True)
    file.setFormatter(logging.Formatter(_FORMAT))
    terminal = _Terminal(logging.WARNING)
    terminal.addFilter(logging.Filter("optsearch"))
    handlers = [file, terminal] if terminal_too else [file]
    ours, level = logging.getLogger("optsearch"), logging.getLogger("optsearch").level
    ours.setLevel(logging.INFO)
    logging.captureWarnings(True)
    for handler in handlers:
        root.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()
        logging.captureWarnings(False)
        ours.setLevel(level)
