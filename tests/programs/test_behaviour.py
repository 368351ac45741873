"""The distance between what programs do: that of directions, blind to the size of updates and how they are written."""

from __future__ import annotations

import itertools
import json
import math
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from programs import Program, parse, zoo
from programs.behaviour import GRADIENT, behaviour, distance, size_of_updates
from programs.hyperparameters import scaled
from programs.layout import Layout

from tests.support.strategies import programs

ROUNDING = 1e-5  # of 3,000 products in float32


@given(programs(), programs())
def test_a_distance_is_symmetric_and_within_the_bounds_of_angles(one: Program, other: Program) -> None:
    assert distance(one, other) == distance(other, one)
    assert -ROUNDING <= distance(one, other) <= 2.0 + ROUNDING


@given(programs())
def test_behaviour_is_a_direction_or_nothing(program: Program) -> None:
    found = behaviour(program)
    length = float(np.linalg.norm(found.astype(float)))
    assert np.isfinite(found).all() and (length == 0.0 or length == pytest.approx(1.0, abs=ROUNDING))


def test_programs_that_do_the_same_are_nowhere_apart() -> None:
    """Evolved programs that are written differently and that fingerprints know as equal."""
    classes = defaultdict(list)
    for entry in json.loads(Path(__file__).with_name("equivalence_corpus.json").read_text(encoding="utf-8")):
        classes[entry["class"]].append(parse(entry["program"]))
    pairs = [(one[0], other) for one in classes.values() for other in one[1:] if behaviour(other).any()]
    assert len(pairs) > 20
    for one, other in pairs:
        assert distance(one, other) == pytest.approx(0.0, abs=ROUNDING)


@given(st.sampled_from(zoo.all_names()), st.floats(1e-3, 1e3))
def test_the_size_of_updates_says_nothing(name: str, factor: float) -> None:
    program = zoo.load(name)
    # Weights follow other updates, but for rules that do not read them the direction is the same.
    assume("w" not in {arg for statement in program.statements for arg in statement.args})
    assert distance(scaled(program, factor), program) == pytest.approx(0.0, abs=ROUNDING)


def test_the_opposite_direction_is_the_farthest() -> None:
    there, back = parse("update = g * lr"), parse("x = g * lr\nupdate = negative(x)")
    assert distance(there, back) == pytest.approx(2.0, abs=ROUNDING)


def test_changes_that_matter_are_beyond_the_radius_of_a_search() -> None:
    """Of the known optimizers one pair is nearer: AdaBelief's second moment is nearly AdamW's where gradients vary."""
    radius = 0.002
    near = {
        frozenset(pair)
        for pair in itertools.combinations(zoo.names(), 2)
        if distance(zoo.load(pair[0]), zoo.load(pair[1])) < radius
    }
    assert near == {frozenset({"adabelief", "adamw"})}


def test_a_program_without_updates_is_like_no_other() -> None:
    nothing = parse("update = g - g")
    assert not behaviour(nothing).any()
    assert distance(nothing, zoo.load("adamw")) == 1.0


# --- how far weights move --------------------------------------------------------------------------------------------

LAYOUT = Layout(((32, 20), (64, 64), (64, 1), (64, 64)))


def size(text: str, layout: Layout = LAYOUT) -> float:
    found = size_of_updates(parse(text), layout)
    assert found is not None
    return found


def test_a_sign_moves_weights_by_its_factor() -> None:
    assert size("update = sign(g)\nupdate = update * 0.01") == pytest.approx(0.01)


def test_the_shape_of_a_tensor_decides_where_the_rule_reads_it() -> None:
    """What is divided by its norm has a root mean square of one over the root of its numbers."""
    for rows, columns in ((64, 64), (16, 256), (10, 40)):
        layout = Layout(((rows, columns),))
        assert size("x = norm(g)\nupdate = g / x", layout) == pytest.approx((rows * columns) ** -0.5)
        assert size("update = sign(g)", layout) == pytest.approx(1.0)


@pytest.mark.parametrize("text", ["update = g * lr", "m = interp(g, m, 0.9)\nx = sign(m)\nupdate = x * lr"])
@pytest.mark.parametrize("factor", [1e-6, 0.3, -2.0, 1e3])
def test_size_goes_with_the_factor_of_the_update(text: str, factor: float) -> None:
    assert size(f"{text}\nupdate = update * {factor}") == pytest.approx(abs(factor) * size(text), rel=1e-12)


@pytest.mark.parametrize("name", zoo.names())
@pytest.mark.parametrize("factor", [0.1, 3.0])
def test_scaled_programs_of_the_zoo_move_weights_that_much_farther(name: str, factor: float) -> None:
    """Nearly: other weights change what decay and relative steps do."""
    program = zoo.load(name)
    one, other = size_of_updates(program, LAYOUT), size_of_updates(scaled(program, factor), LAYOUT)
    assert one and other and other / one == pytest.approx(factor, rel=0.05)


def test_size_is_that_of_the_formula() -> None:
    """Gradients of one size on all tensors: of plain steps, that size."""
    assert size("update = g * lr") == pytest.approx(GRADIENT, rel=0.02)


def test_rows_and_columns_are_those_of_the_matrices_however_they_are_laid_out() -> None:
    """What is divided by the norm of a row of 64 numbers has a root mean square of an eighth."""
    text = "x = row_norm(g)\nupdate = g / x"
    for layout in (Layout(((32, 64),)), Layout(((32, 64),), (True,))):
        assert size(text, layout) == pytest.approx(1 / 8)


def test_tensors_of_one_shape_count_once() -> None:
    text = "update = orthogonalize(g)"
    assert size(text, Layout(((8, 8), (8, 8), (4, 32)))) == size(text, Layout(((8, 8), (4, 32))))


@pytest.mark.parametrize("text", ["update = g * 0.0", "x = arcsin(3.0)\nupdate = g * x", "update = m * lr"])
def test_programs_without_updates_have_no_size(text: str) -> None:
    assert size_of_updates(parse(text), LAYOUT) is None


@given(programs())
def test_sizes_are_finite_and_positive(program: Program) -> None:
    found = size_of_updates(program, LAYOUT)
    assert found is None or 0.0 < found < math.inf
