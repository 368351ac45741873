"""The family of a program, by what it is made of, and the programs of the zoo nearest to it, by what they do."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import NamedTuple

import numpy as np

from programs import zoo
from programs.analysis.laws import SCALE_OF_G, SIGN_OF_G, Law, laws
from programs.analysis.lion_k import SQUARE, LionK, lion_k
from programs.analysis.properties import Subject
from programs.fingerprint import probe_updates
from programs.graph import Dataflow
from programs.hyperparameters import decay_of, with_decay
from programs.kinds import TREE
from programs.liveness import live, live_functions, state_kinds
from programs.program import Program

FAR = 0.5  # a distance: a program that is farther from all of the zoo is like none of it


class Neighbour(NamedTuple):
    """A program of the zoo; the distance is 0 for updates of one direction, 1 for those that have nothing in common."""

    name: str
    distance: float


class Family(NamedTuple):
    """What a program is called, what it is as a Lion-K if it is one, and its neighbours, nearest first."""

    name: str
    lion_k: LionK | None
    neighbours: list[Neighbour]


def family(subject: Subject) -> Family:
    """Return the family of a program."""
    found, near = lion_k(subject), neighbours(subject.program)
    return Family(_name(subject, found, near[0]), found, near)


def _name(subject: Subject, found: LionK | None, nearest: Neighbour) -> str:
    functions = live_functions(subject.bare)
    if "orthogonalize" in functions:
        return "orthogonalised"
    if any(kind != TREE for kind in state_kinds(subject.bare)):
        return "factored"
    if found is not None:
        if found.k is SQUARE:
            return "SGD-like"
        return "sign-momentum" if "sign" in functions else "momentum through the gradient of a convex K"
    if _has_second_moments(subject.bare.dataflow):
        return "AdamW-like"
    if "sign" in functions:
        return "sign-momentum"
    return f"like {nearest.name}" if nearest.distance < FAR else "none that is known"


def _has_second_moments(flow: Dataflow) -> bool:
    """Return whether a state is even in the gradients and scales as their squares."""
    scales, parities = (laws(flow, direction) for direction in (SCALE_OF_G, SIGN_OF_G))
    slots = live(flow).states
    second, even = Law(False, Fraction(2)), Law(False, Fraction(0))
    return any(scales[slot] == second and parities[slot] == even for slot in slots)


def neighbours(program: Program) -> list[Neighbour]:
    """Return all programs of the zoo, nearest first.

    The distance is one minus the cosine of the angle between updates without decay, on the problem of fingerprints,
    mean over its steps and sequences.
    """
    ours = _directions(_bare(program))
    found = [Neighbour(name, _distance(ours, _of_zoo(name))) for name in zoo.names()]
    return sorted(found, key=lambda one: (one.distance, one.name))


@cache
def _of_zoo(name: str) -> np.ndarray:
    return _directions(_bare(zoo.load(name)))


def _bare(program: Program) -> Program:
    return with_decay(program, 0.0) if decay_of(program) else program


def _directions(program: Program) -> np.ndarray:
    """Return updates of unit length, [steps, 3, P]; zeros where they are not finite."""
    updates = np.nan_to_num(probe_updates(program), nan=0.0, posinf=0.0, neginf=0.0)
    with np.errstate(all="ignore"):
        largest = np.abs(updates).max(axis=-1, keepdims=True)
        updates = np.where(largest > 0, updates / largest, 0.0)  # whose squares do not overflow
        lengths = np.linalg.norm(updates, axis=-1, keepdims=True)
        return np.where(lengths > 0, updates / lengths, 0.0)


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    cosines = np.sum(one * other, axis=-1)
    both_rest = ~(one.any(axis=-1) | other.any(axis=-1))
    return max(0.0, 1.0 - float(np.mean(np.where(both_rest, 1.0, cosines))))
