"""Whole runs of programs: with the NumPy reference, and with torch in a batch of replicas."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from strategies import SIZES, Trajectory

from programs import Program
from programs.batched import Rows, UpdateRules, row_source
from programs.layout import Layout
from programs.reference import initial_state, numpy_step


def reference_updates(program: Program, start: Trajectory, sizes: Sequence[int] = SIZES) -> list[np.ndarray]:
    """The updates of all steps, in the precision of the weights, `w <- w - update` after each."""
    layout = Layout(tuple(sizes))
    step = numpy_step(program, layout, start.w.dtype)
    w, state, updates = start.w, initial_state(layout, start.w.dtype), []
    with np.errstate(all="ignore"):
        for g, rate in zip(start.gradients, start.rates, strict=True):
            update, state = step(w, g, state, rate)
            updates.append(np.array(update))
            w = w - update
    return updates


def reference_weights(program: Program, start: Trajectory, sizes: Sequence[int] = SIZES) -> np.ndarray:
    """[steps, P] the weights after each step."""
    weights = [start.w]
    with np.errstate(all="ignore"):
        for update in reference_updates(program, start, sizes):
            weights.append(weights[-1] - update)
    return np.array(weights[1:])


def zero_rows(replicas: int, w: np.ndarray) -> Rows:
    """Buffers of float32 `[R, P]`: all replicas at `w`, everything else zero."""
    weights = torch.from_numpy(np.tile(w.astype(np.float32), (replicas, 1)))
    return Rows(weights, *(torch.zeros_like(weights) for _ in range(3)))


def batched_weights(programs: Sequence[Program], start: Trajectory, sizes: Sequence[int] = SIZES) -> list[np.ndarray]:
    """The weights `[R, P]` after each step, one replica for each program."""
    rows = zero_rows(len(programs), start.w)
    rules = UpdateRules([row_source(p) for p in programs], Layout(tuple(sizes)), rows)
    weights = []
    for g, rate in zip(start.gradients, start.rates, strict=True):
        rows.g.copy_(torch.from_numpy(g.astype(np.float32)))
        rules.step(torch.tensor([rate], dtype=torch.float32))
        weights.append(rows.w.numpy().copy())
    return weights
