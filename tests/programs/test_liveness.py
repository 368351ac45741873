"""What is dead never matters to the updates, at this step or a later one; what is live is no more than needed."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from programs import InputError, Program, Statement, dataflow_hash, live, live_program, parse, zoo
from programs.graph import M, V
from programs.liveness import live_statements

from tests.support import oracle
from tests.support.runs import reference_updates
from tests.support.strategies import MATRICES, programs, random_program, trajectory


def live_places(program: Program) -> set[int]:
    """Places of the live statements."""
    return set(live_statements(program))


def states(text: str) -> set[str]:
    return {{M: "m", V: "v"}[slot] for slot in live(parse(text).dataflow).states}


def same_updates(a: list[np.ndarray], b: list[np.ndarray]) -> None:
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)


def test_program_4_loses_its_cosh() -> None:
    """`m = cosh(update)` at the end is overwritten before the next step reads m; nothing else is dead."""
    program = zoo.load("raw_lion")
    kept = live_program(program)
    assert set(program.statements) - set(kept.statements) == {Statement("m", "cosh", ("update",))}
    assert len(kept) == len(program) - 1 == 11
    assert tuple(live(program.dataflow).states) == (V,)


@pytest.mark.parametrize("name", [n for n in zoo.names() if n != "raw_lion"])
def test_the_zoo_has_no_other_dead_statement(name: str) -> None:
    program = zoo.load(name)
    assert live_program(program) == program


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("update = g * lr", set()),
        ("m = interp(g, m, 0.9)\nupdate = m * lr", {"m"}),
        ("v = interp(g, v, 0.9)\nupdate = v * lr", {"v"}),
        ("update = m * lr\nm = square(g)", {"m"}),  # read at the next step
        ("m = square(g)\nupdate = m * lr", set()),  # overwritten before it is read
        ("m = m + g\nupdate = g * lr", set()),  # read by nobody but itself
        ("update = m * lr", set()),  # never written: zero for ever
        ("update = m + g\nv = v + g", set()),
        ("update = m * lr\nm = v + g", {"m"}),  # v is never written
        ("update = m * lr\nm = v + g\nv = square(g)", {"m", "v"}),  # v reaches the update two steps later
        ("m = v + g\nupdate = m * lr\nv = square(w)", {"v"}),
        ("x = m + v\nupdate = g * lr\nm = g * x\nv = g * x", set()),
    ],
)
def test_states_in_use(text: str, expected: set[str]) -> None:
    """A slot counts if a later step reads what an earlier one wrote; two at most, published with every program."""
    assert states(text) == expected


def test_a_chain_through_both_slots_is_followed_across_steps() -> None:
    """a reaches v, v reaches m at the next step, m reaches the update at the one after; b reaches nothing."""
    program = parse("update = m * lr\nm = v + g\na = square(g)\nb = cube(g)\nv = a + w\nb = b + v")
    assert live_places(program) == {0, 1, 2, 4}


@given(program=programs(longest=40))
def test_liveness_is_the_backward_slice_over_names_repeated_across_steps(program: Program) -> None:
    """An independent algorithm finds the same statements and the same slots."""
    places, read = oracle.live_statements(program.statements)
    written = {target for target, _, _ in program.statements}
    assert live_places(program) == places
    assert {{M: "m", V: "v"}[s] for s in live(program.dataflow).states} == read & written


@given(program=programs(), seed=st.integers(0, 1000))
def test_executing_live_statements_gives_the_updates_of_executing_all(program: Program, seed: int) -> None:
    """Bit for bit over steps in which weights and states move, NumPy reference against oracle."""
    start = trajectory(seed)
    same_updates(reference_updates(program, start), oracle.run(program.statements, MATRICES, *start))


@given(program=programs(), seed=st.integers(0, 1000))
def test_a_dead_statement_may_become_anything(program: Program, seed: int) -> None:
    """Each is replaced in turn by noise of the same kind; the oracle, which executes all, gives the same updates."""
    start = trajectory(seed)
    expected = oracle.run(program.statements, MATRICES, *start)
    for place in sorted(set(range(len(program))) - live_places(program)):
        same_updates(oracle.run(with_noise(program, place), MATRICES, *start), expected)


def with_noise(program: Program, place: int) -> list[Statement]:
    """The statement's value scaled and shifted, its kind kept."""
    old = program.statements[place]
    noise = [Statement(old.target, "mul", (old.target, 1.7)), Statement(old.target, "add", (old.target, 0.3))]
    return [*program.statements[: place + 1], *noise, *program.statements[place + 1 :]]


@given(program=programs(), seed=st.integers(0, 1000))
def test_noise_in_a_live_statement_is_seen_by_liveness(program: Program, seed: int) -> None:
    """The converse: where noise changes an update, the statement is live."""
    start = trajectory(seed)
    expected = oracle.run(program.statements, MATRICES, *start)
    for place in range(len(program)):
        changed = oracle.run(with_noise(program, place), MATRICES, *start)
        if any(not np.array_equal(a, b, equal_nan=True) for a, b in zip(changed, expected, strict=True)):
            assert place in live_places(program)


@given(program=programs(), seed=st.integers(0, 1000))
def test_live_program_moves_weights_alike_and_has_nothing_dead(program: Program, seed: int) -> None:
    kept = live_program(program)
    start = trajectory(seed)
    same_updates(oracle.run(kept.statements, MATRICES, *start), oracle.run(program.statements, MATRICES, *start))
    assert oracle.live_statements(kept.statements)[0] == set(range(len(kept)))


@given(program=programs())
def test_live_program_keeps_order_and_statements(program: Program) -> None:
    """To the letter where that is a valid program; otherwise up to the names of slots that end as scalars."""
    places = oracle.live_statements(program.statements)[0]
    kept, plain = live_program(program), Program(tuple(s for i, s in enumerate(program.statements) if i in places))
    try:
        _ = plain.dataflow
    except InputError:
        assert [s.function for s in kept.statements] == [s.function for s in plain.statements]
        assert dataflow_hash(kept) == dataflow_hash(program)
    else:
        assert kept == plain


def test_live_program_of_a_valid_program_is_valid() -> None:
    """m is a scalar on the way, its last value a tree that no later step reads."""
    program = parse("m = dot(g, w)\nupdate = g * m\nm = g * g")
    _ = live_program(program).dataflow


def test_live_programs_are_valid_where_the_slots_end_as_trees() -> None:
    """Of 300 random programs nearly all; idempotent there."""
    rng, valid = Random(5), 0
    for _ in range(300):
        kept = live_program(random_program(rng, rng.randint(1, 25)))
        try:
            assert live_program(kept) == kept
            valid += 1
        except InputError as error:
            assert "ends as a" in str(error)
    assert valid > 200
