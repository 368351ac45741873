"""The command `optsearch check`: whether a database is whole, with a line for everything that is wrong."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing

from sqlalchemy.exc import DBAPIError
from tqdm import tqdm

from search.commands.options import RESULTS, StoreOption
from search.commands.terminal import console
from search.errors import RunError
from search.report.text import plural
from search.results.examination import Examination
from search.results.text import printable
from search.store import Store, tables, versions
from search.store.connections import is_damage, sqlite_file
from search.store.encoding import ForeignDataError
from search.store.integrity import damage_of_log, mend_of_damage
from search.store.opening import define_functions, reach, unusable

LONGEST_LINE = 500  # characters of a finding


def command(store: StoreOption = RESULTS) -> None:
    """Look for damage in a database: its pages, indexes, rows and programs. The exit code is 1 if there is any."""
    with (
        closing(Store(reach(store))) as opened,
        tqdm(total=1, leave=False, disable=None, bar_format="{percentage:3.0f}%|{bar}| {desc} {elapsed}") as line,
    ):

        def tell(what: str, done: int, total: int) -> None:
            line.total = max(total, 1)
            line.set_description_str(what, refresh=False)
            line.update(done - line.n)

        examination, number = Examination(opened, tell), 0
        for finding in findings(opened, examination):
            number += 1
            shown = " ".join(printable(f"{opened.location}: {finding}", LONGEST_LINE).split())
            tqdm.write(shown, file=sys.stdout)
    if number:
        mend = "restore a copy" if sqlite_file(opened.engine) is None else mend_of_damage(opened.location)
        raise RunError(f"{opened.location}: {number} finding{'s' * (number > 1)}; {mend}")
    console.print(_said(opened, examination), soft_wrap=True)


def findings(store: Store, examination: Examination) -> Iterator[str]:
    """Yield everything that is wrong with a database of which nothing has been read yet.

    Raises:
        InputError: it is another program's, or of another version, or cannot be reached.
    """
    lost = damage_of_log(sqlite_file(store.engine))
    if lost is not None:
        yield lost
    try:
        with store.engine.connect() as connection:
            versions.check(connection)
        define_functions(store.engine)
    except ForeignDataError as error:
        yield error.what
        return
    except (DBAPIError, sqlite3.Error, UnicodeError) as error:
        if not is_damage(getattr(error, "orig", error)):
            raise unusable(store.engine, error) from None
        yield str(getattr(error, "orig", error))
        return
    yield from examination.findings()


def _said(store: Store, examination: Examination) -> str:
    """Say what was looked at."""
    counts = examination.counts
    searches, programs, trainings = (
        counts[k.relation] for k in (tables.SearchRow, tables.ProgramRow, tables.TrainingRow)
    )
    counted = (
        plural(searches, "search", "searches"), plural(programs, "program"), plural(trainings, "training"),
        plural(sum(counts.values()) - searches - programs - trainings, "other row"),
    )  # fmt: skip
    pages = "" if sqlite_file(store.engine) is None else "pages, indexes, "
    return f"{store.location}: whole ({pages}references, rows and programs: {', '.join(counted)})"
