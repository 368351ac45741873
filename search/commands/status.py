"""The command `optsearch status`."""

from __future__ import annotations

from collections.abc import Sequence

from search.commands.options import RESULTS, CsvOption, JsonOption, SearchOption, StoreOption
from search.commands.output import Form, form_of, table_of, write
from search.commands.terminal import console, estimate, number, show_table
from search.results.queries import AskedOutside
from search.results.results import Results, SearchDriver, open_results
from search.results.text import pace, printable, verdict_line
from search.results.trained_tasks import remarks_on_fitness
from search.store.evidence_views import MetaValidationEntry, VerdictEntry
from search.store.keys import SearchState
from search.store.rows import Row, columns_of
from search.store.views import LeaderboardEntry, ProgressEntry, SearchEntry

POINTS = 8  # rows in the table over births


@columns_of
class SearchStatus(Row):
    """Where a search stands."""

    search: str
    state: str
    driver: str | None
    silent_seconds: float | None
    programs: int
    trained: int
    raced: int
    replica_steps: int
    answered_share: float
    redundant_share: float
    best_id: int | None
    best_fitness: float | None
    best_standard_error: float | None
    best_trainings: int | None
    seconds: float
    programs_per_second: float
    programs_left: int | None
    evaluations_left: int | None
    replica_steps_left: int | None


def command(
    store: StoreOption = RESULTS, search: SearchOption = None, json: JsonOption = False, csv: CsvOption = False
) -> None:
    """Every search in the store: state, progress, rate, what is left, and how its births were answered."""
    form = form_of(json, csv)
    with open_results(store) as results:
        write_status(results, search, form)


def write_status(results: Results, search: str | None, form: Form) -> None:
    """Print every search, who drives it, and for each how it went over its births; as CSV the searches alone.

    Raises:
        InputError: there is no such search.
    """
    results.require(search)
    drivers = results.drivers()
    searches = [
        _status(row, drivers[row.search], results.best(row.search))
        for row in results.searches() if search in (None, row.search)
    ]  # fmt: skip
    if form is Form.TEXT:
        _show(results, searches)
        return
    tables = [
        table_of("searches", SearchStatus, searches),
        table_of("verdicts", VerdictEntry, results.verdicts(search)),
        table_of("progress", ProgressEntry, results.progress(search)),
        table_of("outside", AskedOutside, _asked(results, search)),
        table_of("meta_validation", MetaValidationEntry, results.meta_validation(search)),
    ]
    write(form, "status", results.location, tables)


def _status(row: SearchEntry, driver: SearchDriver, best: LeaderboardEntry | None) -> SearchStatus:
    budget = row.settings.get("budget", {})

    def left(limit: str, spent: int) -> int | None:
        most = budget.get(limit)
        return max(0, most - spent) if type(most) is int else None

    return SearchStatus(
        search=row.search,
        state="stopped" if row.state == SearchState.RUNNING and not driver.is_driven else row.state,
        driver=driver.holder,
        silent_seconds=None if driver.silent is None else max(0.0, driver.silent),
        programs=row.births,
        trained=row.trained,
        raced=row.raced,
        replica_steps=row.replica_steps,
        answered_share=1 - row.trained / max(1, row.births),
        redundant_share=row.redundant_share,
        best_id=None if best is None else best.id,
        best_fitness=None if best is None else best.fitness,
        best_standard_error=None if best is None else best.standard_error,
        best_trainings=None if best is None else best.trainings,
        seconds=row.seconds,
        programs_per_second=row.births / row.seconds if row.seconds else 0.0,
        programs_left=left("programs", row.births),
        evaluations_left=left("evaluations", row.trained),
        replica_steps_left=left("replica_steps", row.replica_steps),
    )


def _show(results: Results, searches: Sequence[SearchStatus]) -> None:
    columns = ["search", "state", "programs", "trained", "best", "+-", "rate", "left"]
    title = f"searches in {results.location}"
    show_table(title, columns, [_row(search) for search in searches], left=["search", "state", "left"])
    for search in searches:
        if search.state in (SearchState.RUNNING, "stopped"):
            console.print(_driven(search), overflow="fold")
    if not searches:
        console.print("no search yet; `optsearch run CONFIG` starts one")
    for search in searches:
        for asked in _asked(results, search.search):
            console.print(_from_outside(asked), overflow="fold")
    verdicts = {verdict.search: verdict for verdict in results.verdicts()}
    for search in searches:
        if search.programs:
            console.print(_best(search), overflow="fold")
            for remark in remarks_on_fitness([results.search(search.search)]):
                console.print(remark, overflow="fold")
            if search.search in verdicts:
                console.print(verdict_line(verdicts[search.search], search.programs), overflow="fold")
            _show_progress(results, search.search)
            _show_meta_validation(results, search.search)


def _row(search: SearchStatus) -> list[str]:
    left = {
        "": search.programs_left,
        " evaluations": search.evaluations_left,
        " replica steps": search.replica_steps_left,
    }
    return [
        search.search, search.state, str(search.programs), str(search.trained), number(search.best_fitness),
        number(search.best_standard_error), pace(search.programs_per_second),
        ", ".join(f"{number_of}{what}" for what, number_of in left.items() if number_of is not None) or "-",
    ]  # fmt: skip


def _best(search: SearchStatus) -> str:
    name = printable(search.search)
    if search.best_id is None:
        return f"{name}: no program has trained well"
    found = estimate(search.best_fitness, search.best_standard_error, search.best_trainings or 0)
    return f"{name}: best is program {search.best_id}, {found}"


def _driven(search: SearchStatus) -> str:
    """Say who drives a search that has not ended; if no run does, since when."""
    name = printable(search.search)
    if search.state == SearchState.RUNNING:
        return f"{name} is driven by {printable(search.driver or 'an unknown run')}"
    silent = search.silent_seconds
    since = "" if silent is None else f", last heartbeat {_ago(silent)} ago"
    return f"{name} was stopped without having ended{since}; `optsearch run` with its settings goes on"


def _asked(results: Results, search: str | None) -> list[AskedOutside]:
    return [row for row in results.asked_outside() if search in (None, row.search)]


def _from_outside(row: AskedOutside) -> str:
    """Say what came of asking for programs from outside."""
    unusable = f", {row.unusable} answers without any" if row.unusable else ""
    texts = f"{row.texts} texts, {row.refused} refused{unusable}"
    born = f"{row.born} were born, the best with fitness {number(row.best)}"
    return f"{printable(row.search)} has asked outside {row.asked} times: {texts}; {born}"


def _ago(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _show_progress(results: Results, search: str) -> None:
    """Print the shares of births by what answered them, over stretches of the search."""
    batches = results.progress(search)
    races = any(batch.raced for batch in batches)
    rows = []
    for point in range(POINTS):
        stretch = batches[point * len(batches) // POINTS : (point + 1) * len(batches) // POINTS]
        if stretch:
            rows.append(_stretch_row(stretch, races))
    columns = ["births to", "trained", *["raced"] * races, "by hash", "by fingerprint", "in flight", "rejected",
               "redundant", "best bound"]  # fmt: skip
    show_table(f"{search}: how births were answered, in shares of each stretch", columns, rows)


def _show_meta_validation(results: Results, search: str) -> None:
    """Print the last new bests that were tried on tasks which the search never sees."""
    first: dict[int, MetaValidationEntry] = {}  # of each best, when it was new; later points repeat it
    for row in results.meta_validation(search):
        first.setdefault(row.id, row)
    if not first:
        return
    best = max((row.meta_fitness for row in first.values() if row.meta_fitness is not None), default=None)
    show_table(
        f"{search}: new bests on the meta-validation tasks",
        ["after births", "id", "fitness", "meta-validation", ""],
        [
            [str(row.births), str(row.id), number(row.fitness), number(row.meta_fitness),
             "best" if row.meta_fitness is not None and row.meta_fitness == best else ""]
            for row in list(first.values())[-POINTS:]
        ],
    )  # fmt: skip


def _stretch_row(stretch: Sequence[ProgressEntry], races: bool) -> list[str]:
    births, raced = sum(batch.births for batch in stretch), sum(batch.raced for batch in stretch)
    answered = [
        sum(batch.trained for batch in stretch) - raced, *[raced] * races, sum(batch.by_hash for batch in stretch),
        sum(batch.by_fingerprint for batch in stretch), sum(batch.in_flight for batch in stretch),
        sum(batch.rejected for batch in stretch),
    ]  # fmt: skip
    redundant = sum(batch.redundant_share * batch.births for batch in stretch) / births
    shares = [f"{number_of / births:.1%}" for number_of in answered]
    return [str(stretch[-1].births_so_far), *shares, f"{redundant:.1%}", number(stretch[-1].best_so_far)]
