"""Kinds: which calls fit, what they give, and what a program must end with."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given

from programs import InputError, Program, Statement, parse
from programs.graph import M, V, W, _kept_as, _trace
from programs.kinds import COLUMN, KIND_NAMES, ROW
from programs.kinds import TREE as WIDEST

from tests.support.oracle import ARITIES, KINDS, SCALAR, TREE, expected_kind
from tests.support.strategies import programs

OF_KIND: dict[str, tuple[str | float, ...]] = {
    "scalar": ("lr", "s", 0.5),
    "leaf": ("l", "l", "l"),
    "tree": ("w", "g", "m"),
}
PREFIX = (Statement("s", "dot", ("w", "g")), Statement("l", "norm", ("w",)))
AS_SPECIFIED = {number: TREE if name in ("row", "column") else name for number, name in enumerate(KIND_NAMES)}
ALL_CALLS = [(f, kinds) for f, arity in ARITIES.items() for kinds in itertools.product(KINDS, repeat=arity)]


def kinds_of(program: Program) -> list[str]:
    """The kind of each statement's value."""
    return [AS_SPECIFIED[program.dataflow.nodes[n].kind] for n in program.dataflow.statements]


def call_of(function: str, kinds: tuple[str, ...]) -> Program:
    args = tuple(OF_KIND[kind][i] for i, kind in enumerate(kinds))
    return Program((*PREFIX, Statement("x", function, args), Statement("update", "mul", ("g", "lr"))))


@pytest.mark.parametrize(("function", "kinds"), ALL_CALLS, ids=lambda x: x if isinstance(x, str) else "-".join(x))
def test_every_call_of_every_kinds_fits_or_not_as_specified(function: str, kinds: tuple[str, ...]) -> None:
    """All combinations of kinds."""
    program = call_of(function, kinds)
    expected = expected_kind(function, kinds)
    if expected is None:
        with pytest.raises(InputError, match=rf"statement 3: argument \d of {function} is a"):
            _ = program.dataflow
    else:
        assert kinds_of(program)[2] == expected


def test_the_expectation_spells_out_the_design() -> None:
    """A few rows of the specification in full, against a slip in the oracle itself."""
    rows = {
        ("norm", (TREE,)): "leaf",
        ("norm", ("leaf",)): "leaf",
        ("norm", (SCALAR,)): "scalar",
        ("global_norm", ("leaf",)): "scalar",
        ("dot", (TREE, TREE)): "scalar",
        ("dot", (TREE, "leaf")): None,
        ("cosine_sim", (SCALAR, TREE)): None,
        ("clip", ("leaf", SCALAR)): "leaf",
        ("clip", (TREE, "leaf")): None,
        ("interp", (SCALAR, TREE, SCALAR)): "tree",
        ("interp", (TREE, TREE, TREE)): None,
        ("add", ("leaf", SCALAR)): "leaf",
        ("power", (SCALAR, TREE)): "tree",
        ("get_pi", ()): "scalar",
    }
    assert {row: expected_kind(*row) for row in rows} == rows


@pytest.mark.parametrize("output", ["update", "m", "v"])
@pytest.mark.parametrize(("call", "kind"), [("norm(g)", "leaf"), ("dot(g, w)", "scalar"), ("get_pi()", "scalar")])
def test_outputs_must_end_as_trees(output: str, call: str, kind: str) -> None:
    with pytest.raises(InputError, match=f"'{output}' ends as a {kind}, expected a tree"):
        parse(f"update = g * lr\n{output} = {call}")


@pytest.mark.parametrize("output", ["update", "m", "v"])
def test_an_output_may_hold_anything_on_the_way(output: str) -> None:
    assert kinds_of(parse(f"{output} = dot(g, w)\n{output} = norm(g)\n{output} = g * w\nupdate = g * g"))[-2:] == [
        TREE,
        TREE,
    ]


@pytest.mark.parametrize("name", ["w", "g", "lr", "x"])
@pytest.mark.parametrize("call", ["norm(g)", "dot(g, w)", "square(w)"])
def test_inputs_and_other_variables_may_become_anything(name: str, call: str) -> None:
    parse(f"{name} = {call}\nupdate = m * {name}")


@pytest.mark.parametrize(
    "text",
    ["update = g * update", "update = g * x\nx = g * g", "update = x * x", "x = sqrt(y)\ny = g * g\nupdate = g * g"],
)
def test_a_variable_must_be_assigned_before_it_is_read(text: str) -> None:
    with pytest.raises(InputError, match="before it is assigned"):
        parse(text)


def test_a_reassigned_input_is_read_in_its_new_meaning() -> None:
    flow = parse("g = dot(g, w)\nupdate = w * g").dataflow
    first, second = flow.statements
    assert flow.nodes[second].args == (W, first)
    assert KIND_NAMES[flow.nodes[first].kind] == SCALAR


@given(program=programs())
def test_kinds_of_random_programs_follow_the_specification(program: Program) -> None:
    """Statement by statement, names resolved independently."""
    scope = {"w": TREE, "g": TREE, "m": TREE, "v": TREE, "lr": SCALAR}
    expected = []
    for target, function, args in program.statements:
        kind = expected_kind(function, [scope[a] if isinstance(a, str) else SCALAR for a in args])
        assert kind is not None
        expected.append(kind)
        scope[target] = kind
    assert kinds_of(program) == expected
    assert [scope[name] for name in ("update", "m", "v")] == [TREE, TREE, TREE]


# --- rows and columns ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("x = row_norm(g)", "row"),
        ("x = column_mean(g)", "column"),
        ("x = row_norm(g)\nx = x * lr", "row"),
        ("x = row_norm(g)\ny = norm(g)\nx = x + y", "row"),
        ("x = row_norm(g)\ny = column_norm(g)\nx = x * y", "tree"),
        ("x = row_norm(g)\nx = x * g", "tree"),
        ("x = row_norm(g)\nx = column_mean(x)", "column"),
        ("x = row_norm(g)\nx = orthogonalize(x)", "tree"),
        ("x = row_norm(g)\nx = clip(x, lr)", "tree"),
        ("x = row_norm(g)\nx = rms(x)", "leaf"),
        ("x = row_norm(g)\nx = dot(x, g)", "scalar"),
    ],
)
def test_what_rows_and_columns_become(text: str, kind: str) -> None:
    flow = parse(f"{text}\nupdate = g * lr").dataflow
    assert KIND_NAMES[flow.nodes[flow.statements[-2]].kind] == kind


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("m = interp(g, m, 0.9)\nx = row_norm(g)\nv = x * g", ("tree", "tree")),
        ("x = row_mean(g)\nm = interp(x, m, 0.9)", ("row", "tree")),
        ("x = row_mean(g)\nm = interp(x, m, 0.9)\ny = column_mean(g)\nv = interp(y, v, 0.9)", ("row", "column")),
        ("x = row_mean(g)\nm = x + v\nv = m * 0.5", ("row", "row")),
        ("x = row_mean(g)\ny = column_mean(g)\nv = m + y\nm = x * 1.0", ("row", "tree")),
        ("x = row_mean(g)\nm = m * 0.9\nv = interp(x, v, 0.9)", ("tree", "row")),
        ("x = row_mean(g)\nm = m * 0.9\nv = interp(x, m, 0.9)", ("tree", "tree")),
        ("x = row_mean(g)\nm = interp(x, m, 0.9)\nx = clip(x, lr)\nv = interp(x, v, 0.9)", ("row", "tree")),
        ("x = row_mean(g)\n" + 50 * "x = x + x\n" + "m = x + m", ("row", "tree")),
    ],
)
def test_states_are_kept_as_small_as_what_is_written_to_them(text: str, kinds: tuple[str, str]) -> None:
    flow = parse(f"{text}\nupdate = g * lr").dataflow
    assert tuple(KIND_NAMES[flow.nodes[slot].kind] for slot in (M, V)) == kinds


@given(program=programs())
def test_no_smaller_kinds_of_states_would_fit(program: Program) -> None:
    """Beside all combinations of kinds, tried one after another; a state that nothing is known of is a tree."""
    trees, _ = _trace(program.statements)
    flow = program.dataflow
    found = tuple(flow.nodes[slot].kind for slot in (M, V))
    assert all(
        flow.nodes[n].kind == kind for n, kind in zip(flow.states.values(), found, strict=True) if n not in (M, V)
    )
    fitting = []
    for kinds in itertools.product((ROW, COLUMN, WIDEST), repeat=2):
        kept = _kept_as(trees, *kinds)
        if all(kept.nodes[n].kind == kind for n, kind in zip(kept.states.values(), kinds, strict=True)):
            fitting.append(kinds)
    for slot in (0, 1):
        if found[slot] == WIDEST and flow.states[M + slot] != M + slot:
            small = [kinds for kinds in fitting if kinds[slot] != WIDEST and kinds[1 - slot] == found[1 - slot]]
            assert {kinds[slot] for kinds in small} in (set(), {ROW, COLUMN}), "one kind alone would have fitted"
