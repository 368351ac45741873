"""The update rules of a batch by fused kernels: what a launch is told, and the launches of a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from programs.kernels.source import BATCH, Source
from programs.layout import Layout
from programs.run.batched import Rows

SLICE = 4096  # places that a block computes; more in rows that would be cut into more slices than
MOST_SLICES = 256  # about, since a block reads a partial sum of each

Launch = Callable[[Tensor, int, int], None]
"""Runs the blocks 0 .. n - 1 of a phase: `(batch, phase, n)`."""


class Slices(NamedTuple):
    """Where slices begin, and the end of the last; the leaf of each; the first slice of each leaf, and their number."""

    starts: list[int]
    leaf: list[int]
    heads: list[int]


def slices(layout: Layout) -> Slices:
    """Cut rows into slices of nearly equal length, none of which reaches over the border of a leaf."""
    length = max(SLICE, -(-layout.total // MOST_SLICES))
    cut = Slices([], [], [])
    for leaf, (start, size) in enumerate(zip(layout.starts.tolist(), layout.sizes, strict=True)):
        parts = -(-size // length)
        cut.heads.append(len(cut.starts))
        cut.starts.extend(start + size * part // parts for part in range(parts))
        cut.leaf.extend([leaf] * parts)
    return Slices([*cut.starts, layout.total], cut.leaf, [*cut.heads, len(cut.starts)])


class FusedRules:
    """The update rules of R replicas, bound to their buffers.

    Args:
        source: of all programs.
        members: the number of the program in each row, among those of the source; None for rows of other sources.
        layout: how the leaves lie in a row.
        rows: the buffers that `step` reads and writes, on the device of the kernels.
        alive: [R] one byte for each row; where it is zero at a step, the step leaves the row as it is.
        launch: the source, compiled.
        scale: factor on the updates of all.

    Raises:
        ValueError: a buffer is not laid out as the kernels expect.
    """

    def __init__(
        self,
        source: Source,
        members: Sequence[int | None],
        layout: Layout,
        rows: Rows,
        alive: Tensor,
        launch: Launch,
        scale: float = 1.0,
    ) -> None:
        shape = (len(members), layout.width)
        if any(b.shape != shape or b.dtype != torch.float32 or not b.is_contiguous() for b in rows):
            raise ValueError(f"rows must be contiguous float32 of shape {shape}")
        if alive.shape != shape[:1] or alive.element_size() != 1 or not alive.is_contiguous():
            raise ValueError(f"alive must be contiguous bytes of shape {shape[:1]}")
        self._launch = launch
        cut, rules = slices(layout), [0 if i is None else source.rules[i] for i in members]
        phases = np.array([0 if i is None else source.phases[source.rules[i]] for i in members])
        n_slices = len(cut.leaf)
        self._blocks = [int(np.sum(phases > phase)) * n_slices for phase in range(phases.max())]
        self._rates = rows.w.new_tensor([1.0, scale])
        constants = [() if i is None else source.constants[i] for i in members]
        n_constants = max(map(len, constants))
        integers = {"rule": rules, "rows": np.argsort(-phases, kind="stable"), **cut._asdict()}
        self._tables = {
            **rows._asdict(),
            "rates": self._rates,
            "constants": rows.w.new_tensor([[*c, *[0.0] * (n_constants - len(c))] for c in constants]),
            "partials": rows.w.new_empty(len(members) * source.n_sums * n_slices, dtype=torch.float64),
            "alive": alive,
            **{k: torch.as_tensor(x, dtype=torch.int32, device=alive.device) for k, x in integers.items()},
        }
        sizes = {"width": layout.width, "n_constants": n_constants, "n_sums": source.n_sums, "n_slices": n_slices}
        fields = sizes | {name: table.data_ptr() for name, table in self._tables.items()}
        self._batch = torch.tensor([fields[name] for _, name in BATCH], dtype=torch.int64, device=alive.device)

    def step(self, lr: Tensor) -> None:
        """Do `w <- w - scale * update` in place, and write the new states. `lr`: the schedule at this step, `[1]`."""
        self._rates[:1].copy_(lr)
        for phase, blocks in enumerate(self._blocks):
            self._launch(self._batch, phase, blocks)
