"""Cleaned programs do the same to the last bit, and nothing in them is dead or there twice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from programs import Program, dataflow_hash, live_program, parse, zoo
from programs.fingerprint import fingerprint
from programs.simplify.cleaning import cleaned

from tests.support.runs import reference_updates
from tests.support.strategies import programs, trajectory


@settings(max_examples=150)
@given(program=programs(), seed=st.integers(0, 96))
def test_cleaned_programs_do_the_same(program: Program, seed: int) -> None:
    child = cleaned(program)
    assert fingerprint(child).key == fingerprint(program).key
    assert len(child) <= len(live_program(program))
    assert live_program(child) == child == cleaned(child)
    for a, b in zip(*(reference_updates(p, trajectory(seed)) for p in (program, child)), strict=True):
        np.testing.assert_array_equal(a, b)


@given(programs())
def test_nothing_is_computed_twice(program: Program) -> None:
    """Every two statements have different values, but for those that only copy one to where it is returned."""
    child = cleaned(program)
    seen: dict[tuple[object, ...], int] = {}
    numbers = {n: n for n in range(len(child.dataflow.nodes))}
    twice = 0
    for n, node in enumerate(child.dataflow.nodes):
        if not node.is_call and not node.is_constant:
            continue
        key = (node.function, *(numbers[a] for a in node.args), node.value.hex())
        numbers[n] = seen.setdefault(key, n)
        twice += numbers[n] != n and node.is_call
    assert twice <= 2


@pytest.mark.parametrize("name", zoo.names())
def test_the_zoo_is_clean(name: str) -> None:
    program = zoo.load(name)
    assert dataflow_hash(cleaned(program)) == dataflow_hash(program)
    assert cleaned(program) == live_program(program)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = cosh(g)\nupdate = g * lr", "update = g * lr"),
        ("a = g * lr\nb = lr * g\nupdate = a + b", "a = g * lr\nupdate = a + a"),
        ("a = g * 1.0\nb = a * lr\nc = negative(b)\nupdate = negative(c)", "update = g * lr"),
        ("a = abs(g)\na = abs(a)\nupdate = square(a)", "update = square(g)"),
        ("m = interp(g, m, 0.9)\nv = interp(g, v, 0.9)\nupdate = m * v", "m = interp(g, m, 0.9)\nupdate = square(m)"),
        ("a = sign(g)\nupdate = sign(a)", "update = sign(g)"),
        ("a = g * 0.5\nupdate = a * 2.0", "a = g * 0.5\nupdate = a * 2.0"),  # equal but for underflow
    ],
)
def test_what_is_superfluous_is_gone(text: str, expected: str) -> None:
    child = cleaned(parse(text))
    assert len(child) == len(parse(expected)) and fingerprint(child).key == fingerprint(parse(expected)).key
