"""Everything about one program."""

from __future__ import annotations

from programs.liveness import live_statements
from programs.program import parse

from search.display import console, describe, number, show_program, show_table
from search.store import Store


def show_individual(store: Store, individual_id: int) -> None:
    """Print source, score beside the baselines, loss curve and line of descent."""
    row = store.individual(individual_id)
    program = parse(row["genome"], f"program {individual_id} in {store.location}")
    console.print(f"[bold]program {individual_id}[/] of search {row['search']}: {describe(program)}")
    show_program(program)
    if len(live_statements(program)) < len(program):
        console.print("without its dead statements:")
        show_program(program, dead_too=False)
    outcome = f"fitness {number(row['fitness'])}" if row["fitness"] is not None else f"{row['status']}: {row['reason']}"
    console.print(f"{outcome}; key {row['key']}, score from {row['answered_by'].replace('_', ' ')}")
    origin = "the start program" if row["parent_birth"] is None else f"{row['mutation']} of birth {row['parent_birth']}"
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
    rows = store.rows(_ANCESTORS, search=search, birth=birth)
    table = [
        [str(r["id"]), str(r["birth"]), r["mutation"], number(r["fitness"]), number(r["gain"], sign=True)] for r in rows
    ]
    show_table(
        "lineage, latest first", ["id", "birth", "mutation", "fitness", "gain on parent"], table, left=["mutation"]
    )


_ANCESTORS = """
    WITH RECURSIVE line AS (
        SELECT l.*, 0 AS depth FROM v_lineage l WHERE l.search = :search AND l.birth = :birth
        UNION ALL
        SELECT l.*, line.depth + 1 FROM v_lineage l JOIN line ON l.search = line.search AND l.birth = line.parent_birth
        WHERE line.depth < 7
    )
    SELECT * FROM line ORDER BY depth
"""
