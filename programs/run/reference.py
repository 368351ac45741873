"""Programs run with NumPy over one flat row: the reference meaning of the language, and the basis of fingerprints."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from programs.graph import LR, Dataflow, G, M, Node, V, W
from programs.kinds import SCALAR, TREE
from programs.layout import Layout
from programs.liveness import live
from programs.ops import OPS
from programs.program import Program


class State(NamedTuple):
    """The two state slots, zeros before the first step, and the number of steps taken.

    A slot is a row `[P]`, or `[H]` or `[N]` where the program keeps it by rows or columns.
    """

    m: np.ndarray
    v: np.ndarray
    steps: int = 0


class Recording(NamedTuple):
    """What programs are compared on: weights `w` [P] at the start, `gradients` [T, P], `rates` [T] of the schedule.

    They are the first T of `steps` steps of a training.
    """

    layout: Layout
    w: np.ndarray
    gradients: np.ndarray
    rates: np.ndarray
    steps: int


Step = Callable[[np.ndarray, np.ndarray, State, float], tuple[np.ndarray, State]]


def initial_state(program: Program, layout: Layout, dtype: DTypeLike = np.float64, rows: tuple[int, ...] = ()) -> State:
    """Return both slots at zero, `[*rows, P]` or as much of it as the program keeps."""
    m, v = (np.zeros((*rows, layout.length(program.dataflow.nodes[slot].kind)), dtype) for slot in (M, V))
    return State(m, v)


def numpy_step(
    program: Program,
    layout: Layout,
    dtype: DTypeLike = np.float64,
    infinitesimal_guard: bool = False,
    steps: int = 1,
) -> Step:
    """Return the program as `step(w, g, state, lr) -> update, state`.

    `w`, `g` and the update are rows `[..., P]`, `lr` is a number; `steps` is the length of the training. Only live
    statements are executed; the caller applies `w - update`. A slot that is not live stays as it is. Floating-point
    warnings are left to the caller to silence. With `infinitesimal_guard`, guards of divisors are next to nothing.
    """
    flow = program.dataflow
    alive, states = live(flow)
    plan = _Plan(flow, layout, dtype, infinitesimal_guard)
    written = plan.spread(flow.nodes[flow.update].kind, TREE)
    values: list[Any] = [None] * len(flow.nodes)
    counters, instructions = list[int](), []
    for number in alive:
        node = flow.nodes[number]
        told = OPS[node.function].of_training if node.is_call else ""
        if node.is_constant or told == "steps":
            with np.errstate(over="ignore"):  # a constant beyond float32 is infinite there
                values[number] = np.full(1, node.value if node.is_constant else steps, dtype)
        elif told:
            counters.append(number)
        elif node.is_call:
            instructions.append((plan.function(node), node.args, number))
    next_m, next_v = states.get(M, M), states.get(V, V)

    def step(w: np.ndarray, g: np.ndarray, state: State, lr: float) -> tuple[np.ndarray, State]:
        values[W], values[G], values[M], values[V] = w, g, state.m, state.v
        values[LR] = np.full(1, lr, dtype)
        for number in counters:
            values[number] = np.full(1, state.steps + 1, dtype)
        for function, args, number in instructions:
            values[number] = function(*[values[a] for a in args])
        update = values[flow.update]
        return update if written is None else update.take(written, -1), State(
            values[next_m], values[next_v], state.steps + 1
        )

    return step


class _Plan(NamedTuple):
    """What nodes are computed with."""

    flow: Dataflow
    layout: Layout
    dtype: DTypeLike
    infinitesimal_guard: bool

    def function(self, node: Node) -> Callable[..., Any]:
        """Return the function of the arguments of a node, spread to the kind at which they meet."""
        meaning, kinds = self._meaning(node), [self.flow.nodes[a].kind for a in node.args]
        places = [
            self.spread(kind, wider) for kind, wider in zip(kinds, OPS[node.function].spread_kinds(kinds), strict=True)
        ]
        if all(place is None for place in places):
            return meaning

        def spread_first(*args: np.ndarray) -> Any:
            return meaning(
                *[arg if place is None else arg.take(place, -1) for arg, place in zip(args, places, strict=True)]
            )

        return spread_first

    def spread(self, kind: int, wider: int) -> np.ndarray | None:
        """Return where each number of the wider kind comes from, None where it needs no spreading."""
        return None if kind in (SCALAR, wider) else self.layout.spread(kind, wider)

    def _meaning(self, node: Node) -> Callable[..., Any]:
        op = OPS[node.function]
        if op.arity == 0:
            constant = np.full(1, op.numpy(), self.dtype)
            return lambda: constant
        op = op.of_kind(self.flow.nodes[node.args[0]].kind)
        meaning = op.unguarded if op.unguarded and self.infinitesimal_guard else op.numpy
        if op.of_matrices:
            return partial(meaning, self.layout)
        return partial(meaning, self.layout.starts) if op.within == "leaf" else meaning
