"""Analysis of programs: known rules come out as known, and what algebra proves holds on samples."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings

from programs import Program, parse, zoo
from programs.analysis import samples
from programs.analysis.bounds import bound_of_update
from programs.analysis.coupling import coupling
from programs.analysis.family import FAR, family, neighbours
from programs.analysis.laws import (
    SCALE_OF_G,
    SCALE_OF_W,
    SIGN_OF_G,
    SIGN_OF_G_AND_W,
    UNITS_OF_W,
    ZERO,
    Direction,
    Law,
    law_of_update,
)
from programs.analysis.lion_k import lion_k
from programs.analysis.properties import PROPERTIES, Subject, properties
from programs.analysis.rotation import rotations
from programs.hyperparameters import with_decay

from tests.support.strategies import programs

SCALES = (SCALE_OF_G, SCALE_OF_W, UNITS_OF_W)


@cache
def subject(name: str) -> Subject:
    """A program of the zoo, or one of `OURS`."""
    return Subject(parse(OURS[name]) if name in OURS else zoo.load(name))


# For each property a rule that has it, and one that has not.
KNOWN = [
    ("odd in g", "lion", "yes", "proved"),
    ("odd in g", "only_up", "no", "proved"),
    ("scaling of g", "sgd", "equivariant", "proved"),
    ("scaling of g", "lion", "invariant", "proved"),
    ("scaling of g", "adamw", "invariant", "proved"),
    ("scaling of g", "mars_lion", "neither", "sampled"),
    ("scaling of w", "lion", "invariant", "proved"),
    ("scaling of w", "lamb", "equivariant", "sampled"),
    ("units of w", "lamb", "equivariant", "sampled"),
    ("units of w", "sgd", "as the power -1", "proved"),
    ("scaling of the loss", "lion", "invariant", "proved"),
    ("scaling of the loss", "sgd_momentum", "neither", "sampled"),
    ("bounded update", "lion", "yes, 0.0001 per weight", "proved"),
    ("bounded update", "sgd", "no", "proved"),
    ("bounded update", "adamw", "yes, 0.0073 per weight and 0.0073 in RMS of a tensor", "sampled"),
    ("fixed points", "sgd", "every w without gradient", "proved"),
    ("fixed points", "lion", "w = 0 alone, where it has no gradient", "proved"),
    ("fixed points", "only_up", "none: moves without gradients", "sampled"),
    ("reach", "lion", "each weight by itself", "proved"),
    ("reach", "muon", "each tensor by itself", "proved"),
    ("reach", "raw_lion", "global", "proved"),
    ("decay", "sgd", "none", "proved"),
    ("decay", "adamw", "decoupled (0.01)", "proved"),
    ("decay", "sgd_momentum", "through the gradient (0.0005)", "proved"),
    ("decay", "lamb", "norm-dependent (0.01)", "proved"),
    ("state", "lion", "1 slot", "proved"),
    ("state", "adafactor", "2 (1 by rows, 1 by columns) slots", "proved"),
    ("step", "sgd", "1 functions of each weight", "proved"),
    ("step", "scion", "4 functions of each weight, orthogonalises", "proved"),
    ("rotations", "sgd", "yes, of all weights", "proved"),
    ("rotations", "tensor_norm", "yes, of each tensor", "proved"),
    ("rotations", "muon", "of rows and of columns of a matrix alone", "proved"),
    ("rotations", "lion", "no", "sampled"),
    ("zero gradients", "sgd", "stays from the start, coasts 0 steps once they end", "sampled"),
    ("zero gradients", "lion", "stays from the start, keeps its speed once they end", "sampled"),
    ("zero gradients", "only_up", "moves from the start, keeps its speed once they end", "sampled"),
    ("an infinite gradient", "sgd", "its weight is lost", "sampled"),
    ("an infinite gradient", "muon", "its tensor is lost, updates stay broken", "sampled"),
    ("an infinite gradient", "sign_alone", "no weight is lost", "sampled"),
    ("states in bf16", "lion", "updates are off by 0.094 of their RMS", "sampled"),
    ("states in bf16", "sgd", "updates are off by 0 of their RMS", "sampled"),
]
OURS = {
    "only_up": "a = abs(g)\nb = a + 1.0\nupdate = b * lr",
    "sign_alone": "u = sign(g)\nupdate = u * lr",
    "tensor_norm": "n = norm(g)\nu = g / n\nupdate = u * lr",
}


@pytest.mark.parametrize(("name", "rule", "value", "evidence"), KNOWN)
def test_known_rules_have_the_properties_that_they_have(name: str, rule: str, value: str, evidence: str) -> None:
    assert PROPERTIES[name](subject(rule)) == (value, evidence)


def test_every_property_has_known_rules() -> None:
    assert {name for name, *_ in KNOWN} == set(PROPERTIES)
    assert [one.name for one in properties(subject("sgd"))] == list(PROPERTIES)


# --- what is proved holds on samples ---------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(programs(12))
def test_laws_that_are_proved_hold_on_samples(program: Program) -> None:
    before = samples.updates(program, samples.random_samples())
    assume(np.isfinite(before).all() and 1e-6 < np.abs(before).max() < 1e6)
    for direction in SCALES:
        law = law_of_update(program.dataflow, direction)
        if isinstance(law, Law):
            assert samples.sampled_degree(program, direction) == pytest.approx(float(law.degree), abs=1e-5)
    for direction in (SIGN_OF_G, SIGN_OF_G_AND_W):
        law = law_of_update(program.dataflow, direction)
        if isinstance(law, Law):
            assert samples.is_odd_on_samples(program, direction) is law.is_odd
    bound = bound_of_update(program.dataflow)
    assert np.abs(before).max() <= bound * (1 + 1e-6) + 1e-12
    group = rotations(program.dataflow)
    assert group is None or samples.turns_on_samples(program, group)


@settings(max_examples=60, deadline=None)
@given(programs(12))
def test_updates_without_a_coupling_do_not_depend_on_the_weights(program: Program) -> None:
    ways = coupling(program.dataflow)
    w, g = samples.random_samples()
    with np.errstate(all="ignore"):
        found = [samples.updates(program, samples.Samples(scale * w, g)) for scale in (0.0, 1.0, 2.0)]
        if not ways:
            assert np.array_equal(found[0], found[1], equal_nan=True)
        elif ways == {"decoupled"} and np.isfinite(found).all() and np.abs(found).max() < 1e6:
            assert np.allclose(found[2] - found[1], found[1] - found[0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "direction", "law"),
    [
        ("m = interp(g, m, 0.9)\nv = m * m\nupdate = m * v", SCALE_OF_G, Law(False, Fraction(3))),
        ("m = m * g\nupdate = m * 1.0", SCALE_OF_G, ZERO),  # a state that never leaves zero
        ("a = abs(g)\nupdate = maximum(a, m)\nm = a * 2.0", SCALE_OF_G, Law(False, Fraction(1))),
        ("a = g + 1.0\nupdate = a * lr", SCALE_OF_G, "none"),
        ("m = m * g\nm = m + g\nupdate = m * lr", SCALE_OF_G, "none"),  # degree 1, then 2
        ("a = power(g, 2.0)\nupdate = a * g", SIGN_OF_G, Law(True, Fraction(0))),
    ],
)
def test_laws_of_small_programs(text: str, direction: Direction, law: object) -> None:
    assert law_of_update(parse(text).dataflow, direction) == law


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("s = sign(g)\nm = interp(s, m, 0.99)\nupdate = m * 3.0", 3.0),
        ("s = tanh(g)\nm = m + s\nupdate = m * lr", math.inf),
        ("s = sign(g)\nm = m * 0.9\nm = m + s\nupdate = m * lr", 10.0),
        ("s = arctan(g)\nc = s + 2.0\nupdate = s / c", math.pi / 2 / (2 - math.pi / 2)),
    ],
)
def test_bounds_of_small_programs(text: str, bound: float) -> None:
    assert bound_of_update(parse(text).dataflow) == pytest.approx(bound, rel=1e-6)


def test_bfloat16_is_that_of_torch() -> None:
    x = np.random.default_rng(0).normal(size=1000).astype(np.float32) * 10.0 ** np.linspace(-30, 30, 1000, dtype="f4")
    x = np.concatenate([x, np.array([0.0, np.inf, -np.inf, 1.00390625, 1.01171875], np.float32)])
    assert np.array_equal(samples.bf16(x), torch.from_numpy(x).bfloat16().float().numpy())


# --- families --------------------------------------------------------------------------------------------------------

FAMILIES = {
    "lion": "sign-momentum",
    "raw_lion": "sign-momentum",
    "signum": "sign-momentum",
    "adamw": "AdamW-like",
    "torch_adamw": "AdamW-like",
    "sgd": "SGD-like",
    "nesterov": "SGD-like",
    "adafactor": "factored",
    "muon": "orthogonalised",
    "normuon": "orthogonalised",
}


@pytest.mark.parametrize("name", FAMILIES)
def test_families_of_known_rules(name: str) -> None:
    found = family(Subject(zoo.load(name)))
    assert found.name == FAMILIES[name]
    assert found.neighbours[0].distance == 0 and name in [one.name for one in found.neighbours if one.distance < 1e-9]


def test_lion_is_the_gradient_of_the_1_norm_and_decay_bounds_the_max_norm() -> None:
    found = lion_k(Subject(zoo.load("lion")))
    assert found is not None and (found.k.name, found.k.bound) == ("1-norm", "max norm")
    assert (found.beta1, found.beta2, found.scale, found.radius) == pytest.approx((0.9, 0.99, 1e-4, 100.0))


@pytest.mark.parametrize(
    ("text", "name", "radius"),
    [
        ("u = global_norm(g)\nu = g / u\nd = w * 0.5\nupdate = u + d", "2-norm", 2.0),
        ("u = rms(g)\nu = g / u\nd = w * 0.5\nupdate = u + d", "sum of the 2-norms of tensors, times", 2.0),
        ("u = row_norm(g)\nu = g / u\nd = w * 0.5\nupdate = u + d", "sum of the 2-norms of rows", 2.0),
        ("m = m * 0.9\nm = m + g\nu = tanh(m)\nd = w * 0.5\nupdate = u + d", "sum of log cosh", 2.0),
        ("update = g * lr", "half the square of the 2-norm", None),
    ],
)
def test_convex_functions_are_known_by_name(text: str, name: str, radius: float | None) -> None:
    found = lion_k(Subject(parse(text)))
    assert found is not None and found.k.name.startswith(name)
    assert found.radius == (radius if radius is None else pytest.approx(radius, rel=0.01))


@pytest.mark.parametrize(
    "text",
    [
        "u = sign(g)\nu = u * g\nupdate = u * lr",  # |g|: not the gradient of anything convex
        "u = sign(w)\nupdate = u * lr",
        "u = sign(g)\nupdate = u * -0.1",  # up the gradient
        "u = norm(m)\nm = g * 1.0\nu = g / u\nupdate = u * lr",  # over the norm of another value
    ],
)
def test_other_rules_are_no_lion_k(text: str) -> None:
    assert lion_k(Subject(parse(text))) is None


def test_neighbours_are_found_by_what_programs_do() -> None:
    near, *_ = neighbours(with_decay(zoo.load("signum"), 0.3))
    assert (near.name, near.distance) == ("signum", 0.0)
    assert neighbours(parse("u = cos(g)\nupdate = u * lr"))[0].distance > FAR
