"""Everything about one program."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.text import Text

from programs.liveness import live_statements
from programs.program import parse

from search.display import console, describe, number, printable, show_program, show_table
from search.store import Store

GENERATIONS = 8  # shown of the line of descent


def show_individual(store: Store, individual_id: int) -> None:
    """Print source, score beside the baselines, loss curve and line of descent."""
    row = store.individual(individual_id)
    program = parse(row["genome"], f"program {individual_id} in {store.location}")
    title = f" of search {printable(row['search'])}: {describe(program)}"
    console.print(Text.assemble((f"program {individual_id}", "bold"), title))
    show_program(program)
    if len(live_statements(program)) < len(program):
        console.print("without its dead statements:")
        show_program(program, dead_too=False)
    outcome = f"fitness {number(row['fitness'])}"
    if row["fitness"] is None:
        outcome = f"{row['status']}: {printable(row['reason'] or 'no reason noted')}"
    console.print(f"{outcome}; key {printable(row['key'])}, score from {row['answered_by'].replace('_', ' ')}")
    origin = "the start program"
    if row["parent_birth"] is not None:
        origin = f"{printable(row['mutation'])} of birth {row['parent_birth']}"
    console.print(f"birth {row['birth']}, {origin}")
    rivals = [(f"program {individual_id}", row["key"], row["fitness"])]
    rivals += [(f"tuned {b.name}", b.key, b.fitness) for b in store.baselines(row["search_id"]).values()]
    _show_curves(store, rivals)
    _show_lineage(store, row["search"], row["birth"])


def _show_curves(store: Store, rivals: list[tuple[str, str, float | None]]) -> None:
    rows = []
    for name, key, fitness in rivals:
        for evaluation in store.rows(
            "SELECT * FROM evaluation WHERE key = :key AND seed = 0 ORDER BY id LIMIT 1", key=key
        ):
            curve = store.curve(evaluation["id"])
            quarters = [number(curve[i]) if i < len(curve) else "-" for i in (0, 4, 9, 14, 19)]
            rows.append([name, *quarters, number(fitness)])
    columns = ["", "at 5 %", "25 %", "50 %", "75 %", "100 %", "fitness"]
    show_table("mean training loss during training, and fitness", columns, rows, left=[""])


def _show_lineage(store: Store, search: str, birth: int) -> None:
    """The last steps of the line of descent, latest first."""
    table = [
        [str(r["id"]), str(r["birth"]), r["mutation"], number(r["fitness"]), number(r["gain"], sign=True)]
        for r in _line(store, search, birth)
    ]
    show_table(
        "lineage, latest first", ["id", "birth", "mutation", "fitness", "gain on parent"], table, left=["mutation"]
    )


def _line(store: Store, search: str, birth: int | None) -> Iterator[dict[str, Any]]:
    """A program and its ancestors, as far as they are shown; one query each, so that no data can make it many."""
    query = "SELECT * FROM v_lineage WHERE search = :search AND birth = :birth LIMIT 1"
    for _ in range(GENERATIONS):
        if birth is None or not (rows := store.rows(query, search=search, birth=birth)):
            return
        yield rows[0]
        birth = rows[0]["parent_birth"]
