"""Asking a user's function or command for programs: a process that is given time, and trusted in nothing."""

from __future__ import annotations

import inspect
import json
import logging
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import PIPE, Popen, TimeoutExpired
from typing import IO, Any, NamedTuple

from programs.errors import InputError

from proxy_tasks.named import find, source_meaning

from search.evolution.outside import called
from search.settings.proposals import Proposals

log = logging.getLogger("optsearch.outside")

MOST_BYTES = 10 * 2**20  # of an answer
_KEPT_BYTES = 64 * 2**10  # of what is written to the standard error: the last of it
_LOOK_SECONDS = 0.05  # between two looks whether the search is stopped
_LAST_SECONDS = 1.0  # until what an ended process has written is read
_SHOWN = 80  # characters of an answer in messages


class Answer(NamedTuple):
    """The texts of an answer, or what was wrong with all of it."""

    texts: list[str]
    problem: str | None = None


class UnusableError(Exception):
    """An answer from which no texts can be taken; says why in one line."""


def check_proposer(settings: Proposals) -> None:
    """Refuse a function that cannot be loaded and a command that is not there.

    Raises:
        InputError: says what is missing.
    """
    if settings.call is None:
        _check_command(settings.command[0])
        return
    what = "strategy.proposals.call"
    function = find(settings.call, {}, what)
    source_meaning(settings.call)  # other processes can import it: it has a file, as it was when it was imported here
    try:
        inspect.signature(function).bind({})
    except TypeError as error:
        raise InputError(f"{what} '{settings.call}': {error}; it is given the question alone") from None
    except ValueError:  # of functions that do not tell what they take
        pass


def _check_command(program: str) -> None:
    if shutil.which(program) is not None:
        return
    hint = (
        f"for arguments write a list, [{', '.join(program.split())}]"
        if " " in program.strip()
        else ("name a program of this machine, with its folder if it is not on the PATH")
    )
    raise InputError(f"strategy.proposals.command: '{program}' is not there, or may not be run; {hint}")


def ask(settings: Proposals, question: dict[str, Any], stopped: Callable[[], bool]) -> Answer | None:
    """Return the answer to a question; None if the search was stopped before there was one.

    Args:
        settings: say who is asked.
        question: plain data.
        stopped: whether to wait no longer.
    """
    try:
        if settings.call is not None:
            path = [str(Path(folder).absolute()) for folder in sys.path]
            argv = [sys.executable, "-P", called.__file__]
            given = {"path": path, "call": settings.call, "question": question}
        else:
            argv, given = list(settings.command), question
        output = _output_of(argv, json.dumps(given, allow_nan=False).encode(), settings.timeout_s, stopped)
        return None if output is None else Answer(_texts(output))
    except UnusableError as problem:
        return Answer([], str(problem))


def _texts(output: bytes) -> list[str]:
    """Return the texts that an answer consists of.

    Raises:
        UnusableError: it is no JSON list of texts.
    """
    try:
        answer = json.loads(output)
    except (ValueError, RecursionError):
        raise UnusableError(f"the answer is no JSON: {_shown(output)}") from None
    if not isinstance(answer, list):
        raise UnusableError(f"the answer is no JSON list of texts: {_shown(output)}")
    for place, text in enumerate(answer):
        if not isinstance(text, str):
            raise UnusableError(f"the answer is no JSON list of texts: item {place} is of type {type(text).__name__}")
    return answer


def _shown(output: bytes) -> str:
    text = output[: 4 * _SHOWN].decode(errors="replace")
    return repr(text[:_SHOWN]) if text else "nothing at all"


# --- processes -------------------------------------------------------------------------------------------------------


def _output_of(argv: Sequence[str], given: bytes, seconds: float, stopped: Callable[[], bool]) -> bytes | None:
    """Return what a process writes that is given something to read; None if the search was stopped meanwhile.

    Nothing of it is left when this returns.

    Raises:
        UnusableError: it did not start, did not end in time or not well, or wrote too much.
    """
    try:
        # A session of its own: a Ctrl-C in the terminal is for the driver, and what the process starts ends with it.
        process = Popen(  # noqa: S603 - the user's own settings say what is run
            argv, stdin=PIPE, stdout=PIPE, stderr=PIPE, bufsize=0, start_new_session=True
        )
    except (OSError, ValueError) as error:
        raise UnusableError(f"it cannot be started: {getattr(error, 'strerror', None) or error}") from None
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    said, complained = _Reading(process.stdout), _Reading(process.stderr, _KEPT_BYTES)
    writing = threading.Thread(target=_write, args=(process.stdin, given), name="asking", daemon=True)
    threads = [said, complained, writing]
    try:
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + seconds
        while said.count <= MOST_BYTES:
            with suppress(TimeoutExpired):
                process.wait(_LOOK_SECONDS)
                break
            if stopped():
                return None
            if time.monotonic() >= deadline:
                raise UnusableError(f"no answer within timeout_s, {seconds:g} s")
    finally:
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        code = process.wait()
        for thread in threads:
            thread.join(_LAST_SECONDS)
    words = bytes(complained.kept).decode(errors="replace").strip()
    if words:
        log.info("the standard error of %s: %s", argv, words)
    if said.count > MOST_BYTES:
        raise UnusableError(f"the answer is longer than {MOST_BYTES // 2**20} MiB")
    if code:
        how = f"it ended with code {code}" if code > 0 else f"it was ended by signal {-code}"
        raise UnusableError(": ".join([how, *words.splitlines()[-1:]]))
    return bytes(said.kept)


class _Reading(threading.Thread):
    """Reads what a process writes to the end, and keeps all of it up to a little more than an answer may have.

    Args:
        pipe: to read from; closed at the end.
        last: keep only so many bytes, the last.
    """

    def __init__(self, pipe: IO[bytes], last: int | None = None) -> None:
        super().__init__(name="answer", daemon=True)
        self.count = 0
        self.kept = bytearray()
        self._pipe = pipe
        self._last = last

    def run(self) -> None:
        with self._pipe:
            while part := self._pipe.read(2**16):
                self.count += len(part)
                if self._last is not None:
                    self.kept = (self.kept + part)[-self._last :]
                elif self.count <= MOST_BYTES:
                    self.kept += part


def _write(pipe: IO[bytes], given: bytes) -> None:
    with suppress(OSError), pipe:  # it may answer without having read
        view = memoryview(given)
        while view:
            view = view[pipe.write(view) :]
