"""The update rules of a batch by fused kernels: what a launch is told, and the launches of a step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from programs.graph import M, V
from programs.kernels.source import BATCH, Lent, Source
from programs.layout import Layout
from programs.run.batched import Rows, compiled_code

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
        steps: how many steps the training has.

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
        steps: int = 1,
    ) -> None:
        _check(source, members, layout, rows, alive)
        self._launch = launch
        cut, rules = slices(layout), [0 if i is None else source.rules[i] for i in members]
        phases = np.array([0 if i is None else source.phases[source.rules[i]] for i in members])
        n_slices = len(cut.leaf)
        self._blocks = [int(np.sum(phases > phase)) * n_slices for phase in range(phases.max())]
        self._rates = rows.w.new_tensor([1.0, scale, 1.0, steps])
        memory = _Memory([() if i is None else source.lent[source.rules[i]] for i in members], layout, rows.w)
        self._between = memory.calls
        constants = [() if i is None else source.constants[i] for i in members]
        integers = {"rule": rules, "rows": np.argsort(-phases, kind="stable"), **cut._asdict()}
        integers |= {"row_of": layout.row_of, "column_of": layout.column_of}
        self._tables = {
            **rows._asdict(),
            "rates": self._rates,
            "constants": rows.w.new_tensor(_filled(constants)),
            "partials": rows.w.new_empty(len(members) * source.n_sums * n_slices, dtype=torch.float64),
            "handed": memory.numbers,
            "offsets": memory.offsets,
            "alive": alive,
            **{k: torch.as_tensor(x, dtype=torch.int32, device=alive.device) for k, x in integers.items()},
        }
        sizes = {"width": layout.width, "m_width": rows.m.shape[1], "v_width": rows.v.shape[1]}
        sizes |= {"n_constants": max(map(len, constants)), "n_sums": source.n_sums}
        sizes |= {"n_handed": memory.offsets.shape[1], "n_slices": n_slices, "n_leaves": len(layout.sizes)}
        fields = sizes | {name: table.data_ptr() for name, table in self._tables.items()}
        self._batch = torch.tensor([fields[name] for _, name in BATCH], dtype=torch.int64, device=alive.device)

    def step(self, lr: Tensor, taken: Tensor) -> None:
        """Do `w <- w - scale * update` in place, and write the new states.

        Args:
            lr: the schedule at this step, `[1]`.
            taken: the number of steps taken before, `[1]`.
        """
        self._rates[:1].copy_(lr)
        torch.add(taken, 1.0, out=self._rates[2:3])
        for phase, blocks in enumerate(self._blocks):
            self._launch(self._batch, phase, blocks)
            for function in self._between[phase]:
                function()


class _Memory:
    """What rows need between phases; what torch computes in one call lies side by side.

    Attributes:
        numbers: all of it.
        offsets: [R, n] where that of each row begins.
        calls: what is to be called after each phase.
    """

    def __init__(self, lent: Sequence[Sequence[Lent]], layout: Layout, like: Tensor) -> None:
        users = defaultdict[Lent, list[tuple[int, int]]](list)
        for row, of_row in enumerate(lent):
            for n, one in enumerate(of_row):
                users[one].append((row, n))
        offsets = np.zeros((len(lent), max(map(len, lent))), np.int64)
        blocks, end = dict[Lent, slice](), 0
        for one, places in users.items():
            start, width = end, layout.width_of(one.kind)
            for place in places:
                offsets[place], end = end, end + width
            blocks[one] = slice(start, end)
        self.numbers = like.new_zeros(end)
        self.offsets = torch.as_tensor(offsets, device=like.device)
        self.calls = defaultdict[int, list[Callable[[], None]]](list)
        for one, block in blocks.items():
            if one.code:
                x = self.numbers[block].view(len(users[one]), -1)[:, : layout.total]
                function = compiled_code(f"lambda x: {one.code.format('x')}", layout, like.device)
                self.calls[one.phase].append(partial(_compute, function, x))


def _compute(function: Callable[[Tensor], Tensor], x: Tensor) -> None:
    """Compute a function of rows `[K, P]` in their place."""
    result = function(x)
    x[:, : result.shape[1]].copy_(result)


def _filled(constants: Sequence[Sequence[float]]) -> list[list[float]]:
    """Return the constants of all rows with as many numbers in each."""
    most = max(map(len, constants))
    return [[*c, *[0.0] * (most - len(c))] for c in constants]


def _check(source: Source, members: Sequence[int | None], layout: Layout, rows: Rows, alive: Tensor) -> None:
    """Check that buffers are laid out as the kernels expect; states may be wider, as other programs may need them."""
    kinds = [source.states[source.rules[i]] for i in members if i is not None]
    for slot, (name, buffer) in enumerate(rows._asdict().items()):
        is_state, width = slot in (M, V), layout.width
        if is_state:
            width = max((layout.width_of(of_row[slot]) for of_row in kinds if slot in of_row), default=0)
        fits = buffer.shape == (len(members), width) or (is_state and buffer.shape[1] > width)
        if not fits or len(buffer) != len(members) or buffer.dtype != torch.float32 or not buffer.is_contiguous():
            raise ValueError(f"{name} must be contiguous float32 of shape {(len(members), width)}")
    if alive.shape != (len(members),) or alive.element_size() != 1 or not alive.is_contiguous():
        raise ValueError(f"alive must be contiguous bytes of shape {(len(members),)}")
