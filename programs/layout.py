"""How the parameter tensors of a model lie in one flat row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

VECTOR = 32  # numbers that torch's elementwise loops take at once, two AVX-512 registers; fewer elsewhere


@dataclass(frozen=True)
class Layout:
    """Leaves laid end to end in a row of P numbers; `sizes` holds the number of weights of each of the L leaves.

    Raises:
        ValueError: a leaf is empty.
    """

    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        if min(self.sizes) < 1:
            raise ValueError(f"empty leaf among sizes {self.sizes}")

    @staticmethod
    def of_shapes(shapes: Sequence[Sequence[int]]) -> Layout:
        """Return the layout of leaves with these shapes, in order."""
        return Layout(tuple(int(np.prod(shape, dtype=np.int64)) for shape in shapes))

    @property
    def total(self) -> int:
        """P, the length of a row."""
        return sum(self.sizes)

    @property
    def width(self) -> int:
        """P rounded up to whole vector registers: rows of this width are computed alike wherever they lie in memory."""
        return -(-self.total // VECTOR) * VECTOR

    @cached_property
    def starts(self) -> np.ndarray:
        """Where each leaf begins, [L]."""
        return np.concatenate([[0], np.cumsum(self.sizes)[:-1]]).astype(np.int64)

    @cached_property
    def leaf_of(self) -> np.ndarray:
        """The leaf that each place in a row belongs to, [P]."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)
