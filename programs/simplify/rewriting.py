"""Rules applied to programs: every way in which a rule of the table can change a program by one expression."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from functools import cache
from typing import NamedTuple

from programs.kinds import KIND_NAMES
from programs.simplify.facts import NOT_NEGATIVE, POSITIVE, signs
from programs.simplify.graph import Graph, KindError, Roots, replaced, trimmed
from programs.simplify.patterns import Bindings, build, folded_call, matches, pattern
from programs.simplify.rules import EXACT, ROUNDING, RULES, Rule

FOLDING = "numbers"


class Rewrite(NamedTuple):
    """A program that may take the place of another: the kind and the tag of the step that leads there."""

    kind: str
    tag: str
    roots: Roots
    differs: str = ""


@cache
def _by_function(tags: frozenset[str]) -> dict[str, list[Rule]]:
    rules = defaultdict(list)
    for rule in RULES:
        if rule.tag in tags:
            shape = pattern(rule.left)
            assert isinstance(shape, tuple), rule
            rules[str(shape[0])].append(rule)
    return rules


def rewritings(graph: Graph, roots: Roots, tags: Collection[str]) -> Iterator[Rewrite]:
    """Yield the programs that one use of a rule with one of these tags leads to, innermost expressions first."""
    rules = _by_function(frozenset(tags))
    known = signs(graph, roots)
    for node in graph.live(roots):
        function, args, _, _ = graph.nodes[node]
        if args and ROUNDING in tags and (folded := folded_call(graph, function, args)) is not None:
            yield from _with(graph, roots, node, folded, Rewrite(FOLDING, ROUNDING, roots))
        for rule in rules.get(function, ()):
            for bindings in matches(graph, pattern(rule.left), node, {}):
                if all(_holds(graph, condition, bindings, known) for condition in rule.when):
                    found = _built(graph, rule, bindings)
                    if found is not None and found != node:
                        yield from _with(graph, roots, node, found, Rewrite(str(rule), rule.tag, roots, rule.differs))


def _built(graph: Graph, rule: Rule, bindings: Bindings) -> int | None:
    try:
        return build(graph, pattern(rule.right), bindings, fold=rule.tag != EXACT)
    except KindError:
        return None


def _with(graph: Graph, roots: Roots, node: int, by: int, candidate: Rewrite) -> Iterator[Rewrite]:
    changed = replaced(graph, roots, {node: by})
    if changed is not None:
        yield candidate._replace(roots=trimmed(graph, changed))


def _holds(graph: Graph, condition: str, bindings: Bindings, known: dict[int, int]) -> bool:
    """Return whether `x > 0`, `x >= 0`, or for numbers `a < 0` and `a <= 0` too, or `x is tree`."""
    letter, relation, bound = condition.split()
    node = bindings[letter]
    if relation == "is":
        return KIND_NAMES[graph.nodes[node].kind] == bound
    if graph.is_constant(node):
        value = graph.nodes[node].value
        return {">": value > 0, ">=": value >= 0, "<": value < 0, "<=": value <= 0}[relation]
    return known[node] <= {">": POSITIVE, ">=": NOT_NEGATIVE}[relation]
