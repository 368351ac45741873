"""Programs run with NumPy over one flat row: the reference meaning of the language, and the basis of fingerprints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from programs.dataflow import LR, N_INPUTS, Dataflow, G, M, V, W
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
    """Both slots at zero."""
    return State(np.zeros(layout.total, dtype), np.zeros(layout.total, dtype))


def numpy_step(
    program: Program, layout: Layout, dtype: DTypeLike = np.float64, infinitesimal_guard: bool = False
) -> Step:
    """The program as `step(w, g, state, lr) -> update, state`.

    `w`, `g`, the states and the update are rows `[..., P]`, `lr` a number. Only live statements are executed; the
    caller applies `w - update`. A slot that is not live stays as it is. Floating-point warnings are the caller's to
    silence.
    With `infinitesimal_guard`, divisions add hardly anything to the divisor.
    """
    flow = program.dataflow
    nodes, states = live(flow)
    plan = _Plan(flow, layout, dtype, infinitesimal_guard)
    instructions = [plan.instruction(node) for node in nodes if node >= N_INPUTS]
    values = plan.values
    next_m, next_v = (flow.m if M in states else M), (flow.v if V in states else V)

    def step(w: np.ndarray, g: np.ndarray, state: State, lr: float) -> tuple[np.ndarray, State]:
        values[W], values[G], values[M], values[V] = w, g, state.m, state.v
        values[LR] = np.full(1, lr, dtype)
        for function, args, node in instructions:
            values[node] = function(*[values[a] for a in args])
        return values[flow.update], State(values[next_m], values[next_v])

    return step


class _Instruction(NamedTuple):
    """A function, the places of its arguments among the values, and the place of its result."""

    function: Callable[..., Any]
    args: list[int]
    result: int


class _Plan:
    """Turns nodes into instructions on `values`: nodes have the places of their numbers, constants the places after."""

    def __init__(self, flow: Dataflow, layout: Layout, dtype: DTypeLike, infinitesimal_guard: bool) -> None:
        self._flow = flow
        self._layout = layout
        self._dtype = dtype
        self._infinitesimal_guard = infinitesimal_guard
        self.values: list[Any] = [None] * len(flow.kinds)

    def instruction(self, node: int) -> _Instruction:
        op, args = self._flow.ops[node - N_INPUTS], self._flow.args[node - N_INPUTS]
        places = [self._constant(arg) if type(arg) is float else int(arg) for arg in args]
        function = self._function(op, places)
        spread = [
            i for i, arg in enumerate(args)
            if type(arg) is int and self._flow.kinds[arg] == LEAF and self._flow.kinds[node] == TREE
        ]  # fmt: skip
        return _Instruction(self._spreading(function, spread) if spread else function, places, node)

    def _constant(self, value: float) -> int:
        self.values.append(np.full(1, value, self._dtype))
        return len(self.values) - 1

    def _function(self, op: Op, places: list[int]) -> Callable[..., Any]:
        if op.arity == 0:
            constant = np.full(1, op.numpy(), self._dtype)
            return lambda: constant
        if op.uses_leaves:
            is_tree = places[0] < len(self._flow.kinds) and self._flow.kinds[places[0]] == TREE
            return (lambda x: op.numpy(self._layout.starts, x)) if is_tree else np.abs
        return op.unguarded if op.unguarded and self._infinitesimal_guard else op.numpy

    def _spreading(self, function: Callable[..., Any], spread: list[int]) -> Callable[..., Any]:
        """The function with leaf-kind arguments spread over the row first."""
        leaf_of = self._layout.leaf_of

        def spread_first(*args: np.ndarray) -> Any:
            return function(*[arg[..., leaf_of] if i in spread else arg for i, arg in enumerate(args)])

        return spread_first
