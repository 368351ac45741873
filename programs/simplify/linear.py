"""Linear forms: sums, multiples and interpolations brought to coefficients, and written again with few statements.

The form of a value gives it as a sum of coefficients times atoms: inputs, states at the start of the step, and calls of
functions that are not linear. Coefficients are exact fractions of the decimal numbers that stand in the program, so
that 0.1 + 0.2 - 0.3 vanishes and 0.899 * 1.109 is 0.996991.

Any sum of n different terms can be had with n statements, and with n - 1 if nothing is left to scale: two terms are an
addition, a subtraction or an interpolation times a factor. A value that the program computes in any case may stand for
some of the terms. Nothing is interpolated with the weights themselves: that would hide the weight decay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from fractions import Fraction
from itertools import islice
from typing import NamedTuple

from programs.graph import M, V, W
from programs.ops import EPS
from programs.simplify.graph import Graph, Roots, replaced, trimmed
from programs.simplify.rewriting import Rewrite
from programs.simplify.rules import ROUNDING

LINEAR = "linear"
ONE = -1  # the atom whose coefficient is the constant term

Form = dict[int, Fraction]

_LINEAR = ("add", "sub", "negative", "mul", "div", "interp")
_MOST_BITS = 512  # of a fraction; beyond it a value counts as an atom
_MOST_PLANS = 24
_FEW = 3  # statements; longer sums must become shorter, not just look better
_DIGITS, _DENOMINATOR = 14, 10**6
_ROUNDING = 1e-14  # a sum that is smaller than this share of its largest term is zero
_TINY, _HUGE = 1e-30, 1e30  # of factors that are written down
_CANCELS = 1e-5  # an interpolation of terms that cancel to less than this amplifies rounding
_TERMS_IN_ANY_ORDER = 3  # for longer sums, fewer ways are tried


def fraction(value: float) -> Fraction:
    """Return the number that a float stands for: the decimal that is written, or a quotient such as 1/3 if long."""
    text = repr(value)
    if sum(map(str.isdigit, text.split("e")[0])) > _DIGITS:
        quotient = Fraction(value).limit_denominator(_DENOMINATOR)
        if float(quotient) == value:
            return quotient
    return Fraction(text)


class Forms:
    """The linear forms of the nodes of a graph."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._known: dict[int, Form] = {}

    def of(self, node: int) -> Form:
        """Return the form of a node; not to be changed."""
        if node not in self._known:
            self._known[node] = self._form(node)
        return self._known[node]

    def is_atom(self, node: int) -> bool:
        """Return whether a node is no more than an atom of other forms."""
        return self.of(node) == {node: 1}

    def _form(self, node: int) -> Form:
        function, args, _, value = self._graph.nodes[node]
        if self._graph.is_constant(node):
            return {ONE: fraction(value)} if value else {}
        form = self._of_call(function, [self.of(a) for a in args]) if function in _LINEAR else None
        if form is None or any(
            c.numerator.bit_length() + c.denominator.bit_length() > _MOST_BITS for c in form.values()
        ):
            return {node: Fraction(1)}
        return form

    def _of_call(self, function: str, forms: list[Form]) -> Form | None:
        match function:
            case "add":
                return combined((1, forms[0]), (1, forms[1]))
            case "sub":
                return combined((1, forms[0]), (-1, forms[1]))
            case "negative":
                return combined((-1, forms[0]))
            case "mul":
                left, right = map(_number, forms)
                if left is None and right is None:
                    return None
                return combined((right, forms[0])) if right is not None else combined((left or 0, forms[1]))
            case "div":
                divisor = _number(forms[1])
                return (
                    None
                    if not divisor or not divisor + fraction(EPS)
                    else combined((1 / (divisor + fraction(EPS)), forms[0]))
                )
            case "interp":
                a = _number(forms[2])
                return None if a is None else combined((1 - a, forms[0]), (a, forms[1]))
        return None


def _number(form: Form) -> Fraction | None:
    """Return the number that a form is, if it has no atoms."""
    return form.get(ONE, Fraction(0)) if form.keys() <= {ONE} else None


def combined(*parts: tuple[Fraction | int, Mapping[int, Fraction]]) -> Form:
    """Return the sum of multiples of forms."""
    total: Form = {}
    for factor, form in parts:
        for atom, coefficient in form.items():
            share = factor * coefficient
            before = total.get(atom)
            after = share if before is None else before + share
            if after and (before is None or abs(float(after)) > _ROUNDING * abs(float(share))):
                total[atom] = after
            else:
                total.pop(atom, None)
    return total


class Term(NamedTuple):
    """A multiple of a node, or of 1 where the node is `ONE`."""

    factor: Fraction
    node: int


Terms = tuple[Term, ...]


def extractions(graph: Graph, roots: Roots, forms: Forms, most: int) -> Iterator[Rewrite]:
    """Yield the programs in which one linear value is computed in another way, with at most `most` statements."""
    nodes = graph.live(roots)
    within = _only_for_sums(graph, roots, forms, nodes)
    calls = sum(map(graph.is_call, nodes))
    for node in nodes:
        if graph.is_call(node) and not forms.is_atom(node) and node not in within:
            available = frozenset(nodes) - graph.above(node, nodes)
            rest = graph.rest(node, roots)
            spared = calls - sum(map(graph.is_call, rest))
            room = most - calls + spared
            writer = _Writer(graph, forms, available, spared if spared <= _FEW else spared - 1, frozenset(rest), room)
            for new in dict.fromkeys(writer.realisations(forms.of(node))):
                if new == node or _is_larger(graph, roots, new, rest, room):
                    continue
                changed = replaced(graph, roots, {node: new})
                if changed is not None:
                    yield Rewrite(LINEAR, ROUNDING, trimmed(graph, changed))


def _is_larger(graph: Graph, roots: Roots, new: int, rest: Set[int], room: int) -> bool:
    """Return whether a new node surely needs more calls than the `rest` of the program leaves room for.

    Not if the node is there already, which may make calls equal, or if a slot is no longer read, and may go.
    """
    added = graph.below([new], rest)
    still_read = all(slot in rest or slot in added for slot, _ in roots.states)
    return bool(added) and still_read and sum(map(graph.is_call, added)) > room


def _only_for_sums(graph: Graph, roots: Roots, forms: Forms, nodes: Sequence[int]) -> set[int]:
    """Return values that are used by one other linear value alone, which is short: it is written as a whole."""
    users: dict[int, list[int]] = {n: [] for n in nodes}
    for node in nodes:
        for arg in set(graph.nodes[node].args):
            users[arg].append(node)
    outputs = roots.nodes()
    return {
        n
        for n, by in users.items()
        if len(by) == 1 and n not in outputs and not forms.is_atom(by[0]) and len(forms.of(by[0])) <= _FEW + 1
    }


def _decompositions(forms: Forms, form: Form, available: Sequence[int]) -> Iterator[Terms]:
    """Yield ways to write a form as a sum of few multiples of nodes."""
    yield _terms(form)
    others = {n: f for n in available if not forms.is_atom(n) and (f := forms.of(n)).keys() - {ONE}}
    for node, part in others.items():
        for factor in dict.fromkeys(form[a] / part[a] for a in part if a in form):
            rest = combined((1, form), (-factor, part))
            if len(rest) < len(form):
                yield (Term(factor, node), *_terms(rest))
                yield from _with_second(node, factor, rest, others)


def _with_second(node: int, factor: Fraction, rest: Form, others: Mapping[int, Form]) -> Iterator[Terms]:
    """Yield pairs of available nodes that make up all of a form."""
    for other, part in others.items():
        if other != node and rest and part.keys() == rest.keys():
            ratio = next(rest[a] / part[a] for a in rest)
            if not combined((1, rest), (-ratio, part)):
                yield (Term(factor, node), Term(ratio, other))


def _terms(form: Form) -> Terms:
    return tuple(Term(c, atom) for atom, c in sorted(form.items(), reverse=True))


class _Writer(NamedTuple):
    """Writes forms with nodes that are `available` at no cost, and at most `budget` others.

    What is available but not in the `rest` of the program takes up `room`, the calls that may be added to the rest.
    """

    graph: Graph
    forms: Forms
    available: frozenset[int]
    budget: int
    rest: frozenset[int]
    room: int

    def realisations(self, form: Form) -> Iterator[int]:
        """Yield nodes that have a form."""
        for terms in _decompositions(self.forms, form, sorted(self.available)):
            if len(terms) <= self.budget + 1:
                kept = self.graph.below((t.node for t in terms if t.node != ONE), self.rest)
                budget = min(self.budget, self.room - sum(map(self.graph.is_call, kept)))
                if len(terms) <= budget + 1:
                    yield from islice(self._plans(terms, budget), _MOST_PLANS)

    def _plans(self, terms: Terms, budget: int) -> Iterator[int]:
        """Yield nodes that are the sum of these terms."""
        if not terms:
            yield self.graph.constant(0.0)
        elif len(terms) == 1:
            last = _scaled(self.graph, terms[0])
            if last is not None and (last == terms[0].node or self._price(last) <= budget):
                yield last
        else:
            for i, j in _pairs(terms):
                rest = tuple(t for k, t in enumerate(terms) if k not in (i, j))
                thorough = len(terms) <= _TERMS_IN_ANY_ORDER and budget >= len(rest) + 2
                for merged in _merged(self.graph, terms[i], terms[j], thorough):
                    left = budget - self._price(merged.node)
                    if left >= len(rest):
                        yield from self._plans((merged, *rest), left)

    def _price(self, node: int) -> int:
        """Return how many statements a node made here needs, itself and a multiple below it."""
        if node in self.available or not self.graph.is_call(node):
            return 0
        function, args, _, _ = self.graph.nodes[node]
        scaled = function in ("add", "sub") and any(self._is_new_multiple(a) for a in args)
        return 1 + scaled

    def _is_new_multiple(self, node: int) -> bool:
        return node not in self.available and self.graph.nodes[node].function == "mul"


def _pairs(terms: Terms) -> list[tuple[int, int]]:
    n = len(terms)
    if n > _TERMS_IN_ANY_ORDER:
        return [(n - 2, n - 1), (0, 1)]
    return [(i, j) for i in range(n) for j in range(i + 1, n)]


def _scaled(graph: Graph, term: Term) -> int | None:
    """Return a multiple of a node, as a node."""
    node, factor = term.node, float(term.factor)
    if not _TINY < abs(factor) < _HUGE:
        return None
    if node == ONE:
        return graph.constant(factor)
    if abs(factor - 1) < _ROUNDING:
        return node
    if abs(factor + 1) < _ROUNDING:
        return graph.call("negative", (node,))
    return graph.call("mul", (node, graph.constant(factor)))


def _merged(graph: Graph, x: Term, y: Term, thorough: bool) -> Iterator[Term]:
    """Yield the sum of two terms as a multiple of a new node, in several ways."""
    if ONE in (x.node, y.node):
        yield from _shifted(graph, *((x, y) if y.node == ONE else (y, x)))
        return
    if x.factor == y.factor:
        yield Term(x.factor, graph.call("add", (x.node, y.node)))
    elif x.factor == -y.factor:
        yield Term(x.factor, graph.call("sub", (x.node, y.node)))
        yield Term(y.factor, graph.call("sub", (y.node, x.node)))
    between = _interpolated(graph, x, y)
    if between is not None:
        yield between
    if thorough or between is None:
        for one, other in ((x, y), (y, x)):
            if not _is_weight(graph, one):
                yield from _with_multiple(graph, one, other)


def _with_multiple(graph: Graph, x: Term, y: Term) -> Iterator[Term]:
    """Yield a multiple of x plus or minus a multiple of y."""
    ratio = y.factor / x.factor
    small = _scaled(graph, Term(abs(ratio), y.node))
    if small is not None:
        yield Term(x.factor, graph.call("add" if ratio > 0 else "sub", (x.node, small)))


def _is_weight(graph: Graph, term: Term) -> bool:
    """Return whether a term is a weight decay."""
    return term.node == W or (
        term.node != ONE and graph.nodes[term.node].function == "mul" and W in graph.nodes[term.node].args
    )


def _shifted(graph: Graph, x: Term, constant: Term) -> Iterator[Term]:
    offset = _scaled(graph, Term(constant.factor / x.factor, ONE))
    if offset is not None:
        yield Term(x.factor, graph.call("add", (x.node, offset)))
        negated = graph.constant(-graph.nodes[offset].value)
        yield Term(-x.factor, graph.call("sub", (negated, x.node)))


def _interpolated(graph: Graph, x: Term, y: Term) -> Term | None:
    """Return the two as an interpolation times the sum of their factors, a state or the larger one last."""
    total = x.factor + y.factor
    largest = max(abs(float(x.factor)), abs(float(y.factor)))
    if abs(float(total)) < largest * _CANCELS or _is_weight(graph, x) or _is_weight(graph, y):
        return None
    x, y = sorted((x, y), key=lambda t: (t.node in (M, V), abs(t.factor)))
    share = float(y.factor / total)
    if min(abs(share), abs(1 - share)) < _ROUNDING:
        return None
    return Term(total, graph.call("interp", (x.node, y.node, graph.constant(share))))
