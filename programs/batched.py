"""Programs run with torch over many replicas at once, in place on flat rows `[R, W]`.

W is the number of weights P rounded up (`Layout.width`), so that a row's values do not depend on its neighbours to the
last bit. What stands in the padding is of no interest; it is kept out of reductions.

For each program the source of one function over rows is generated from the table of functions and compiled. Constants
are arguments of it, columns `[K, 1]`: K replicas whose programs differ in constants alone (seeds, a tuning grid) run as
one call. What depends on constants alone is computed once, before training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from programs.dataflow import LR, N_INPUTS, Dataflow, G, M, V, W
from programs.layout import Layout
from programs.liveness import live
from programs.ops import LEAF, OPS, SCALAR, TREE
from programs.program import Program


class RowSource(NamedTuple):
    """Generated source of a program, and the constants to call it with.

    The source defines `prepare(*constants) -> prepared` and `step(w, g, m, v, lr, prepared) -> update, m, v`, where a
    state that needs no writing is None. Two programs with equal sources differ in constants alone.
    """

    source: str
    constants: tuple[float, ...]


class Rows(NamedTuple):
    """The flat buffers of R replicas, `[R, W]` each: weights, gradients and both states."""

    w: Tensor
    g: Tensor
    m: Tensor
    v: Tensor


def row_source(program: Program) -> RowSource:
    """The program's live statements as torch code over rows."""
    flow = program.dataflow
    nodes, states = live(flow)
    names: dict[int, str] = {W: "w", G: "g", M: "m", V: "v", LR: "lr"}
    constants: list[float] = []
    fixed: list[str] = []  # names of what depends on constants alone
    prepare: list[str] = []
    step: list[str] = []
    for node in nodes:
        if node < N_INPUTS:
            continue
        args = []
        for arg in flow.args[node - N_INPUTS]:
            if type(arg) is float:
                fixed.append(f"c{len(constants)}")
                args.append(fixed[-1])
                constants.append(arg)
            else:
                args.append(names[int(arg)])
        name = names[node] = f"t{len(names)}"
        is_fixed = all(a in fixed for a in args)
        (prepare if is_fixed else step).append(f"    {name} = {_expression(flow, node, args)}")
        if is_fixed:
            fixed.append(name)
    outputs = [names[flow.update], *(names[n] if s in states else "None" for s, n in ((M, flow.m), (V, flow.v)))]
    fixed_tuple = f"({''.join(f'{name}, ' for name in fixed)})"
    lines = [
        f"def prepare({', '.join(name for name in fixed if name.startswith('c'))}):",
        *prepare,
        f"    return {fixed_tuple}",
        "def step(w, g, m, v, lr, prepared):",
        f"    {fixed_tuple} = prepared",
        *step,
        f"    return {', '.join(outputs)}",
    ]
    return RowSource("\n".join(lines), tuple(constants))


def _expression(flow: Dataflow, node: int, args: list[str]) -> str:
    """The torch code of one node; leaf-kind arguments of trees are spread, padding is kept from reductions."""
    op, refs = flow.ops[node - N_INPUTS], flow.args[node - N_INPUTS]
    kinds = [flow.kinds[ref] if type(ref) is int else SCALAR for ref in refs]
    if flow.kinds[node] == TREE and not op.reduces:
        args = [f"spread({a})" if kind == LEAF else a for a, kind in zip(args, kinds, strict=True)]
    elif op.reduces:
        args = [f"unpadded({a})" if kind == TREE else a for a, kind in zip(args, kinds, strict=True)]
    if not args:
        return f"number({op.torch})"
    if op.uses_leaves and kinds[0] != TREE:
        return OPS["abs"].torch.format(*args)  # the norm of single numbers
    return op.torch.format(*args)


@lru_cache(maxsize=4096)
def _compile(source: str, layout: Layout, device: torch.device) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """`prepare` and `step` as functions. The source is generated above from checked programs, never a stored text."""
    padding = layout.width - layout.total
    leaf_of = torch.as_tensor(np.pad(layout.leaf_of, (0, padding)), device=device)
    is_weight = torch.as_tensor(np.arange(layout.width) < layout.total, device=device)
    sizes = torch.as_tensor(layout.sizes, device=device)

    def leaf_norm(x: Tensor) -> Tensor:  # [K, W] -> [K, L]
        squares = torch.square(x[:, : layout.total])
        return torch.sqrt(torch.segment_reduce(squares, "sum", lengths=sizes.expand(len(x), -1), axis=1))

    namespace: dict[str, Any] = {
        "torch": torch,
        "leaf_norm": leaf_norm,
        "spread": lambda x: x.index_select(1, leaf_of),  # [K, L] -> [K, W]
        "unpadded": lambda x: torch.where(is_weight, x, 0.0) if padding else x,  # [K, W] -> [K, W]
        "number": lambda value: torch.full((1, 1), value, device=device),
    }
    exec(compile(source, "<update rule>", "exec"), namespace)  # noqa: S102 - generated here, from the table of functions
    return namespace["prepare"], namespace["step"]


class UpdateRules:
    """The update rules of R replicas, bound to their buffers.

    Args:
        sources: one for each replica, in the order of rows; rows with equal sources should stand side by side, since
            each run of equal sources is executed as one.
        layout: how the leaves lie in a row.
        rows: the buffers that `step` reads and writes.
    """

    def __init__(self, sources: Sequence[RowSource], layout: Layout, rows: Rows) -> None:
        self._groups = []
        start = 0
        while start < len(sources):
            stop = start + 1
            while stop < len(sources) and sources[stop].source == sources[start].source:
                stop += 1
            prepare, rule = _compile(sources[start].source, layout, rows.w.device)
            columns = torch.tensor(
                [s.constants for s in sources[start:stop]], dtype=torch.float32, device=rows.w.device
            )
            prepared = prepare(*columns.unsqueeze(-1).unbind(1))
            self._groups.append((rule, Rows(*(buffer[start:stop] for buffer in rows)), prepared))
            start = stop

    def step(self, lr: Tensor) -> None:
        """`w <- w - update` in place, and the new states. `lr`: the value of the schedule at this step, `[1]`."""
        for rule, (w, g, m, v), prepared in self._groups:
            update, next_m, next_v = rule(w, g, m, v, lr, prepared)
            if next_m is not None:
                m.copy_(next_m)
            if next_v is not None:
                v.copy_(next_v)
            w.sub_(update)
