"""What people mean by a program: an ID in the store, a file, or a name in the zoo."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from programs import zoo
from programs.errors import InputError
from programs.program import Program, parse

from search.store import open_store

LONGEST_ID = 30  # digits; no database has more, and Python reads no number of thousands


class Resolved(NamedTuple):
    """A program, what to call it, and its row in the store if it has one."""

    name: str
    program: Program
    program_id: int | None = None


def resolve(what: str, store: str) -> Resolved:
    """Find the program.

    Raises:
        InputError: there is none, or its text does not parse or check.
    """
    if what.isdecimal() and len(what) <= LONGEST_ID:
        with closing(open_store(store)) as database:
            genome = database.program(int(what))["genome"]
        return Resolved(f"program {what}", parse(genome, f"program {what} in {store}"), int(what))
    path = Path(what)
    if _is_file(path):
        try:
            return Resolved(path.stem, parse(path.read_text(encoding="utf-8"), what))
        except UnicodeDecodeError:
            raise InputError(f"{what}: is not text; expected a program such as `optsearch zoo adamw` prints") from None
        except OSError as error:
            raise InputError(f"{what}: cannot be read ({error.strerror}); name another file") from None
    if what in zoo.names():
        return Resolved(what, zoo.load(what))
    raise InputError(f"{what}: neither an ID, nor a file, nor in the zoo ({', '.join(zoo.names())})")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # such as a name that is too long
        return False
