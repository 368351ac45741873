"""What a program does on given weights and gradients: laws by example, and what happens off the beaten path.

Weights are given at every step, not moved by the updates, so that what is said is about the rule alone; only what is
said of special gradients lets the rule move them. Everything is a function of the program.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from programs.analysis.laws import INVARIANT, Direction, Law
from programs.graph import G, W
from programs.layout import Layout
from programs.program import Program
from programs.run.reference import State, initial_state, numpy_step

LAYOUT = Layout(((4, 6), (12, 1), (1, 1)))
STEPS = 24
LONG = 400  # steps; more than averages of 0.99 take to forget
BF16_STEPS = 2000  # an average of 0.999 needs as many until it should stay where it is
_FACTORS = (4.0, 0.25)  # powers of two, which round nothing
_TOLERANCE = 1e-6
_STILL = 0.1  # of the usual update: below it a rule has come to rest
BOUNDED = 2.0  # what gradients a million times as large may add to the largest update of a bounded rule


class Samples(NamedTuple):
    """Weights and gradients of all steps, both [T, P]."""

    w: np.ndarray
    g: np.ndarray


@cache
def random_samples(steps: int = STEPS) -> Samples:
    """Return normal weights and gradients, gradients of magnitudes that differ between weights and steps."""
    rng = np.random.default_rng(11)
    shape = (steps, LAYOUT.total)
    sizes = 10.0 ** (rng.uniform(-2, 1, LAYOUT.total) + rng.uniform(-0.5, 0.5, (steps, 1)))
    return Samples(rng.normal(size=shape), sizes * rng.normal(size=shape))


def updates(program: Program, samples: Samples) -> np.ndarray:
    """Return the updates [T, P] of a program with an infinitesimal guard, the schedule being 1 at all steps."""
    steps = len(samples.g)
    step, state = numpy_step(program, LAYOUT, infinitesimal_guard=True, steps=steps), initial_state(program, LAYOUT)
    found = np.empty_like(samples.g)
    with np.errstate(all="ignore"):
        for i in range(steps):
            found[i], state = step(samples.w[i], samples.g[i], state, 1.0)
    return found


# --- laws ------------------------------------------------------------------------------------------------------------


def sampled_degree(program: Program, direction: Direction) -> float | None:
    """Return the degree with which updates scale in a direction, None if they follow no power of the factor."""
    before = updates(program, random_samples())
    degrees = []
    for factor in _FACTORS:
        found = _ratio(before, updates(program, _scaled(direction, factor)))
        if found is None or found <= 0:
            return None
        degrees.append(round(math.log(found, factor), 6))
    return degrees[0] if len(set(degrees)) == 1 else None


def is_odd_on_samples(program: Program, direction: Direction) -> bool:
    """Return whether updates change their sign with the inputs that do."""
    return _ratio(updates(program, random_samples()), updates(program, _scaled(direction, -1.0))) == -1.0


def _scaled(direction: Direction, factor: float) -> Samples:
    w, g = random_samples()

    def of(slot: int) -> float:
        law = direction.get(slot, INVARIANT)
        assert isinstance(law, Law), "what is zero is not scaled"
        return (-1.0 if law.is_odd else 1.0) if factor < 0 else factor ** float(law.degree)

    return Samples(of(W) * w, of(G) * g)


def _ratio(before: np.ndarray, after: np.ndarray) -> float | None:
    """Return the one factor by which all updates differ, None if there is none or any update is not finite."""
    size = float(np.abs(before).max())
    if not (np.isfinite(before).all() and np.isfinite(after).all() and size):
        return None
    place = np.unravel_index(np.abs(before).argmax(), before.shape)
    ratio = float(after[place] / before[place])
    return ratio if np.allclose(after, ratio * before, rtol=_TOLERANCE, atol=_TOLERANCE * abs(ratio) * size) else None


def turns_on_samples(program: Program, group: str) -> bool:
    """Return whether updates turn with weights and gradients under a random rotation of a group of `rotation`."""
    turned = _rotation(group)
    w, g = random_samples()
    before, after = updates(program, Samples(w, g)), updates(program, Samples(turned(w), turned(g)))
    if not (np.isfinite(before).all() and np.isfinite(after).all()):
        return False
    return bool(np.allclose(turned(before), after, rtol=_TOLERANCE, atol=_TOLERANCE * float(np.abs(after).max())))


def _rotation(group: str) -> Callable[[np.ndarray], np.ndarray]:
    rng = np.random.default_rng(5)

    def orthogonal(size: int) -> np.ndarray:
        return np.linalg.qr(rng.normal(size=(size, size)))[0]

    if group == "all":
        whole = orthogonal(LAYOUT.total)
        return lambda x: x @ whole
    if group == "tensor":
        factors = [(orthogonal(size), np.eye(1)) for size in LAYOUT.sizes]
        shapes = [(size, 1) for size in LAYOUT.sizes]
    else:
        factors = [(orthogonal(rows), orthogonal(columns)) for rows, columns in LAYOUT.matrices]
        shapes = list(LAYOUT.matrices)

    def turned(x: np.ndarray) -> np.ndarray:
        parts = np.split(x, LAYOUT.starts[1:], axis=-1)
        found = [
            (left @ part.reshape(-1, *shape) @ right).reshape(len(x), -1)
            for part, shape, (left, right) in zip(parts, shapes, factors, strict=True)
        ]
        return np.concatenate(found, axis=-1)

    return turned


class Largest(NamedTuple):
    """The largest update of a weight, and the largest RMS of a tensor's updates; None where they have no bound."""

    weight: float | None
    rms: float | None


@np.errstate(all="ignore")
def largest_updates(program: Program) -> Largest:
    """Return the largest updates seen on gradients that grow, fall, keep their signs or not, small and huge."""
    found = {scale: [_sizes(updates(program, s)) for s in _provocations(scale)] for scale in (1e-3, 1.0, 1e3)}
    sizes = {scale: np.max(of, axis=0) for scale, of in found.items()}
    rising = sizes[1e3] > BOUNDED * sizes[1e-3]
    values = [None if up or not np.isfinite(v) else float(v) for up, v in zip(rising, sizes[1e3], strict=True)]
    return Largest(*values)


def _provocations(scale: float) -> Iterator[Samples]:
    w, g = random_samples(64)
    yield Samples(w, scale * g)
    for growth in (1.0, 1 / 0.99, 1 / 0.9, 2.0):
        yield Samples(w, scale * np.abs(g[:1]) * growth ** np.arange(64)[:, None])
    single = np.zeros_like(g)
    single[32] = scale * g[32]
    yield Samples(w, single + 1e-9 * scale * g)


def _sizes(found: np.ndarray) -> tuple[float, float]:
    mean_squares = np.add.reduceat(found * found, LAYOUT.starts, axis=-1) / LAYOUT.sizes
    return float(np.abs(found).max()), math.sqrt(float(mean_squares.max()))


# --- special gradients -----------------------------------------------------------------------------------------------


class AtRest(NamedTuple):
    """What happens without gradients.

    `is_finite` and `moves`: whether weights stay finite, and whether they move, with gradients that are zero from the
    first step on. `coasts`: steps after the last gradient until updates are a tenth of what they were, None if they
    are not within `LONG` steps.
    """

    is_finite: bool
    moves: bool
    coasts: int | None


@np.errstate(all="ignore")
def without_gradients(program: Program) -> AtRest:
    """Return what a program without decay does at zero gradients, from the start and after some steps."""
    w, g = random_samples(LONG)
    still = _run(program, w[0], np.zeros_like(g)).updates
    gradients = np.where(np.arange(LONG)[:, None] < STEPS, random_samples(LONG).g, 0.0)
    sizes = np.sqrt(np.mean(_run(program, w[0], gradients).updates ** 2, axis=1))
    usual = np.median(sizes[:STEPS])
    moving = np.flatnonzero(~(sizes[STEPS:] <= _STILL * usual))
    coasts = int(moving[-1]) + 1 if len(moving) else 0
    return AtRest(bool(np.isfinite(still).all()), bool(np.any(still != 0)), coasts if coasts < LONG - STEPS else None)


Spread = Literal["nothing", "weight", "tensor", "all"]


class Infinite(NamedTuple):
    """How far a single infinite gradient of one weight reaches, and whether updates of other weights stay broken."""

    reaches: Spread
    recovers: bool


def after_infinity(program: Program, value: float = math.inf) -> Infinite:
    """Return what one gradient that is infinite, or not a number, does to weights and to later updates."""
    w, g = random_samples()
    broken = g.copy()
    broken[STEPS // 2, 3] = value
    run = _run(program, w[0], broken)
    is_hit = ~np.isfinite(run.weights[-1])
    reaches: Spread = "nothing" if not is_hit.any() else "all" if is_hit[LAYOUT.sizes[0] :].any() else "tensor"
    reaches = "weight" if is_hit.sum() == 1 else reaches
    return Infinite(reaches, bool(np.isfinite(run.updates[-1]).all()))


def loss_in_bf16(program: Program) -> float:
    """Return how far updates are off when states are kept in bfloat16 between steps, relative, in RMS.

    Arithmetic is float32, and gradients keep their scale. An average that keeps more than 8 bits can change stalls.
    """
    rng = np.random.default_rng(3)
    w = rng.normal(size=LAYOUT.total)
    g = rng.normal(size=(BF16_STEPS, LAYOUT.total)) + 0.1
    exact, rounded = (_run(program, w, g, np.float32, between).updates[-LONG:] for between in (None, bf16))
    with np.errstate(all="ignore"):
        off = np.sqrt(np.mean((exact - rounded) ** 2.0) / np.mean(exact**2.0))
    return float(off) if np.isfinite(off) else math.inf


def bf16(x: np.ndarray) -> np.ndarray:
    """Return float32 numbers rounded to the nearest of bfloat16, ties to even."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    kept = (bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)
    return np.where(np.isfinite(x), kept.view(np.float32), x).astype(np.float32)


class _Run(NamedTuple):
    """Updates and weights after each step, both [T, P]."""

    updates: np.ndarray
    weights: np.ndarray


def _run(
    program: Program,
    w: np.ndarray,
    gradients: np.ndarray,
    dtype: DTypeLike = np.float64,
    between: Callable[[np.ndarray], np.ndarray] | None = None,
) -> _Run:
    """Let a program move weights [P] along gradients [T, P]; `between` is done with states between steps."""
    step, state = numpy_step(program, LAYOUT, dtype, steps=len(gradients)), initial_state(program, LAYOUT, dtype)
    w, gradients = w.astype(dtype), gradients.astype(dtype)
    found, weights = np.empty_like(gradients), np.empty_like(gradients)
    with np.errstate(all="ignore"):
        for i, gradient in enumerate(gradients):
            found[i], state = step(w, gradient, state, 1.0)
            w = w - found[i]
            weights[i] = w
            if between is not None:
                state = State(between(state.m), between(state.v), state.steps)
    return _Run(found, weights)
