"""The command `optsearch show`: everything about one program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from rich.table import Table as Grid
from rich.text import Text

from programs.liveness import live_program, live_statements
from programs.program import Program

from search.commands.curves import CURVE_COLUMNS, CompetitorCurves, curve_rows, curves_of, show_curves
from search.commands.lineage import changes_of
from search.commands.options import RESULTS, CsvOption, IdArgument, JsonOption, StoreOption
from search.commands.output import Form, Table, form_of, table_of, write
from search.commands.proof_tables import show_proof
from search.commands.terminal import console, describe, estimate, number, show_program, show_table
from search.results.queries import Duplicates
from search.results.results import Results, open_results
from search.results.text import change, failure, interrupted_proof, printable
from search.results.trained_tasks import remarks_on_fitness
from search.settings.baselines import adamw_among
from search.store.evidence_views import FunnelEntry, OpeningEntry, ProofEntry
from search.store.keys import Answer
from search.store.views import BaselineEntry, LineageEntry, ProgramEntry

EXAMPLES = 5  # ids of duplicates that are named

PROGRAM_COLUMNS = (
    "search", "id", "birth", "batch", "parent_id", "parent_birth", "mutation", "answered_by", "trained_id", "status",
    "reason", "fitness", "standard_error", "trainings", "lower_bound", "over_adamw", "races", "replica_steps",
    "statements", "live_statements", "state_slots", "key", "dataflow_hash", "genome", "live_genome",
)  # fmt: skip


def command(
    program_id: IdArgument, store: StoreOption = RESULTS, json: JsonOption = False, csv: CsvOption = False
) -> None:
    """One program: source with dead statements marked, score, origin, duplicates, loss curves, funnel and proof."""
    form = form_of(json, csv)
    with open_results(store) as results:
        write_program(results, program_id, form)


class Found(NamedTuple):
    """What the database holds about a program. `line`: from the start program to it, or to what it raced."""

    program: Program
    row: ProgramEntry
    over_adamw: float | None
    line: list[LineageEntry]
    races: int
    """How often it was trained on further seeds."""
    trained: ProgramEntry | None
    """The first program of its search with its key that was trained."""
    duplicates: list[Duplicates]
    trainings: list[CompetitorCurves]
    funnel: list[FunnelEntry]
    proof: list[ProofEntry]
    opening: OpeningEntry | None
    """That of the locked tasks for it, or for a program that does the same."""

    @property
    def parent_id(self) -> int | None:
        """The ID of its parent; of a race, that of the program which was raced."""
        return self.line[-1].parent_id if self.line[-1].id == self.row.id else self.line[-1].id

    @property
    def as_columns(self) -> dict[str, Any]:
        """What there is to say about it in one row."""
        return self.row.as_columns() | {
            "parent_id": self.parent_id,
            "trained_id": None if self.trained is None else self.trained.id,
            "lower_bound": self.row.lower,
            "over_adamw": self.over_adamw,
            "races": self.races,
            "live_genome": str(live_program(self.program)),
        }


def write_program(results: Results, program_id: int, form: Form) -> None:
    """Print a program, its outcome, origin and duplicates, loss curves, and what funnel and proof found; as CSV its
    row alone.

    Raises:
        InputError: there is no such program, or its text is no program.
    """
    found = _find(results, program_id)
    if form is Form.TEXT:
        _show(results, found)
        return
    tables = [
        Table("program", PROGRAM_COLUMNS, [found.as_columns]),
        table_of("duplicates", Duplicates, found.duplicates),
        Table("curves", CURVE_COLUMNS, curve_rows(found.trainings)),
        table_of("funnel", FunnelEntry, found.funnel),
        table_of("opening", OpeningEntry, [] if found.opening is None else [found.opening]),
        table_of("proof", ProofEntry, found.proof),
    ]
    write(form, "show", results.location, tables)


def _find(results: Results, program_id: int) -> Found:
    named = results.named_program(program_id)
    row = named.entry
    assert row is not None
    baselines = results.baselines(row.search)
    adamw = adamw_among({baseline.name: baseline.fitness for baseline in baselines if baseline.fitness is not None})
    competitors: list[tuple[str, ProgramEntry | BaselineEntry]] = [(named.name, row)]
    competitors += [(f"tuned {baseline.name}", baseline) for baseline in baselines]
    return Found(
        named.program,
        row,
        row.fitness - adamw if row.fitness is not None and adamw is not None else None,
        results.lineage(program_id),
        len(results.races(row)),
        results.first_trained(row.search, row.key),
        results.duplicates(row),
        [curves_of(results, name, of, named.tasks) for name, of in competitors],
        results.funnels_of(program_id=program_id),
        results.proof(program_id),
        results.opening(row.dataflow_hash),
    )


# --- what is printed -------------------------------------------------------------------------------------------------


def _show(results: Results, found: Found) -> None:
    row, program = found.row, found.program
    title = Text(f"program {row.id}", style="bold")
    console.print(title.append(f" of search {printable(row.search)}: {describe(program)}", "not bold"))
    show_program(program)
    if len(live_statements(program)) < len(program):
        console.print("without its dead statements:")
        show_program(program, dead_too=False)
    facts = Grid.grid(padding=(0, 2, 0, 0))
    for name, said in _facts(results, found):
        facts.add_row(Text(name, style="bold"), Text(printable(said), overflow="fold"))
    console.print(facts, "", sep="\n")
    show_curves(found.trainings)
    if found.funnel:
        _show_funnel(found.funnel)
    if found.opening is not None and found.opening.finished is None:
        console.print(f"proof: {interrupted_proof(found.opening)}")
    if found.proof:
        show_proof(found.proof)


def _facts(results: Results, found: Found) -> list[tuple[str, str]]:
    row = found.row
    if row.fitness is None:
        outcome = failure(row)
    else:
        over = f", {number(found.over_adamw, True)} over tuned AdamW" if found.over_adamw is not None else ""
        remarks = "".join(f"; {remark}" for remark in remarks_on_fitness([results.search(row.search)]))
        outcome = f"{estimate(row.fitness, row.standard_error, row.trainings)}{over}{remarks}"
    return [
        ("fitness" if row.fitness is not None else "outcome", outcome),
        ("score from", _score(row, found.trained, found.races)),
        ("origin", _origin(row, found.parent_id)),
        ("lineage", _lineage(found.line)),
        ("duplicates", _duplicates(results, found)),
        ("key", row.key),
    ]


def _score(row: ProgramEntry, trained: ProgramEntry | None, races: int) -> str:
    raced = f", then on further seeds {races} time{'s' * (races != 1)}" if races else ""
    if row.answered_by == Answer.REEVALUATION:
        return f"training on further seeds, {races} time{'s' * (races != 1)} in all"
    how = row.answered_by.replace("_", " ")
    if trained is None or trained.id == row.id:
        return f"{how}{raced}"
    return f"{how}: program {trained.id} was trained{raced}, and does the same"


def _origin(row: ProgramEntry, parent_id: int | None) -> str:
    if row.parent_birth is None:
        return f"birth {row.birth}, {change(row.mutation)}"
    parent = f"program {parent_id}, birth" if parent_id is not None else "birth"
    if row.answered_by == Answer.REEVALUATION:
        return f"birth {row.birth}, a race of {parent} {row.parent_birth}"
    return f"birth {row.birth}, {row.mutation} of {parent} {row.parent_birth}: {change(row.mutation)}"


def _lineage(line: Sequence[LineageEntry]) -> str:
    if len(line) == 1:
        return "none"
    changes = len(changes_of(line))
    births = f"{len(line) - 1} birth{'s' * (len(line) > 2)}"
    return f"{births} after the first, {changes} changed what it does; optsearch lineage {line[-1].id}"


def _duplicates(results: Results, found: Found) -> str:
    births = sum(row.programs for row in found.duplicates)
    if not births:
        return "none"
    ways = ", ".join(f"{row.programs} by {row.answered_by.replace('_', ' ')}" for row in found.duplicates)
    with_key = results.with_key(found.row.search, found.row.key, EXAMPLES + 1)
    same = [program_id for program_id in with_key if program_id != found.row.id]
    such = ", ".join(map(str, same[:EXAMPLES]))
    return f"{births} other birth{'s' * (births != 1)} with this key, answered {ways}; such as {such}"


def _show_funnel(rows: Sequence[FunnelEntry]) -> None:
    show_table(
        "in the funnel, on fresh seeds",
        ["funnel", "stage", "task", "fitness", "ahead", "+-", "of", "z", "p", "passed"],
        [
            [
                r.funnel, f"{r.stage} of {r.stages}" if r.stages else str(r.stage), r.task,
                number(r.fitness), number(r.ahead, True), number(r.ahead_error), r.baseline,
                _short(r.z), _short(r.p), "yes" if r.passed else "no",
            ]
            for r in rows
        ],
        left=["funnel", "task", "of"],
    )  # fmt: skip


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"
