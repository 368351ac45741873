"""Proposals: ways to make a child of a program, those of the Lion paper and larger steps beside them.

Each takes a program, a source of randomness and the `Material`, and gives a valid child, or None where the draw gave
none. All are pure; randomness comes only from `rng.random()` and `rng.gauss()`. The larger steps give another structure
than that of the parent (`programs.hashing.structure_hash`); those of the paper may change dead statements or constants
alone.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from programs import mutation
from programs.program import Program
from programs.proposals.functions import exchange, rescale
from programs.proposals.graft import graft
from programs.proposals.material import Material, Proposal, fits
from programs.proposals.states import duplicate_state
from programs.proposals.values import average, combine

ATTEMPTS = 10  # draws of the details of a mutation of the paper


def insert(program: Program, rng: Random, material: Material) -> Program | None:
    """Return the program with a random statement more, as the paper does."""
    return _first_valid(lambda: mutation.insert(program, rng, material.functions), material)


def delete(program: Program, rng: Random, material: Material) -> Program | None:
    """Return the program without a random statement, as the paper does."""
    return _first_valid(lambda: mutation.delete(program, rng), material)


def modify(program: Program, rng: Random, material: Material) -> Program | None:
    """Return the program with a random argument changed, as the paper does."""
    return _first_valid(lambda: mutation.modify(program, rng), material)


def _first_valid(draw: Callable[[], Program | None], material: Material) -> Program | None:
    children = (draw() for _ in range(ATTEMPTS))
    return next((child for child in children if child is not None and fits(child, material)), None)


PROPOSALS: dict[str, Proposal] = {
    "insert": insert,
    "delete": delete,
    "modify": modify,
    "exchange": exchange,
    "graft": graft,
    "rescale": rescale,
    "combine": combine,
    "average": average,
    "duplicate_state": duplicate_state,
}

__all__ = ["PROPOSALS", "Material", "Proposal"]
