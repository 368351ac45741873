"""How the parameter tensors of a model lie in one flat row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from programs.kinds import COLUMN, ROW, TREE
from programs.later import np

VECTOR = 32  # numbers that torch's elementwise loops take at once, two AVX-512 registers; fewer elsewhere


@dataclass(frozen=True)
class Layout:
    """Leaves laid end to end in a row of P numbers.

    `matrices` holds the rows and columns of each of the L leaves: of a leaf with two or more axes the first axis, and
    all others together; a vector is one column. Where `transposed` says so, a leaf is laid out as the transpose of its
    matrix, column after column.

    Raises:
        ValueError: a leaf is empty.
    """

    matrices: tuple[tuple[int, int], ...]
    transposed: tuple[bool, ...] = ()  # of each leaf; nothing where none is

    def __post_init__(self) -> None:
        if min(self.sizes) < 1:
            raise ValueError(f"empty leaf among sizes {self.sizes}")

    @staticmethod
    def of_shapes(shapes: Sequence[Sequence[int]], transposed: Sequence[bool] = ()) -> Layout:
        """Return the layout of leaves with these shapes, in order, some of which are transposes of their matrices."""
        stored = [(math.prod(shape[:1]), math.prod(shape[1:])) for shape in shapes]
        if not any(transposed):
            return Layout(tuple(stored))
        matrices = [(b, a) if flag else (a, b) for (a, b), flag in zip(stored, transposed, strict=True)]
        return Layout(tuple(matrices), tuple(transposed))

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """The number of weights of each leaf."""
        return tuple(rows * columns for rows, columns in self.matrices)

    @cached_property
    def stored(self) -> tuple[tuple[int, int], ...]:
        """The two axes of each leaf as it is laid out, whose last runs fastest."""
        return tuple((c, r) if flag else (r, c) for (r, c), flag in zip(self.matrices, self.flipped, strict=True))

    @cached_property
    def flipped(self) -> tuple[bool, ...]:
        """`transposed`, with a value for each leaf."""
        return self.transposed or (False,) * len(self.matrices)

    @property
    def total(self) -> int:
        """P, the length of a row."""
        return sum(self.sizes)

    @property
    def width(self) -> int:
        """P rounded up to whole vector registers: rows of this width are computed alike wherever they lie in memory."""
        return self.width_of(TREE)

    def width_of(self, kind: int) -> int:
        """Return the same of values of another kind that has a number for each weight."""
        return -(-self.length(kind) // VECTOR) * VECTOR

    @cached_property
    def starts(self) -> np.ndarray:
        """Where each leaf begins, [L]."""
        return np.concatenate([[0], np.cumsum(self.sizes)[:-1]]).astype(np.int64)

    @cached_property
    def leaf_of(self) -> np.ndarray:
        """The leaf that each place in a row belongs to, [P]."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    @cached_property
    def row_of(self) -> np.ndarray:
        """The row that each place belongs to, among the rows of all leaves, [P]."""
        return self._lines(0)

    @cached_property
    def row_lengths(self) -> np.ndarray:
        """The length of each row of each leaf, [H], H being the number of rows of all leaves."""
        return np.array([c for r, c in self.matrices for _ in range(r)])

    @cached_property
    def column_lengths(self) -> np.ndarray:
        """The length of each column of each leaf, [N], N being the number of columns of all leaves."""
        return np.array([r for r, c in self.matrices for _ in range(c)])

    @cached_property
    def by_row(self) -> np.ndarray | None:
        """The places in an order in which those of a row stand side by side, [P]; None where they do."""
        return np.argsort(self.row_of, kind="stable") if any(self.transposed) else None

    @cached_property
    def row_starts(self) -> np.ndarray:
        """Where each row begins in that order, [H]."""
        return np.concatenate([[0], np.cumsum(self.row_lengths)[:-1]]).astype(np.int64)

    @cached_property
    def column_of(self) -> np.ndarray:
        """The column that each place belongs to, among the columns of all leaves, [P]."""
        return self._lines(1)

    @cached_property
    def by_column(self) -> np.ndarray:
        """The places in an order in which those of a column stand side by side, [P]."""
        return np.argsort(self.column_of, kind="stable")

    @cached_property
    def column_starts(self) -> np.ndarray:
        """Where each column begins in that order, [N]."""
        return np.concatenate([[0], np.cumsum(self.column_lengths)[:-1]]).astype(np.int64)

    @cached_property
    def shares(self) -> dict[int, float]:
        """How many numbers are kept for each weight of a value that has a number for each, by its kind."""
        return {kind: self.length(kind) / self.total for kind in (ROW, COLUMN, TREE)}

    def length(self, kind: int) -> int:
        """Return how many numbers a value of a kind is: 1, L, H, N or P."""
        return len(self._firsts(kind))

    def spread(self, kind: int, wider: int) -> np.ndarray:
        """Return which number of a value of a kind each number of a value of a wider kind is broadcast from."""
        return np.take(self._places(kind), self._firsts(wider))

    def _firsts(self, kind: int) -> np.ndarray:
        """Return the first place that each number of a value of a kind stands for."""
        if kind == TREE:
            return np.arange(self.total)
        of_row = self.row_starts if self.by_row is None else self.by_row[self.row_starts]
        of_column = self.by_column[self.column_starts]
        return (np.zeros(1, np.int64), self.starts, of_row, of_column)[kind]

    def _lines(self, axis: int) -> np.ndarray:
        """Return the row (axis 0) or column (1) that each place belongs to, among those of all leaves, [P]."""
        found, first = [], 0
        for matrix, stored, flipped in zip(self.matrices, self.stored, self.flipped, strict=True):
            found.append(first + np.indices(stored)[1 - axis if flipped else axis].ravel())
            first += matrix[axis]
        return np.concatenate(found)

    def _places(self, kind: int) -> np.ndarray:
        """Return which number of a value of a kind stands for each place, [P]."""
        if kind == TREE:
            return np.arange(self.total)
        return (np.zeros(self.total, np.int64), self.leaf_of, self.row_of, self.column_of)[kind]
