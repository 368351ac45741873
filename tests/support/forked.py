"""Runs `optsearch` and scripts many times without the seconds that importing torch takes each time.

A server process imports the libraries once. For every line on its standard input, a JSON object with `args`, `folder`,
`bound`, `out` and `err`, it forks a child that goes to the folder, becomes what `args` say (`optsearch ...` or
`python ...`) and writes its output to the files; the exit code is the answer. If `bound`, the child may do what the
modes of files allow, even if it is root's.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from tests.support.patience import Command, Result


class ForkServer:
    """The client's side.

    Args:
        scratch: a folder for what is printed.
        project: a copy of the project whose code is to run instead of ours.
    """

    def __init__(self, scratch: Path, project: Path | None = None) -> None:
        self._out, self._err = scratch / "out", scratch / "err"
        script = Path(__file__).with_name("fork_server.py")
        environment = os.environ | ({} if project is None else {"PYTHONPATH": str(project)})
        self._server = Command(sys.executable, "-P", script, environment=environment, listens=True)

    def optsearch(self, folder: Path, *args: str, bound: bool = False) -> Result:
        """Run the command in the folder; `bound` by the modes of files, if need be."""
        return self._run(folder, bound, "optsearch", *args)

    def python(self, folder: Path, *args: str, bound: bool = False) -> Result:
        """Run a script, with its arguments, in the folder; see `optsearch`."""
        return self._run(folder, bound, "python", *args)

    def _run(self, folder: Path, bound: bool, *args: str) -> Result:
        request = {"args": args, "folder": str(folder), "bound": bound, "out": str(self._out), "err": str(self._err)}
        self._server.say(json.dumps(request))
        return Result(int(self._server.answer()), self._out.read_text(), self._err.read_text())

    def close(self) -> None:
        """End the server and whatever it still runs."""
        self._server.end()
