"""The winning program: raw, without what has no effect, simplified, as equations, and as code for PyTorch."""

from __future__ import annotations

import re

from programs.errors import InputError
from programs.export import export_torch
from programs.hashing import dataflow_hash
from programs.liveness import live, live_program, live_statements
from programs.program import Program, parse
from programs.simplify import equations

from search.report.mathml import equations_as_mathml
from search.report.reading import Reading
from search.report.section import Block, Code, Formulas, Line, Note, Section, figures, missing, plural
from search.report.winner import Winner


def program(reading: Reading, winner: Winner | None) -> Section:
    """The section."""
    title = "The winning program"
    if winner is None:
        return missing("program", title, "No program has trained well yet; the failures below say why.")
    simplified = _simplified(reading, winner)
    blocks: list[Block] = [_raw(winner.program)]
    if len(live_statements(winner.program)) < len(winner.program):
        alive = live_program(winner.program)
        blocks.append(_code("live", f"without its dead statements ({plural(len(alive), 'statement')})", alive))
    if simplified is None:
        why = f"It is not simplified yet: `optsearch simplify {winner.row['id']}` finds out what it can do without."
        blocks.append(Note(why))
    else:
        blocks.append(_code("simplified", f"simplified ({plural(len(simplified), 'statement')})", simplified))
    blocks.append(_formulas(simplified or winner.program, simplified is not None))
    blocks.append(_exported(reading, winner))
    lead = f"{winner.name.capitalize()} is shown because it {winner.chosen_for}."
    lead += f" It was born as number {winner.row['birth'] + 1:,}, has fitness {figures(winner.row['fitness'])}"
    slots = len(live(winner.program.dataflow).states)
    lead += f" and keeps {plural(slots, 'state')} for each weight."
    return Section("program", title, blocks, lead)


def _raw(program: Program) -> Code:
    """As it was born; dead statements are marked, in words too."""
    alive = {0, len(program) + 1, *(place + 1 for place in live_statements(program))}
    lines = [
        Line(text) if place in alive else Line(f"{text}    # dead", "dead")
        for place, text in enumerate(program.as_function().splitlines())
    ]
    return Code("raw", f"as it was born ({plural(len(program), 'statement')})", lines)


def _code(name: str, title: str, program: Program) -> Code:
    return Code(name, title, [Line(text) for text in program.as_function().splitlines()])


def _simplified(reading: Reading, winner: Winner) -> Program | None:
    """What the last accepted step of its simplification has left."""
    accepted = [row for row in reading.simplification(winner.row["id"]) if row["accepted"]]
    if not accepted:
        return None
    return parse(accepted[-1]["after"], f"simplified program {winner.row['id']} in {reading.location}")


def _formulas(program: Program, is_simplified: bool) -> Formulas:
    latex = equations(program)
    of = "the simplified program" if is_simplified else "the program, without its dead statements"
    return Formulas("equations", f"as equations of {of}", equations_as_mathml(latex), latex)


def _exported(reading: Reading, winner: Winner) -> Code | Note:
    """The source that `optsearch export ID` writes."""
    provenance = {
        "program": winner.name, "hash": dataflow_hash(winner.program), "search": reading.search,
        "task": ", ".join(reading.tasks), "fitness": f"{winner.row['fitness']}",
    }  # fmt: skip
    class_name = "".join(part.capitalize() for part in re.findall(r"[A-Za-z0-9]+", winner.name))
    try:
        source = export_torch(winner.program, class_name, provenance)
    except InputError as error:
        return Note(f"It cannot be exported: {error}")
    title = f"as an optimizer for PyTorch: optsearch export {winner.row['id']} --to torch -o optimizer.py"
    return Code("torch", title, [Line(text) for text in source.splitlines()], folded=True)
