"""The command `optsearch status`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any

from search.commands.options import RESULTS, CsvOption, JsonOption, SearchOption, StoreOption
from search.commands.output import Form, Table, form_of, write
from search.commands.terminal import console, number, show_table
from search.results.lookup import require_search, rows_of
from search.results.text import printable
from search.store import Store, open_store
from search.store.lease import is_held

POINTS = 8  # rows in the table over births

SEARCH_COLUMNS = (
    "search", "state", "driver", "silent_seconds", "programs", "trained", "answered_share", "redundant_share",
    "best_fitness", "seconds", "programs_per_second", "programs_left", "trainings_left",
)  # fmt: skip
PROGRESS_COLUMNS = (
    "search", "batch", "births", "trained", "by_hash", "by_fingerprint", "in_flight", "rejected", "redundant_share",
    "births_so_far", "trained_so_far", "by_hash_so_far", "by_fingerprint_so_far", "in_flight_so_far",
    "rejected_so_far", "best_so_far",
)  # fmt: skip
META_COLUMNS = ("search", "births", "id", "birth", "fitness", "meta_fitness")

_SEARCHES = """
    SELECT s.id, s.name, s.state, s.seconds, s.holder, s.holder_token, s.holder_machine, s.holder_pid, s.heartbeat,
           COUNT(i.id) AS births, MAX(i.fitness) AS best,
           COALESCE(SUM(CASE WHEN i.answered_by IN ('training', 'reevaluation') THEN 1 ELSE 0 END), 0) AS trained,
           COALESCE(SUM(i.live_statements), 0) AS live_statements, COALESCE(SUM(i.statements), 0) AS statements
    FROM search s LEFT JOIN program i ON i.search_id = s.id
    GROUP BY s.id ORDER BY s.id
"""


def command(
    store: StoreOption = RESULTS, search: SearchOption = None, json: JsonOption = False, csv: CsvOption = False
) -> None:
    """Every search in the store: state, progress, rate, what is left, and how its births were answered."""
    form = form_of(json, csv)
    with closing(open_store(store)) as database:
        require_search(database, search)
        write_status(database, search, form)


def write_status(store: Store, search: str | None, form: Form) -> None:
    """Print every search, who drives it, and for each how it went over its births; as CSV the searches alone."""
    now = store.clock()
    searches = [_search(store, row, now) for row in store.rows(_SEARCHES) if search in (None, row["name"])]
    if form is Form.TEXT:
        _show(store, searches)
        return
    tables = [
        Table("searches", SEARCH_COLUMNS, searches),
        Table("progress", PROGRESS_COLUMNS, rows_of(store, "v_progress", search)),
        Table("meta_validation", META_COLUMNS, rows_of(store, "v_meta_validation", search)),
    ]
    write(form, "status", store.location, tables)


def _search(store: Store, row: dict[str, Any], now: float) -> dict[str, Any]:
    """Return a search by the names of SEARCH_COLUMNS."""
    found = store.find_search(row["name"])
    budget = found[1].get("budget", {}) if found else {}
    programs, evaluations = (b if type(b := budget.get(name)) is int else None for name in ("programs", "evaluations"))
    driven = _is_driven(row, now)
    return {
        "search": row["name"],
        "state": "stopped" if row["state"] == "running" and not driven else row["state"],
        "driver": row["holder"] if driven else None,
        "silent_seconds": None if row["heartbeat"] is None else max(0.0, now - row["heartbeat"]),
        "programs": row["births"],
        "trained": row["trained"],
        "answered_share": 1 - row["trained"] / max(1, row["births"]),
        "redundant_share": 1 - row["live_statements"] / (row["statements"] or 1),
        "best_fitness": row["best"],
        "seconds": row["seconds"],
        "programs_per_second": row["births"] / row["seconds"] if row["seconds"] else 0.0,
        "programs_left": None if programs is None else max(0, programs - row["births"]),
        "trainings_left": None if evaluations is None else max(0, evaluations - row["trained"]),
    }


def _show(store: Store, searches: Sequence[dict[str, Any]]) -> None:
    columns = ["search", "state", "programs", "trained", "answered", "redundant", "best", "rate", "left"]
    title = f"searches in {store.location}"
    show_table(title, columns, [_row(search) for search in searches], left=["search", "state"])
    for search in searches:
        if search["state"] in ("running", "stopped"):
            console.print(_driven(search), overflow="fold")
    if not searches:
        console.print("no search yet; `optsearch run CONFIG` starts one")
    for search in searches:
        if search["programs"]:
            _show_progress(store, search["search"])
            _show_meta_validation(store, search["search"])


def _row(search: dict[str, Any]) -> list[str]:
    left = [str(search["programs_left"])] * (search["programs_left"] is not None)
    left += [f"{search['trainings_left']} trainings"] * (search["trainings_left"] is not None)
    return [
        search["search"], search["state"], str(search["programs"]), str(search["trained"]),
        f"{search['answered_share']:.1%}", f"{search['redundant_share']:.1%}", number(search["best_fitness"]),
        f"{search['programs_per_second']:.0f}/s", ", ".join(left) or "-",
    ]  # fmt: skip


def _is_driven(row: dict[str, Any], now: float) -> bool:
    silent = now - (row["heartbeat"] or 0.0)
    return is_held(row["holder_token"], row["holder_machine"], row["holder_pid"], silent)


def _driven(search: dict[str, Any]) -> str:
    """Say which process drives a search that has not ended, or since when none does."""
    name = printable(search["search"])
    if search["state"] == "running":
        return f"{name} is driven by {printable(search['driver'] or 'an unknown process')}"
    silent = search["silent_seconds"]
    since = "" if silent is None else f", last heartbeat {_ago(silent)} ago"
    return f"{name} was stopped without having ended{since}; `optsearch run` with its settings goes on"


def _ago(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _show_progress(store: Store, search: str) -> None:
    """Print the shares of births by what answered them, over stretches of the search."""
    batches = rows_of(store, "v_progress", search)
    rows = []
    for point in range(POINTS):
        stretch = batches[point * len(batches) // POINTS : (point + 1) * len(batches) // POINTS]
        if stretch:
            rows.append(_stretch_row(stretch))
    columns = ["births to", "trained", "by hash", "by fingerprint", "in flight", "rejected", "redundant", "best so far"]
    show_table(f"{search}: how births were answered, in shares of each stretch", columns, rows)


def _show_meta_validation(store: Store, search: str) -> None:
    """Print the latest of the new bests that were evaluated on the meta-validation tasks."""
    query = """SELECT MIN(births) AS births, id, birth, MAX(fitness) AS fitness, MAX(meta_fitness) AS meta_fitness
               FROM v_meta_validation WHERE search = :search GROUP BY id, birth ORDER BY MIN(births)"""
    rows = store.rows(query, search=search)
    if rows:
        best = max((row["meta_fitness"] for row in rows if row["meta_fitness"] is not None), default=None)
        show_table(
            f"{search}: new bests on the meta-validation tasks",
            ["after births", "id", "fitness", "meta-validation", ""],
            [
                [str(r["births"]), str(r["id"]), number(r["fitness"]), number(r["meta_fitness"]),
                 "best" if r["meta_fitness"] is not None and r["meta_fitness"] == best else ""]
                for r in rows[-POINTS:]
            ],
        )  # fmt: skip


def _stretch_row(stretch: list[dict[str, Any]]) -> list[str]:
    births = sum(batch["births"] for batch in stretch)
    shares = [
        f"{sum(batch[level] for batch in stretch) / births:.1%}"
        for level in ("trained", "by_hash", "by_fingerprint", "in_flight", "rejected")
    ]
    redundant = sum(batch["redundant_share"] * batch["births"] for batch in stretch) / births
    return [str(stretch[-1]["births_so_far"]), *shares, f"{redundant:.1%}", number(stretch[-1]["best_so_far"])]
