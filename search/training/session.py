"""Entering a run: its database, its log, its evaluator, and what signals do meanwhile."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import FrameType

from tqdm import tqdm

from programs.errors import InputError

from proxy_tasks.devices import open_backend

from search.settings.settings import EvaluatorSettings
from search.store import Store, open_store
from search.training.inline import InlineEvaluator
from search.training.jobs import Evaluator, resources_of

LARGEST_FILE = 10 * 2**20  # bytes; older parts of a log are kept in two more files
OLDER_FILES = 2

_FORMAT = "%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"


@contextmanager
def opened(
    location: str, evaluator_settings: EvaluatorSettings, create: bool = True
) -> Iterator[tuple[Store, Evaluator]]:
    """Open the database and the evaluator of a run, and write its log, until the context ends.

    Raises:
        InputError: the database cannot be used, or the device to train on is missing.
    """
    with closing(open_store(location, create=create)) as store, training_beside(store, evaluator_settings) as evaluator:
        yield store, evaluator


@contextmanager
def training_beside(store: Store, settings: EvaluatorSettings, warn: bool = True) -> Iterator[Evaluator]:
    """Open the evaluator of a run and write its log beside an open database, until the context ends.

    Args:
        store: the database.
        settings: the settings of the evaluator.
        warn: whether to show warnings on the terminal, too.

    Raises:
        InputError: the device to train on is missing.
    """
    with logging_to(store.log_path, terminal_too=warn), closing(open_evaluator(settings)) as evaluator:
        yield evaluator


def open_evaluator(settings: EvaluatorSettings) -> Evaluator:
    """Return the evaluator that the settings ask for; the caller closes it.

    Raises:
        InputError: it is to train in this process, on a device that is missing.
    """
    if settings.kind == "inline":
        open_backend(settings.device)  # says what is missing, before it counts as a program's failure
        return InlineEvaluator(resources_of(settings))
    from search.training.ray_pool import RayEvaluator  # imported here: Ray takes a second, and inline needs none

    return RayEvaluator(settings)


# --- signals ---------------------------------------------------------------------------------------------------------


@contextmanager
def on_signals(handle: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Have Ctrl-C and SIGTERM call a function until the context ends; in other threads than the main one do nothing."""
    if threading.current_thread() is not threading.main_thread():  # Python delivers signals to the main thread only
        yield
        return

    def handler(number: int, _frame: FrameType | None) -> None:
        handle(signal.Signals(number))

    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


def interrupt(_number: signal.Signals) -> None:
    """End what is running at once, for `on_signals` where nothing has to be finished first.

    Raises:
        KeyboardInterrupt: always.
    """
    raise KeyboardInterrupt


# --- log -------------------------------------------------------------------------------------------------------------


class _Terminal(logging.Handler):
    """Shows each warning on one line, above the line of progress."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(f"warning: {' '.join(record.getMessage().split())}", file=sys.stderr)


@contextmanager
def logging_to(path: Path, terminal_too: bool = True) -> Iterator[None]:
    """Log to this file, Python's own warnings included, and show our warnings on the terminal unless told otherwise.

    Raises:
        InputError: the log cannot be written.
    """
    root = logging.getLogger()
    try:
        file = RotatingFileHandler(path, maxBytes=LARGEST_FILE, backupCount=OLDER_FILES, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{path}: the log of a run cannot be written ({(error.strerror or str(error)).lower()}); let this user"
            " write it and its folder"
        ) from None
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
