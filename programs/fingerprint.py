"""What a program does, as a key: programs that move weights alike share it, however they are written.

The idea is the behavioural hash of *Unified Functional Hashing* (Gillard et al., arXiv 2302.05433): run the program on
a small fixed problem, cut the mantissas of what it gives, and mix them. Here the problem is a few steps of a small tree
in float64, on two gradient sequences at once, and what is hashed are the updates of every step.

Two choices make equal behaviour give equal keys:

- Values are rounded to `bits` mantissa bits, and what is too small to move a float32 weight counts as zero. Two ways of
  computing one thing differ in the last of 52 bits, far below the cut. They can still fall on either side of a rounding
  boundary, or differ by more after cancellation; then equal programs get different keys, which costs a training and
  nothing else.
- The guard of the division counts as infinitesimal, so that m / sqrt(m * m) is sign(m) whatever the size of m.

Two coarse marks keep apart what this would merge wrongly: the decade of the largest update with the guard as it is, for
a divisor close to minus the guard makes updates leap (m / m is not 1 everywhere), and whether a state explodes, which
in the end overflows even where the updates do not show it yet.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

import numpy as np

from programs.dataflow import G
from programs.layout import Layout
from programs.liveness import live
from programs.program import Program
from programs.reference import State, numpy_step

DEFAULT_BITS = 24
MOST_BITS = 40  # beyond it the last bits of equal computations show
NEGLIGIBLE = 2.0**-40  # an update below this leaves a float32 weight of ordinary size as it is

GUARDED_STEPS = 2
EXPLOSIVE = 1.5  # growth of a state in each of the last two steps; averages and sums of gradients stay below

LAYOUT = Layout((160, 64, 32))
SCHEDULE = (0.15, 0.6, 1.0, 0.8, 0.5, 0.1)


class Fingerprint(NamedTuple):
    """`key`: 32 hex digits. `rejection`: why the program need not be trained, None if it must be."""

    key: str
    rejection: str | None


class _Problem(NamedTuple):
    w: np.ndarray  # [2, P]
    gradients: np.ndarray  # [steps, 2, P]


@lru_cache
def _problem() -> _Problem:
    """Weights and gradients of different scale in each leaf; two sequences of gradients that differ everywhere.

    Some weights never have a gradient, others miss theirs at single steps, some weights are zero as biases are, so that
    what programs do at an exact zero shows. Signs change, magnitudes range over ten decades, and norms over four, so
    that a clip acts in one sequence and not in the other. There are enough weights for small changes to show even where
    only signs are left of the gradients.
    """
    rng = np.random.default_rng(20230213)
    scales = np.repeat([1.0, 0.03, 4.0], LAYOUT.sizes)
    w = rng.normal(size=LAYOUT.total) * scales
    w[rng.random(LAYOUT.total) < 0.1] = 0.0
    w = np.tile(w, (2, 1))
    shape = (len(SCHEDULE), 2, LAYOUT.total)
    gradients = rng.normal(size=shape) * 10.0 ** rng.uniform(-8, 2, size=shape[-1]) * np.sqrt(scales)
    gradients[:, 1] *= 1e-4
    gradients[rng.random(shape) < 0.1] = 0.0
    gradients[:, :, rng.random(LAYOUT.total) < 0.1] = 0.0
    gradients[:, :, LAYOUT.starts] = 0.0
    return _Problem(w, gradients)


def fingerprint(program: Program, bits: int = DEFAULT_BITS) -> Fingerprint:
    """Key and, if there is one, the reason not to train.

    Args:
        program: a checked program.
        bits: mantissa bits that decide, 1..40. Fewer merge more programs, and in the end different ones.
    """
    run = _run(program, len(SCHEDULE), infinitesimal_guard=True)
    guarded = _run(program, GUARDED_STEPS, infinitesimal_guard=False)
    rejection = _rejection(program, run.updates)
    return Fingerprint(_key(run, guarded, bits, rejection or ""), rejection)


class _Run(NamedTuple):
    """Updates of all steps, [steps, 2, P], and the largest number in either state after each, [steps, 2]."""

    updates: np.ndarray
    largest_state: np.ndarray


def _run(program: Program, steps: int, infinitesimal_guard: bool) -> _Run:
    problem = _problem()
    step = numpy_step(program, LAYOUT, infinitesimal_guard=infinitesimal_guard)
    w = problem.w
    state = State(np.zeros_like(w), np.zeros_like(w))
    updates, largest = [], []
    with np.errstate(all="ignore"):
        for gradient, lr in zip(problem.gradients[:steps], SCHEDULE[:steps], strict=True):
            update, state = step(w, gradient, state, lr)
            updates.append(update)
            largest.append([np.abs(state.m).max(), np.abs(state.v).max()])
            w = w - update
    return _Run(np.stack(updates), np.array(largest))


def _rejection(program: Program, updates: np.ndarray) -> str | None:
    if not np.isfinite(updates[0]).any():
        return "updates are not finite from the first step"
    if G not in live(program.dataflow).nodes or _same(updates[:, 0], updates[:, 1]):
        return "updates do not depend on the gradient"
    if not updates.any():
        return "updates are zero"
    return None


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.array_equal(a, b, equal_nan=True)) and bool(a.any())


def _key(run: _Run, guarded: _Run, bits: int, rejection: str) -> str:
    """Rejected programs have keys of their own: a tiny update must not pass for a zero one."""
    mantissa, exponent = np.frexp(run.updates)  # 0.5 <= |mantissa| < 1
    cut = np.ldexp(np.rint(np.ldexp(mantissa, bits)), exponent - bits)
    cut[np.abs(cut) < NEGLIGIBLE] = 0.0  # both signs of zero
    cut[np.isnan(cut)] = np.nan  # one of many NaNs
    with np.errstate(all="ignore"):
        decades = np.rint(np.log10(np.abs(guarded.updates).max(axis=(1, 2)))) + 0.0
        growth = run.largest_state[-2:] / run.largest_state[-3:-1]
    decades[np.isnan(decades)] = np.nan
    explodes = bool((growth > EXPLOSIVE).all(axis=0).any())
    data = (
        bytes([bits, explodes])
        + rejection.encode()
        + decades.astype("<f8").tobytes()
        + (cut + 0.0).astype("<f8").tobytes()
    )
    return blake2b(data, digest_size=16).hexdigest()
