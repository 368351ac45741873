"""Children in which an expression of another program takes the place of an argument."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from random import Random
from typing import NamedTuple

from programs.editing import choose, is_valid, names_of, new_names, renamed, with_argument
from programs.graph import INPUTS, N_INPUTS, Dataflow, M, V
from programs.kinds import LEAF, SCALAR, TREE
from programs.liveness import live, live_program
from programs.ops import OPS
from programs.program import Program, Statement
from programs.proposals.material import Material, is_new
from programs.simplify.facts import UNKNOWN, signs
from programs.simplify.graph import read

LARGEST = 6  # statements of an expression, without those that update its states
ATTEMPTS = 8


class Place(NamedTuple):
    """An argument of a statement, or the update where there is no statement; what it holds, and what it may hold."""

    statement: int | None
    argument: int
    kind: int
    accepts: tuple[int, ...]


class Piece(NamedTuple):
    """A live expression: the node of its value, its statements as nodes in order, its kind, what it needs."""

    root: int
    calls: tuple[int, ...]
    kind: int
    functions: frozenset[str]


def graft(program: Program, rng: Random, material: Material) -> Program | None:
    """Return the program with an expression of a donor in place of a random live argument, or of the update.

    The expression has up to six statements and at least as many numbers as what it replaces: what has a number for each
    weight is replaced by its like. It is computed first, from w, g and lr as they are given. Where it reads a state of
    the donor and the program has a free slot, the state comes along; else it reads the state of the program that is
    most alike, first of all in whether it can be negative. Dead statements are gone in the child.
    """
    alive = live_program(program)
    places = _places(alive)
    for _ in range(ATTEMPTS if material.donors else 0):
        place, donor = choose(rng, places), choose(rng, material.donors)
        pieces = [p for p in pieces_of(donor) if _suits(p, place) and p.functions <= material.names]
        if pieces:
            child = _grafted(alive, place, donor, choose(rng, pieces))
            if child is not None and is_valid(child) and is_new(child := live_program(child), program, material):
                return child
    return None


def _places(program: Program) -> list[Place]:
    """Return all arguments, and the update, of a program without dead statements."""
    flow = program.dataflow
    places = [
        Place(position, argument, flow.nodes[arg].kind, OPS[statement.function].accepts[argument])
        for position, (number, statement) in enumerate(zip(flow.statements, program.statements, strict=True))
        for argument, arg in enumerate(flow.nodes[number].args)
    ]
    return [*places, Place(None, 0, TREE, (TREE,))]


@lru_cache(1 << 12)
def pieces_of(program: Program) -> tuple[Piece, ...]:
    """Return all live expressions of a program that are small enough."""
    flow = program.dataflow
    pieces = []
    for root in live(flow).nodes:
        calls = _calls_below(flow, [root])
        if 0 < len(calls) <= LARGEST:
            functions = frozenset(flow.nodes[n].function for n in _with_states(flow, calls))
            pieces.append(Piece(root, calls, flow.nodes[root].kind, functions))
    return tuple(pieces)


def _calls_below(flow: Dataflow, roots: Sequence[int]) -> tuple[int, ...]:
    """Return the statements that these values need within the step, as nodes in order."""
    found, stack = set[int](), list(roots)
    while stack:
        n = stack.pop()
        if n not in found and flow.nodes[n].is_call:
            found.add(n)
            stack += flow.nodes[n].args
    return tuple(sorted(found))


def _with_states(flow: Dataflow, calls: Sequence[int]) -> tuple[int, ...]:
    """Return these statements, and those that update the states that they read, now or through one another."""
    found = tuple(calls)
    while True:
        more = _calls_below(flow, [*found, *(flow.states[slot] for slot in _slots(flow, found))])
        if more == found:
            return found
        found = more


def _slots(flow: Dataflow, calls: Sequence[int]) -> list[int]:
    """Return the state slots that these statements read."""
    return [slot for slot in (M, V) if any(slot in flow.nodes[n].args for n in calls)]


def _suits(piece: Piece, place: Place) -> bool:
    accepted = piece.kind in place.accepts or (place.statement is None and _extent(piece.kind) == _extent(TREE))
    return accepted and _extent(piece.kind) >= _extent(place.kind)


def _extent(kind: int) -> int:
    """Return 0 for a number, 1 for one for each parameter tensor, 2 for one for each weight however it is kept."""
    return {SCALAR: 0, LEAF: 1}.get(kind, 2)


def _grafted(program: Program, place: Place, donor: Program, piece: Piece) -> Program | None:
    """Return the program, which has no dead statements, with the piece; None where its value would have two names."""
    flow = donor.dataflow
    slots, brought = _slots_for(program, donor, piece)
    for name in {slots[slot] for slot in brought}:
        program = renamed(program, name, next(new_names(names_of(program))))
    outputs = {flow.states[slot]: slots[slot] for slot in brought}
    if place.statement is None:
        if piece.root in outputs:
            return None
        outputs[piece.root] = "update"
        program = renamed(program, "update", next(new_names(names_of(program))))
    calls = _calls_below(flow, [piece.root, *(flow.states[slot] for slot in brought)])
    names = dict(enumerate(INPUTS)) | slots
    fresh = new_names(names_of(program))
    lines = list(_written(flow, calls, names, outputs, fresh))
    if place.statement is not None:
        program = with_argument(program, place.statement, place.argument, names[piece.root])
    return Program((*lines, *program.statements))


def _written(
    flow: Dataflow, calls: Sequence[int], names: dict[int, str], outputs: dict[int, str], fresh: Iterator[str]
) -> Iterator[Statement]:
    """Yield the statements of these nodes, and enter in `names` what their values are called."""
    for n in calls:
        function, args, _, _ = flow.nodes[n]
        read = tuple(flow.nodes[a].value if flow.nodes[a].is_constant else names[a] for a in args)
        names[n] = outputs[n] if n in outputs else next(fresh)
        yield Statement(names[n], function, read)


def _slots_for(program: Program, donor: Program, piece: Piece) -> tuple[dict[int, str], list[int]]:
    """Return the slot of the program that each slot of the donor becomes, and which of the donor's come along."""
    flow, written = donor.dataflow, live(donor.dataflow).states
    used = live(program.dataflow).nodes
    free = [slot for slot in (M, V) if slot not in used]
    taken, brought, calls = dict[int, str](), list[int](), piece.calls
    while waiting := [slot for slot in _slots(flow, calls) if slot not in taken]:
        slot = waiting[0]
        if free and slot in written:
            taken[slot] = INPUTS[free.pop(0)]
            brought.append(slot)
            calls = _calls_below(flow, [*calls, written[slot]])
        else:
            taken[slot] = INPUTS[_most_alike(program, donor, slot)]
    return taken, brought


def _most_alike(program: Program, donor: Program, slot: int) -> int:
    """Return the slot of the program that is used and most alike, the same by name if nothing else decides."""
    own, others = _contents(donor).get(slot), _contents(program)
    return max(others, key=lambda other: (others[other] == own, other == slot), default=slot)


@lru_cache(1 << 12)
def _contents(program: Program) -> dict[int, tuple[bool, int]]:
    """Return for each used slot whether it is never negative, as second moments are, and its kind."""
    graph, roots, _ = read(program)
    known = signs(graph, roots)
    nodes = program.dataflow.nodes
    return {
        slot: (known.get(slot, UNKNOWN) != UNKNOWN, nodes[slot].kind) for slot, _ in roots.states if slot < N_INPUTS
    }
