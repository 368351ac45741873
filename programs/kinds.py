"""The kinds of values: how many numbers one is, and what they stand for.

A scalar is one number, a leaf-kind value one number for each parameter tensor, a tree one number for each weight. A
tree whose numbers are the same all along the rows of each tensor, or all along its columns, is kept as one number for
each row, or column; a vector is one column (`programs.layout`). Values are broadcast to the smallest kind that can hold
them.
"""

from __future__ import annotations

SCALAR, LEAF, ROW, COLUMN, TREE = range(5)
KIND_NAMES = ("scalar", "leaf", "row", "column", "tree")

ANY = (SCALAR, LEAF, ROW, COLUMN, TREE)
WEIGHTS = (ROW, COLUMN, TREE)  # kinds that have a number for each weight, whichever way it is kept
