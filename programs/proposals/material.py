"""What proposals draw from, and what every child must satisfy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple

from programs.editing import is_valid
from programs.hashing import structure_hash
from programs.ops import Op
from programs.program import Program


class Material(NamedTuple):
    """What a child may consist of.

    `functions`: those that may come in. `donors`: programs that parts may come from, checked ones. `max_statements`:
    how long a child may be, dead statements included.
    """

    functions: Sequence[Op]
    donors: Sequence[Program]
    max_statements: int

    @property
    def names(self) -> set[str]:
        """The names of the functions."""
        return {op.name for op in self.functions}


Proposal = Callable[[Program, Random, Material], Program | None]
"""A valid child, or None where this draw gave none."""


def fits(child: Program, material: Material) -> bool:
    """Return whether a child is valid and short enough."""
    return len(child) <= material.max_statements and is_valid(child)


def is_new(child: Program, parent: Program, material: Material) -> bool:
    """Return whether a child is valid, short enough, and of another structure than its parent."""
    return fits(child, material) and structure_hash(child) != structure_hash(parent)
