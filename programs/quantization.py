"""Numbers in 8 bits, block by block, as states of optimizers are kept (Dettmers et al., arXiv 2110.02861).

Each block of numbers is divided by its largest magnitude and rounded to the nearest of 256 levels of the *dynamic* map:
seven decades, the higher ones with more levels. Numbers that are never negative have a map of their own, without a
sign. Exported files get the source of these functions, which therefore need nothing but torch.
"""

from __future__ import annotations

import inspect
import re

import torch
from torch import Tensor

BLOCK = 2048  # numbers that share a scale, as in section 2.1 of the paper
SMALLEST = 4096  # numbers of a tensor that is worth it: smaller ones stay as they are in the paper, too


def dynamic_levels(unsigned: bool, device: torch.device) -> Tensor:
    """Return the 256 levels of the dynamic map in rising order, `[256]`: from -1, or from 0, to 1."""
    codes = torch.arange(2 if unsigned else 1, 256 if unsigned else 128, dtype=torch.float64, device=device)
    mantissa, exponent = torch.frexp(codes)  # codes of one exponent divide a decade into equal parts
    decade = 10.0 ** (exponent.double() - (8 if unsigned else 7))
    positive = decade * (0.9 * (2 * mantissa + 0.5 ** exponent.double()) - 0.8)
    negative = positive[:0] if unsigned else -positive.flip(0)
    return torch.cat([negative, positive.new_zeros(1), positive, positive.new_ones(1)]).float()


def quantize(x: Tensor, unsigned: bool) -> tuple[Tensor, Tensor]:
    """Return codes of numbers `[..., n]`, a byte each, and the scales of their blocks, `[..., blocks]`."""
    size = min(BLOCK, x.shape[-1])
    blocks = torch.nn.functional.pad(x.float(), (0, -x.shape[-1] % size)).reshape(*x.shape[:-1], -1, size)
    scales = blocks.abs().amax(-1)
    levels = dynamic_levels(unsigned, x.device)
    shares = blocks / torch.where(scales > 0, scales, 1.0).unsqueeze(-1)
    codes = torch.bucketize(shares, (levels[1:] + levels[:-1]) / 2)
    return codes.to(torch.uint8).flatten(-2)[..., : x.shape[-1]].contiguous(), scales


def dequantize(codes: Tensor, scales: Tensor, unsigned: bool) -> Tensor:
    """Return the numbers `[..., n]` that codes stand for, in float32."""
    size = min(BLOCK, codes.shape[-1])
    blocks = torch.nn.functional.pad(codes, (0, -codes.shape[-1] % size)).reshape(*codes.shape[:-1], -1, size)
    numbers = dynamic_levels(unsigned, codes.device)[blocks.int()] * scales.unsqueeze(-1)
    return numbers.flatten(-2)[..., : codes.shape[-1]]


def bytes_per_number(numbers: int) -> float:
    """Return the bytes that each of so many numbers takes, its share of the scales included."""
    return 1 + 4 * -(-numbers // BLOCK) / numbers


def exported_source() -> str:
    """Return the source of the functions with names that are private, as exported files have them."""
    functions = (dynamic_levels, quantize, dequantize)
    names = "|".join(function.__name__ for function in functions)
    text = "\n\n".join(inspect.getsource(function) for function in functions)
    return re.sub(r"\bBLOCK\b", str(BLOCK), re.sub(rf"\b({names})\(", r"_\1(", text))
