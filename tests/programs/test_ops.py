"""The table of functions holds what the paper lists, and each function means what the paper says."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from programs import parse
from programs.layout import Layout
from programs.ops import INFIX, OPS
from programs.run.reference import State, numpy_step

from tests.support import oracle
from tests.support.oracle import ARITIES, COMMUTATIVE, PAPER, SCALAR, TREE
from tests.support.strategies import MATRICES, SIZES, case_program, kind_cases, layout_of


def _cbrt(x: float) -> float:
    return math.copysign(abs(x) ** (1 / 3), x)


# The meaning in terms of Python's own functions: paper.md section 1, guards included.
MEANING: dict[str, Callable[..., float]] = {
    **{name: getattr(math, name) for name in ["cos", "sin", "tan", "sinh", "cosh", "tanh", "exp", "expm1"]},
    **{f"arc{name}": getattr(math, f"a{name}") for name in ["sin", "cos", "tan", "sinh", "cosh", "tanh"]},
    "get_pi": lambda: 3.141592653589793,
    "get_e": lambda: 2.718281828459045,
    "get_eps": lambda: 1e-8,
    "abs": abs,
    "exp2": lambda x: 2.0**x,
    "exp10": lambda x: 10.0**x,
    "log": lambda x: math.log(abs(x)),
    "log2": lambda x: math.log2(abs(x)),
    "log10": lambda x: math.log10(abs(x)),
    "log1p": lambda x: math.log(abs(1 + x)),
    "square": lambda x: x * x,
    "sqrt": lambda x: math.sqrt(abs(x)),
    "cube": lambda x: x * x * x,
    "cbrt": _cbrt,
    "sign": lambda x: (x > 0) - (x < 0),
    "reciprocal": lambda x: 1 / x,
    "negative": lambda x: -x,
    "norm": abs,
    "global_norm": abs,
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / (y + 1e-8),
    "maximum": max,
    "minimum": min,
    "power": math.pow,
    "clip": lambda x, c: x * min(1.0, c / abs(x)),
    "interp": lambda x, y, a: (1 - a) * x + a * y,
}
NUMBERS = st.one_of(
    st.sampled_from([0.0, 1.0, -1.0, 0.5, -0.5, 1e-8]),
    st.floats(-50, 50).filter(lambda x: abs(x) > 1e-30),  # squares of smaller numbers underflow in a norm
)


def numpy_call(function: str, *args: float) -> float:
    """The function of single numbers in float64, by the NumPy column."""
    op = OPS[function]
    starts = [np.array([0])] if op.within == "leaf" else []
    with np.errstate(all="ignore"):
        return float(np.ravel(op.numpy(*starts, *(np.full(1, a) for a in args)))[0])


def test_the_table_holds_the_44_functions_of_the_paper_and_those_specified_beyond() -> None:
    assert sum(op.set == "paper" for op in OPS.values()) == PAPER
    assert {name: op.arity for name, op in OPS.items()} == ARITIES
    assert all(op.name == name for name, op in OPS.items())


def test_exactly_six_functions_are_commutative() -> None:
    assert {name for name, op in OPS.items() if op.commutative} == COMMUTATIVE


def test_the_four_infix_signs_stand_for_python_s_operators() -> None:
    assert {sign: op.name for sign, op in INFIX.items()} == {"+": "add", "-": "sub", "*": "mul", "/": "div"}


@pytest.mark.parametrize("function", sorted(MEANING))
@given(data=st.data())
def test_numpy_column_is_the_function_of_the_paper(function: str, data: st.DataObject) -> None:
    """Against Python's math, in float64, within 1e-12 relative; points where math has no answer are tested below."""
    args = [data.draw(NUMBERS) for _ in range(ARITIES[function])]
    try:
        expected = MEANING[function](*args)
    except (ValueError, ZeroDivisionError, OverflowError):
        assume(False)
    assert numpy_call(function, *args) == pytest.approx(expected, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("function", ["dot", "cosine_sim", "norm", "global_norm"])
def test_reductions_treat_a_tree_as_one_vector_and_norm_each_leaf(function: str) -> None:
    x, y = np.array([3.0, 4.0, 0.0, 5.0, 12.0, 0.0, -2.0]), np.array([1.0, -1.0, 5.0, 2.0, 0.0, 1.0, 1.0])
    expected = {
        "dot": [7.0],
        "cosine_sim": [7.0 / (math.sqrt(198.0) * math.sqrt(33.0))],
        "norm": [5.0, 0.0, 13.0, 2.0],
        "global_norm": [math.sqrt(198.0)],
    }[function]
    op = OPS[function]
    starts = [layout_of().starts] if op.within == "leaf" else []
    np.testing.assert_allclose(op.numpy(*starts, *(x, y)[: op.arity]), expected, rtol=1e-15)


@pytest.mark.parametrize(
    ("function", "args", "expected"),
    [
        ("div", (1.0, 0.0), 1e8),
        ("div", (0.0, 0.0), 0.0),
        ("div", (1.0, -1e-8), math.inf),
        ("reciprocal", (0.0,), math.inf),
        ("reciprocal", (-0.0,), -math.inf),
        ("sqrt", (-4.0,), 2.0),
        ("log", (-math.e,), 1.0),
        ("log", (0.0,), -math.inf),
        ("log2", (-8.0,), 3.0),
        ("log10", (-1000.0,), 3.0),
        ("log1p", (-3.0,), math.log(2.0)),
        ("log1p", (-1.0,), -math.inf),
        ("arcsin", (1.5,), math.nan),
        ("arccos", (-1.5,), math.nan),
        ("arccosh", (0.5,), math.nan),
        ("arctanh", (1.0,), math.inf),
        ("arctanh", (2.0,), math.nan),
        ("power", (-8.0, 1 / 3), math.nan),
        ("power", (0.0, -1.0), math.inf),
        ("power", (0.0, 0.0), 1.0),
        ("cbrt", (-8.0,), -2.0),
        ("sign", (math.nan,), math.nan),
        ("exp", (1000.0,), math.inf),
        ("clip", (0.0, 1.0), 0.0),
        ("clip", (10.0, 2.0), 2.0),
        ("clip", (-10.0, 2.0), -2.0),
        ("clip", (1.0, 2.0), 1.0),
        ("clip", (3.0, -1.0), -1.0),
        ("clip", (0.0, 0.0), math.nan),
        ("maximum", (math.nan, 1.0), math.nan),
        ("minimum", (1.0, math.nan), math.nan),
        ("interp", (2.0, 4.0, 0.25), 2.5),
        ("interp", (2.0, 4.0, 1.5), 5.0),
    ],
)
def test_guards_and_edges(function: str, args: tuple[float, ...], expected: float) -> None:
    """Guarded division, roots and logarithms; everything else is NumPy's."""
    assert numpy_call(function, *args) == pytest.approx(expected, rel=1e-12, nan_ok=True)


@pytest.mark.parametrize(("function", "kinds"), kind_cases(), ids=lambda x: x if isinstance(x, str) else "-".join(x))
def test_reference_equals_the_oracle_for_every_combination_of_kinds(function: str, kinds: tuple[str, ...]) -> None:
    """Bit for bit in float64: broadcasting of scalars and leaves is where the two could part."""
    rng = np.random.default_rng(len(function))
    w, g, m, v = rng.normal(size=(4, sum(SIZES))) * 0.5
    program = case_program(function, kinds)
    scope = {name: oracle.Value(TREE, row) for name, row in zip("wgmv", (w, g, m, v), strict=True)}
    scope["lr"] = oracle.Value(SCALAR, np.full(1, 0.3))
    with np.errstate(all="ignore"):
        for target, name, args in program.statements:
            values = [scope[a] if isinstance(a, str) else oracle.Value(SCALAR, np.full(1, a)) for a in args]
            scope[target] = oracle.call(name, values, MATRICES)
        _, state = numpy_step(program, layout_of())(w, g, State(m, v), 0.3)
    assert state.m.shape == (sum(SIZES),)
    np.testing.assert_array_equal(state.m, scope["m"].array)


def test_the_norm_of_a_constant_is_its_absolute_value() -> None:
    zeros = np.zeros(sum(SIZES))
    step = numpy_step(parse("x = norm(-0.5)\nupdate = g * x"), layout_of())
    update, _ = step(zeros, zeros + 2.0, State(zeros, zeros), 1.0)
    np.testing.assert_array_equal(update, zeros + 1.0)


def test_layout_lays_leaves_end_to_end() -> None:
    layout = Layout.of_shapes([(2, 3), (), (4,)])
    assert layout.sizes == (6, 1, 4)
    assert (layout.total, layout.width) == (11, 32)
    assert [Layout.of_shapes([(n,)]).width for n in (1, 32, 33, 64)] == [32, 32, 64, 64]
    assert layout.starts.tolist() == [0, 6, 7]
    assert layout.leaf_of.tolist() == [0] * 6 + [1] + [2] * 4
