"""The knobs of any program: a factor on the update, and weight decay, each against a definition written out here."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from programs import InputError, Program, live_program, parse, zoo
from programs.hyperparameters import (
    decay_of,
    learning_rate_of,
    momentum_of,
    scaled,
    with_decay,
    with_learning_rate,
    with_momentum,
)
from programs.layout import Layout
from programs.mutation import random_program
from programs.run.reference import initial_state, numpy_step

from tests.support import oracle
from tests.support.oracle import SCALAR, TREE, Value
from tests.support.runs import reference_updates
from tests.support.strategies import MATRICES, Trajectory, layout_of, mutated_program, programs, trajectory

LAYOUT = layout_of()

FACTORS = st.sampled_from([0.25, 0.5, 2.0, 8.0])  # powers of two leave mantissas as they are


def updates_at(program: Program, start: Trajectory) -> list[np.ndarray]:
    """Updates on weights that are given, so that a factor does not feed back through them."""
    step, state, updates = numpy_step(program, LAYOUT), initial_state(program, LAYOUT), []
    with np.errstate(all="ignore"):
        for number, (g, rate) in enumerate(zip(start.gradients, start.rates, strict=True)):
            update, state = step(start.w * (1 + 0.1 * number), g, state, rate)
            updates.append(np.array(update))
    return updates


def assert_same(got: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-280)


# --- the factor ----------------------------------------------------------------------------------------------------


@given(programs(), FACTORS, st.integers(0, 99))
def test_scaled_multiplies_the_update_of_every_step(program: Program, factor: float, seed: int) -> None:
    start = trajectory(seed)
    with np.errstate(all="ignore"):
        expected = [factor * update for update in updates_at(program, start)]
    assert_same(updates_at(scaled(program, factor), start), expected)


@pytest.mark.parametrize("name", zoo.names())
def test_the_zoo_is_scaled_by_its_learning_rate_alone(name: str) -> None:
    program = zoo.load(name)
    changed = scaled(program, 3.0)
    differing = [(a, b) for a, b in zip(program.statements, changed.statements, strict=True) if a != b]
    ((old, new),) = differing
    assert (old.target, old.function) == ("lr", "mul") and new.args[1] == 3.0 * float(old.args[1])
    assert learning_rate_of(program) == old.args[1]
    assert with_learning_rate(program, 0.07).statements[program.statements.index(old)].args == ("lr", 0.07)
    assert scaled(program, 1.0) is program


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("update = g * 0.5\nm = update * 2.0", 0.5),  # m is never read
        ("m = m + g\nupdate = m * 0.5", 0.5),
        ("update = m * 0.5\nm = update + g", None),  # the next step reads the update
        ("c = lr * 0.5\nupdate = g * c\nm = m * c\nupdate = update + m\nupdate = update / 3.0", None),
        ("c = 2.0 / lr\nupdate = g * c", 2.0),
        ("c = lr * 0.5\nd = negative(c)\nupdate = d * g\nupdate = negative(update)", 0.5),
        ("c = lr * 0.5\nupdate = c * g\nupdate = sign(update)", None),
        ("c = lr * 0.5\nc = c * c\nupdate = g * c", None),
        ("update = g + w", None),
    ],
)
def test_the_learning_rate_multiplies_the_whole_update_and_nothing_else(text: str, found: float | None) -> None:
    program = parse(text)
    assert learning_rate_of(program) == found
    if found is None:
        assert len(scaled(program, 3.0)) == len(program) + 1
        with pytest.raises(InputError, match="no constant multiplies its whole update"):
            with_learning_rate(program, 0.1)
    else:
        assert len(scaled(program, 3.0)) == len(program)
    assert_same(updates_at(scaled(program, 3.0), trajectory(3)), [3.0 * u for u in updates_at(program, trajectory(3))])


def test_constants_that_float32_cannot_hold_are_not_made() -> None:
    program = parse("update = g * 1e-28")
    assert str(scaled(program, 1e-4)) == "update = g * 1e-28\nupdate = update * 0.0001"


# --- the decay -----------------------------------------------------------------------------------------------------


class Definition:
    """The definition of the decay by the book: statement by statement with names, NumPy from the table, two passes.

    The first finds the sums that reach the update as trees, the second runs the statements with every operand of these
    sums that is a multiple of w multiplied by `factor`.
    """

    def __init__(self, program: Program) -> None:
        self.lines = live_program(program).statements
        self.multiples, self.with_w, self.trees = self._kinds()
        self.reached = self._reached()
        sums = {i for i in self.reached if self.lines[i].function in ("add", "sub", "interp")}
        self.terms = {(i, j) for i, j in self.multiples if i in sums}

    def _kinds(self) -> tuple[set[tuple[int, int]], set[tuple[int, int]], set[tuple[int, int]]]:
        """Arguments that are multiples of w, that depend on w, that are trees."""
        multiple, with_w, tree = {"w"}, {"w"}, {"w", "g", "m", "v"}
        found: tuple[set[tuple[int, int]], ...] = (set(), set(), set())
        for i, (target, function, args) in enumerate(self.lines):
            for names, places in zip((multiple, with_w, tree), found, strict=True):
                places.update((i, j) for j, a in enumerate(args) if a in names)
            is_multiple = False
            if function in ("negative", "clip"):
                is_multiple = args[0] in multiple
            elif function in ("mul", "div"):
                orders = [args, args[::-1]] if function == "mul" else [args]
                is_multiple = any(x in multiple and not (y in with_w and y in tree) for x, y in orders)
            depends = any(a in with_w for a in args)
            is_tree = oracle.expected_kind(function, [TREE if a in tree else SCALAR for a in args]) == TREE
            for names, belongs in ((multiple, is_multiple), (with_w, depends), (tree, is_tree)):
                (names.add if belongs else names.discard)(target)
        return found  # type: ignore[return-value]

    def _reached(self) -> set[int]:
        """Statements from which the update can be reached over trees that keep their places and are no multiples."""
        reached: set[int] = set()
        wanted = {"update"}
        while True:
            names, before = set(wanted), set(reached)
            for i in reversed(range(len(self.lines))):
                target, function, args = self.lines[i]
                if target not in names:
                    continue
                names.discard(target)
                reached.add(i)
                if function in ("norm", "global_norm", "dot", "cosine_sim", "rms", *oracle.MATRIX):
                    continue
                is_sum = function in ("add", "sub", "interp")
                names.update(
                    a for j, a in enumerate(args)
                    if isinstance(a, str) and (i, j) in self.trees and not (is_sum and (i, j) in self.multiples)
                )  # fmt: skip
            following = wanted | (names & {"m", "v"})
            if following == wanted and reached == before:
                return reached
            wanted = following

    def updates(self, start: Trajectory, factor: float) -> list[np.ndarray]:
        updates = list[np.ndarray]()
        m = v = np.zeros(LAYOUT.total)
        for number, (g, rate) in enumerate(zip(start.gradients, start.rates, strict=True)):
            trees = {"w": start.w * (1 + 0.1 * number), "g": g, "m": m, "v": v}
            values = {name: Value(TREE, row) for name, row in trees.items()} | {"lr": _number(rate)}
            for i, (target, function, args) in enumerate(self.lines):
                given = [values[a] if isinstance(a, str) else _number(a) for a in args]
                given = [x._replace(array=factor * x.array) if (i, j) in self.terms else x for j, x in enumerate(given)]
                values[target] = oracle.call(function, given, MATRICES, np.float64, number + 1)
            m, v = values["m"].array, values["v"].array
            updates.append(values["update"].array)
        return updates


def _number(x: float) -> Value:
    return Value(SCALAR, np.full(1, x))


def check_against_definition(program: Program, seed: int, factor: float) -> bool:
    """Whether there is a decay; if so it is what the definition says, with more of it and without."""
    own = decay_of(program)
    definition = Definition(program)
    if own is None:
        return False
    start = trajectory(seed)
    assert definition.terms
    assert with_decay(program, own) is program
    if own:
        with np.errstate(all="ignore"):
            for times in (factor, 0.0):
                expected = definition.updates(start, times)
                assert_same(updates_at(with_decay(program, times * own), start), expected)
        assert decay_of(with_decay(program, factor * own)) == pytest.approx(factor * own)
    return True


@given(programs(), FACTORS, st.integers(0, 99))
def test_decay_of_any_program_is_what_the_definition_says(program: Program, factor: float, seed: int) -> None:
    check_against_definition(program, seed, factor)


def test_decay_of_evolved_programs_is_what_the_definition_says() -> None:
    """Enough of them have a decay for the comparison to mean something; so do random ones."""
    evolved = sum(check_against_definition(mutated_program(Random(n), n % 25), n, 4.0) for n in range(150))
    drawn = sum(check_against_definition(random_program(Random(n), 10 + n % 20), n, 0.5) for n in range(600))
    assert evolved > 40 and drawn > 20


def test_a_program_without_terms_has_no_decay() -> None:
    """By the definition too: nothing is overlooked where all coefficients are in range."""
    for n in range(300):
        program = mutated_program(Random(1000 + n), n % 10)
        if decay_of(program) is None:
            assert not Definition(program).terms or "inf" in str(program) or _is_degenerate(program)


def _is_degenerate(program: Program) -> bool:
    """Whether all its terms are multiplied by nothing, in a way that no single constant mends."""
    definition = Definition(program)
    start = trajectory(1)
    with np.errstate(all="ignore"):
        return all(
            np.array_equal(a, b, equal_nan=True)
            for a, b in zip(definition.updates(start, 1.0), definition.updates(start, 3.0), strict=True)
        )


ZOO = {"raw_lion": 0.4602, "sgd_momentum": 0.0005, "nesterov": 0.0005, "sgd": None, "rmsprop": None, "muon": 0.1,
       "normuon": 0.1, "scion": 0.5}  # fmt: skip


@pytest.mark.parametrize("name", zoo.names())
def test_the_zoo_keeps_its_shape_when_its_decay_is_set(name: str) -> None:
    program, own = zoo.load(name), ZOO.get(name, 0.01)
    assert decay_of(program) == own
    if own is None:
        with pytest.raises(InputError, match="no weight decay to set"):
            with_decay(program, 0.1)
        return
    assert str(with_decay(program, 0.3)) == str(program).replace(f"wd = w * {own}", "wd = w * 0.3")
    without = with_decay(program, 0.0)
    assert "wd = w * 0.0" in str(without) and decay_of(without) == 0.0
    assert with_decay(without, own) == program


@pytest.mark.parametrize(
    ("text", "decay", "with_a_half"),
    [
        ("update = interp(w, g, 0.75)", 0.25, "decay1 = w * 2.0\nupdate = interp(decay1, g, 0.75)"),
        ("x = w * 0.1\nupdate = interp(g, x, 0.5)", 0.05, "x = w * 1.0\nupdate = interp(g, x, 0.5)"),
        ("update = g - w", 1.0, "decay1 = w * 0.5\nupdate = g - decay1"),
        (
            "a = w * 0.1\nb = w * 0.4\nupdate = g + a\nupdate = update - b", 0.1,
            "a = w * 0.5\nb = w * 2.0\nupdate = g + a\nupdate = update - b",
        ),
        (  # the same multiple in two sums
            "wd = w * 0.1\nx = g + wd\ny = sign(g)\ny = y + wd\nupdate = x * y", 0.1,
            "wd = w * 0.5\nx = g + wd\ny = sign(g)\ny = y + wd\nupdate = x * y",
        ),
        (  # the norm of the decay is left alone
            "wd = w * 0.1\nupdate = g + wd\nn = norm(wd)\nupdate = update * n", 0.1,
            "wd = w * 0.1\ndecay1 = wd * 5.0\nupdate = g + decay1\nn = norm(wd)\nupdate = update * n",
        ),
        (  # a dynamic coefficient
            "d = dot(g, w)\nd = d * 0.2\nwd = w * d\nupdate = g + wd", 0.2,
            "d = dot(g, w)\nd = d * 0.5\nwd = w * d\nupdate = g + wd",
        ),
        ("decay1 = w + w\nupdate = g + decay1", 1.0, "decay2 = w * 0.5\ndecay3 = w * 0.5\ndecay1 = decay2 + decay3\n"
         "update = g + decay1"),
        (  # in what a state remembers of it
            "c = clip(w, 2.0)\nx = g + c\nm = interp(x, m, 0.9)\nupdate = m * lr", 1.0,
            "c = clip(w, 2.0)\ndecay1 = c * 0.5\nx = g + decay1\nm = interp(x, m, 0.9)\nupdate = m * lr",
        ),
        ("update = m * lr\nx = w * 0.25\nm = g + x", 0.25, "update = m * lr\nx = w * 0.5\nm = g + x"),
        ("x = w + g\nupdate = clip(x, 1.0)", 1.0, "decay1 = w * 0.5\nx = decay1 + g\nupdate = clip(x, 1.0)"),
        ("update = w * lr", None, ""),  # nothing but the weights: a decay would be the learning rate
        ("n = norm(w)\nupdate = g * n", None, ""),
        ("x = g + w\nn = global_norm(x)\nupdate = g * n", None, ""),
        ("x = sign(w)\nupdate = g + x", None, ""),
        ("x = w * w\nupdate = g + x", None, ""),
        ("x = abs(w)\nx = w / x\nupdate = g + x", None, ""),
    ],
)  # fmt: skip
def test_decay_in_programs_of_every_kind(text: str, decay: float | None, with_a_half: str) -> None:
    program = parse(text)
    assert decay_of(program) == decay
    if decay is not None:
        assert str(with_decay(program, 0.5)) == with_a_half


def test_coupled_decay_is_that_of_torch() -> None:
    """In closed loop: heavy-ball momentum with the decay in its gradient, by torch's formula."""
    start, program = trajectory(5), with_decay(zoo.load("sgd_momentum"), 0.2)
    w, m = start.w, np.zeros_like(start.w)
    for g, rate, update in zip(start.gradients, start.rates, reference_updates(program, start), strict=True):
        m = 0.9 * m + g + 0.2 * w
        np.testing.assert_allclose(update, 0.1 * rate * m, rtol=1e-12)
        w = w - update
    assert math.isfinite(w.sum())


# --- momentum ---------------------------------------------------------------------------------------------------------

MOMENTA = {
    "lion": 0.9,
    "torch_adamw": 0.9,
    "muon": 0.95,
    "nesterov": 0.9,
    "raw_lion": 0.899,
    "laprop": 0.9,  # after its average of squares
    "rmsprop": None,  # an average of squares alone
    "sgd": None,
}


@pytest.mark.parametrize(("name", "momentum"), MOMENTA.items())
def test_momentum_is_that_of_the_first_average_with_a_sign(name: str, momentum: float | None) -> None:
    program = zoo.load(name)
    assert momentum_of(program) == momentum
    if momentum is None:
        with pytest.raises(InputError, match="no momentum to set"):
            with_momentum(program, 0.5)
    else:
        assert momentum_of(with_momentum(program, 0.5)) == 0.5
        assert with_momentum(program, momentum) == program


def test_adamw_with_another_momentum_is_that_of_torch() -> None:
    """Its correction of bias goes with the average, and nothing else does."""
    rule = with_learning_rate(with_momentum(zoo.load("torch_adamw"), 0.6), 0.01)
    rng = np.random.default_rng(0)
    w, gradients = rng.normal(size=4), rng.normal(size=(5, 4))
    param = torch.nn.Parameter(torch.tensor(w))
    reference = torch.optim.AdamW([param], lr=0.01, betas=(0.6, 0.999), eps=1e-8, weight_decay=0.01)
    layout = Layout.of_shapes([(4,)])
    step, state = numpy_step(rule, layout, steps=5), initial_state(rule, layout)
    for g in gradients:
        update, state = step(w, g, state, 1.0)
        w = w - update
        param.grad = torch.tensor(g)
        reference.step()
    np.testing.assert_allclose(w, param.detach().numpy(), rtol=1e-6)


def test_the_momentum_of_an_average_that_is_written_from_its_state() -> None:
    """It is one less the coefficient, and the correction of bias goes with it."""
    rule = "m = interp(m, g, {})\nt = get_step()\nc = power({}, t)\nc = 1.0 - c\nu = m / c\nupdate = u * lr"
    program = parse(rule.format(0.25, 0.75))
    assert momentum_of(program) == 0.75 == momentum_of(parse("m = interp(g, m, 0.75)\nupdate = m * lr"))
    assert with_momentum(program, 0.5) == parse(rule.format(0.5, 0.5))
    assert with_momentum(program, 0.875) == parse(rule.format(0.125, 0.875))


def test_constants_that_only_look_like_the_momentum_stay() -> None:
    program = parse("m = interp(g, m, 0.9)\nd = w * 0.9\nu = m + 0.9\nu = u + d\nupdate = u * lr")
    assert str(with_momentum(program, 0.5)).count("0.9") == 2
