"""Runs `optsearch` and scripts many times without the seconds that importing torch takes each time.

A server process imports the libraries once. For every line on its standard input, a JSON object with `args`, `folder`,
`bound`, `out` and `err`, it forks a child that goes to the folder, becomes what `args` say (`optsearch ...` or
`python ...`) and writes its output to the files; the exit code is the answer. If `bound`, the child may do what the
modes of files allow, even if it is root's.
"""

from __future__ import annotations

import ctypes
import json
import os
import runpy
import subprocess
import sys
import traceback
from pathlib import Path
from typing import NamedTuple


class Result(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


class ForkServer:
    """The client's side.

    Args:
        scratch: a folder for what is printed.
        project: a copy of the project whose code is to run instead of ours.
    """

    def __init__(self, scratch: Path, project: Path | None = None) -> None:
        self._out, self._err = scratch / "out", scratch / "err"
        self._process = subprocess.Popen(  # -P: folders beside this file are called as our packages are
            [sys.executable, "-P", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | ({} if project is None else {"PYTHONPATH": str(project)}),
        )

    def optsearch(self, folder: Path, *args: str, bound: bool = False) -> Result:
        """Run the command in the folder; `bound` by the modes of files, if need be."""
        return self._run(folder, bound, "optsearch", *args)

    def python(self, folder: Path, *args: str, bound: bool = False) -> Result:
        """Run a script, with its arguments, in the folder; see `optsearch`."""
        return self._run(folder, bound, "python", *args)

    def _run(self, folder: Path, bound: bool, *args: str) -> Result:
        assert self._process.stdin is not None and self._process.stdout is not None
        request = {"args": args, "folder": str(folder), "bound": bound, "out": str(self._out), "err": str(self._err)}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        return Result(code, self._out.read_text(), self._err.read_text())

    def close(self) -> None:
        """End the server."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def _serve() -> None:
    import sklearn.datasets  # noqa: F401 - imported once, for all children

    import search.commands.run
    import search.commands.show
    import search.commands.zoo  # noqa: F401

    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(request)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _become(request: dict[str, object]) -> None:
    """Never returns."""
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(str(request[name]), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.chdir(str(request["folder"]))
    if request["bound"] and os.geteuid() == 0:
        _drop_capabilities()
    program, *args = request["args"]  # type: ignore[misc]
    code = 1
    try:
        if program == "python":
            _run_script(args)
            code = 0
        else:
            sys.argv = [program, *args]
            from search.commands.cli import main

            main()
    except SystemExit as exit_:
        code = int(exit_.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _drop_capabilities() -> None:
    """Let modes of files bind this process of root's, as they bind everybody else; see capset(2)."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this process
    none = (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None).capset(header, none):
        raise OSError("capset")


def _run_script(args: list[str]) -> None:
    if args[0] == "-m":
        sys.argv = args[1:]
        sys.path.insert(0, str(Path.cwd()))
        runpy.run_module(args[1], run_name="__main__", alter_sys=True)
        return
    sys.argv = args
    sys.path.insert(0, str(Path(args[0]).resolve().parent))
    runpy.run_path(args[0], run_name="__main__")


if __name__ == "__main__":
    _serve()
