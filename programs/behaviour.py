"""How alike two programs move weights, whatever the size of their updates.

Searches keep one program of those that are alike (niching, with a fixed radius; Deb and Goldberg, ICGA 1989), and draw
again where a change of a program changes next to nothing.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from programs.fingerprint import LARGER_LAYOUT, probe_updates
from programs.program import Program

MOST = 5.0  # root mean squares that a number of an update counts at most
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
