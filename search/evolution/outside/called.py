"""Calls a user's function in a process of its own: `python called.py`, with the question on the standard input.

It imports nothing of optsearch, so that the process is there at once. What the function prints goes to the standard
error, since the standard output is for its answer alone.
"""

from __future__ import annotations

import importlib
import json
import os
import sys


def main() -> None:
    """Read `path`, `call` and `question` as JSON, and write what the function returns as JSON."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as output:
        os.dup2(2, 1)
        given = json.load(sys.stdin)
        sys.path[:] = given["path"]
        module, _, function = given["call"].partition(":")
        answer = getattr(importlib.import_module(module), function)(given["question"])
        json.dump(answer, output)


if __name__ == "__main__":
    main()
