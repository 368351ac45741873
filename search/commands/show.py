"""The command `optsearch show`: everything about one program."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any, NamedTuple

from rich.table import Table as Grid
from rich.text import Text

from programs.liveness import live_program, live_statements
from programs.program import Program, parse

from search.commands.curves import CURVE_COLUMNS, Training, curve_rows, show_curves, trainings_of
from search.commands.lineage import changes_of, line_of
from search.commands.options import RESULTS, CsvOption, IdArgument, JsonOption, StoreOption
from search.commands.output import Form, Table, form_of, write
from search.commands.proof_tables import PROOF_COLUMNS, proof_of, show_proof
from search.commands.terminal import console, describe, number, show_program, show_table
from search.results.text import printable
from search.store import Store, open_store
from search.store.proofs import find_opening, openings_until

EXAMPLES = 5  # ids of duplicates that are named

PROGRAM_COLUMNS = (
    "search", "id", "birth", "batch", "parent_id", "parent_birth", "mutation", "answered_by", "trained_id", "status",
    "reason", "fitness", "over_adamw", "rounds", "variance", "statements", "live_statements", "state_slots", "key",
    "dataflow_hash", "genome", "live_genome",
)  # fmt: skip
DUPLICATE_COLUMNS = ("answered_by", "programs", "example_id")
FUNNEL_COLUMNS = (
    "funnel", "search", "stage", "stages", "task", "competitor", "program_id", "passed", "z", "p", "ahead",
    "ahead_error", "baseline", "fitness", "standard_error", "seeds", "trials", "learning_rate", "weight_decay",
    "genome",
)  # fmt: skip


def command(
    program_id: IdArgument, store: StoreOption = RESULTS, json: JsonOption = False, csv: CsvOption = False
) -> None:
    """One program: source with dead statements marked, score, origin, duplicates, loss curves, funnel and proof."""
    form = form_of(json, csv)
    with closing(open_store(store)) as database:
        write_program(database, program_id, form)


class Found(NamedTuple):
    """Everything that the store holds about a program; rows by the names of their columns."""

    row: dict[str, Any]
    program: Program
    duplicates: list[dict[str, Any]]
    examples: list[int]
    trainings: list[Training]
    funnel: list[dict[str, Any]]
    proof: list[dict[str, Any]]


def write_program(store: Store, program_id: int, form: Form) -> None:
    """Print a program, its outcome, origin and duplicates, loss curves, and what funnel and proof found; as CSV its
    row alone.

    Raises:
        InputError: there is no such program, or its text is no program.
    """
    found = _find(store, program_id)
    if form is Form.TEXT:
        _show(store, found)
        return
    tables = [
        Table("program", PROGRAM_COLUMNS, [found.row]),
        Table("duplicates", DUPLICATE_COLUMNS, found.duplicates),
        Table("curves", CURVE_COLUMNS, curve_rows(found.trainings)),
        Table("funnel", FUNNEL_COLUMNS, found.funnel),
        Table("proof", PROOF_COLUMNS, found.proof),
    ]
    write(form, "show", store.location, tables)


def _find(store: Store, program_id: int) -> Found:
    row = store.program(program_id)
    program = parse(row["genome"], f"program {program_id} in {store.location}")
    baselines = store.baselines(row["search_id"])
    adamw = baselines["adamw"].fitness if "adamw" in baselines else None
    known = row["fitness"] is not None and adamw is not None
    row |= {
        "parent_id": _parent(store, row),
        "trained_id": _trained(store, row["key"]),
        "over_adamw": row["fitness"] - adamw if known else None,
        "live_genome": str(live_program(program)),
    }
    query = """SELECT answered_by, COUNT(*) AS programs, MIN(id) AS example_id FROM program
               WHERE key = :key AND id <> :id GROUP BY answered_by ORDER BY COUNT(*) DESC, MIN(id)"""
    examples = "SELECT id FROM program WHERE key = :key AND id <> :id ORDER BY id LIMIT :most"
    competitors = [(f"program {program_id}", row["key"], row["fitness"])]
    competitors += [(f"tuned {b.name}", b.key, b.fitness) for b in baselines.values()]
    tasks = [task["name"] for task in row["settings"].get("tasks", [])]
    return Found(
        row, program,
        store.rows(query, key=row["key"], id=program_id),
        [other["id"] for other in store.rows(examples, key=row["key"], id=program_id, most=EXAMPLES)],
        [trainings_of(store, *competitor, tasks) for competitor in competitors],
        store.rows("SELECT * FROM v_funnel WHERE program_id = :id", id=program_id),
        proof_of(store, program_id),
    )  # fmt: skip


def _parent(store: Store, row: dict[str, Any]) -> int | None:
    if row["parent_birth"] is None:
        return None
    query = "SELECT id FROM program WHERE search_id = :search_id AND birth = :birth"
    found = store.rows(query, search_id=row["search_id"], birth=row["parent_birth"])
    return found[0]["id"] if found else None


def _trained(store: Store, key: str) -> int | None:
    """Return the first program with this key that was trained."""
    query = "SELECT id FROM program WHERE key = :key AND answered_by = 'training' ORDER BY id LIMIT 1"
    found = store.rows(query, key=key)
    return found[0]["id"] if found else None


# --- what is printed -------------------------------------------------------------------------------------------------


def _show(store: Store, found: Found) -> None:
    row, program = found.row, found.program
    title = Text(f"program {row['id']}", style="bold")
    console.print(title.append(f" of search {printable(row['search'])}: {describe(program)}", "not bold"))
    show_program(program)
    if len(live_statements(program)) < len(program):
        console.print("without its dead statements:")
        show_program(program, dead_too=False)
    facts = Grid.grid(padding=(0, 2, 0, 0))
    for name, said in _facts(store, found):
        facts.add_row(Text(name, style="bold"), Text(printable(said), overflow="fold"))
    console.print(facts, "", sep="\n")
    show_curves(found.trainings)
    if found.funnel:
        _show_funnel(found.funnel)
    if found.proof:
        opening = find_opening(store, row["dataflow_hash"])
        show_proof(found.proof, openings_until(store, opening) if opening is not None else 1)


def _facts(store: Store, found: Found) -> list[tuple[str, str]]:
    row = found.row
    if row["fitness"] is None:
        outcome = f"{row['status']}: {printable(row['reason'] or 'no reason noted')}"
    else:
        over = f", {number(row['over_adamw'], True)} over tuned AdamW" if row["over_adamw"] is not None else ""
        outcome = f"{number(row['fitness'])}{over}"
    return [
        ("fitness" if row["fitness"] is not None else "outcome", outcome),
        ("score from", _score(row)),
        ("origin", _origin(row)),
        ("lineage", _lineage(store, row)),
        ("duplicates", _duplicates(found)),
        ("key", row["key"]),
    ]


def _score(row: dict[str, Any]) -> str:
    how = str(row["answered_by"]).replace("_", " ")
    if row["trained_id"] in (None, row["id"]):
        return how
    return f"{how}: program {row['trained_id']} was trained, and does the same"


def _origin(row: dict[str, Any]) -> str:
    if row["parent_birth"] is None:
        return f"birth {row['birth']}, {'drawn at random' if row['mutation'] == 'random' else 'the start program'}"
    parent = f"program {row['parent_id']}, birth" if row["parent_id"] is not None else "birth"
    return f"birth {row['birth']}, {row['mutation']} of {parent} {row['parent_birth']}"


def _lineage(store: Store, row: dict[str, Any]) -> str:
    line = line_of(store, row["search_id"], row["birth"])
    if len(line) == 1:
        return "none"
    changes = len(changes_of(line))
    births = f"{len(line) - 1} birth{'s' * (len(line) > 2)}"
    return f"{births} after the first, {changes} changed what it does; optsearch lineage {row['id']}"


def _duplicates(found: Found) -> str:
    births = sum(row["programs"] for row in found.duplicates)
    if not births:
        return "none"
    ways = ", ".join(f"{row['programs']} by {row['answered_by'].replace('_', ' ')}" for row in found.duplicates)
    such = ", ".join(map(str, found.examples))
    return f"{births} other birth{'s' * (births != 1)} with this key, answered {ways}; such as {such}"


def _show_funnel(rows: Sequence[dict[str, Any]]) -> None:
    show_table(
        "in the funnel, on fresh seeds",
        ["funnel", "stage", "task", "fitness", "ahead", "+-", "of", "z", "p", "passed"],
        [
            [
                r["funnel"], f"{r['stage']} of {r['stages']}" if r["stages"] else str(r["stage"]), r["task"],
                number(r["fitness"]), number(r["ahead"], True), number(r["ahead_error"]), r["baseline"],
                _short(r["z"]), _short(r["p"]), "yes" if r["passed"] else "no",
            ]
            for r in rows
        ],
        left=["funnel", "task", "of"],
    )  # fmt: skip


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"
