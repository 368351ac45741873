"""The winning program: raw, without what has no effect, simplified, as equations, and as code for PyTorch."""

from __future__ import annotations

from programs.errors import InputError
from programs.liveness import live_program, live_statements
from programs.program import Program
from programs.simplify import equations

from search.report.mathml import equations_as_mathml
from search.report.section import NOTHING_TRAINED, Block, CodeBlock, CodeLine, Formulas, Note, Section, missing
from search.report.source import ReportedSearch
from search.report.text import estimate, plural
from search.report.winner import Winner
from search.results.export import export_source
from search.results.text import in_states, in_trainings

MOST_STEPS = 1000  # of a simplification


def program(source: ReportedSearch, winner: Winner | None) -> Section:
    """Return the section about the winner."""
    title = "The winning program"
    if winner is None:
        return missing("program", title, NOTHING_TRAINED)
    simplified = _simplified(source, winner)
    blocks: list[Block] = [_raw(winner.program)]
    if len(live_statements(winner.program)) < len(winner.program):
        alive = live_program(winner.program)
        blocks.append(_code("live", f"without its dead statements ({plural(len(alive), 'statement')})", alive))
    if simplified is None:
        why = f"It is not simplified yet: `optsearch simplify {winner.row.id}` says what it does not need."
        blocks.append(Note(why))
    else:
        blocks.append(_code("simplified", f"simplified ({plural(len(simplified), 'statement')})", simplified))
    blocks.append(_formulas(simplified or winner.program, simplified is not None))
    blocks.append(_exported(source, winner))
    lead = f"{winner.name.capitalize()} is shown because it {winner.chosen_for}."
    fitness = estimate(winner.row.fitness, winner.row.standard_error)
    lead += f" It is birth {winner.row.birth} of the search, has fitness {fitness}"
    lead += f" over {in_trainings(winner.row.trainings)} and keeps {in_states(winner.row.state_slots)} for each weight."
    return Section("program", title, blocks, lead)


def _raw(program: Program) -> CodeBlock:
    """Return the program as it was born; dead statements are marked, in words too."""
    alive = {0, len(program) + 1, *(place + 1 for place in live_statements(program))}
    lines = [
        CodeLine(text) if place in alive else CodeLine(f"{text}    # dead", "dead")
        for place, text in enumerate(program.as_function().splitlines())
    ]
    return CodeBlock("raw", f"as it was born ({plural(len(program), 'statement')})", lines)


def _code(name: str, title: str, program: Program) -> CodeBlock:
    return CodeBlock(name, title, list(map(CodeLine, program.as_function().splitlines())))


def _simplified(source: ReportedSearch, winner: Winner) -> Program | None:
    """Return what the last accepted step of its simplification has left, None if it has not been simplified."""
    accepted = [row for row in source.results.simplification(winner.row.id, MOST_STEPS) if row.accepted]
    if not accepted:
        return None
    return source.parse(accepted[-1].after, f"simplified program {winner.row.id}")


def _formulas(program: Program, is_simplified: bool) -> Formulas:
    latex = equations(program)
    of = "the simplified program" if is_simplified else "the program, without its dead statements"
    return Formulas("equations", f"as equations of {of}", equations_as_mathml(latex), latex)


def _exported(source: ReportedSearch, winner: Winner) -> CodeBlock | Note:
    """Return the source that `optsearch export ID` writes."""
    try:
        text = export_source(source.results.named_program(winner.row.id), "torch")
    except InputError as error:
        return Note(f"It cannot be exported: {error}")
    title = f"as an optimizer for PyTorch: optsearch export {winner.row.id} --to torch -o optimizer.py"
    return CodeBlock("torch", title, list(map(CodeLine, text.splitlines())), folded=True)
