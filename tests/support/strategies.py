"""Random valid programs, and random rows to run them on."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st
from numpy.typing import DTypeLike

from programs import Program, Statement, zoo
from programs.layout import Layout
from programs.mutation import mutate

from tests.support.oracle import ARITIES, KINDS, LEAF, MATRIX, SCALAR, TREE, Shape, expected_kind

MATRICES = ((2, 1), (1, 1), (1, 2), (2, 1))  # none of three or more: the order of its sum would show in the last bit
SIZES = tuple(rows * columns for rows, columns in MATRICES)

_FUNCTIONS = sorted(ARITIES)
_CONSTANTS = (0.0, -0.0, 1.0, -1.0, 2.0, 0.5, 0.9, 0.999, 1e-8, 10.0, 1e-3, -3.7)


def random_program(rng: Random, statements: int) -> Program:
    """Built from nothing but the specification: any call that fits, any target, whatever kind it had before.

    Variables change their kind on the way more often than in programs made by mutation. `w` alone stays a tree, so that
    there always is one.
    """
    scope = {"w": TREE, "g": TREE, "m": TREE, "v": TREE, "lr": SCALAR}
    lines: list[Statement] = []
    while len(lines) < statements:
        function = rng.choice(_FUNCTIONS)
        args = tuple(_random_argument(rng, scope) for _ in range(ARITIES[function]))
        kind = expected_kind(function, [scope[a] if isinstance(a, str) else SCALAR for a in args])
        target = rng.choice([*scope, f"t{len(lines)}", f"t{len(lines)}", "update"])
        if kind is not None and (target != "w" or kind == TREE):
            lines.append(Statement(target, function, args))
            scope[target] = kind
    trees = [name for name, kind in scope.items() if kind == TREE]
    ends = [
        Statement(name, "mul", (rng.choice(trees), 0.5)) for name in ("update", "m", "v") if scope.get(name) != TREE
    ]
    return Program((*lines, *ends))


def _random_argument(rng: Random, scope: dict[str, str]) -> str | float:
    if rng.random() < 0.2:
        return rng.choice([*_CONSTANTS, rng.gauss(0.0, 1.0)])
    return rng.choice(list(scope))


def mutated_program(rng: Random, mutations: int) -> Program:
    """A program of the zoo after some mutations."""
    program = zoo.load(rng.choice(zoo.names()))
    for _ in range(mutations):
        program, _ = mutate(program, rng)
    return program


def layout_of(shapes: Sequence[Shape] = SIZES) -> Layout:
    """The layout of leaves of these shapes; those that have sizes are vectors, but for the usual ones."""
    if tuple(shapes) == SIZES:
        return Layout(MATRICES)
    return Layout.of_shapes([(shape,) if isinstance(shape, int) else shape for shape in shapes])


@st.composite
def programs(draw: st.DrawFn, longest: int = 25) -> Program:
    """Valid programs: half built directly, half mutated from the zoo."""
    make = draw(st.sampled_from((random_program, mutated_program)))
    length = draw(st.integers(1, longest))
    return make(Random(draw(st.integers(0, 2**32 - 1))), length)


class Trajectory(NamedTuple):
    """What a program meets: weights `[P]` at the start, a gradient `[P]` and a learning rate for each step."""

    w: np.ndarray
    gradients: list[np.ndarray]
    rates: list[float]


def trajectory(
    seed: int, sizes: Sequence[int] = SIZES, steps: int = 4, dtype: DTypeLike = np.float64, scale: float = 1.0
) -> Trajectory:
    """Normal weights and gradients, changing at every step; a tenth of the gradients is exactly zero."""
    rng = np.random.default_rng(seed)
    width = sum(sizes)
    gradients = scale * rng.normal(size=(steps, width)) * (rng.random((steps, width)) > 0.1)
    rates = [float(np.float32(1 - 0.9 * t / steps)) for t in range(steps)]
    return Trajectory(rng.normal(size=width).astype(dtype), list(gradients.astype(dtype)), rates)


def kind_cases() -> list[tuple[str, tuple[str, ...]]]:
    """Every function with every combination of kinds that the specification allows."""
    return [
        (function, kinds)
        for function, arity in ARITIES.items()
        for kinds in itertools.product(KINDS, repeat=arity)
        if expected_kind(function, kinds) is not None
    ]


def case_program(function: str, kinds: Sequence[str], scalars: Sequence[str | float] = ("lr", 0.75, -1.25)) -> Program:
    """A program whose next `m` is the function of arguments of these kinds, widened to a tree without changing it.

    Trees are w and g; leaves are differences of norms, `norm(m) - norm(v)` and, for a second one, `norm(w) - norm(g)`.
    """
    pairs, trees, numbers = iter((("m", "v"), ("w", "g"))), iter(("w", "g")), iter(scalars)
    lines: list[Statement] = []
    args: list[str | float] = []
    for kind in kinds:
        if kind == LEAF:
            a, b = next(pairs)
            lines += [Statement(f"{x}_norm", "norm", (x,)) for x in (a, b)]
            lines.append(Statement(f"leaf_{a}", "sub", (f"{a}_norm", f"{b}_norm")))
            args.append(f"leaf_{a}")
        else:
            args.append(next(trees if kind == TREE else numbers))
    lines += [Statement("update", "square", ("m",)), Statement("zero", "sub", ("v", "v"))]
    if expected_kind(function, kinds) == TREE and function not in MATRIX[1:]:  # whose state would be a smaller one
        return Program((*lines, Statement("m", function, tuple(args))))
    return Program((*lines, Statement("y", function, tuple(args)), Statement("m", "add", ("zero", "y"))))
