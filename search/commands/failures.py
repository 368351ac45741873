"""The command `optsearch failures`."""

from __future__ import annotations

from search.commands.options import RESULTS, CsvOption, JsonOption, LimitOption, SearchOption, StoreOption
from search.commands.output import Form, form_of, table_of, write
from search.commands.terminal import console, show_table
from search.results.results import Results, open_results
from search.store.views import FailureEntry

LIMIT = 20  # reasons in the terminal, unless another number is asked for


def command(
    store: StoreOption = RESULTS,
    search: SearchOption = None,
    limit: LimitOption = None,
    json: JsonOption = False,
    csv: CsvOption = False,
) -> None:
    """What failed and why, counted over trained programs."""
    form = form_of(json, csv)
    with open_results(store) as results:
        write_failures(results, search, limit, form)


def write_failures(results: Results, search: str | None, limit: int | None, form: Form) -> None:
    """Print what failed and why, with counts; as JSON or CSV, all of it unless there is a limit."""
    rows = results.failures(search)
    if form is not Form.TEXT:
        write(form, "failures", results.location, [table_of("failures", FailureEntry, rows[:limit])])
        return
    shown = rows[: LIMIT if limit is None else limit]
    if not shown:
        console.print("nothing has failed")
        return
    show_table(
        f"failures of {search}" if search else "failures",
        ["search", "status", "reason", "programs", "example id"],
        [[r.search, r.status, r.reason or "", str(r.programs), str(r.example_id)] for r in shown],
        left=["search", "status", "reason"],
    )
    if len(shown) < len(rows):
        programs = sum(row.programs for row in rows[len(shown) :])
        console.print(f"and {len(rows) - len(shown)} more reasons, for {programs} programs; --limit lists more")
