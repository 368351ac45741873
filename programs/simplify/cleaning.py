"""Programs without what makes no difference, cheaply enough to be done to every child of a search."""

from __future__ import annotations

from programs.liveness import live_program
from programs.program import Program
from programs.simplify.graph import Graph, Roots, read
from programs.simplify.rewriting import rewritings
from programs.simplify.rules import EXACT
from programs.simplify.states import same_states
from programs.simplify.writing import write


def cleaned(program: Program) -> Program:
    """Return the program without dead statements, repeated expressions, and what exact rules make superfluous.

    Updates are the same to the last bit. A rule is used where it saves a statement by itself, and two states that are
    always equal become one. Where nothing is saved, statements and names stay what they were.
    """
    alive = live_program(program)
    graph, start, names = read(alive)
    roots = _settled(graph, start)
    if roots == start and _statements(graph, roots) == len(alive):
        return alive
    written = write(graph, roots, names)
    return written if len(written) < len(alive) or len(roots.states) < len(start.states) else alive


def _settled(graph: Graph, roots: Roots) -> Roots:
    """Return what is left when no use of an exact rule saves anything any more."""
    roots = next((candidate.roots for candidate in same_states(graph, roots)), roots)
    while True:
        count = _statements(graph, roots)
        candidates = (candidate.roots for candidate in rewritings(graph, roots, {EXACT}))
        better = next((found for found in candidates if _statements(graph, found) < count), None)
        if better is None:
            return roots
        roots = better


def _statements(graph: Graph, roots: Roots) -> int:
    return sum(map(graph.is_call, graph.live(roots)))
