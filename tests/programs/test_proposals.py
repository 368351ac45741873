"""Proposals: always valid children of another structure, made of what they may be made of, each as its name says."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from programs import Program, Statement, dataflow_hash, live, live_program, mutation, parse, structure_hash, zoo
from programs.constants import live_constants
from programs.editing import is_valid, names_of
from programs.liveness import live_functions, live_statements, state_kinds
from programs.ops import LANGUAGES, OPS, functions_of
from programs.proposals import PROPOSALS, Material, states
from programs.proposals.functions import BY_NUMBER, DIVIDED_BY, NORMALISED, exchange, rescale
from programs.proposals.graft import graft, pieces_of
from programs.proposals.states import duplicate_state
from programs.proposals.values import combine

from tests.support.runs import reference_updates
from tests.support.strategies import programs, trajectory

SEEDS = st.integers(0, 2**32 - 1)
ZOO = [zoo.load(name) for name in zoo.names()]
STRUCTURAL = ("exchange", "graft", "rescale", "combine", "average", "duplicate_state")
IN_A_FREE_STATE = ("average", "duplicate_state")


def material(language: str = "extended", most: int = 64, donors: Sequence[Program] = ZOO) -> Material:
    return Material(functions_of(LANGUAGES[language]), donors, most)


def functions(program: Program) -> set[str]:
    return {s.function for s in program.statements}


def children(proposal: str, program: Program, draws: int, of: Material) -> list[Program]:
    """The children of the first seeds."""
    found = (PROPOSALS[proposal](program, Random(seed), of) for seed in range(draws))
    return [child for child in found if child is not None]


# --- all of them -----------------------------------------------------------------------------------------------------


def test_the_table_holds_the_mutations_of_the_paper_and_larger_steps() -> None:
    assert set(PROPOSALS) == {"insert", "delete", "modify", *STRUCTURAL}


@pytest.mark.parametrize("name", PROPOSALS)
@settings(max_examples=60)
@given(
    program=programs(),
    donor=programs(),
    seed=SEEDS,
    language=st.sampled_from(sorted(LANGUAGES)),
    room=st.integers(-2, 9),
)
def test_children_are_valid_and_made_of_what_they_may_be(
    name: str, program: Program, donor: Program, seed: int, language: str, room: int
) -> None:
    """Within the functions, but for those that the parent had before, and the length; the same seed, the same child."""
    of = material(language, len(program) + room, [*ZOO, donor])
    before = str(program)
    child = PROPOSALS[name](program, Random(seed), of)
    assert child == PROPOSALS[name](Program(program.statements), Random(seed), of)
    assert str(program) == before
    if child is not None:
        assert parse(str(child)) == child
        assert functions(child) <= of.names | functions(program)
        assert len(child) <= of.max_statements
        assert name not in STRUCTURAL or structure_hash(child) != structure_hash(program)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", [name for name in PROPOSALS if name not in IN_A_FREE_STATE])
def test_most_draws_give_a_child(name: str, language: str) -> None:
    of = material(language)
    found = [PROPOSALS[name](program, Random(seed), of) for program in ZOO for seed in range(5)]
    assert sum(child is not None for child in found) > 0.75 * len(found)


@pytest.mark.parametrize("name", ["insert", "delete", "modify"])
def test_mutations_of_the_paper_are_those_of_the_paper(name: str) -> None:
    """The first draw of each seed, where it is valid."""
    of, program = material("paper"), zoo.load("adamw")
    for seed in range(100):
        args = (program, Random(seed), of.functions)[: 3 if name == "insert" else 2]
        first = getattr(mutation, name)(*args)
        if first is not None and is_valid(first):
            assert PROPOSALS[name](program, Random(seed), of) == first


# --- combine and average ---------------------------------------------------------------------------------------------

SIGN = parse("x = sign(g)\nupdate = x * lr")


@given(program=programs(), seed=SEEDS)
def test_a_combination_adds_a_multiple_and_changes_nothing_else(program: Program, seed: int) -> None:
    child = combine(program, Random(seed), material())
    if child is not None:
        (position, (scaled, added)) = next(
            (i, child.statements[i : i + 2])
            for i in range(len(child) - 1)
            if (*child.statements[:i], *child.statements[i + 2 :]) == program.statements
        )
        assert scaled.function == "mul" and isinstance(scaled.args[1], float)
        assert added == Statement(added.target, "add", (added.target, scaled.target))
        assert scaled.target not in names_of(program) and 0 <= position <= len(program)


def test_combinations_reach_weight_decay_and_a_look_ahead() -> None:
    found = {str(child) for child in children("combine", SIGN, 300, material())}
    of_shape = {re.sub(r"\* -?[0-9].*", "* c", text) for text in found}
    assert "x = sign(g)\nx1 = w * c\nx = x + x1\nupdate = x * lr" in of_shape
    assert "x1 = w * c\ng = g + x1\nx = sign(g)\nupdate = x * lr" in of_shape
    assert not any(" m " in text or " v " in text for text in of_shape), "states that are always zero add nothing"
    factors = [float(text.split("w * ")[1].split("\n")[0]) for text in found if "w * " in text]
    assert min(factors) < 0 < max(factors)


def test_averages_are_those_of_what_was_there() -> None:
    """Gradient and sign, averaged where they are read: momentum before and after the sign."""
    found = {str(child) for child in children("average", SIGN, 100, material())}
    of_shape = {re.sub(r"0[.][0-9]+", "c", text) for text in found}
    assert of_shape == {
        "m = interp(g, m, c)\nx = sign(m)\nupdate = x * lr",
        "x = sign(g)\nm = interp(x, m, c)\nupdate = m * lr",
    }
    coefficients = sorted(float(re.findall(r"0[.][0-9]+", text)[0]) for text in found)
    assert 0.1 < coefficients[0] < 0.8 < coefficients[-1] < 0.999


def test_an_average_has_its_own_state_or_there_is_none() -> None:
    assert not children("average", zoo.load("adamw"), 20, material()), "both states are in use"
    for child in children("average", zoo.load("lion"), 50, material()):
        assert len(child.dataflow.states) == 2 and "interp" in functions(child)
        assert len(state_kinds(child)) == len(state_kinds(zoo.load("lion"))) + 1


# --- exchange --------------------------------------------------------------------------------------------------------


@given(program=programs(), seed=SEEDS)
def test_an_exchange_changes_one_live_function(program: Program, seed: int) -> None:
    child = exchange(program, Random(seed), material())
    if child is not None:
        pairs = zip(program.statements, child.statements, strict=True)
        changed = [i for i, (a, b) in enumerate(pairs) if a != b]
        assert len(changed) == 1 and changed[0] in live_statements(program)
        a, b = program.statements[changed[0]], child.statements[changed[0]]
        assert a._replace(function=b.function) == b


def test_exchanges_reach_all_that_fits() -> None:
    """A square of the gradient may become any function of one tree."""
    program = parse("x = square(g)\nupdate = w * x")
    found = children("exchange", program, 1500, material())
    unary = {child.statements[0].function for child in found if child.statements[0].function != "square"}
    assert unary == {op.name for op in OPS.values() if op.arity == 1 and op.name != "square"}
    binary = {child.statements[1].function for child in found if child.statements[1].function != "mul"}
    trees = [op for op in OPS.values() if op.arity == 2 and op.name not in ("clip", "dot", "cosine_sim", "mul")]
    assert binary == {op.name for op in trees}


# --- rescale ---------------------------------------------------------------------------------------------------------


@given(program=programs(), seed=SEEDS)
def test_rescaling_adds_one_statement_or_two_that_write_to_a_live_value(program: Program, seed: int) -> None:
    child = rescale(program, Random(seed), material())
    if child is None:
        return
    more = len(child) - len(program)
    place = next(i for i in range(len(child)) if _without(child, i, more) == program)
    *size, last = child.statements[place : place + more]
    assert place - 1 in {-1, *live_statements(program)}
    assert last.target == last.args[0]
    assert last.function in (*BY_NUMBER, *NORMALISED) if not size else last.function == "div"
    assert [s.function in DIVIDED_BY and s.args == (last.target,) for s in size] == [True] * (more - 1)
    assert last.function not in BY_NUMBER or float(last.args[1]) > 0.0


def _without(program: Program, place: int, count: int) -> Program:
    return Program(program.statements[:place] + program.statements[place + count :])


@pytest.mark.parametrize(
    ("language", "ways"),
    [("paper", {"mul", "clip", "sign", "norm", "global_norm"}),
     ("extended", {"mul", "clip", "sign", "norm", "global_norm", "orthogonalize", "rms", "row_norm", "column_norm"})],
)  # fmt: skip
def test_all_that_the_language_offers_is_equally_likely(language: str, ways: set[str]) -> None:
    """Of the gradient, the only live value beside the update."""
    program = parse("update = exp(g)")
    found = Counter(child.statements[child.statements[0].function == "exp"].function
                    for child in children("rescale", program, 2000, material(language)))  # fmt: skip
    assert set(found) == ways
    assert min(found.values()) > 0.7 * 2000 / len(ways)


# --- graft -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("receiver", zoo.names())
def test_every_program_of_the_zoo_takes_from_every_other(receiver: str, language: str) -> None:
    """Valid, within the language, and no more dead statements, whatever the donor is."""
    program, given_up = zoo.load(receiver), 0
    for donor in ZOO:
        of = material(language, donors=[donor])
        for seed in range(3):
            child = graft(program, Random(seed), of)
            given_up += child is None
            if child is not None:
                assert parse(str(child)) == child == live_program(child)
                assert functions(child) <= functions(program) | of.names
                assert structure_hash(child) != structure_hash(program)
    assert given_up < 0.2 * 3 * len(ZOO)


WHOLE = {
    "none": "update = sign(g)",
    "new value": "m = interp(g, m, 0.9)\nupdate = sign(m)",
    "old value": "update = interp(g, m, 0.9)\nm = interp(g, m, 0.99)",
    "two": "m = interp(g, m, 0.9)\nx = square(g)\nv = interp(x, v, 0.99)\nx = sqrt(v)\nupdate = m / x",
    "exchanged": "v = interp(g, v, 0.9)\nx = square(g)\nm = interp(x, m, 0.99)\nx = sqrt(m)\nupdate = v / x",
    "one through the other": "update = m * lr\nm = v + g\nv = g * w",
    "names of inputs": "lr = lr * 0.1\ng = g * lr\nw = w + g\nm = m + w\nupdate = m + lr",
}


@pytest.mark.parametrize("text", WHOLE.values(), ids=list(WHOLE))
@pytest.mark.parametrize(
    ("receiver", "before", "after"),
    [
        ("update = negative(g)", "", "update = negative(update)"),
        ("v = square(w)\nm = sqrt(v)\nupdate = g * m", "y = square(w)\ny = sqrt(y)", "update = update * y"),
    ],
    ids=["nothing else", "values called m and v"],
)
def test_expressions_come_with_their_states(receiver: str, before: str, after: str, text: str) -> None:
    """Some child of a program with free slots has the whole donor in place of the gradient, to the last bit."""
    of, expected = material(donors=[parse(text)]), parse(f"{before}\n{text}\n{after}")
    found = children("graft", parse(receiver), 200, of)
    same = [child for child in found if dataflow_hash(child) == dataflow_hash(expected)]
    assert same
    for a, b in zip(*(reference_updates(p, trajectory(3)) for p in (same[0], expected)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_without_a_free_slot_the_state_that_is_most_alike_is_read() -> None:
    """The second moment in AdamW's v for one that the donor keeps in m."""
    donor = parse("x = square(g)\nm = interp(x, m, 0.77)\nx = sqrt(m)\nupdate = g / x")
    found = children("graft", zoo.load("adamw"), 200, material(donors=[donor]))
    averages = [s for child in found for s in child.statements if s.function == "interp" and s.args[2] == 0.77]
    assert len(averages) > 30
    assert all(s.args[1] == "v" for s in averages)
    assert all(len(live(child.dataflow).states) <= 2 for child in found)


def test_expressions_are_small_and_of_the_kind_of_what_they_replace() -> None:
    """A tree is replaced by trees, and a coefficient by numbers alone."""
    assert {len(p.calls) for program in ZOO for p in pieces_of(program)} == set(range(1, 7))
    program = parse("m = interp(g, m, 0.9)\nupdate = m * lr")
    averages = [s for child in children("graft", program, 300, material()) for s in child.statements if s.target == "m"]
    replaced = {s.args[2] for s in averages if s.function == "interp"}
    assert len(replaced) > 1  # names of numbers, beside 0.9


def test_nothing_can_be_taken_from_nobody() -> None:
    assert graft(zoo.load("adamw"), Random(0), material(donors=[])) is None


# --- a second copy of a state ----------------------------------------------------------------------------------------


def test_copies_of_the_state_of_signum() -> None:
    """The only reader of the state reads both."""
    program = parse("m = interp(g, m, 0.9)\nupdate = sign(m)")
    found = children("duplicate_state", program, 300, material())
    assert len(found) == 300
    texts = {
        "\n".join(
            f"{s.target} = {s.function}{tuple(a for a in s.args if isinstance(a, str))}" for s in child.statements
        )
        for child in found
    }
    copies = "v = interp('g', 'v')\n"
    both = [
        f"{copies}m = interp('g', 'm')\nx1 = {f}('m', 'v')\nupdate = sign('x1',)" for f in ("add", "sub", "maximum")
    ]
    assert texts == set(both)
    coefficients = {c.value for child in found for c in live_constants(child)}
    assert all(0.0 < a < 1.0 for a in coefficients) and len(coefficients) > 250


@given(program=programs(), seed=SEEDS)
def test_a_copy_with_the_same_coefficient_does_the_same(program: Program, seed: int) -> None:
    """The larger of two that are the same, or the copy alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(states, "shifted", lambda constant, _distance: constant.value)
        patch.setattr(states, "is_new", lambda *_: True)
        child = duplicate_state(program, Random(seed), Material((OPS["maximum"],), (), 64))
    if child is not None:
        for a, b in zip(*(reference_updates(p, trajectory(seed % 97)) for p in (program, child)), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", zoo.names())
def test_programs_of_the_zoo_with_a_free_slot_get_a_second_state(name: str) -> None:
    program = zoo.load(name)
    used = len(live(program.dataflow).states)
    found = children("duplicate_state", program, 20, material())
    assert len(found) == (20 if used == 1 else 0)
    assert all(1 <= len(live(child.dataflow).states) <= 2 for child in found)
    assert not found or max(len(live(child.dataflow).states) for child in found) == 2


def test_functions_of_dead_statements_do_not_count() -> None:
    """What comes from donors is live there, and stays within the language."""
    donor = parse("x = rms(g)\nupdate = sign(g)")
    of = material("paper", donors=[donor])
    assert all(live_functions(child) <= of.names for child in children("graft", zoo.load("lion"), 50, of))
