"""What a command says while it imports what it needs: nothing here may import anything that takes long itself."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Say on the terminal what is waited for until the context ends; elsewhere nothing, so that errors stand alone."""
    if not sys.stderr.isatty():
        yield
        return
    print(what, end="\r", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        print(" " * len(what), end="\r", file=sys.stderr, flush=True)
