"""Whole runs of programs by fused kernels in the C dialect, and random programs whose results NumPy gives exactly."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch

from programs import Program, Statement
from programs.graph import M, V
from programs.kernels import c
from programs.kernels.batch import FusedRules, Launch
from programs.kernels.source import Source
from programs.layout import Layout
from programs.run.batched import Rows
from programs.run.sharing import Skeletons

from tests.support.oracle import ARITIES, MATRIX, SCALAR, TREE, Shape, expected_kind
from tests.support.runs import padded, reference_weights, zero_rows
from tests.support.strategies import SIZES, Trajectory, layout_of

needs_c = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler (cc) on this machine")

# Functions that IEEE 754 rounds correctly. Not maximum and minimum, whose zeros may have either sign.
EXACT = (
    "abs", "add", "cube", "div", "get_e", "get_eps", "get_pi", "get_step", "get_steps", "interp", "mul", "negative",
    "reciprocal", "sign", "sqrt", "square", "sub",
)  # fmt: skip

OFTEN_REDUCING = (*ARITIES, *["norm", "global_norm", "dot", "cosine_sim", "clip"] * 3)
OFTEN_OF_MATRICES = (*ARITIES, *[*MATRIX, "rms", "norm", "dot", "get_step"] * 3)

COMPILED = TemporaryDirectory(prefix="kernels-")  # removed when the process ends


class Fused:
    """Programs compiled together in the C dialect."""

    def __init__(self, programs: Sequence[Program], order: Callable[[int], Sequence[int]] = range) -> None:
        self.programs = programs
        self.skeletons = Skeletons(programs)
        self.source = Source(self.skeletons)
        self.launch: Launch = c.compiled(self.source, Path(COMPILED.name), order)

    def bound(
        self, rows: Rows, layout: Layout, alive: Sequence[int] | None = None, scale: float = 1.0, steps: int = 1
    ) -> FusedRules:
        """One program for each row."""
        bytes_ = torch.tensor(alive or [1] * len(self.programs), dtype=torch.uint8)
        return FusedRules(self.source, range(len(self.programs)), layout, rows, bytes_, self.launch, scale, steps)

    def rows(self, w: np.ndarray, layout: Layout) -> Rows:
        """All programs at `w`, with states as small as they may be."""
        rows = zero_rows(len(self.programs), w, layout)
        m, v = (torch.zeros(len(rows.w), self.skeletons.state_width(slot, layout)) for slot in (M, V))
        return rows._replace(m=m, v=v)

    def weights(self, start: Trajectory, shapes: Sequence[Shape] = SIZES) -> np.ndarray:
        """[steps, R, P] the weights after each step."""
        layout = layout_of(shapes)
        rows = self.rows(start.w, layout)
        rules = self.bound(rows, layout, steps=len(start.rates))
        weights = np.empty((len(start.rates), len(self.programs), layout.total), np.float32)
        for step, (g, rate) in enumerate(zip(start.gradients, start.rates, strict=True)):
            rows.g.copy_(padded(g, layout))
            rules.step(torch.tensor([rate], dtype=torch.float32), torch.tensor([step]))
            weights[step] = rows.w[:, : layout.total].numpy()
        return weights


def deep_program(rng: Random, statements: int, functions: Sequence[str] = OFTEN_REDUCING) -> Program:
    """A random program most of which is live, as arguments are what was computed last more often than not."""
    scope, lines = {"w": TREE, "g": TREE, "m": TREE, "v": TREE, "lr": SCALAR}, []

    def argument() -> str | float:
        names = list(scope)
        return rng.choice([*names[-3:], *names[-3:], rng.choice(names), rng.choice([0.0, 1.0, -0.5, rng.gauss(0, 1)])])

    while len(lines) < statements:
        function = rng.choice(functions)
        args = tuple(argument() for _ in range(ARITIES[function]))
        kind = expected_kind(function, [scope[a] if isinstance(a, str) else SCALAR for a in args])
        if kind is not None:
            scope[f"t{len(lines)}"] = kind
            lines.append(Statement(f"t{len(lines)}", function, args))
    trees = [name for name, kind in scope.items() if kind == TREE]
    last = list(scope)[-1]
    ends = [("update", trees[-1], last), ("m", trees[-2], 0.5), ("v", trees[-3], 0.5)]
    return Program((*lines, *(Statement(target, "mul", (a, b)) for target, a, b in ends)))


def units(got: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """How many float32 numbers apart; NaN and NaN are not, zeros of both signs neither."""
    ordered = [np.where(x.view(np.int32) < 0, -(x.view(np.int32).astype(np.int64) & 0x7FFFFFFF), x.view(np.int32))
               for x in (np.ascontiguousarray(got), np.ascontiguousarray(expected))]  # fmt: skip
    apart = np.abs(ordered[0] - ordered[1])
    apart[np.isnan(got) & np.isnan(expected)] = 0
    apart[np.isnan(got) != np.isnan(expected)] = 2**40
    return apart


def disagreement(
    program: Program, start: Trajectory, got: np.ndarray, shapes: Sequence[Shape] = SIZES
) -> tuple[float, bool]:
    """How much farther weights `[steps, P]` lie from NumPy's than rounding explains, and whether that is a sharp test.

    Programs may magnify rounding without bound. So NumPy in float64, NumPy in float64 from slightly moved weights, and
    NumPy in float32 are run; their spread is how much rounding may do. Steps after the first huge number are left out.
    """
    exact = Trajectory(start.w.astype(np.float64), [g.astype(np.float64) for g in start.gradients], start.rates)
    moved = exact._replace(w=exact.w * (1 + 1e-7))
    runs = np.array([reference_weights(program, s, shapes) for s in (start, exact, moved)])  # [3, steps, P]
    usable = np.logical_and.accumulate(np.all(np.abs(runs) < 1e15, axis=(0, 2)))  # [steps]
    if not usable.any():
        return 0.0, False
    got, (numpy, *others) = got[usable], runs[:, usable]
    spread, size = np.abs(numpy - others).max(), np.abs(numpy).max()
    return float(np.abs(got - numpy).max() / (100 * spread + 1e-5 * size + 1e-44)), bool(spread <= 1e-4 * size)
