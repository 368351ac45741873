"""Waiting for conditions on machines of any speed, and commands that end with the test that started them.

No test knows how fast the machine is: it waits for what it needs and gives up only on what hangs.
"""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import tempfile
import termios
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self, TypeVar

import psutil

OPTSEARCH = str(Path(sys.executable).parent / "optsearch")
PATIENCE = 900.0  # seconds: only what hangs takes so long, on a machine with ten times as much to do too
LONGEST_TEST = 2 * PATIENCE  # seconds, with the fixtures that it needs first
MARK = "OPTSEARCH_TESTS"  # a variable of the environment: by it are known whom the tests have started, orphans too

Found = TypeVar("Found")


def wait_for(
    condition: Callable[[], Found], what: str, seen: Callable[[], object] = str, seconds: float = PATIENCE
) -> Found:
    """Return what the condition gives once that is true.

    Args:
        condition: asked again and again.
        what: is waited for.
        seen: what to tell of if it does not come.
        seconds: to wait at most.

    Raises:
        TimeoutError: it has not come, with what the condition gave last.
    """
    deadline = time.monotonic() + seconds
    while True:
        before = time.process_time()
        if found := condition():
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:g} s; last seen: {found!r}\n{seen()}")
        time.sleep(min(0.01 + 4 * (time.process_time() - before), 0.1))  # the processor is for what is waited for


# --- terminals -------------------------------------------------------------------------------------------------------


class Terminal(NamedTuple):
    """A terminal of one's own.

    Attributes:
        end: the descriptor of the end that programs have.
        name: of the file that is that end.
        read: what has been shown on it, piece by piece.
    """

    end: int
    name: str
    read: list[bytes]

    @property
    def shown(self) -> str:
        """Everything that has been shown on it so far; complete when it is closed."""
        return b"".join(self.read).decode("utf-8", "replace")


@contextmanager
def terminal(lines: int = 24, columns: int = 80) -> Iterator[Terminal]:
    """A terminal; programs that have it must have ended before the context does."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (lines, columns))
    screen = Terminal(theirs, os.ttyname(theirs), [])

    def read() -> None:
        with suppress(OSError):  # how the end of a terminal shows on Linux
            while data := os.read(ours, 65536):
                screen.read.append(data)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield screen
    finally:
        os.close(theirs)
        reader.join(PATIENCE)
        os.close(ours)
    assert not reader.is_alive(), "a program has kept its terminal"


# --- commands --------------------------------------------------------------------------------------------------------


class Result(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


class Started(ABC):
    """A command in a session of its own, as a context manager: all that it has started ends with the context.

    Attributes:
        pid: the number of its process, of its group and of its session.
    """

    pid: int

    @property
    @abstractmethod
    def code(self) -> int | None:
        """The exit code, None while it runs; minus the number of a signal that ended it."""

    @abstractmethod
    def said(self) -> str:
        """The last of what it has written, for those who look for the reason of a failure."""

    @abstractmethod
    def end(self) -> None:
        """Kill it and all that it has started."""

    def wait(self, seconds: float = PATIENCE) -> int:
        """The exit code, once it has ended.

        Raises:
            TimeoutError: it has not.
        """
        wait_for(lambda: self.code is not None, "the end of the command", self.said, seconds)
        assert self.code is not None
        return self.code

    def wait_until(self, condition: Callable[[], Found], what: str) -> Found:
        """What the condition gives once that is true.

        Raises:
            ChildProcessError: the command has ended before.
            TimeoutError: neither has happened.
        """

        def met() -> Found:
            code = self.code  # asked first: it may do what is waited for and end at once
            found = condition()
            if code is not None and not found:
                raise ChildProcessError(f"{what}: not before the command ended with {code}\n{self.said()}")
            return found

        return wait_for(met, what, self.said)

    def interrupt(self, number: int = signal.SIGINT, group: bool = False) -> None:
        """Send a signal to the command alone, or to its whole group, as a terminal does."""
        (os.killpg if group else os.kill)(self.pid, number)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
        if error is not None:
            error.add_note(f"the command ended with {self.code} and said:\n{self.said()}")


class Command(Started):
    """A command whose output goes to files, so that it never waits for a reader, and a reader never waits for it.

    Args:
        words: of the command.
        folder: where it works.
        environment: all its variables, if these are not to be ours.
        listens: whether it is told things by `say`; else its standard input is empty.
        on: a terminal that is its standard input, output and errors.
    """

    def __init__(
        self, *words: object, folder: Path | None = None, environment: Mapping[str, str] | None = None,
        listens: bool = False, on: Terminal | None = None,
    ) -> None:  # fmt: skip
        self._out, self._err = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115 - read to the end
        self._told = 0
        own = (subprocess.PIPE if listens else subprocess.DEVNULL, self._out, self._err)
        stdin, stdout, stderr = own if on is None else (on.end,) * 3
        self._process = subprocess.Popen(
            [str(word) for word in words], cwd=folder, env=environment,
            stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True,
        )  # fmt: skip
        self.pid = self._process.pid

    @property
    def code(self) -> int | None:
        return self._process.poll()

    @property
    def out(self) -> str:
        """What it has written to its standard output so far."""
        return _text(self._out)

    @property
    def err(self) -> str:
        """What it has written to its standard error so far."""
        return _text(self._err)

    def said(self) -> str:
        return f"{self.out[-5000:]}\n{self.err[-5000:]}"

    def result(self) -> Result:
        """How it ended, once it has."""
        return Result(self.wait(), self.out, self.err)

    def say(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        self._process.stdin.flush()

    def answer(self) -> str:
        """The next line of its standard output, once it is there."""
        self.wait_until(lambda: "\n" in self._rest(), "a line")
        line, end, _ = self._rest().partition("\n")
        self._told += len(line + end)
        return line

    def _rest(self) -> str:
        return self.out[self._told :]

    def end(self) -> None:
        family = []
        with suppress(psutil.NoSuchProcess):
            family = psutil.Process(self.pid).children(recursive=True)
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()


def _text(file: BinaryIO) -> str:
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode("utf-8", "replace")


def call(*words: object, folder: Path | None = None, environment: Mapping[str, str] | None = None) -> Result:
    """How a command ends."""
    with Command(*words, folder=folder, environment=environment) as command:
        return command.result()


# --- what tests leave behind -----------------------------------------------------------------------------------------


@contextmanager
def unmarked() -> Iterator[None]:
    """What is started in this context may stay until the last test."""
    mark = os.environ.pop(MARK, None)
    try:
        yield
    finally:
        if mark is not None:
            os.environ[MARK] = mark


def left_running(seconds: float = 120) -> list[str]:
    """Processes that tests have started and that go on nevertheless; they are killed. The seconds are to end in."""
    with suppress(TimeoutError):
        wait_for(lambda: not _running(), "the end of all processes", seconds=seconds)
    left = []
    for process in _running():
        with suppress(psutil.Error):
            test = process.environ().get("PYTEST_CURRENT_TEST", "no test")
            left.append(f"{test} left process {process.pid} running: {process.cmdline()}")
            process.kill()
    return left


def _running() -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == os.environ[MARK] and not _stays(process):
                found.append(process)
    return found


def _stays(process: psutil.Process) -> bool:
    """Whether it is this process, or serves Python's multiprocessing in it to the end."""
    serves = any("multiprocessing." in word for word in process.cmdline())
    return process.pid == os.getpid() or (serves and process.ppid() == os.getpid())
