"""How states are kept between steps: as they are, or in less memory, of which they are read back before the next step.

- `bf16`: rounded to bfloat16;
- `8bit`: block by block in 8 bits (`programs.quantization`), all tensors, however small: those of proxy tasks stand for
  larger ones, of which exports leave out only those below 4,096 numbers;
- `low_rank`: each matrix as the product of two factors. Of states that are never negative these are the sums of its
  rows and of its columns over the sum of all (Shazeer and Stern, arXiv 1804.04235), since other approximations have
  zeros and negative numbers; of others it is the nearest matrix of a quarter of the full rank. Vectors stay as they
  are.

Only states with a number for each weight are changed: those by rows or columns are small already.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from programs.analysis.bounds import per_weight_states
from programs.errors import InputError
from programs.graph import M
from programs.kinds import TREE
from programs.layout import Layout
from programs.liveness import state_kinds
from programs.program import Program
from programs.quantization import bytes_per_number, dequantize, quantize
from programs.run.batched import Rows

from proxy_tasks.task import StateForm

RANK = 1 / 4  # of the shorter side of a matrix

Form = Callable[[Tensor, tuple[int, int], bool], Tensor]
"""Takes one leaf of a state of some replicas, `[R, n]`, the two axes as it is laid out, and whether it is never
negative; returns what is read back."""


def keep_states(form: StateForm, programs: Sequence[Program], layout: Layout, rows: Rows) -> Callable[[], None]:
    """Return what puts the states of rows in a form and reads them back, in place; it is called after every step.

    Args:
        form: how they are kept.
        programs: one for each row.
        layout: how the leaves lie in a row.
        rows: whose states are changed.

    Raises:
        InputError: low rank on a GPU, where the decomposition cannot be recorded.
    """
    if form == "float32":
        return lambda: None
    if form == "low_rank" and rows.w.device.type != "cpu":
        raise InputError("states of low rank are for the CPU alone; leave the device out")
    alike: dict[tuple[int, bool], list[int]] = defaultdict(list)
    for row, program in enumerate(programs):
        for slot, unsigned in per_weight_states(program.dataflow).items():
            alike[slot, unsigned].append(row)
    of = {key: torch.tensor(members, device=rows.w.device) for key, members in alike.items()}

    def keep() -> None:
        for (slot, unsigned), members in of.items():
            _keep(FORMS[form], rows.m if slot == M else rows.v, members, layout, unsigned)

    return keep


def _keep(form: Form, states: Tensor, members: Tensor, layout: Layout, unsigned: bool) -> None:
    for start, size, axes in zip(layout.starts.tolist(), layout.sizes, layout.stored, strict=True):
        leaf = states[:, start : start + size]
        leaf.index_copy_(0, members, form(leaf.index_select(0, members), axes, unsigned))


# --- the forms --------------------------------------------------------------------------------------------------------


def _bf16(x: Tensor, _axes: tuple[int, int], _unsigned: bool) -> Tensor:
    return x.bfloat16().float()


def _8bit(x: Tensor, _axes: tuple[int, int], unsigned: bool) -> Tensor:
    return dequantize(*quantize(x, unsigned), unsigned)


def rank_of(axes: tuple[int, int]) -> int:
    """Return the rank that a state of a matrix keeps."""
    return max(1, round(RANK * min(axes)))


def _low_rank(x: Tensor, axes: tuple[int, int], unsigned: bool) -> Tensor:
    """Return the product of the factors; what is not finite has none, and stays as it is."""
    if min(axes) == 1:
        return x
    is_finite = x.isfinite().all(dim=1, keepdim=True)
    matrices = torch.where(is_finite, x, 0.0).view(-1, *axes)
    found = (_of_sums(matrices) if unsigned else _nearest(matrices, rank_of(axes))).flatten(1)
    return torch.where(is_finite, found, x)


def _of_sums(x: Tensor) -> Tensor:
    rows, columns = x.sum(2, keepdim=True), x.sum(1, keepdim=True)
    total = rows.sum(1, keepdim=True)
    return rows * (columns / torch.where(total > 0, total, 1.0))


def _nearest(x: Tensor, rank: int) -> Tensor:
    u, s, vh = torch.linalg.svd(x, full_matrices=False)
    nearest: Tensor = (u[..., :rank] * s[:, None, :rank]) @ vh[:, :rank]
    return nearest


FORMS: dict[StateForm, Form] = {"bf16": _bf16, "8bit": _8bit, "low_rank": _low_rank}


def bytes_per_weight(form: StateForm, program: Program, layout: Layout) -> float:
    """Return the bytes that the states of a program take for each weight of a model."""
    small = sum(4 * layout.shares[kind] for kind in state_kinds(program) if kind != TREE)
    leaves = list(zip(layout.sizes, layout.stored, strict=True))
    trees = (
        _bytes_of_leaf(form, *leaf, unsigned)
        for unsigned in per_weight_states(program.dataflow).values()
        for leaf in leaves
    )
    return small + sum(trees) / layout.total


def _bytes_of_leaf(form: StateForm, size: int, axes: tuple[int, int], unsigned: bool) -> float:
    match form:
        case "bf16":
            return 2.0 * size
        case "8bit":
            return bytes_per_number(size) * size
        case "low_rank" if min(axes) > 1:
            return 4.0 * (1 if unsigned else rank_of(axes)) * sum(axes)
    return 4.0 * size
