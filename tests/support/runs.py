"""Whole runs of programs: with the NumPy reference, and with torch in a batch of replicas."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from programs import Program
from programs.layout import Layout
from programs.run.batched import Rows, UpdateRules
from programs.run.reference import initial_state, numpy_step
from programs.run.sharing import Skeletons, share

from tests.support.oracle import Shape
from tests.support.strategies import SIZES, Trajectory, layout_of


def reference_updates(program: Program, start: Trajectory, shapes: Sequence[Shape] = SIZES) -> list[np.ndarray]:
    """The updates of all steps, in the precision of the weights, `w <- w - update` after each."""
    layout = layout_of(shapes)
    step = numpy_step(program, layout, start.w.dtype, steps=len(start.rates))
    w, state, updates = start.w, initial_state(program, layout, start.w.dtype), []
    with np.errstate(all="ignore"):
        for g, rate in zip(start.gradients, start.rates, strict=True):
            update, state = step(w, g, state, rate)
            updates.append(np.array(update))
            w = w - update
    return updates


def reference_weights(program: Program, start: Trajectory, shapes: Sequence[Shape] = SIZES) -> np.ndarray:
    """[steps, P] the weights after each step."""
    weights = [start.w]
    with np.errstate(all="ignore"):
        for update in reference_updates(program, start, shapes):
            weights.append(weights[-1] - update)
    return np.array(weights[1:])


def padded(row: np.ndarray, layout: Layout) -> torch.Tensor:
    """[.., P] -> [.., W] float32, something useless in the padding: rules must keep clear of it."""
    padding = [(0, 0)] * (row.ndim - 1) + [(0, layout.width - layout.total)]
    return torch.from_numpy(np.pad(row.astype(np.float32), padding, constant_values=np.nan))


def zero_rows(replicas: int, w: np.ndarray, layout: Layout) -> Rows:
    """Buffers `[R, W]`: all replicas at `w`, everything else zero."""
    weights = np.tile(w, (replicas, 1))
    return Rows(padded(weights, layout), *(padded(np.zeros_like(weights), layout) for _ in range(3)))


def batched_weights(programs: Sequence[Program], start: Trajectory, shapes: Sequence[Shape] = SIZES) -> np.ndarray:
    """[steps, R, P] the weights after each step, one replica for each program."""
    layout = layout_of(shapes)
    rows = zero_rows(len(programs), start.w, layout)
    rules, order = rules_of(programs, layout, rows, len(start.rates))
    weights = np.empty((len(start.rates), len(programs), layout.total), np.float32)
    for step, (g, rate) in enumerate(zip(start.gradients, start.rates, strict=True)):
        rows.g.copy_(padded(g, layout))
        rules.step(torch.tensor([rate], dtype=torch.float32), torch.tensor([step]))
        weights[step, order] = rows.w[:, : layout.total].numpy()
    return weights


def rules_of(programs: Sequence[Program], layout: Layout, rows: Rows, steps: int = 1) -> tuple[UpdateRules, list[int]]:
    """Update rules bound to the rows, and the number of the program in each row."""
    skeletons = Skeletons(programs)
    tree = share(skeletons, range(len(programs)))
    return UpdateRules(skeletons, tree, layout, rows, steps=steps), tree.programs
