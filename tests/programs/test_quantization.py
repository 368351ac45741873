"""Numbers in 8 bits: the published map and rounding, written anew here, on any numbers; bounds of the error."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from programs.quantization import BLOCK, bytes_per_number, dequantize, dynamic_levels, quantize

BOTH = pytest.mark.parametrize("unsigned", [False, True])


def published_map(unsigned: bool) -> np.ndarray:
    """The dynamic map of bitsandbytes for 8 bits: midpoints of ever finer divisions of each of seven decades."""
    found = [0.0, 1.0]
    for decade in range(7):
        parts = 2 ** (decade + 1 if unsigned else decade)
        ends = np.linspace(0.1, 1.0, parts + 1, dtype=np.float32)
        middles = 10.0 ** (decade - 6) * (ends[1:] + ends[:-1]).astype(np.float64) / 2
        found += [*middles] + ([] if unsigned else [*-middles])
    return np.sort(np.array(found))


def published(x: np.ndarray, unsigned: bool) -> tuple[np.ndarray, np.ndarray]:
    """Codes and what is read back of numbers [n]: each block over its largest magnitude, each to the nearest level."""
    levels, codes, back = published_map(unsigned), [], []
    for start in range(0, len(x), BLOCK):
        block = x[start : start + BLOCK].astype(np.float64)
        scale = np.abs(block).max() or 1.0
        code = np.abs(block[:, None] / scale - levels).argmin(axis=1)
        codes.append(code)
        back.append(levels[code] * scale)
    return np.concatenate(codes), np.concatenate(back)


@BOTH
def test_the_map_is_the_published_one(unsigned: bool) -> None:
    levels = dynamic_levels(unsigned, torch.device("cpu"))
    assert len(levels) == 256 and levels.dtype == torch.float32
    np.testing.assert_allclose(levels.numpy(), published_map(unsigned), rtol=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3 * BLOCK), st.sampled_from([0.0, 1.0, 3.0]), st.booleans())
def test_numbers_are_rounded_as_published(seed: int, size: int, spread: float, unsigned: bool) -> None:
    """Magnitudes over many decades; where a number is half way between two levels, either will do."""
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=size) * 10.0 ** (spread * rng.normal(size=size))).astype(np.float32)
    x[rng.random(size) < 0.1] = 0.0
    x = np.abs(x) if unsigned else x
    codes, scales = quantize(torch.from_numpy(x), unsigned)
    found = dequantize(codes, scales, unsigned).numpy()
    expected_codes, expected = published(x, unsigned)
    assert codes.dtype == torch.uint8 and len(scales) == -(-size // BLOCK)
    apart = np.abs(codes.numpy().astype(int) - expected_codes)
    assert apart.max() <= 1 and apart.mean() < 0.01
    reach = np.repeat(scales.numpy().astype(np.float64), BLOCK)[:size]
    np.testing.assert_array_less(np.abs(found - x), np.abs(expected - x) * (1 + 1e-4) + 1e-6 * reach + 1e-30)
    gaps = np.diff(published_map(unsigned)).max() / 2
    assert np.all(np.abs(found - x) <= (gaps + 1e-6) * reach)  # half the widest gap of a block


@BOTH
def test_what_is_a_level_stays_as_it_is(unsigned: bool) -> None:
    """So that keeping a state that has not changed changes nothing."""
    x = dynamic_levels(unsigned, torch.device("cpu")) * 0.37
    once = dequantize(*quantize(x, unsigned), unsigned)
    torch.testing.assert_close(once, x, rtol=1e-6, atol=0.0)
    assert torch.equal(dequantize(*quantize(once, unsigned), unsigned), once)
    zeros = torch.zeros(5)
    assert torch.equal(dequantize(*quantize(zeros, unsigned), unsigned), zeros)


def test_rows_are_quantized_each_by_itself() -> None:
    x = torch.randn(3, 2 * BLOCK + 7, generator=torch.Generator().manual_seed(0)) * torch.tensor([[1.0], [1e3], [1e-5]])
    codes, scales = quantize(x, unsigned=False)
    assert scales.shape == (3, 3)
    for row, code, scale in zip(x, codes, scales, strict=True):
        alone, scale_alone = quantize(row, unsigned=False)
        assert torch.equal(code, alone) and torch.equal(scale, scale_alone)


def test_bytes_are_those_of_the_tensors() -> None:
    for size in (10, 4096, 5000):
        codes, scales = quantize(torch.ones(size), unsigned=True)
        assert bytes_per_number(size) * size == codes.nbytes + scales.nbytes
