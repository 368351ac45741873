"""What people mean by a program: an ID in the store, a file, or a name in the zoo."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from programs import zoo
from programs.errors import InputError
from programs.text_file import read_text
from programs.user_functions import read_program

from search.results.export import NamedProgram
from search.results.results import Results, open_results
from search.settings.baselines import BASELINES

LONGEST_ID = 30  # digits; no database has more, and Python reads no number of thousands


def is_id(what: str) -> bool:
    """Return whether this is the ID of a program rather than a file or a name."""
    return what.isdecimal() and len(what) <= LONGEST_ID


def is_kept(what: str) -> bool:
    """Return whether this is in a database: an ID, or a tuned baseline as SEARCH:BASELINE."""
    return is_id(what) or _baseline_of(what) is not None


def _baseline_of(what: str) -> tuple[str, str] | None:
    search, colon, name = what.rpartition(":")
    return (search, name) if colon and search and name in BASELINES else None


def find_program(what: str, results: Results | None) -> NamedProgram:
    """Find a program.

    Args:
        what: its ID, a file, a name, or SEARCH:BASELINE, as that was tuned.
        results: where IDs and baselines are looked up; needed for these alone.

    Raises:
        InputError: there is none, or its text does not parse or check.
    """
    if is_id(what):
        assert results is not None
        return results.named_program(int(what))
    tuned = _baseline_of(what)
    if tuned is not None:
        assert results is not None
        return results.tuned_baseline(*tuned)
    path = Path(what)
    if _is_file(path):
        text = read_text(path, "a program such as `optsearch zoo adamw` prints")
        return NamedProgram(path.stem, read_program(text, what))
    if what in zoo.all_names():
        return NamedProgram(what, zoo.load(what))
    raise InputError(
        f"{what}: neither an ID, nor a file, nor SEARCH:BASELINE, nor in the zoo ({', '.join(zoo.all_names())})"
    )


@contextmanager
def named_program(what: str, location: str) -> Iterator[tuple[NamedProgram, Results | None]]:
    """Find a program, and keep the database open if it is one of the store."""
    if not is_kept(what):
        yield find_program(what, None), None
        return
    with open_results(location) as results:
        yield find_program(what, results), results


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # such as a name that is too long
        return False
