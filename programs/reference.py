"""Programs run with NumPy over one flat row: the reference meaning of the language, and the basis of fingerprints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from programs.dataflow import LR, N_INPUTS, G, M, V, W
from programs.layout import Layout
from programs.liveness import live
from programs.ops import LEAF, TREE, Op
from programs.program import Program


class State(NamedTuple):
    """The two state slots, each a row `[P]`; zeros before the first step."""

    m: np.ndarray
    v: np.ndarray


Step = Callable[[np.ndarray, np.ndarray, State, float], tuple[np.ndarray, State]]


def initial_state(layout: Layout, dtype: DTypeLike = np.float64) -> State:
    return State(np.zeros(layout.total, dtype), np.zeros(layout.total, dtype))


def numpy_step(program: Program, layout: Layout, dtype: DTypeLike = np.float64) -> Step:
    """The program as `step(w, g, state, lr) -> update, state`.

    `w`, `g`, the states and the update are rows `[P]`, `lr` a number. Only live statements are executed; the caller
    applies `w - update`. A slot that is not live stays as it is. Floating-point warnings are the caller's to silence.
    """
    flow = program.dataflow
    nodes, states = live(flow)
    values: list[Any] = [None] * len(flow.kinds)
    plan = [_instruction(flow.ops[n - N_INPUTS], flow.args[n - N_INPUTS], flow.kinds, layout, dtype, n, values)
            for n in nodes if n >= N_INPUTS]  # fmt: skip
    next_m, next_v = (flow.m if M in states else M), (flow.v if V in states else V)

    def step(w: np.ndarray, g: np.ndarray, state: State, lr: float) -> tuple[np.ndarray, State]:
        values[W], values[G], values[M], values[V] = w, g, state.m, state.v
        values[LR] = np.full(1, lr, dtype)
        for function, args, node in plan:
            values[node] = function(*[values[a] for a in args])
        return values[flow.update], State(values[next_m], values[next_v])

    return step


def _instruction(
    op: Op,
    args: tuple[int | float, ...],
    kinds: list[int],
    layout: Layout,
    dtype: DTypeLike,
    node: int,
    values: list[Any],
) -> tuple[Callable[..., Any], list[int], int]:
    """The function, the places of its arguments in `values`, and the place of its result.

    Constants get places of their own at the end of `values`; leaf-kind arguments of tree-kind results are spread over
    the row.
    """
    places, spread = [], []
    for i, arg in enumerate(args):
        if type(arg) is float:
            places.append(len(values))
            values.append(np.full(1, arg, dtype))
        else:
            places.append(int(arg))
            if kinds[int(arg)] == LEAF and kinds[node] == TREE:
                spread.append(i)
    function = op.numpy
    if op.uses_leaves:
        function = _leaf_function(op, layout) if kinds[places[0]] == TREE else np.abs
    if op.arity == 0:
        constant = np.full(1, op.numpy(), dtype)
        function = lambda: constant  # noqa: E731 - a closure over one array
    if spread:
        function = _with_spread(function, spread, layout.leaf_of)
    return function, places, node


def _leaf_function(op: Op, layout: Layout) -> Callable[[np.ndarray], Any]:
    return lambda x: op.numpy(layout.starts, x)


def _with_spread(function: Callable[..., Any], spread: list[int], leaf_of: np.ndarray) -> Callable[..., Any]:
    def spread_first(*args: np.ndarray) -> Any:
        widened = list(args)
        for i in spread:
            widened[i] = args[i][..., leaf_of]
        return function(*widened)

    return spread_first
