"""The language written a second time, from its specification and in the plainest way.

Shares nothing with `programs` but the form of a statement, `(target, function, args)`. Every statement is executed,
dead ones too, names are looked up in a dictionary, and a tree is a row that is cut into leaves by a loop. Values that
are the same along rows or columns are trees here like any other.

A leaf is given by its shape, `(rows, columns)`, or by its size, if it is a vector.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

SCALAR, LEAF, TREE = "scalar", "leaf", "tree"
KINDS = (SCALAR, LEAF, TREE)

PAPER = 44  # functions
ARITY_0 = "get_pi get_e get_eps get_step get_steps"
ARITY_1 = (
    "abs cos sin tan arcsin arccos arctan sinh cosh tanh arcsinh arccosh arctanh exp exp2 exp10 expm1 log log2 log10 "
    "log1p square sqrt cube cbrt sign reciprocal negative norm global_norm "
    "rms orthogonalize row_norm column_norm row_mean column_mean"
)
ARITY_2 = "add sub mul div maximum minimum power dot cosine_sim clip"
ARITY_3 = "interp"
ARITIES = {name: arity for arity, names in enumerate((ARITY_0, ARITY_1, ARITY_2, ARITY_3)) for name in names.split()}
COMMUTATIVE = frozenset(["add", "mul", "maximum", "minimum", "dot", "cosine_sim"])

MATRIX = ("orthogonalize", "row_norm", "column_norm", "row_mean", "column_mean")
Shape = int | tuple[int, int]

Statements = Sequence[tuple[str, str, tuple[str | float, ...]]]


def expected_kind(function: str, kinds: Sequence[str]) -> str | None:
    """The kind of a call with arguments of these kinds; None where the call is not allowed."""
    if function in ("dot", "cosine_sim"):
        return SCALAR if list(kinds) == [TREE, TREE] else None
    if function == "clip":
        return kinds[0] if kinds[1] == SCALAR else None
    if function == "interp" and kinds[2] != SCALAR:
        return None
    if function in ("norm", "rms"):
        return LEAF if kinds[0] == TREE else kinds[0]
    if function in MATRIX:
        return TREE if kinds[0] == TREE else None
    if function == "global_norm":
        return SCALAR
    return max(kinds, key=KINDS.index, default=SCALAR)


class Value(NamedTuple):
    """An array of 1, L or P numbers and its kind."""

    kind: str
    array: np.ndarray


def _total(x: np.ndarray) -> Any:
    return np.sum(x, keepdims=True)


def _length(x: np.ndarray) -> Any:
    return np.sqrt(_total(x * x))


def _rms(x: np.ndarray) -> Any:
    return np.sqrt(_total(x * x) / x.dtype.type(len(x)))


def _orthogonalize(x: np.ndarray) -> np.ndarray:
    x = x / (np.sqrt(np.sum(x * x)) + x.dtype.type(1e-8))
    if min(x.shape) > 1:
        for _ in range(5):
            squares = x @ x.T
            x = 3.4445 * x - 4.7750 * squares @ x + 2.0315 * squares @ squares @ x
    return x * math.sqrt(max(x.shape))


OF_MATRIX: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "orthogonalize": _orthogonalize,
    "row_norm": lambda x: np.sqrt(np.sum(x * x, axis=1, keepdims=True)),
    "column_norm": lambda x: np.sqrt(np.sum(x * x, axis=0, keepdims=True)),
    "row_mean": lambda x: np.mean(x, axis=1, keepdims=True),
    "column_mean": lambda x: np.mean(x, axis=0, keepdims=True),
}
_AS_IN_NUMPY = (
    "abs cos sin tan arcsin arccos arctan sinh cosh tanh arcsinh arccosh arctanh exp exp2 expm1 square cbrt sign "
    "reciprocal negative maximum minimum power"
)
ELEMENTWISE: dict[str, Callable[..., np.ndarray]] = {
    **{name: getattr(np, name) for name in _AS_IN_NUMPY.split()},
    "exp10": lambda x: np.power(np.full_like(x, 10), x),
    "log": lambda x: np.log(abs(x)),
    "log2": lambda x: np.log2(abs(x)),
    "log10": lambda x: np.log10(abs(x)),
    "log1p": lambda x: np.log(abs(x + 1)),
    "sqrt": lambda x: np.sqrt(abs(x)),
    "cube": lambda x: x * x * x,
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / (y + 1e-8),
    "clip": lambda x, c: x * np.minimum(1, c / _length(x)),
    # (1 - a) x + a y, taken from the nearer end: an infinite y gives NaN where a is not small
    "interp": lambda x, y, a: np.where(abs(a) < 0.5, x + a * (y - x), y - (y - x) * (1 - a)),
    "dot": lambda x, y: _total(x * y),
    "cosine_sim": lambda x, y: _total(x * y) / (_length(x) * _length(y)),
    "global_norm": _length,
}


def call(
    function: str,
    args: Sequence[Value],
    shapes: Sequence[Shape],
    dtype: DTypeLike = np.float64,
    step: int = 1,
    steps: int = 1,
) -> Value:
    """One function of the language over values, at a step of a training of so many."""
    sizes = [_matrix(shape)[0] * _matrix(shape)[1] for shape in shapes]
    kind = expected_kind(function, [a.kind for a in args])
    assert kind is not None, f"{function} of {[a.kind for a in args]}"
    if not args:
        numbers = {"get_pi": np.pi, "get_e": np.e, "get_eps": 1e-8, "get_step": step, "get_steps": steps}
        return Value(SCALAR, np.full(1, numbers[function], dtype))
    if function in ("norm", "rms"):
        of_piece = _length if function == "norm" else _rms
        return Value(kind, np.array([of_piece(x)[0] for x in _pieces(args[0], sizes)], dtype))
    if function in MATRIX:
        matrices = [x.reshape(_matrix(s)) for x, s in zip(_pieces(args[0], sizes), shapes, strict=True)]
        results = [np.broadcast_to(OF_MATRIX[function](x), x.shape) for x in matrices]
        return Value(kind, np.concatenate([x.ravel() for x in results]).astype(dtype))
    widen = kind == TREE
    arrays = [spread(a.array, sizes) if widen and a.kind == LEAF else a.array for a in args]
    return Value(kind, ELEMENTWISE[function](*arrays))


def spread(leaves: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """[L] -> [P]: the number of each leaf repeated for all of its weights."""
    return np.concatenate([np.full(size, x, leaves.dtype) for x, size in zip(leaves, sizes, strict=True)])


def _matrix(shape: Shape) -> tuple[int, int]:
    return (shape, 1) if isinstance(shape, int) else shape


def _pieces(value: Value, sizes: Sequence[int]) -> list[np.ndarray]:
    if value.kind != TREE:
        return [value.array[i : i + 1] for i in range(len(value.array))]
    ends = np.cumsum(sizes)
    return [value.array[end - size : end] for end, size in zip(ends, sizes, strict=True)]


def run(
    statements: Statements,
    shapes: Sequence[Shape],
    w: np.ndarray,
    gradients: Sequence[np.ndarray],
    rates: Sequence[float],
) -> list[np.ndarray]:
    """The updates of all steps, `w <- w - update` after each. Every statement is executed."""
    dtype = w.dtype
    m = v = np.zeros_like(w)
    updates = []
    with np.errstate(all="ignore"):
        for step, (g, rate) in enumerate(zip(gradients, rates, strict=True), 1):
            scope = {name: Value(TREE, row) for name, row in (("w", w), ("g", g), ("m", m), ("v", v))}
            scope["lr"] = Value(SCALAR, np.full(1, rate, dtype))
            for target, function, args in statements:
                values = [scope[a] if isinstance(a, str) else Value(SCALAR, np.full(1, a, dtype)) for a in args]
                scope[target] = call(function, values, shapes, dtype, step, len(rates))
            # A slot that does not end as a tree is none that a later step reads; see `live_program`.
            m, v = (scope[name].array if scope[name].kind == TREE else np.full_like(w, np.nan) for name in ("m", "v"))
            updates.append(scope["update"].array)
            w = w - updates[-1]
    return updates


def live_statements(statements: Statements) -> tuple[set[int], set[str]]:
    """Places of the live statements and names of the state slots whose incoming value is read.

    A backward slice over names, repeated with the slots that turned out to be read added to what is wanted at the end,
    until nothing is added.
    """
    wanted_at_end = {"update"}
    while True:
        needed, places = set(wanted_at_end), set()
        for i in reversed(range(len(statements))):
            target, _, args = statements[i]
            if target in needed:
                needed.discard(target)
                needed |= {a for a in args if isinstance(a, str)}
                places.add(i)
        read = needed & {"m", "v"}
        if read <= wanted_at_end:
            return places, read
        wanted_at_end |= read


class Terms:
    """Structural identity of programs, without digests: equal terms get equal numbers.

    Names, order and dead code are gone, arguments of commutative functions are sorted, a slot that is never written is
    zero, and the two slots may be exchanged.
    """

    def __init__(self) -> None:
        self._numbers: dict[tuple[object, ...], int] = {}

    def of(self, statements: Statements) -> tuple[int, ...]:
        """The terms of update and of the next states, least over both ways to order the slots."""
        _, read = live_statements(statements)
        slots = sorted(s for s in read if any(target == s for target, _, _ in statements))
        return min(self._terms(statements, order) for order in (slots, slots[::-1]))

    def _terms(self, statements: Statements, slots: Sequence[str]) -> tuple[int, ...]:
        scope = {name: self._number("input", name) for name in ("w", "g", "lr")}
        scope |= {name: self._number("zero") for name in ("m", "v")}
        scope |= {name: self._number("slot", i) for i, name in enumerate(slots)}
        for target, function, args in statements:
            terms = [scope[a] if isinstance(a, str) else self._number("constant", a.hex()) for a in args]
            if function in COMMUTATIVE:
                terms.sort()
            scope[target] = self._number(function, *terms)
        return (scope["update"], *(scope[s] for s in slots))

    def _number(self, *term: object) -> int:
        return self._numbers.setdefault(term, len(self._numbers))
