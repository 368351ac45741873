"""The distance between what programs do: that of directions, blind to the size of updates and how they are written."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from programs import Program, parse, zoo
from programs.behaviour import behaviour, distance
from programs.hyperparameters import scaled

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
