"""Constants are found, set and moved, and a program keeps its structure, zeros, signs and averages."""

from __future__ import annotations

import math
from random import Random
from statistics import fmean, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from programs import Program, dataflow_hash, live_program, parse, structure_hash, zoo
from programs.constants import Constant, live_constants, moved, shifted, with_constants
from programs.liveness import live_statements

from tests.support.strategies import programs

SEEDS = st.integers(0, 2**32 - 1)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


def values(program: Program) -> list[float]:
    return [constant.value for constant in live_constants(program)]


def test_the_constants_of_adamw() -> None:
    assert live_constants(zoo.load("adamw")) == [
        Constant(1, 2, 0.9, "logit"), Constant(2, 2, 0.999, "logit"), Constant(5, 1, 0.01, "log"),
        Constant(7, 1, 0.001, "log"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = g * 2.0\nx = interp(0.3, 0.0, 0.25)\nupdate = g * x", [(0.3, "log"), (0.0, None), (0.25, "logit")]),
        ("m = interp(g, m, 1.109)\nupdate = m * -0.5", [(1.109, "log"), (-0.5, "log")]),  # no average
        ("x = interp(g, w, 0.0)\nupdate = interp(g, x, 1.0)", [(0.0, None), (1.0, "log")]),
        ("update = g * lr\nm = m * 0.9", []),
        ("update = m * -0.0\nm = g * 3.0", [(-0.0, None), (3.0, "log")]),
    ],
)
def test_places_and_scales(text: str, expected: list[tuple[float, str | None]]) -> None:
    found = live_constants(parse(text))
    assert [(c.value, c.scale) for c in found] == expected


@given(programs())
def test_all_constants_of_live_statements_are_found(program: Program) -> None:
    alive = live_statements(program)
    places = [(i, j, a) for i in alive for j, a in enumerate(program.statements[i].args) if isinstance(a, float)]
    assert [(c.statement, c.argument, c.value) for c in live_constants(program)] == places


@given(program=programs(), data=st.data())
def test_constants_are_set_in_their_order_and_nothing_else_is(program: Program, data: st.DataObject) -> None:
    count = len(live_constants(program))
    new = data.draw(st.lists(NUMBERS, min_size=count, max_size=count))
    child = with_constants(program, new)
    assert list(map(repr, values(child))) == list(map(repr, new))
    assert with_constants(child, values(program)) == program
    assert structure_hash(child) == structure_hash(program)
    dead = set(range(len(program))) - set(live_statements(program))
    assert [child.statements[i] for i in dead] == [program.statements[i] for i in dead]


def test_as_many_values_as_constants() -> None:
    for wrong in ([], [1.0, 2.0]):
        with pytest.raises(ValueError, match="zip"):
            with_constants(parse("update = g * 0.5"), wrong)


@given(program=programs(), seed=SEEDS, step=st.sampled_from([0.0, 0.1, 1.0, 100.0, 1e6]))
def test_moves_keep_structure_zeros_signs_and_averages(program: Program, seed: int, step: float) -> None:
    child = moved(program, Random(seed), step)
    assert child == moved(program, Random(seed), step)
    assert structure_hash(child) == structure_hash(program) and len(child) == len(program)
    for before, after in zip(live_constants(program), live_constants(child), strict=True):
        assert (before.statement, before.argument, before.scale) == (after.statement, after.argument, after.scale) or (
            before.scale == "log"  # a number above 1 that enters an average from outside becomes its coefficient
            and after.scale == "logit"
        )
        assert math.isfinite(after.value)
        assert math.copysign(1.0, after.value) == math.copysign(1.0, before.value)
        assert (after.value == 0.0) == (before.value == 0.0)
        assert before.scale != "logit" or 0.0 < after.value < 1.0


@given(programs())
def test_a_step_of_zero_changes_nothing_but_the_last_bits(program: Program) -> None:
    child = moved(program, Random(0), 0.0)
    assert values(child) == pytest.approx(values(program), rel=1e-12, abs=0.0)


def test_moves_are_normal_on_their_scales() -> None:
    """All constants at once; moments over 4,000 draws."""
    program, rng, step = zoo.load("adamw"), Random(3), 0.5
    children = [values(moved(program, rng, step)) for _ in range(4000)]
    for place, constant in enumerate(live_constants(program)):
        on_scale = (lambda a: math.log(a / (1.0 - a))) if constant.scale == "logit" else math.log
        steps = [(on_scale(child[place]) - on_scale(constant.value)) / step for child in children]
        assert abs(fmean(steps)) < 0.05
        assert abs(pstdev(steps) - 1.0) < 0.05
        assert len(set(steps)) > 3900


def test_a_constant_that_stands_for_a_coefficient_moves_with_it_and_the_one_of_a_difference_stays() -> None:
    program = zoo.load("torch_adamw")
    assert values(program) == [0.9, 0.999, 0.9, 1.0, 0.999, 1.0, 0.01, 0.001]
    for seed in range(20):
        a, b, again_a, one, again_b, again_one, decay, rate = values(moved(program, Random(seed), 1.0))
        assert (a, b, one) == (again_a, again_b, again_one) and one == 1.0
        assert len({0.9, 0.999, 0.01, 0.001, a, b, decay, rate}) == 8


def test_coefficients_that_happen_to_be_the_same_move_apart() -> None:
    first, second, *_ = values(moved(zoo.load("muon"), Random(0), 1.0))
    assert first != second
    (factor,) = values(moved(parse("update = g * 1.0"), Random(0), 1.0))
    assert factor != 1.0


@pytest.mark.parametrize(
    ("value", "scale", "distance"),
    [(1.7e308, "log", 5.0), (-1.7e308, "log", 1e9), (5e-324, "log", -2.0), (1.0 - 2**-53, "logit", 50.0),
     (5e-324, "logit", -3.0), (0.5, "logit", 800.0)],
)  # fmt: skip
def test_what_would_leave_its_range_stays(value: float, scale: str, distance: float) -> None:
    constant = Constant(0, 0, value, "logit" if scale == "logit" else "log")
    assert shifted(constant, distance) == value
    assert shifted(constant, -distance / 1e3) != 0.0


def test_dead_constants_do_not_move() -> None:
    program = parse("x = g * 3.0\nupdate = g * 0.5")
    child = moved(program, Random(0), 1.0)
    assert child.statements[0] == program.statements[0] and child.statements[1] != program.statements[1]
    assert structure_hash(child) == structure_hash(live_program(child)) != dataflow_hash(child)
