"""State slots that a program can do without, and states stored in better units.

Both slots hold zero before the first step. What follows from that by induction over the steps is exact: a state that
stays zero is zero, two states with the same rule are one. Linear forms show more: a state that is always the same
multiple of the other, states of which only one combination is ever looked at, and a state that would be an
interpolation if it were kept in other units.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from programs.graph import M, V, W
from programs.simplify.facts import zeros
from programs.simplify.graph import Graph, KindError, Roots, replaced, trimmed
from programs.simplify.linear import Form, Forms, combined
from programs.simplify.rewriting import Rewrite
from programs.simplify.rules import EXACT, ROUNDING

ZERO, SAME, MULTIPLE, COMBINATION, UNITS = "zero", "same state", "multiple state", "combined state", "state units"


def unwritten_states(graph: Graph, roots: Roots) -> Iterator[Rewrite]:
    """Yield the program in which a slot that is read but never written is zero."""
    for slot in (M, V):
        if slot in graph.live(roots) and slot not in dict(roots.states):
            changed = replaced(graph, roots, {slot: graph.constant(0.0)})
            if changed is not None:
                yield Rewrite(ZERO, EXACT, changed)


def zero_values(graph: Graph, roots: Roots) -> Iterator[Rewrite]:
    """Yield the program in which everything that is zero at every step, states too, is written as zero."""
    zero = zeros(graph, roots)
    left = Roots(roots.update, tuple((s, n) for s, n in roots.states if s not in zero))
    changed = replaced(graph, left, dict.fromkeys(zero, graph.constant(0.0))) if zero else None
    if changed is not None:
        yield Rewrite(ZERO, ROUNDING, trimmed(graph, changed))


def same_states(graph: Graph, roots: Roots) -> Iterator[Rewrite]:
    """Yield the program with one slot where both hold the same after each step if they did before."""
    if len(roots.states) == 2:
        one = replaced(graph, roots, {V: M})
        if one is not None and one.states[0][1] == one.states[1][1]:
            yield Rewrite(SAME, EXACT, trimmed(graph, Roots(one.update, one.states[:1])))


def multiples(graph: Graph, roots: Roots, forms: Forms) -> Iterator[Rewrite]:
    """Yield the programs with one slot where one is always the same multiple of the other."""
    following = dict(roots.states)
    for slot, other in ((V, M), (M, V)) if len(following) == 2 else ():
        form, base = forms.of(following[slot]), forms.of(following[other])
        for factor in dict.fromkeys(form[a] / base[a] for a in form if a in base):
            changed = _substituted(graph, roots, {slot: (factor, other)})
            if changed is not None and _is_multiple(forms, dict(changed.states), slot, other, factor):
                yield Rewrite(MULTIPLE, ROUNDING, trimmed(graph, _without(changed, slot)))


def _is_multiple(forms: Forms, following: dict[int, int], slot: int, other: int, factor: Fraction) -> bool:
    return not combined((1, forms.of(following[slot])), (-factor, forms.of(following[other])))


def _substituted(graph: Graph, roots: Roots, slots: dict[int, tuple[Fraction, int]]) -> Roots | None:
    """Return the program in which each of the slots is read as a multiple of another."""
    try:
        mapping = {slot: _times(graph, factor, other) for slot, (factor, other) in slots.items()}
    except OverflowError:
        return None
    return replaced(graph, roots, mapping)


def _times(graph: Graph, factor: Fraction, node: int) -> int:
    if factor in (0, 1):
        return node if factor else graph.constant(0.0)
    return graph.call("mul", (node, graph.constant(float(factor))))


def _without(roots: Roots, slot: int) -> Roots:
    return Roots(roots.update, tuple((s, n) for s, n in roots.states if s != slot))


def combinations(graph: Graph, roots: Roots, forms: Forms) -> Iterator[Rewrite]:
    """Yield the program in which z = a m + b v takes the place of both states, if nothing else reads them."""
    if len(roots.states) < 2:
        return
    following = dict(roots.states)
    seen = [_of_states(forms.of(n)) for n in _looked_at(graph, roots, forms)]
    directions = [f for f in seen if len(f) == 2]
    if not directions or not all(_parallel(f, directions[0]) for f in seen):
        return
    z = directions[0]
    after = combined((z[M], forms.of(following[M])), (z[V], forms.of(following[V])))
    if _parallel(_of_states(after), z):
        try:
            total = graph.call("add", (_times(graph, z[M], following[M]), _times(graph, z[V], following[V])))
        except (KindError, OverflowError):
            return
        changed = _substituted(graph, Roots(roots.update, ((M, total),)), {M: (1 / z[M], M), V: (Fraction(0), M)})
        if changed is not None:
            yield Rewrite(COMBINATION, ROUNDING, changed)


def _looked_at(graph: Graph, roots: Roots, forms: Forms) -> set[int]:
    """Return the values that the update and functions that are not linear make use of."""
    nodes = graph.live(roots)
    return {roots.update} | {a for n in nodes if graph.is_call(n) and forms.is_atom(n) for a in graph.nodes[n].args}


def _of_states(form: Form) -> Form:
    return {a: c for a, c in form.items() if a in (M, V)}


def _parallel(form: Form, direction: Form) -> bool:
    return not form or (form.keys() == direction.keys() and form[M] * direction[V] == form[V] * direction[M])


def units(graph: Graph, roots: Roots, forms: Forms) -> Iterator[Rewrite]:
    """Yield programs with a slot in other units, so that its rule becomes an interpolation or a plain sum."""
    for slot, node in roots.states:
        for unit in _units(forms.of(node), slot):
            changed = _substituted(graph, roots, {slot: (unit, slot)})
            if changed is not None:
                states = tuple((s, _times(graph, 1 / unit, n) if s == slot else n) for s, n in changed.states)
                yield Rewrite(UNITS, ROUNDING, Roots(changed.update, states))


def _units(form: Form, slot: int) -> list[Fraction]:
    kept = form.get(slot, Fraction(0))
    added = [c for a, c in form.items() if a not in (slot, W)]
    candidates = [*added, *(-c for c in added)]
    if added and kept != 1 and sum(added):
        candidates.insert(0, Fraction(sum(added)) / (1 - kept))
    return [u for u in dict.fromkeys(candidates) if u not in (0, 1) and 1e-12 < abs(u) < 1e12]
