"""The command `optsearch leaderboard`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Annotated, Any, NamedTuple

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from programs.errors import InputError

from search.commands.options import RESULTS, CsvOption, JsonOption, LimitOption, SearchOption, StoreOption
from search.commands.output import Form, Table, form_of, write
from search.commands.terminal import console, make_table, number
from search.commands.watch import seconds_of, watch
from search.results.lookup import require_search, searches_on
from search.results.pareto import pareto_front
from search.results.text import printable
from search.store import Store, open_store
from search.store.validation import STATUSES

LIMIT = 20  # programs in the terminal, unless another number is asked for

COLUMNS = (
    "search", "id", "birth", "key", "status", "reason", "fitness", "over_adamw", "over_best_baseline", "rounds",
    "variance", "statements", "live_statements", "state_slots", "mutation", "parent_birth", "genome",
)  # fmt: skip

_WELL = "SELECT l.*, 'ok' AS status, NULL AS reason FROM v_leaderboard l"
# Those that were trained or rejected, as in v_failures; births answered by what is known of them are not listed again.
_FAILED = """
    SELECT * FROM (
        SELECT s.name AS search, i.id, i.birth, i.key, i.status, i.reason, i.fitness, NULL AS over_adamw,
               NULL AS over_best_baseline, i.rounds, i.variance, i.statements, i.live_statements, i.state_slots,
               i.mutation, i.parent_birth, i.genome
        FROM program i JOIN search s ON s.id = i.search_id
        WHERE i.status = :status AND i.answered_by IN ('training', 'reevaluation', 'rejection')
        ORDER BY i.id DESC
    ) AS l
"""


class Wanted(NamedTuple):
    """Which programs are listed, None for any.

    `search` and `task`: of this search, of searches that train on this task. `status`: how their trainings ended.
    `states` and `statements`: with at most this many state slots and live statements. `pareto`: only those that no
    other beats in fitness, live statements and state slots together.
    """

    search: str | None = None
    task: str | None = None
    status: str = "ok"
    states: int | None = None
    statements: int | None = None
    pareto: bool = False

    @property
    def title(self) -> str:
        """The title of the list."""
        listed = "Pareto front" if self.pareto else "leaderboard"
        parts = [listed if self.status == "ok" else f"{self.status} programs, latest first"]
        parts += [f"of {self.search}"] * (self.search is not None) + [f"on {self.task}"] * (self.task is not None)
        most = [f"{self.states} state slot{'s' * (self.states != 1)}"] * (self.states is not None)
        most += [f"{self.statements} live statement{'s' * (self.statements != 1)}"] * (self.statements is not None)
        parts += [f"with at most {' and '.join(most)}"] * bool(most)
        return " ".join(parts)


def command(
    seconds: Annotated[str | None, typer.Argument(metavar="SECONDS", help="With --watch: between two looks.")] = None,
    store: StoreOption = RESULTS,
    search: SearchOption = None,
    task: Annotated[str | None, typer.Option(help="Only programs of searches that train on this task.")] = None,
    status: Annotated[
        str, typer.Option(help="Programs whose training ended so, such as diverged: the latest first.")
    ] = "ok",
    states: Annotated[int | None, typer.Option(min=0, help="State slots at most: 0, 1 or 2.")] = None,
    statements: Annotated[int | None, typer.Option(min=0, help="Live statements at most.")] = None,
    pareto: Annotated[
        bool, typer.Option("--pareto", help="Only programs that none beats in fitness, live statements and states.")
    ] = False,
    limit: LimitOption = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again every 2 s, or every SECONDS, until Ctrl-C.")
    ] = False,
    json: JsonOption = False,
    csv: CsvOption = False,
) -> None:
    """The best distinct programs, with their margins over the tuned baselines."""
    form = form_of(json, csv)
    wanted = Wanted(search, task, status, states, statements, pareto)
    check_wanted(wanted)
    if watch:
        if form is not Form.TEXT:
            raise InputError("--watch: refreshes a table for people; leave it out, or --json and --csv")
        watch_leaderboard(store, wanted, limit, seconds)
        return
    if seconds is not None:
        raise InputError(f"leaderboard: unexpected '{seconds}'; a search is named with --search NAME")
    with closing(open_store(store)) as database:
        write_leaderboard(database, wanted, limit, form)


def check_wanted(wanted: Wanted) -> None:
    """Refuse options that contradict each other.

    Raises:
        InputError: an unknown status, or a Pareto front of programs without fitness.
    """
    if wanted.status not in STATUSES:
        raise InputError(f"--status {wanted.status}: no such status; there are: {', '.join(sorted(STATUSES))}")
    if wanted.pareto and wanted.status != "ok":
        raise InputError(f"--pareto --status {wanted.status}: only programs that are ok have a fitness; leave one out")


def find_programs(store: Store, wanted: Wanted, limit: int | None) -> list[dict[str, Any]]:
    """Return programs that trained well, best first, or those of another status, latest first; rows with `COLUMNS`.

    Raises:
        InputError: there is no such search, or none that trains on the task.
    """
    require_search(store, wanted.search)
    conditions = {
        "l.search = :search": wanted.search,
        "l.state_slots <= :states": wanted.states,
        "l.live_statements <= :statements": wanted.statements,
    }
    parts = [condition for condition, value in conditions.items() if value is not None]
    if wanted.task is not None:
        ids = ", ".join(map(str, searches_on(store, wanted.task, wanted.search)))
        parts.append(f"l.search IN (SELECT name FROM search WHERE id IN ({ids}))")  # noqa: S608 - numbers
    query = (_WELL if wanted.status == "ok" else _FAILED) + (f" WHERE {' AND '.join(parts)}" if parts else "")
    if limit is not None and not wanted.pareto:
        query += " LIMIT :limit"
    rows = store.rows(query, limit=limit, **{k: v for k, v in wanted._asdict().items() if k not in ("task", "pareto")})
    return pareto_front(rows)[:limit] if wanted.pareto else rows


def write_leaderboard(store: Store, wanted: Wanted, limit: int | None, form: Form) -> None:
    """Print the programs; as JSON or CSV, all of them unless there is a limit.

    Raises:
        InputError: there is no such search, or none that trains on the task.
    """
    if form is Form.TEXT:
        console.print(leaderboard(store, wanted, LIMIT if limit is None else limit))
        return
    table = Table("leaderboard", COLUMNS, find_programs(store, wanted, limit))
    write(form, "leaderboard", store.location, [table])


def leaderboard(store: Store, wanted: Wanted, limit: int) -> RenderableType:
    """Return the programs as a table with its title, and a note if there are more."""
    rows = find_programs(store, wanted, limit + 1)
    if not rows:
        nothing = "no such program" if wanted != Wanted(wanted.search) else "no program has trained well"
        return Group(_title(wanted), f"{nothing}; `optsearch failures` says what became of those that were born")
    table = _well(rows[:limit]) if wanted.status == "ok" else _failed(rows[:limit])
    return Group(
        _title(wanted), table, *(["there are more; --limit says how many are listed"] if len(rows) > limit else [])
    )


def watch_leaderboard(location: str, wanted: Wanted, limit: int | None, seconds: str | None) -> None:
    """Show the programs of a database that a run may be writing, refreshed in place, until Ctrl-C.

    Raises:
        InputError: there is no terminal, or the search does not exist; a database that is missing is waited for.
    """
    most = LIMIT if limit is None else limit
    watch(location, lambda store: leaderboard(store, wanted, most), seconds_of(seconds))


def show_best(store: Store, search: str, limit: int) -> list[dict[str, Any]]:
    """Print the best programs of a search, and return their rows."""
    rows = find_programs(store, Wanted(search), limit)
    console.print(_title(Wanted(search)), _well(rows), "", sep="\n")
    return rows


def _title(wanted: Wanted) -> Text:
    return Text(printable(wanted.title), style="bold", overflow="fold")


def _well(rows: Sequence[dict[str, Any]]) -> RenderableType:
    return make_table(
        ["id", "search", "fitness", "over AdamW", "over best", "statements", "live", "states", "birth"],
        [
            [
                str(r["id"]), r["search"], number(r["fitness"]), number(r["over_adamw"], sign=True),
                number(r["over_best_baseline"], sign=True), str(r["statements"]), str(r["live_statements"]),
                str(r["state_slots"]), str(r["birth"]),
            ]
            for r in rows
        ],
        left=["search"],
    )  # fmt: skip


def _failed(rows: Sequence[dict[str, Any]]) -> RenderableType:
    return make_table(
        ["id", "search", "reason", "statements", "live", "states", "birth"],
        [
            [str(r["id"]), r["search"], r["reason"] or "", str(r["statements"]), str(r["live_statements"]),
             str(r["state_slots"]), str(r["birth"])]
            for r in rows
        ],
        left=["search", "reason"],
    )  # fmt: skip
