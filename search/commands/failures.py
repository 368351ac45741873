"""The command `optsearch failures`."""

from __future__ import annotations

from contextlib import closing

from search.commands.options import RESULTS, CsvOption, JsonOption, LimitOption, SearchOption, StoreOption
from search.commands.output import Form, Table, form_of, write
from search.commands.terminal import console, show_table
from search.results.lookup import require_search, rows_of
from search.store import Store, open_store

LIMIT = 20  # reasons in the terminal, unless another number is asked for
COLUMNS = ("search", "status", "reason", "programs", "example_id")


def command(
    store: StoreOption = RESULTS,
    search: SearchOption = None,
    limit: LimitOption = None,
    json: JsonOption = False,
    csv: CsvOption = False,
) -> None:
    """What failed and why, counted over trained programs."""
    form = form_of(json, csv)
    with closing(open_store(store)) as database:
        require_search(database, search)
        write_failures(database, search, limit, form)


def write_failures(store: Store, search: str | None, limit: int | None, form: Form) -> None:
    """Print what failed and why, with counts; as JSON or CSV, all of it unless there is a limit."""
    rows = rows_of(store, "v_failures", search)
    if form is not Form.TEXT:
        write(form, "failures", store.location, [Table("failures", COLUMNS, rows[:limit])])
        return
    shown = rows[: LIMIT if limit is None else limit]
    if not shown:
        console.print("nothing has failed")
        return
    show_table(
        f"failures of {search}" if search else "failures",
        ["search", "status", "reason", "programs", "example id"],
        [[r["search"], r["status"], r["reason"] or "", str(r["programs"]), str(r["example_id"])] for r in shown],
        left=["search", "status", "reason"],
    )
    if len(shown) < len(rows):
        programs = sum(row["programs"] for row in rows[len(shown) :])
        console.print(f"and {len(rows) - len(shown)} more reasons, for {programs} programs; --limit lists more")
