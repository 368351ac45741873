"""Every function in fused kernels, in the C dialect, against the NumPy reference.

Functions that IEEE 754 rounds correctly are equal to the last bit, the others within three units (four here).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from programs.graph import M, V
from programs.kinds import TREE as WIDEST
from programs.run.batched import Rows
from programs.run.reference import State, numpy_step

from tests.support.kernel_runs import EXACT, Fused, needs_c, units
from tests.support.oracle import ARITIES, MATRIX, SCALAR, TREE, expected_kind
from tests.support.runs import padded
from tests.support.strategies import SIZES, case_program, kind_cases, layout_of

pytestmark = needs_c

ULPS = 4
SPECIAL = np.array(
    [0, 1, 0.5, 2, 3, 1 / 3, 1e-8, 1e-45, 1e-40, 1.2e-38, 3e38, 38.5, 45, 88.7, 89, 104, 127, 128, 149.5, 16777217,
     np.pi, np.pi / 2, 0.99999994, 1.0000001, 1e10, np.inf], np.float32,
)  # fmt: skip
SPECIAL = np.concatenate([SPECIAL, -SPECIAL, [np.float32(np.nan)]])


def next_states(fused: Fused, sizes: Sequence[int], rows: Sequence[np.ndarray], lr: float) -> tuple[np.ndarray, ...]:
    """[R, P] the states m after one step, by NumPy and by the kernels; all programs start from the same four rows.

    States that are kept by rows or columns start from the first numbers of these.
    """
    layout = layout_of(sizes)
    w, g, m, v = (np.array(row, np.float32) for row in rows)
    states = []
    with np.errstate(all="ignore"):
        for p in fused.programs:
            first = (x[: layout.length(p.dataflow.nodes[slot].kind)] for slot, x in ((M, m), (V, v)))
            states.append(numpy_step(p, layout, np.float32)(w, g, State(*first), lr)[1].m)
    buffers = Rows(*(padded(np.tile(x, (len(fused.programs), 1)), layout) for x in (w, g, m, v)))
    fused.bound(buffers, layout).step(torch.tensor([lr], dtype=torch.float32), torch.zeros(1))
    spread = [layout.spread(p.dataflow.nodes[M].kind, WIDEST) for p in fused.programs]
    expected, got = ([x[i] for x, i in zip(xs, spread, strict=True)] for xs in (states, buffers.m.numpy()))
    return np.array(expected), np.array(got)


# --- functions -----------------------------------------------------------------------------------------------------

ON_TREES = [f for f, n in ARITIES.items() if n and expected_kind(f, [TREE] * n) == TREE and f not in MATRIX]


@pytest.fixture(scope="module")
def on_trees() -> Fused:
    return Fused([case_program(f, [TREE] * ARITIES[f]) for f in ON_TREES])


@pytest.fixture(scope="module")
def random_bits() -> np.ndarray:
    """[2, P] floats of all bit patterns, moderate ones, and all pairs of special ones."""
    rng = np.random.default_rng(5)
    patterns = rng.integers(0, 2**32, (2, 30_000), dtype=np.uint64).astype(np.uint32).view(np.float32)
    moderate = [(rng.normal(size=(2, 20_000)) * scale).astype(np.float32) for scale in (1, 20)]
    pairs = np.array(list(itertools.product(SPECIAL, SPECIAL)), np.float32).T
    return np.concatenate([patterns, *moderate, pairs], axis=1)


@pytest.fixture(scope="module")
def results_on_trees(on_trees: Fused, random_bits: np.ndarray) -> tuple[np.ndarray, ...]:
    zero = np.zeros(random_bits.shape[1])
    return next_states(on_trees, [random_bits.shape[1]], [*random_bits, zero, zero], 1.0)


@pytest.mark.parametrize("function", ON_TREES)
def test_elementwise_functions_agree_with_numpy_everywhere(
    function: str, results_on_trees: tuple[np.ndarray, ...], random_bits: np.ndarray
) -> None:
    """Zeros, infinities, NaN, denormals, huge numbers and all between."""
    expected, got = (x[ON_TREES.index(function)] for x in results_on_trees)
    apart = units(got, expected)
    worst = apart.argmax()
    assert apart[worst] <= (0 if function in EXACT else ULPS), (random_bits[:, worst], got[worst], expected[worst])


def test_the_sign_of_zero_and_of_its_reciprocal() -> None:
    """Except where NumPy itself says nothing of it: maximum, minimum, cbrt."""
    names = ["abs", "negative", "square", "cube", "sqrt", "sign", "add", "sub", "mul", "div", "reciprocal", "interp"]
    names += ["sin", "tan", "arcsin", "arctan", "sinh", "tanh", "arcsinh", "arctanh", "expm1"]
    cases = [case_program(f, [TREE, TREE, SCALAR][: ARITIES[f]]) for f in names]
    zeros = np.array([0.0, -0.0, 0.0, -0.0, 0.0, -0.0, 0.0]), np.array([0.0, 0.0, -0.0, -0.0, 1.0, 1.0, -1.0])
    expected, got = next_states(Fused(cases), SIZES, [*zeros, np.zeros(7), np.zeros(7)], 1.0)
    for name, a, b in zip(names, expected, got, strict=True):
        np.testing.assert_array_equal(np.signbit(b), np.signbit(a), err_msg=name)


CASES = [(f, kinds, numbers) for f, kinds in kind_cases() for numbers in (("lr", 0.75, -1.25), (-0.6, 0.3, "lr"))]


@pytest.fixture(scope="module")
def of_all_kinds() -> Fused:
    """Every function of every kinds, its numbers once constants, once the learning rate."""
    return Fused([case_program(*case) for case in CASES])


# Of the sum of the magnitudes, for what is added up over all leaves: NumPy adds in float32.
ROUNDED = 1e-6


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e5])
def test_every_function_of_every_kinds_agrees_with_numpy(of_all_kinds: Fused, seed: int, scale: float) -> None:
    """Ordinary numbers, a tenth of them zero. Leaves are of two at most, so their norms are equal to the last bit."""
    rng = np.random.default_rng(seed)
    w, g, m, v = (scale * rng.normal(size=(4, 7)) * (rng.random((4, 7)) > 0.1)).astype(np.float32)
    expected, got = next_states(of_all_kinds, SIZES, [w, g, m, v], float(rng.choice([0.25, 1.0, -0.5])))
    slack = {"dot": ROUNDED * float(np.abs(w * g).sum()), "cosine_sim": ROUNDED}
    for (function, kinds, numbers), a, b in zip(CASES, expected, got, strict=True):
        where = f"{function} {kinds} {numbers}"
        if function in ("global_norm", "dot", "cosine_sim", "clip", "orthogonalize", "column_norm", "column_mean"):
            np.testing.assert_allclose(b, a, rtol=ROUNDED, atol=slack.get(function, 0.0), err_msg=where)
        else:
            assert units(b, a).max() <= (0 if function in (*EXACT, "norm") else ULPS), where


@pytest.mark.parametrize("special", [0.0, np.inf, -np.inf, np.nan, 3e38, 1e-30])
def test_reductions_agree_at_infinities_nan_and_overflow(special: float) -> None:
    """One special number in the row, and a row of nothing else; of trees, leaves and numbers."""
    cases = [(f, kinds) for f, kinds in kind_cases() if f in ("norm", "global_norm", "dot", "cosine_sim", "clip")]
    fused = Fused([case_program(f, kinds, ("lr", 0.5)) for f, kinds in cases])
    one = np.array([1.0, -2.0, special, 0.0, 0.5, 3.0, -1.0])
    for w in (one, np.full(7, special)):
        expected, got = next_states(fused, SIZES, [w, one[::-1], w, one], special)
        for case, a, b in zip(cases, expected, got, strict=True):
            np.testing.assert_allclose(b, a, rtol=ROUNDED, err_msg=str(case))


@pytest.mark.parametrize(("x", "y"), list(itertools.product([np.inf, -np.inf, np.nan, 1.0], repeat=2)))
def test_interp_of_infinities_is_numpys(x: float, y: float) -> None:
    """From both ends and beyond them, to the last bit: torch may lose an infinity here, C does not."""
    ends = [-0.5, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5]
    fused = Fused([case_program("interp", [TREE, TREE, SCALAR], [a]) for a in ends])
    expected, got = next_states(fused, SIZES, [np.full(7, x), np.full(7, y), np.zeros(7), np.zeros(7)], 1.0)
    np.testing.assert_array_equal(got, expected)
