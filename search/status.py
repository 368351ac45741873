"""Where searches stand, and how their births were answered as they went."""

from __future__ import annotations

from typing import Any

from search.display import console, number, printable, show_table
from search.store import Store
from search.store.lease import is_held

POINTS = 8  # rows in the table over births

_SEARCHES = """
    SELECT s.id, s.name, s.state, s.seconds, s.holder, s.holder_token, s.holder_machine, s.holder_pid, s.heartbeat,
           COUNT(i.id) AS births, MAX(i.fitness) AS best,
           COALESCE(SUM(CASE WHEN i.answered_by IN ('training', 'reevaluation') THEN 1 ELSE 0 END), 0) AS trained,
           COALESCE(SUM(i.live_statements), 0) AS live_statements, COALESCE(SUM(i.statements), 0) AS statements
    FROM search s LEFT JOIN individual i ON i.search_id = s.id
    GROUP BY s.id ORDER BY s.id
"""


def show_status(store: Store, search: str | None) -> None:
    """Print every search, who drives it, and for each how it went over its births."""
    rows = [row for row in store.rows(_SEARCHES) if search in (None, row["name"])]
    now = store.clock()
    columns = ["search", "state", "programs", "trained", "answered", "redundant", "best", "rate", "left"]
    table = [_search_row(store, row, now) for row in rows]
    show_table(f"searches in {store.location}", columns, table, left=["search", "state"])
    for row in rows:
        if row["state"] == "running":
            console.print(_driven(row, now))
    if not rows:
        console.print("no search yet; `optsearch run CONFIG` starts one")
    for row in rows:
        if row["births"]:
            _show_progress(store, row["name"])
            _show_meta_validation(store, row["name"])


def _search_row(store: Store, row: dict[str, Any], now: float) -> list[str]:
    found = store.find_search(row["name"])
    budget = found[1].get("budget", {}).get("programs") if found else None
    left = str(max(0, budget - row["births"])) if type(budget) is int else "-"
    rate = row["births"] / row["seconds"] if row["seconds"] else 0.0
    answered = 1 - row["trained"] / max(1, row["births"])
    redundant = 1 - row["live_statements"] / (row["statements"] or 1)
    state = "stopped" if row["state"] == "running" and not _is_driven(row, now) else row["state"]
    return [
        row["name"], state, str(row["births"]), str(row["trained"]), f"{answered:.1%}", f"{redundant:.1%}",
        number(row["best"]), f"{rate:.0f}/s", left,
    ]  # fmt: skip


def _is_driven(row: dict[str, Any], now: float) -> bool:
    silent = now - (row["heartbeat"] or 0.0)
    return is_held(row["holder_token"], row["holder_machine"], row["holder_pid"], silent)


def _driven(row: dict[str, Any], now: float) -> str:
    """Who drives a search that has not ended; without anybody, since when."""
    name = printable(row["name"])
    if _is_driven(row, now):
        return f"{name} is driven by {printable(row['holder'] or 'somebody')}"
    since = ""
    if row["heartbeat"] is not None:
        since = f", last heartbeat {_ago(max(0.0, now - row['heartbeat']))} ago"
    return f"{name} was stopped without having ended{since}; `optsearch run` with its settings goes on"


def _ago(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _show_progress(store: Store, search: str) -> None:
    """Shares of births by what answered them, over stretches of the search."""
    batches = store.rows("SELECT * FROM v_progress WHERE search = :search", search=search)
    rows = []
    for point in range(POINTS):
        stretch = batches[point * len(batches) // POINTS : (point + 1) * len(batches) // POINTS]
        if stretch:
            rows.append(_stretch_row(stretch))
    columns = ["births to", "trained", "by hash", "by fingerprint", "in flight", "rejected", "redundant", "best so far"]
    show_table(f"{search}: how births were answered, in shares of each stretch", columns, rows)


def _show_meta_validation(store: Store, search: str) -> None:
    """The latest of those bests that were tried on tasks which the search never sees."""
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
