"""The command `optsearch leaderboard`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from programs.errors import InputError

from proxy_tasks.outcome import Status

from search.commands.options import RESULTS, CsvOption, JsonOption, LimitOption, SearchOption, StoreOption, numeric
from search.commands.output import Form, Table, columns_of, form_of, write
from search.commands.terminal import console, make_table, number
from search.commands.watch import seconds_of, watch
from search.results.results import Results, open_results
from search.results.text import in_states, printable, states, verdict_line
from search.results.trained_tasks import remarks_on_fitness
from search.settings import limits
from search.store.views import LeaderboardEntry, ProgramEntry

LIMIT = 20  # programs in the terminal, unless another number is asked for


class Wanted(NamedTuple):
    """Which programs are listed, None for any.

    `search` and `task`: of this search, of searches that train on this task. `status`: how their trainings ended.
    `states` and `statements`: state slots and live statements at most. `pareto`: whether only those that no other beats
    in lower bound, live statements and state slots together; None for what the objectives of the search say.
    """

    search: str | None = None
    task: str | None = None
    status: str = Status.OK
    states: float | None = None
    statements: int | None = None
    pareto: bool | None = None

    @property
    def title(self) -> str:
        """The words over the list."""
        listed = "Pareto front" if self.pareto else "leaderboard"
        parts = [listed if self.status == Status.OK else f"{self.status} programs, latest first"]
        parts += [f"of {self.search}"] * (self.search is not None) + [f"on {self.task}"] * (self.task is not None)
        most = [] if self.states is None else [in_states(self.states, "state slot")]
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
    states: Annotated[
        float | None, typer.Option(**numeric(limits.SIZE, float), help="State slots at most: 0, 1, 2, or such as 1.01.")
    ] = None,
    statements: Annotated[int | None, typer.Option(**numeric(limits.SIZE), help="Live statements at most.")] = None,
    pareto: Annotated[
        bool | None,
        typer.Option(
            "--pareto/--no-pareto",
            help="Only those that none beats in fitness less its error, live statements, states. If not given: for a"
            " search that has sizes among its objectives.",
        ),
    ] = None,
    limit: LimitOption = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again every 2 s, or every SECONDS, until Ctrl-C.")
    ] = False,
    json: JsonOption = False,
    csv: CsvOption = False,
) -> None:
    """The best distinct programs by fitness less its standard error, with their margins over the tuned baselines."""
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
    with open_results(store) as results:
        write_leaderboard(results, wanted, limit, form)


def check_wanted(wanted: Wanted) -> None:
    """Refuse options that contradict each other.

    Raises:
        InputError: an unknown status, or a Pareto front of programs without fitness.
    """
    if wanted.status not in set(Status):
        raise InputError(f"--status {wanted.status}: no such status; there are: {', '.join(sorted(Status))}")
    if wanted.pareto and wanted.status != Status.OK:
        raise InputError(f"--pareto --status {wanted.status}: only programs that are ok have a fitness; leave one out")


def find_programs(results: Results, wanted: Wanted, limit: int | None) -> list[LeaderboardEntry] | list[ProgramEntry]:
    """Return programs that trained well, best first, or those of another status, latest first.

    Raises:
        InputError: there is no such search, or none that trains on the task.
    """
    search, task, status, states, statements, pareto = wanted
    if status == Status.OK:
        return results.leaderboard(search, limit, task=task, states=states, statements=statements, pareto=pareto)
    return results.failed(status, search, limit, task=task, states=states, statements=statements)


def write_leaderboard(results: Results, wanted: Wanted, limit: int | None, form: Form) -> None:
    """Print the programs; as JSON or CSV, all of them unless there is a limit.

    Raises:
        InputError: there is no such search, or none that trains on the task.
    """
    if form is Form.TEXT:
        console.print(leaderboard(results, wanted, LIMIT if limit is None else limit))
        return
    lacking = {"lower_bound": None, "over_adamw": None, "over_best_baseline": None}  # programs without fitness
    rows = [lacking | row.as_columns() for row in find_programs(results, wanted, limit)]
    write(form, "leaderboard", results.location, [Table("leaderboard", columns_of(LeaderboardEntry), rows)])


def leaderboard(results: Results, wanted: Wanted, limit: int) -> RenderableType:
    """Return the programs as a table with its title, and whether there are more."""
    is_any = wanted == Wanted(wanted.search)
    wanted = _of_objectives(results, wanted)
    rows = find_programs(results, wanted, limit + 1)
    if not rows:
        nothing = "no program has trained well" if is_any else "no such program"
        return Group(_title(wanted), f"{nothing}; `optsearch failures` says what became of those that were born")
    more = ["there are more; --limit says how many are listed"] if len(rows) > limit else []
    is_one = wanted.search is not None or len(results.names()) == 1
    return Group(
        _title(wanted), *_remarks(results, wanted), *_verdicts(results, wanted), _table(rows[:limit], is_one), *more
    )


def _remarks(results: Results, wanted: Wanted) -> list[Text]:
    """Return what the fitness is where it is not minus a loss."""
    searches = (row for row in results.searches() if wanted.search in (None, row.search))
    return [Text(remark, overflow="fold") for remark in remarks_on_fitness(searches)]


def _verdicts(results: Results, wanted: Wanted) -> list[Text]:
    """Return the verdict on the search whose programs are listed, if there is one and it has been judged."""
    names = results.names() if wanted.search is None else [wanted.search]
    if len(names) != 1 or wanted.status != Status.OK:
        return []
    births = results.births(names[0])
    return [Text(verdict_line(verdict, births), overflow="fold") for verdict in results.verdicts(names[0])]


def watch_leaderboard(location: str, wanted: Wanted, limit: int | None, seconds: str | None) -> None:
    """Show the programs of a database that a run may be writing, refreshed in place, until Ctrl-C.

    Raises:
        InputError: there is no terminal, or the search does not exist; a database that is missing is waited for.
    """
    most = LIMIT if limit is None else limit
    watch(location, lambda results: leaderboard(results, wanted, most), seconds_of(seconds))


def show_best(results: Results, search: str, limit: int) -> list[LeaderboardEntry]:
    """Print the best programs of a search, and return them."""
    rows = results.leaderboard(search, limit)
    wanted = _of_objectives(results, Wanted(search))
    console.print(_title(wanted), *_remarks(results, wanted), _table(rows, of_one_search=True), "", sep="\n")
    return rows


def _of_objectives(results: Results, wanted: Wanted) -> Wanted:
    """Return what is wanted with the Pareto front, or without it, as the objectives of the search say."""
    if wanted.pareto is not None or wanted.status != Status.OK:
        return wanted
    return wanted._replace(pareto=results.wants_small(wanted.search))


def _title(wanted: Wanted) -> Text:
    return Text(printable(wanted.title), style="bold", overflow="fold")


def _table(rows: Sequence[LeaderboardEntry] | Sequence[ProgramEntry], of_one_search: bool) -> RenderableType:
    """Return programs as a table; the names of their searches are left out where all are of one."""
    about = ["reason"]
    if any(isinstance(row, LeaderboardEntry) for row in rows):
        about = ["fitness", "+-", "trainings", "over AdamW", "over best"]
    whose = [] if of_one_search else ["search"]
    cells = [
        [
            str(row.id), *[row.search] * len(whose), *_about(row), str(row.live_statements), states(row.state_slots),
            str(row.birth),
        ]
        for row in rows
    ]  # fmt: skip
    return make_table(["id", *whose, *about, "live", "states", "birth"], cells, left=["search", "reason"])


def _about(row: LeaderboardEntry | ProgramEntry) -> list[str]:
    if not isinstance(row, LeaderboardEntry):
        return [row.reason or ""]
    margins = [number(row.over_adamw, sign=True), number(row.over_best_baseline, sign=True)]
    return [number(row.fitness), number(row.standard_error), str(row.trainings), *margins]
