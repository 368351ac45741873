"""How alike two programs move weights, whatever the size of their updates, and how large these are.

Searches keep one program of those that are alike (niching, with a fixed radius; Deb and Goldberg, ICGA 1989), and draw
again where a change of a program changes next to nothing.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from programs.fingerprint import LARGER_LAYOUT, probe_updates
from programs.layout import Layout
from programs.program import Program
from programs.run.reference import initial_state, numpy_step

MOST = 5.0  # root mean squares that a number of an update counts at most

STEPS = 6  # of a training that tells how large updates are
SHAPES = 6  # different shapes of parameter tensors that it has, the largest ones
GRADIENT = 0.01  # root mean square of its gradients,
SIGNAL = 0.3  # of which so much is the same at every step
_SIZES = np.array(LARGER_LAYOUT.sizes)


@lru_cache(maxsize=2048)
def behaviour(program: Program) -> np.ndarray:
    """Return the updates of a program on a small fixed problem as a vector of length 1, float32; zeros if it has none.

    The problem is that of fingerprints: 12 steps of four parameter tensors, without the sequence of large gradients.
    Each tensor is divided by the root mean square of its updates over all steps, so that neither a large tensor nor the
    learning rate decides; what is not finite counts as zero.
    """
    with np.errstate(all="ignore"):
        updates = probe_updates(program)[:, 1:]  # [steps, 2, P]
        updates = np.where(np.isfinite(updates), updates, 0.0)
        squares = np.add.reduceat(updates * updates, LARGER_LAYOUT.starts, axis=-1).sum(axis=0)  # [2, leaves]
        scales = np.sqrt(np.repeat(squares / (_SIZES * len(updates)), _SIZES, axis=-1))
        moves = np.where(np.isfinite(scales) & (scales > 0), np.clip(updates / scales, -MOST, MOST), 0.0)
    length = float(np.linalg.norm(moves))
    found = (moves / length if length > 0 else moves).ravel().astype(np.float32)
    found.flags.writeable = False
    return found


def distance(one: Program, other: Program) -> float:
    """Return how far apart two programs are: 0 where updates are in proportion, 1 where they have nothing in common.

    It is one less the cosine of the angle between their `behaviour`, so 2 is the most, for updates of opposite signs.
    """
    return 1.0 - float(np.dot(behaviour(one), behaviour(other)))


@lru_cache(maxsize=4096)
def size_of_updates(program: Program, layout: Layout) -> float | None:
    """Return how far a program moves weights: the geometric mean of the RMS of its updates over steps and tensors.

    A few steps with random gradients; None where no update is finite and other than zero. Orthogonal matrices, norms
    and the like make updates whose size depends on the shape of a tensor, so the shapes are those of the model.

    Args:
        program: a checked program.
        layout: of the model; tensors of one shape count once.
    """
    shapes = sorted(set(layout.matrices), key=lambda shape: (-shape[0] * shape[1], shape))[:SHAPES]
    few = Layout(tuple(shapes))
    rng = np.random.default_rng(0)
    w = rng.normal(size=few.total) * 0.1
    signal = rng.normal(size=few.total)
    step = numpy_step(program, few, np.float64, True, STEPS)
    state = initial_state(program, few, np.float64, ())
    logs = []
    with np.errstate(all="ignore"):
        for _ in range(STEPS):
            noise = rng.normal(size=few.total)
            g = GRADIENT * (SIGNAL * signal + math.sqrt(1 - SIGNAL**2) * noise)
            update, state = step(w, g, state, 1.0)
            w = w - update
            squares = np.add.reduceat(update * update, few.starts) / few.sizes
            logs += [0.5 * math.log(square) for square in squares.tolist() if 0.0 < square < math.inf]
    return math.exp(math.fsum(logs) / len(logs)) if logs else None
