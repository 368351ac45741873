"""A process that imports the libraries once: see `tests.support.forked`, which runs this file as a script.

It imports nothing of ours but the packages themselves, since folders beside this file are called as they are.
"""

from __future__ import annotations

import ctypes
import json
import os
import runpy
import sys
import traceback
from importlib import import_module
from pathlib import Path


def _serve() -> None:
    # What commands import when they need it; torch needs its compiler for the first optimizer.
    for name in ("alembic.command", "mnist1d.data", "torch._dynamo"):
        import_module(name)

    from search.commands.cli import COMMANDS, function_of

    for name in COMMANDS:
        function_of(name)
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
