"""Functions of matrices beside straightforward NumPy and an exact singular value decomposition, and their laws.

The iteration of `orthogonalize` gives U p(S) V^T where x = U S V^T and p is a polynomial, applied five times, that
takes whatever is not tiny near 1. So singular vectors are exact; how far singular values are off is by design, and
documented in docs/language.md with the numbers that are tested here.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from programs import zoo
from programs.kinds import COLUMN, ROW, TREE
from programs.layout import Layout
from programs.ops import OPS
from programs.run.matrices import MATRIX_FUNCTIONS
from programs.run.reference import initial_state, numpy_step

from tests.support.kernel_runs import Fused, needs_c
from tests.support.runs import padded, rules_of, zero_rows

SHAPES = [(2, 2), (3, 8), (8, 3), (16, 16), (12, 40)]
LEAVES = [(3, 4), (5,), (2, 3, 2), (), (1, 4), (4, 1)]
LAYOUT = Layout.of_shapes(LEAVES)
ORTHOGONAL = OPS["orthogonalize"].numpy


def matrix(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def polar(x: np.ndarray) -> np.ndarray:
    """The orthogonal matrix that is nearest to x."""
    left, _, right = np.linalg.svd(x, full_matrices=False)
    return np.asarray(left @ right)


def iterated(x: np.ndarray) -> np.ndarray:
    """`orthogonalize` of a matrix, before it is scaled."""
    return np.asarray(ORTHOGONAL(Layout((x.shape,)), x.ravel()).reshape(x.shape) / math.sqrt(max(x.shape)))


# --- orthogonalize -------------------------------------------------------------------------------------------------


def test_singular_values_end_near_one_as_far_as_they_are_not_tiny() -> None:
    """From 0.002 of the norm in [0.68, 1.21], from 0.01 in [0.68, 1.14]; below they grow 484.9-fold at most."""
    values = np.logspace(-6, 0, 400)
    ends = np.empty_like(values)
    for n, value in enumerate(values):
        rest = math.sqrt(max(1 - value**2, 0.0))
        ends[n] = iterated(np.diag([value, rest]))[0, 0]
    assert 0.68 < ends[values > 0.002].min() and ends[values > 0.002].max() < 1.21
    assert ends[values > 0.01].max() < 1.14
    assert (ends / values).max() < 3.4445**5 < 484.9


@pytest.mark.parametrize("shape", SHAPES)
def test_orthogonalize_beside_an_exact_decomposition(shape: tuple[int, int]) -> None:
    """In float64: singular vectors as in x, values by the polynomial; within 31 % of the polar factor."""
    for seed in range(20):
        x = matrix(shape, seed)
        left, values, right = np.linalg.svd(x, full_matrices=False)
        values /= np.linalg.norm(values)
        for _ in range(5):
            values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
        np.testing.assert_allclose(iterated(x), left * values @ right, atol=1e-6)
        assert np.linalg.norm(iterated(x) - polar(x)) < 0.31 * np.linalg.norm(polar(x))
        assert np.sum(iterated(x) * polar(x)) > 0.95 * np.linalg.norm(iterated(x)) * np.linalg.norm(polar(x))


@pytest.mark.parametrize("shape", SHAPES)
def test_torch_does_the_same_in_float32_for_a_batch_of_matrices(shape: tuple[int, int]) -> None:
    x = np.stack([matrix(shape, seed).ravel() for seed in range(3)])
    expected = ORTHOGONAL(Layout((shape,)), x)
    got = MATRIX_FUNCTIONS["orthogonalize"](Layout((shape,)), torch.from_numpy(x.astype(np.float32)))
    assert np.abs(got.numpy() - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("shape", SHAPES)
def test_laws_of_orthogonalize(shape: tuple[int, int]) -> None:
    """Scale is forgotten; transposes, signs and rotations on either side go through."""
    x, of_x = matrix(shape), iterated(matrix(shape))
    left, right = (polar(matrix((n, n), 7)) for n in shape)
    for other, expected in [
        (4.0 * x, of_x), (1e4 * x, of_x), (x.T, of_x.T), (-x, -of_x), (left @ x, left @ of_x),
        (x @ right, of_x @ right), (x[::-1], of_x[::-1]),
    ]:  # fmt: skip
        np.testing.assert_allclose(iterated(other), expected, atol=1e-6)


def test_an_orthogonal_matrix_stays_one_up_to_the_error_of_the_iteration() -> None:
    """All singular values are equal, so all end as the same number, between 0.68 and 1.14."""
    x = polar(matrix((6, 6)))
    factor = float(np.sum(iterated(x) * x) / np.sum(x * x))
    np.testing.assert_allclose(iterated(x), factor * x, atol=1e-9)
    assert 0.68 < factor < 1.14


@pytest.mark.parametrize("shape", [*SHAPES, (64, 64), (16, 256)])
def test_the_rms_is_about_that_of_a_sign(shape: tuple[int, int]) -> None:
    x = matrix(shape)
    assert 0.68 < math.sqrt(float(np.mean(ORTHOGONAL(Layout((shape,)), x.ravel()) ** 2))) < 1.14
    assert math.sqrt(float(np.mean((polar(x) * math.sqrt(max(shape))) ** 2))) == pytest.approx(1.0)


@pytest.mark.parametrize("shape", [(), (5,), (1, 4), (4, 1), (1, 2, 2)])
def test_what_has_one_row_or_column_is_divided_by_its_rms(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=shape).ravel()
    np.testing.assert_allclose(ORTHOGONAL(Layout.of_shapes([shape]), x), x / np.sqrt(np.mean(x**2)), rtol=1e-6)


def test_zeros_stay_zeros_and_what_is_not_finite_stays_in_its_leaf() -> None:
    layout = Layout(((2, 3), (3, 2), (4, 1)))
    x = np.concatenate([np.zeros(6), matrix((3, 2)).ravel(), matrix((4, 1)).ravel()])
    assert not ORTHOGONAL(layout, x)[:6].any()
    spoilt = x.copy()
    spoilt[7] = math.nan
    with np.errstate(all="ignore"):
        got = ORTHOGONAL(layout, spoilt)
    assert np.isnan(got[6:12]).all() and np.array_equal(got[12:], ORTHOGONAL(layout, x)[12:])


# --- rows, columns, leaves -----------------------------------------------------------------------------------------

SUMMED = {
    "row_norm": lambda x: np.sqrt(np.sum(x**2, axis=1)),
    "column_norm": lambda x: np.sqrt(np.sum(x**2, axis=0)),
    "row_mean": lambda x: np.mean(x, axis=1),
    "column_mean": lambda x: np.mean(x, axis=0),
    "rms": lambda x: np.sqrt(np.mean(x**2, keepdims=True)).ravel(),
}


def matrices(row: np.ndarray) -> list[np.ndarray]:
    """[P] -> each leaf as a matrix."""
    cut = np.split(row, np.cumsum(LAYOUT.sizes)[:-1])
    return [
        x.reshape(shape[0], -1) if len(shape) > 1 else x.reshape(-1, 1) for x, shape in zip(cut, LEAVES, strict=True)
    ]


@pytest.mark.parametrize("function", sorted(SUMMED))
def test_sums_over_rows_columns_and_leaves_beside_numpy(function: str) -> None:
    """Of two replicas at once; within rounding, since the order of a sum is not the same."""
    x = np.random.default_rng(1).normal(size=(2, LAYOUT.total))
    got = OPS[function].numpy(LAYOUT.starts if function == "rms" else LAYOUT, x)
    expected = [np.concatenate([SUMMED[function](leaf) for leaf in matrices(row)]) for row in x]
    np.testing.assert_allclose(got, expected, rtol=1e-13)


@pytest.mark.parametrize("kind", [ROW, COLUMN])
def test_what_is_kept_by_rows_or_columns_is_spread_along_them(kind: int) -> None:
    numbers = np.arange(LAYOUT.length(kind))
    spread = matrices(numbers[LAYOUT.spread(kind, TREE)])
    kept = np.concatenate([leaf[:, 0] if kind == ROW else leaf[0] for leaf in spread])
    assert np.array_equal(kept, numbers)
    for leaf in spread:
        assert np.array_equal(leaf, np.broadcast_to(leaf[:, :1] if kind == ROW else leaf[:1], leaf.shape))


def test_how_many_numbers_are_kept() -> None:
    """The rows and columns of (3, 4), (5, 1), (2, 6), (1, 1), (1, 4), (4, 1)."""
    assert LAYOUT.length(ROW) == 3 + 5 + 2 + 1 + 1 + 4
    assert LAYOUT.length(COLUMN) == 4 + 1 + 6 + 1 + 4 + 1


# --- transposes ----------------------------------------------------------------------------------------------------

BOTH = ["adafactor", "normuon", "muon"]
PLAIN = Layout(((6, 7), (9, 4), (5, 1), (4, 4), (3, 3)))
TRANSPOSED = Layout.of_shapes([(7, 6), (9, 4), (5,), (4, 4), (3, 3)], [True, False, False, True, False])


def laid_out(row: np.ndarray) -> np.ndarray:
    """[.., P] of the first layout in the second."""
    parts = np.split(row, np.cumsum(PLAIN.sizes)[:-1], axis=-1)
    matrices = zip(parts, PLAIN.matrices, TRANSPOSED.transposed, strict=True)
    turned = [
        x.reshape(*x.shape[:-1], *shape).swapaxes(-1, -2).reshape(x.shape) if flag else x for x, shape, flag in matrices
    ]
    return np.concatenate(turned, axis=-1)


def test_a_transposed_leaf_has_the_rows_of_its_matrix() -> None:
    assert TRANSPOSED.matrices == PLAIN.matrices
    for kind in (ROW, COLUMN):
        assert np.array_equal(TRANSPOSED.spread(kind, TREE), laid_out(PLAIN.spread(kind, TREE)))


@needs_c
@pytest.mark.parametrize("name", BOTH)
def test_programs_do_the_same_on_transposed_leaves(name: str) -> None:
    """By NumPy, torch and C."""
    program, rng = zoo.load(name), np.random.default_rng(2)
    w, gradients = rng.normal(size=PLAIN.total), rng.normal(size=(4, PLAIN.total))
    step, state = numpy_step(program, PLAIN), initial_state(program, PLAIN)
    step_of_others, state_of_others = numpy_step(program, TRANSPOSED), initial_state(program, TRANSPOSED)
    others = laid_out(w)
    fused = Fused([program])
    rows = [zero_rows(1, others, TRANSPOSED), fused.rows(others, TRANSPOSED)]
    rules = [rules_of([program], TRANSPOSED, rows[0], 4)[0], fused.bound(rows[1], TRANSPOSED, steps=4)]
    for t, g in enumerate(gradients):
        update, state = step(w, g, state, 1.0)
        update_of_others, state_of_others = step_of_others(others, laid_out(g), state_of_others, 1.0)
        w, others = w - update, others - update_of_others
        np.testing.assert_allclose(others, laid_out(w), rtol=1e-12, atol=1e-12)
        for buffers, rule in zip(rows, rules, strict=True):
            buffers.g.copy_(padded(laid_out(g), TRANSPOSED))
            rule.step(torch.ones(1), torch.tensor([t]))
            np.testing.assert_allclose(buffers.w[0, : TRANSPOSED.total], laid_out(w), rtol=1e-4, atol=1e-4)
