"""Programs run with NumPy over one flat row: the reference meaning of the language, and the basis of fingerprints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from programs.graph import LR, Dataflow, G, M, Node, V, W
from programs.layout import Layout
from programs.liveness import live
from programs.ops import LEAF, OPS, TREE
from programs.program import Program


class State(NamedTuple):
    """The two state slots, each a row `[P]`; zeros before the first step."""

    m: np.ndarray
    v: np.ndarray


class Recording(NamedTuple):
    """What programs are compared on: weights `w` [P] at the start, `gradients` [T, P], `rates` [T] of the schedule."""

    layout: Layout
    w: np.ndarray
    gradients: np.ndarray
    rates: np.ndarray


Step = Callable[[np.ndarray, np.ndarray, State, float], tuple[np.ndarray, State]]


def initial_state(layout: Layout, dtype: DTypeLike = np.float64) -> State:
    """Return both slots at zero."""
    return State(np.zeros(layout.total, dtype), np.zeros(layout.total, dtype))


def numpy_step(
    program: Program, layout: Layout, dtype: DTypeLike = np.float64, infinitesimal_guard: bool = False
) -> Step:
    """Return the program as `step(w, g, state, lr) -> update, state`.

    `w`, `g`, the states and the update are rows `[..., P]`, `lr` is a number. Only live statements are executed; the
    caller applies `w - update`. A slot that is not live stays as it is. Floating-point warnings are left to the caller
    to silence. With `infinitesimal_guard`, divisions add hardly anything to the divisor.
    """
    flow = program.dataflow
    alive, states = live(flow)
    plan = _Plan(flow, layout, dtype, infinitesimal_guard)
    values: list[Any] = [None] * len(flow.nodes)
    instructions = []
    for number in alive:
        node = flow.nodes[number]
        if node.is_constant:
            values[number] = np.full(1, node.value, dtype)
        elif node.is_call:
            instructions.append((plan.function(node), node.args, number))
    next_m, next_v = states.get(M, M), states.get(V, V)

    def step(w: np.ndarray, g: np.ndarray, state: State, lr: float) -> tuple[np.ndarray, State]:
        values[W], values[G], values[M], values[V] = w, g, state.m, state.v
        values[LR] = np.full(1, lr, dtype)
        for function, args, number in instructions:
            values[number] = function(*[values[a] for a in args])
        return values[flow.update], State(values[next_m], values[next_v])

    return step


class _Plan(NamedTuple):
    """What nodes are computed with."""

    flow: Dataflow
    layout: Layout
    dtype: DTypeLike
    infinitesimal_guard: bool

    def function(self, node: Node) -> Callable[..., Any]:
        """Return the function of the arguments of a node; leaf-kind arguments of trees are spread over the row."""
        meaning, kinds = self._meaning(node), [self.flow.nodes[a].kind for a in node.args]
        if node.kind != TREE or LEAF not in kinds:
            return meaning
        leaf_of = self.layout.leaf_of

        def spread_first(*args: np.ndarray) -> Any:
            return meaning(*[arg[..., leaf_of] if kind == LEAF else arg for arg, kind in zip(args, kinds, strict=True)])

        return spread_first

    def _meaning(self, node: Node) -> Callable[..., Any]:
        op = OPS[node.function]
        if op.arity == 0:
            constant = np.full(1, op.numpy(), self.dtype)
            return lambda: constant
        op = op.of_kind(self.flow.nodes[node.args[0]].kind)
        if op.within_leaves:
            return lambda x: op.numpy(self.layout.starts, x)
        return op.unguarded if op.unguarded and self.infinitesimal_guard else op.numpy
