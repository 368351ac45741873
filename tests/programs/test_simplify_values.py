"""What simplification believes of values: linear forms, signs, zeros. Checked on every node of random programs."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from programs import Program, parse
from programs.graph import LR, M, V
from programs.simplify.cost import cost
from programs.simplify.facts import NOT_NEGATIVE, POSITIVE, signs, zeros
from programs.simplify.graph import CONSTANT, Graph, Roots, read, replaced
from programs.simplify.linear import ONE, Forms, combined, extractions, fraction
from programs.simplify.writing import write

from tests.support import oracle
from tests.support.oracle import KINDS, SCALAR, TREE, Value
from tests.support.strategies import MATRICES, SIZES, programs

WIDTH = sum(SIZES)


def step_values(graph: Graph, nodes: list[int], inputs: dict[int, Value]) -> dict[int, Value]:
    """The values of all nodes by the oracle."""
    values = dict(inputs)
    with np.errstate(all="ignore"):
        for node in nodes:
            function, args, _, number = graph.nodes[node]
            if function == CONSTANT:
                values[node] = Value(SCALAR, np.full(1, number))
            elif graph.is_call(node):
                values[node] = oracle.call(function, [values[a] for a in args], MATRICES)
    return values


def inputs(rng: np.random.Generator, m: np.ndarray, v: np.ndarray) -> dict[int, Value]:
    rows = [rng.normal(size=WIDTH) * (rng.random(WIDTH) > 0.1) for _ in range(2)]
    trees = {node: Value(TREE, row) for node, row in enumerate((*rows, m, v))}
    return {**trees, LR: Value(SCALAR, rng.random(1))}


def trajectory_values(program: Program, seed: int) -> tuple[Graph, Roots, list[dict[int, Value]]]:
    """The values of all nodes at five steps, states as they come."""
    graph, roots, _ = read(program)
    rng, nodes = np.random.default_rng(seed), graph.live(roots)
    state = {M: np.zeros(WIDTH), V: np.zeros(WIDTH)}
    steps = []
    for _ in range(5):
        values = step_values(graph, nodes, inputs(rng, state[M], state[V]))
        steps.append(values)
        state |= {slot: values[node].array for slot, node in roots.states}
    return graph, roots, steps


@given(programs(), st.integers(0, 1000))
def test_signs_are_right(program: Program, seed: int) -> None:
    graph, roots, steps = trajectory_values(program, seed)
    for node, sign in signs(graph, roots).items():
        for values in steps:
            x = values[node].array
            if sign in (POSITIVE, NOT_NEGATIVE):
                assert not (x < 0).any() and not np.signbit(x[x == 0]).any()


@given(programs(), st.integers(0, 1000))
def test_zeros_are_zero_or_not_a_number(program: Program, seed: int) -> None:
    graph, roots, steps = trajectory_values(program, seed)
    for node in zeros(graph, roots):
        assert all(((x := values[node].array) == 0).all() or np.isnan(x).any() for values in steps)


def test_signs_and_zeros_see_across_steps() -> None:
    graph, roots, names = read(parse("x = abs(g)\nv = interp(x, v, 0.9)\nm = m * g\ny = v + m\nupdate = g / y"))
    by_name = {name: node for node, name in names.items()}
    assert signs(graph, roots)[by_name["v"]] == NOT_NEGATIVE and M in zeros(graph, roots)
    graph, roots, names = read(parse("x = abs(g)\nv = interp(x, v, 1.1)\nupdate = g / v"))
    assert signs(graph, roots)[{name: node for node, name in names.items()}["v"]] > NOT_NEGATIVE


@given(programs(), st.integers(0, 1000))
def test_forms_have_the_value_of_their_node(program: Program, seed: int) -> None:
    """At the first steps, relative to the largest term, where everything is moderate."""
    graph, roots, steps = trajectory_values(program, seed)
    forms = Forms(graph)
    for node in graph.live(roots):
        form = forms.of(node)
        for values in steps[:2]:
            terms = [
                spread(float(c), values[atom]) if atom != ONE else np.full(WIDTH, float(c)) for atom, c in form.items()
            ]
            largest = max((np.abs(t).max() for t in terms), default=0.0)
            if np.isfinite(largest) and largest < 1e100 and np.isfinite(values[node].array).all():
                total = np.sum(terms, axis=0) if terms else np.zeros(WIDTH)
                assert np.abs(spread(1.0, values[node]) - total).max() <= 1e-6 * max(largest, 1.0)


def spread(factor: float, value: Value) -> np.ndarray:
    """[P] a multiple of a value of any kind."""
    array = oracle.spread(value.array, SIZES) if value.kind == KINDS[1] else np.broadcast_to(value.array, WIDTH)
    return np.asarray(factor * array)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.1, Fraction(1, 10)),
        (1 / 3, Fraction(1, 3)),
        (1 / 0.101, Fraction(1000, 101)),
        (1e-8, Fraction(1, 10**8)),
        (-2.5, Fraction(-5, 2)),
    ],
)
def test_floats_stand_for_the_numbers_that_people_mean(value: float, expected: Fraction) -> None:
    assert fraction(value) == expected and float(fraction(value)) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_fractions_round_back(value: float) -> None:
    assert float(fraction(value)) == value


def test_sums_of_forms_cancel_exactly_and_up_to_rounding() -> None:
    third = Fraction(1, 3)
    assert combined((1, {1: third, 2: Fraction(1)}), (-third, {1: Fraction(1)})) == {2: 1}
    assert combined((1, {1: Fraction(1)}), (-1, {1: Fraction(1) + Fraction(1, 10**16)})) == {}


def test_what_is_linear_can_be_written_with_one_statement_less_than_terms() -> None:
    """3 g + 5 m - 8 w + 2: a sum of four terms over three trees, found among the ways to write it."""
    text = "a = g * 3.0\nb = m * 5.0\nc = v * 8.0\na = a + b\na = a - c\nm = g * 1.0\nv = g * 0.5\nupdate = a + 2.0"
    graph, roots, names = read(parse(text))
    found = list(extractions(graph, roots, Forms(graph), len(parse(text))))
    assert min(cost(graph, c.roots).statements for c in found) < len(parse(text))
    assert all(write(graph, c.roots, names).dataflow for c in found)


def test_weights_are_not_interpolated() -> None:
    """Lion's update could be interp(sign, w, ..) times a factor; its weight decay stays visible instead."""
    graph, roots, _ = read(parse("s = sign(g)\nwd = w * 0.01\nu = s + wd\nlr = lr * 0.1\nupdate = u * lr"))
    for candidate in extractions(graph, roots, Forms(graph), most=5):
        assert "interp" not in {graph.nodes[n].function for n in graph.live(candidate.roots)}


def test_replacing_refuses_what_a_reduction_or_the_caller_would_see() -> None:
    graph, roots, names = read(parse("x = g - g\ny = global_norm(x)\nupdate = w * y"))
    x = next(node for node, name in names.items() if name == "x")
    assert replaced(graph, roots, {x: graph.constant(0.0)}) is None
    assert replaced(graph, roots, {roots.update: graph.constant(0.0)}) is None
    assert replaced(graph, roots, {x: graph.call("negative", (x,))}) is not None
