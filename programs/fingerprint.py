"""What a program does, as a key: programs that move weights alike share it, however they are written.

The idea is the behavioural hash of *Unified Functional Hashing* (Gillard et al., arXiv 2302.05433): run the program on
a small fixed problem, cut the mantissas of what it gives, and mix them. Here the problem is a few steps of a small tree
in float64, on three gradient sequences at once, and what is hashed are the updates of every step.

Two choices make equal behaviour give equal keys:

- Values are rounded to `bits` mantissa bits, and what is too small to move a float32 weight counts as zero. Two ways of
  computing one thing differ in the last of 52 bits, far below the cut. They can still fall on either side of a rounding
  boundary, or differ by more after cancellation; then equal programs get different keys, which costs a training and
  nothing else.
- The guard of the division counts as infinitesimal, so that m / sqrt(m * m) is sign(m) whatever the size of m.

What this would merge wrongly is kept apart by a second run in float32 with the guard as it is: where updates *leap* or
change their sign, because a divisor comes close to minus the guard (m / m is not 1 everywhere), they are hashed too,
and so is the decade of the largest. A last mark is the rate at which a state explodes: it overflows in the
end even where the updates do not show it yet.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from programs.graph import G
from programs.layout import Layout
from programs.liveness import live
from programs.ops import OPS
from programs.program import Program
from programs.run.reference import State, initial_state, numpy_step

FINGERPRINT_VERSION = 2  # to be raised with every change that gives programs other keys

DEFAULT_BITS = 24
MOST_BITS = 40  # beyond it the last bits of equal computations show
NEGLIGIBLE = 2.0**-40  # an update below this leaves a float32 weight of ordinary size as it is

GUARDED_STEPS = 8
LEAP = 2.0  # times what the update would be with an infinitesimal guard
LEAP_BITS = 10  # well within what float32 gives after some cancellation

EXPLOSIVE = 2.0  # growth of a state over the last steps, whose gradients are small: averages and sums stay below
LAST = 4  # steps

LAYOUT = Layout(((8, 10), (32, 1), (4, 4)))
# Beyond the paper's functions: another leaf, and of the first three a single matrix, since their products take time.
LARGER_LAYOUT = Layout(((8, 10), (32, 1), (16, 1), (6, 1)))
GRADIENT_SCALES = (1.0, 1e-2, 1e-4)  # of the three sequences
SMALL = 1e-2  # what stands in place of zeros
SCHEDULE = (0.15, 0.6, 1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.45, 0.4, 0.36)
LARGER_SCHEDULE = (*SCHEDULE[:7], 1e-4, *SCHEDULE[8:])


class Fingerprint(NamedTuple):
    """What a program does.

    `key`: 32 hex digits. `rejection`: why the program need not be trained, None if it must be.
    """

    key: str
    rejection: str | None


class _Problem(NamedTuple):
    layout: Layout
    w: np.ndarray  # [3, P]
    gradients: np.ndarray  # [steps, 3, P]
    schedule: tuple[float, ...]


@lru_cache
def _problem(larger: bool) -> _Problem:
    """Return weights and gradients of different scale in each leaf; three sequences of gradients differ everywhere.

    Numbers of the first are large, those of the others as in training, so that what is not finite for the one need not
    be for the others, which have the weights in common. Some weights never have a gradient, others miss theirs at
    single steps, some weights are zero as biases are, so that what programs do at an exact zero shows. Signs change,
    magnitudes range over ten decades, and norms over six, from step to step and between the sequences, so that a clip
    acts here and not there. There are enough weights for small changes to show even where only signs are left of the
    gradients.

    The `larger` problem has one more leaf, whose weights are all zero but for the first sequence: what programs do with
    whole tensors of zeros, as biases are at the start, shows there. The first sequence has no zeros at all, since one
    that becomes infinite hides its whole matrix. And the learning rate of one step is near zero, as at the end of a
    training.
    """
    rng = np.random.default_rng(20230213)
    scales = np.repeat([1.0, 0.03, 4.0], LAYOUT.sizes)
    w = rng.normal(size=LAYOUT.total) * scales
    w[rng.random(LAYOUT.total) < 0.1] = 0.0
    w = np.stack([w, 0.1 * w, 0.1 * w])
    shape = (len(SCHEDULE), len(GRADIENT_SCALES), LAYOUT.total)
    usual = rng.random(LAYOUT.total) < 0.6
    decades = np.where(usual, rng.uniform(-3, 1.5, LAYOUT.total), rng.uniform(-8, 2, LAYOUT.total))
    gradients = rng.normal(size=shape) * 10.0**decades * np.sqrt(scales)
    sweep = rng.uniform(-1, 1, size=(len(SCHEDULE), 1, 1))
    sweep[-LAST - 3 :] = -1.0
    gradients *= 10.0**sweep
    gradients *= np.reshape(GRADIENT_SCALES, (-1, 1))
    gradients[rng.random(shape) < 0.1] = 0.0
    gradients[:, :, rng.random(LAYOUT.total) < 0.1] = 0.0
    gradients[:, :, LAYOUT.starts] = 0.0
    if not larger:
        return _Problem(LAYOUT, w, gradients, SCHEDULE)
    shape = (*shape[:2], LARGER_LAYOUT.total - LAYOUT.total)
    more = rng.normal(size=shape) * 10.0**sweep * np.reshape(GRADIENT_SCALES, (-1, 1))
    more[:, :, 0] = 0.0
    gradients = np.concatenate([gradients, more], axis=2)
    w = np.concatenate([w, np.zeros(w.shape[:1] + shape[2:])], axis=1)
    for values in (w[0], gradients[:, 0]):
        values[values == 0.0] = SMALL * rng.normal(size=np.sum(values == 0.0))
    return _Problem(LARGER_LAYOUT, w, gradients, LARGER_SCHEDULE)


def fingerprint(program: Program, bits: int = DEFAULT_BITS) -> Fingerprint:
    """Return the key of a program and, if there is one, the reason not to train it.

    Args:
        program: a checked program.
        bits: mantissa bits that decide, 1..40. Fewer merge more programs, and in the end different ones.
    """
    nodes, alive = program.dataflow.nodes, live(program.dataflow).nodes
    problem = _problem(any(nodes[n].is_call and OPS[nodes[n].function].set != "paper" for n in alive))
    run = _run(program, problem, len(SCHEDULE), np.float64, infinitesimal_guard=True)
    guarded = _run(program, problem, GUARDED_STEPS, np.float32, infinitesimal_guard=False)
    rejection = _rejection(G in alive, run.updates)
    return Fingerprint(_key(run, guarded, bits, rejection or ""), rejection)


def probe_updates(program: Program) -> np.ndarray:
    """Return the updates of all steps on the larger of the fixed problems, [steps, 3, P], as fingerprints have them."""
    return _run(program, _problem(larger=True), len(SCHEDULE), np.float64, infinitesimal_guard=True).updates


class _Run(NamedTuple):
    """The updates of all steps, [steps, 3, P], and the states after each."""

    updates: np.ndarray
    states: list[State]


def _run(program: Program, problem: _Problem, steps: int, dtype: DTypeLike, infinitesimal_guard: bool) -> _Run:
    w, gradients = (array.astype(dtype, copy=False) for array in (problem.w, problem.gradients))
    step = numpy_step(program, problem.layout, dtype, infinitesimal_guard, len(problem.schedule))
    state = initial_state(program, problem.layout, dtype, w.shape[:1])
    updates = np.empty((steps, *w.shape), dtype)
    states = []
    with np.errstate(all="ignore"):
        for i in range(steps):
            updates[i], state = step(w, gradients[i], state, problem.schedule[i])
            states.append(state)
            w = w - updates[i]
    return _Run(updates, states)


def _rejection(reads_gradient: bool, updates: np.ndarray) -> str | None:
    if not np.isfinite(updates[0]).any():
        return "updates are not finite from the first step"
    if not reads_gradient or _same(updates[:, 1], updates[:, 2]):
        return "updates do not depend on the gradient"
    if not updates.any():
        return "updates are zero"
    return None


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.array_equal(a, b, equal_nan=True)) and bool(a.any())


def _key(run: _Run, guarded: _Run, bits: int, rejection: str) -> str:
    """Return the key. Rejected programs never share one with others: a tiny update is not a zero one."""
    with np.errstate(all="ignore"):
        cut = _cut(run.updates, bits)
        cut[np.abs(cut) < NEGLIGIBLE] = 0.0  # both signs of zero
        marks = [_decades(guarded.updates), *_leaps(run.updates[:GUARDED_STEPS], guarded.updates), _pace(run.states)]
    key = blake2b(bytes([bits]) + rejection.encode(), digest_size=16)
    for values in (cut, *marks):
        key.update(np.where(np.isnan(values), np.nan, values + 0.0).astype("<f8").tobytes())  # one of many NaNs
    return key.hexdigest()


def _cut(values: np.ndarray, bits: int) -> np.ndarray:
    """Return the values rounded to this many mantissa bits."""
    mantissa, exponent = np.frexp(values)  # 0.5 <= |mantissa| < 1
    return np.asarray(np.ldexp(np.rint(np.ldexp(mantissa, bits)), exponent - bits))


def _decades(updates: np.ndarray) -> np.ndarray:
    """Return the order of magnitude of the largest update, [steps]."""
    return np.asarray(np.rint(np.log10(np.abs(updates).max(axis=(1, 2)))))


def _leaps(updates: np.ndarray, guarded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where the guard makes updates larger or turns their sign, and what they become."""
    size = np.abs(guarded)
    turns = np.sign(guarded) * np.sign(updates) < 0
    leaps = ((size > LEAP * np.abs(updates)) | turns) & (size > NEGLIGIBLE) & (updates != 0)
    return np.flatnonzero(leaps).astype(float), _cut(guarded[leaps], LEAP_BITS)


def _pace(states: list[State]) -> np.ndarray:
    """Return the largest growth of any state over the last steps in octaves if one explodes, or 0."""
    before, last = (  # [slots, 3]
        np.stack([np.fmax.reduce(np.abs(slot), axis=-1) for slot in (states[i].m, states[i].v)])
        for i in (-1 - LAST, -1)
    )
    growth = np.fmax.reduce(np.where(np.isinf(last), np.inf, last / before), axis=None)
    return np.asarray(np.rint(np.log2(growth)) if growth > EXPLOSIVE else 0.0)
