"""Random numbers of a step of training, as a function of a key and nothing else.

A number is a hash of (key, number of the draw, index of the element), SplitMix64 (Steele, Lea & Flood, 2014) evaluated
at any place of its sequence by elementwise operations. So it is the same on the replica axis and in a loop, beside
whatever other replicas, on every device, and in a recorded step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

GOLDEN = 0x9E3779B97F4A7C15 - 2**64  # the step of the sequence; constants of SplitMix64 as signed 64-bit numbers
_MIX = ((30, 0xBF58476D1CE4E5B9 - 2**64), (27, 0x94D049BB133111EB - 2**64))
_BITS = 24  # of a float32 in [0, 1)


class Draws:
    """The random numbers of one forward pass, or of one minibatch.

    Args:
        key: `[]`, a 64-bit number for each replica and step.

    Attributes:
        number: of draws so far.
    """

    def __init__(self, key: Tensor) -> None:
        self._key = key
        self.number = 0

    def bits(self, shape: Sequence[int]) -> Tensor:
        """Return 64 random bits for each element, as signed numbers of this shape."""
        self.number += 1
        start = _mixed(self._key + self.number)
        index = torch.arange(math.prod(shape), device=self._key.device)
        return _mixed(index.mul_(GOLDEN) + start).view(tuple(shape))

    def uniform(self, shape: Sequence[int]) -> Tensor:
        """Return float32 numbers, uniform in [0, 1)."""
        numbers: Tensor = (self.bits(shape) >> (64 - _BITS)) & (2**_BITS - 1)
        return numbers.float() * 2.0**-_BITS

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Return float32 numbers from N(0, 1), by the transform of Box and Muller."""
        return self.exponential(shape).mul(2).sqrt() * (self.uniform(shape) * (2 * math.pi)).cos()

    def exponential(self, shape: Sequence[int]) -> Tensor:
        """Return float32 numbers from the exponential distribution of mean 1, all above zero."""
        return -torch.log(self.uniform(shape) + 2.0 ** -(_BITS + 1))

    def chosen(self, shape: Sequence[int], p: float) -> Tensor:
        """Return truth values, each true with probability `p`."""
        return self.bits(shape) < max(-(2**63), min(2**63 - 1, round((p - 0.5) * 2**64)))


def _mixed(z: Tensor) -> Tensor:
    """Return the finalizer of SplitMix64 of signed 64-bit numbers, which wrap around."""
    for shift, factor in _MIX:
        z = (z ^ _shifted(z, shift)) * factor
    return z ^ _shifted(z, 31)


def _shifted(z: Tensor, by: int) -> Tensor:
    """Shift right as unsigned numbers."""
    shifted: Tensor = (z >> by) & (2 ** (64 - by) - 1)
    return shifted
