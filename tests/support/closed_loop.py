"""Optimizers in closed loop on leaves of several shapes: every side computes its gradients from its own weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from programs import Program
from programs.layout import Layout
from programs.run.reference import initial_state, numpy_step

from tests.support.runs import padded, rules_of, zero_rows

SHAPES = [(3, 4), (4,), (2, 3, 2), (), (5, 2)]
MATRICES = [(3, 4), (4,), (2, 6), (), (5, 2)]  # the same as functions of matrices see them
LAYOUT = Layout.of_shapes(SHAPES)
STEPS = 40
ALWAYS_ZERO = [2, 13]  # weights whose gradient is zero, where an unguarded m / sqrt(v) would be 0 / 0

Leaves = list[np.ndarray]


def rate(t: int) -> float:
    """Five steps of warm-up, then a cosine that ends above zero."""
    return (t + 1) / 5 if t < 5 else 0.5 * (1.05 + 0.95 * math.cos(math.pi * (t - 5) / STEPS))


def start() -> np.ndarray:
    """[P] weights of unit size; those of the vector are zero, as biases are."""
    w = np.random.default_rng(0).normal(size=LAYOUT.total)
    w[LAYOUT.leaf_of == 1] = 0.0
    return w


def gradient(w: np.ndarray, t: int) -> np.ndarray:
    """[P] of a nonlinear function whose variables interact, with noise and a few zeros that change at every step."""
    rng = np.random.default_rng(100 + t)
    coupling = np.random.default_rng(1).normal(size=(LAYOUT.total, LAYOUT.total)) / LAYOUT.total
    g: np.ndarray = coupling @ np.tanh(w) + 0.3 * w + 0.5 * rng.normal(size=LAYOUT.total)
    g[rng.random(LAYOUT.total) < 0.1] = 0.0
    g[ALWAYS_ZERO] = 0.0
    return g


def cut(row: np.ndarray, shapes: Sequence[tuple[int, ...]] = SHAPES) -> Leaves:
    """[P] -> the leaves in their shapes."""
    ends = np.cumsum(LAYOUT.sizes)[:-1]
    return [piece.reshape(shape) for piece, shape in zip(np.split(row, ends), shapes, strict=True)]


def join(leaves: Leaves) -> np.ndarray:
    return np.concatenate([np.ravel(x) for x in leaves])


# --- programs ------------------------------------------------------------------------------------------------------


def by_reference(program: Program) -> Iterator[np.ndarray]:
    """[P] weights after each step, NumPy in float64."""
    step, state, w = numpy_step(program, LAYOUT, steps=STEPS), initial_state(program, LAYOUT), start()
    for t in range(STEPS):
        update, state = step(w, gradient(w, t), state, rate(t))
        w = w - update
        yield w


def by_rows(program: Program) -> Iterator[np.ndarray]:
    """[P] weights after each step, torch in float32."""
    rows = zero_rows(1, start(), LAYOUT)
    rules, _ = rules_of([program], LAYOUT, rows, STEPS)
    for t in range(STEPS):
        w = rows.w[0, : LAYOUT.total].numpy().astype(np.float64)
        rows.g.copy_(padded(gradient(w, t), LAYOUT))
        rules.step(torch.tensor([rate(t)], dtype=torch.float32), torch.tensor([float(t)]))
        yield rows.w[0, : LAYOUT.total].numpy().astype(np.float64)


# --- optimizers of torch -------------------------------------------------------------------------------------------

Settings = Callable[[int], dict[str, Any]]


def by_torch(
    make: Callable[[list[torch.Tensor]], torch.optim.Optimizer],
    settings: Settings,
    shapes: Sequence[tuple[int, ...]] = SHAPES,
) -> Iterator[np.ndarray]:
    """[P] weights after each step of an optimizer of torch in float64; `settings(t)` is put into it before step t."""
    leaves = [torch.from_numpy(x.copy()) for x in cut(start(), shapes)]
    optimizer = make(leaves)
    for t in range(STEPS):
        for x, g in zip(leaves, cut(gradient(join([x.numpy() for x in leaves]), t), shapes), strict=True):
            x.grad = torch.from_numpy(np.array(g))
        optimizer.param_groups[0].update(settings(t))
        optimizer.step()
        yield join([x.numpy() for x in leaves])


# --- formulas ------------------------------------------------------------------------------------------------------


def by_formula(formula: Callable[[Leaves, Leaves, dict[str, Leaves], float], Leaves]) -> Iterator[np.ndarray]:
    """[P] weights after each step; `formula(w, g, memory, lr)` gives the updates of all leaves at once."""
    w = cut(start())
    memory = {name: [np.zeros(shape) for shape in SHAPES] for name in ("m", "v")}
    for t in range(STEPS):
        update = formula(w, cut(gradient(join(w), t)), memory, rate(t))
        w = [x - u for x, u in zip(w, update, strict=True)]
        yield join(w)


class Memory(dict[str, Any]):
    """What a formula keeps of a leaf."""

    def average(self, name: str, new: Any, keep: float) -> Any:
        """keep * old + (1 - keep) * new, the exponential average that began at zero."""
        self[name] = keep * self.get(name, 0.0) + (1 - keep) * new
        return self[name]


LeafFormula = Callable[[np.ndarray, np.ndarray, Memory, int], Any]


def by_leaf(formula: LeafFormula, peak: float, decay: float = 0.01) -> Iterator[np.ndarray]:
    """[P] weights after each step: w - lr (u + decay w), where `formula(w, g, memory, t)` gives u of a leaf.

    `lr` is `peak` times the schedule; t is 1, 2, 3, ...
    """
    leaves, memories = cut(start()), [Memory() for _ in SHAPES]
    for t in range(STEPS):
        gradients = cut(gradient(join(leaves), t))
        leaves = [
            w - peak * rate(t) * (formula(w, g, memory, t + 1) + decay * w)
            for w, g, memory in zip(leaves, gradients, memories, strict=True)
        ]
        yield join(leaves)
