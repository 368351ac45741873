"""Tests whether a rewritten program moves weights as the program before it did.

Both run with the NumPy reference over the same gradients from the same weights, each with its own states and weights,
and the updates of every step are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from programs.layout import Layout
from programs.program import Program
from programs.run.reference import Recording, initial_state, numpy_step
from programs.simplify.rules import DOMAIN, EXACT, ROUNDING

TOLERANCE = 1e-8
"""Largest difference in float64, relative to the largest update of the leaf; rounding alone gives about 1e-15."""

_LAYOUT = Layout(((4, 6), (12, 1), (1, 1)))
_STEPS = 8
_SCALES = (1.0, 30.0, 1e-3)


class Evidence(NamedTuple):
    """The largest differences of updates, relative to the largest update of each leaf at each step.

    `float64` decides about rounding. `infinitesimal_guard` is in float64 with divisions that add hardly anything to the
    divisor, and looks only where the program before gives a finite number: rules with a domain need one of the two.
    `differs` names the set on which values may differ, if there is one. Bitwise equality has differences of exactly 0.
    """

    passed: bool
    float64: float
    float32: float
    infinitesimal_guard: float
    differs: str = ""


@cache
def sample_recordings() -> tuple[Recording, ...]:
    """Return random gradients of ordinary, large and small magnitude; a tenth of them, and some weights, are zero."""
    rng = np.random.default_rng(7)
    recordings = []
    for scale in _SCALES:
        w = rng.normal(size=_LAYOUT.total) * (rng.random(_LAYOUT.total) > 0.1)
        shape = (_STEPS, _LAYOUT.total)
        gradients = scale * rng.normal(size=shape) * (rng.random(shape) > 0.1) * (rng.random(shape[1]) > 0.05)
        recordings.append(Recording(_LAYOUT, w, gradients, np.sin(np.linspace(0.2, 2.8, _STEPS)), _STEPS))
    return tuple(recordings)


class Checker:
    """Compares programs on the same recordings; remembers the updates of the last ones."""

    def __init__(self, recordings: Sequence[Recording]) -> None:
        self._recordings = recordings
        self._updates: dict[tuple[Program, str, bool], list[np.ndarray]] = {}

    def check(self, before: Program, after: Program, tag: str, differs: str) -> Evidence:
        """Compare two programs on all recordings, as strictly as the tag of the step demands."""
        self._updates = {key: rows for key, rows in self._updates.items() if key[0] == before}
        float64 = self._largest(before, after, "float64")
        float32 = self._largest(before, after, "float32")
        guarded = self._largest(before, after, "float64", infinitesimal_guard=True)
        decisive = {EXACT: float64 + float32, ROUNDING: float64, DOMAIN: min(float64, guarded)}[tag]
        passed = decisive <= (0.0 if tag == EXACT else TOLERANCE)
        return Evidence(passed, float64, float32, guarded, differs)

    def _largest(self, before: Program, after: Program, dtype: str, infinitesimal_guard: bool = False) -> float:
        old, new = (self._of(program, dtype, infinitesimal_guard) for program in (before, after))
        return max(
            largest_difference(a, b, recording.layout, lax=infinitesimal_guard)
            for a, b, recording in zip(old, new, self._recordings, strict=True)
        )

    def _of(self, program: Program, dtype: str, infinitesimal_guard: bool) -> list[np.ndarray]:
        key = (program, dtype, infinitesimal_guard)
        if key not in self._updates:
            self._updates[key] = [updates(program, r, dtype, infinitesimal_guard) for r in self._recordings]
        return self._updates[key]


def updates(
    program: Program, recording: Recording, dtype: DTypeLike = np.float64, infinitesimal_guard: bool = False
) -> np.ndarray:
    """Return the updates of all steps, [T, P], weights and states moving freely."""
    layout = recording.layout
    step = numpy_step(program, layout, dtype, infinitesimal_guard, recording.steps)
    w, state = recording.w.astype(dtype), initial_state(program, layout, dtype)
    rows = []
    with np.errstate(all="ignore"):
        for gradient, rate in zip(recording.gradients.astype(dtype), recording.rates, strict=True):
            update, state = step(w, gradient, state, float(rate))
            rows.append(np.broadcast_to(update, w.shape))
            w = w - update
    return np.stack(rows)


def largest_difference(before: np.ndarray, after: np.ndarray, layout: Layout, lax: bool = False) -> float:
    """Return the largest error of a leaf over its largest update at that step, of updates [T, P].

    Infinite where one is finite and the other is not; with `lax` only the places count where `before` is finite.
    """
    if np.array_equal(before, after, equal_nan=True):
        return 0.0
    finite = np.isfinite(before) & np.isfinite(after)
    same = np.equal(before, after) | (np.isnan(before) & np.isnan(after))
    if not (finite | same | (lax & ~np.isfinite(before))).all():
        return np.inf
    with np.errstate(all="ignore"):
        error = np.where(finite, np.abs(before - after), 0.0)
        size = np.where(finite, np.abs(before), 0.0)
        error, size = (np.maximum.reduceat(x, layout.starts, axis=-1) for x in (error, size))
        return float(np.max(np.where(error == 0.0, 0.0, error / size)))
