"""The language written a second time, from its specification and in the plainest way.

Shares nothing with `programs` but the form of a statement, `(target, function, args)`. Every statement is executed,
dead ones too, names are looked up in a dictionary, and a tree is a row that is cut into leaves by a loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

SCALAR, LEAF, TREE = "scalar", "leaf", "tree"
KINDS = (SCALAR, LEAF, TREE)

ARITY_0 = "get_pi get_e get_eps"
ARITY_1 = (
    "abs cos sin tan arcsin arccos arctan sinh cosh tanh arcsinh arccosh arctanh exp exp2 exp10 expm1 log log2 log10 "
    "log1p square sqrt cube cbrt sign reciprocal negative norm global_norm"
)
ARITY_2 = "add sub mul div maximum minimum power dot cosine_sim clip"
ARITY_3 = "interp"
ARITIES = {name: arity for arity, names in enumerate((ARITY_0, ARITY_1, ARITY_2, ARITY_3)) for name in names.split()}
COMMUTATIVE = frozenset(["add", "mul", "maximum", "minimum", "dot", "cosine_sim"])

Statements = Sequence[tuple[str, str, tuple[str | float, ...]]]


def expected_kind(function: str, kinds: Sequence[str]) -> str | None:
    """The kind of a call with arguments of these kinds; None where the call is not allowed."""
    if function in ("dot", "cosine_sim"):
        return SCALAR if list(kinds) == [TREE, TREE] else None
    if function == "clip":
        return kinds[0] if kinds[1] == SCALAR else None
    if function == "interp" and kinds[2] != SCALAR:
        return None
    if function == "norm":
        return LEAF if kinds[0] == TREE else kinds[0]
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


def call(function: str, args: Sequence[Value], sizes: Sequence[int], dtype: DTypeLike = np.float64) -> Value:
    """One function of the language over values."""
    kind = expected_kind(function, [a.kind for a in args])
    assert kind is not None, f"{function} of {[a.kind for a in args]}"
    if not args:
        return Value(SCALAR, np.full(1, {"get_pi": np.pi, "get_e": np.e, "get_eps": 1e-8}[function], dtype))
    if function == "norm":
        return Value(kind, np.array([_length(x)[0] for x in _pieces(args[0], sizes)], dtype))
    widen = kind == TREE
    arrays = [spread(a.array, sizes) if widen and a.kind == LEAF else a.array for a in args]
    return Value(kind, ELEMENTWISE[function](*arrays))


def spread(leaves: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """[L] -> [P]: the number of each leaf repeated for all of its weights."""
    return np.concatenate([np.full(size, x, leaves.dtype) for x, size in zip(leaves, sizes, strict=True)])


def _pieces(value: Value, sizes: Sequence[int]) -> list[np.ndarray]:
    if value.kind != TREE:
        return [value.array[i : i + 1] for i in range(len(value.array))]
    ends = np.cumsum(sizes)
    return [value.array[end - size : end] for end, size in zip(ends, sizes, strict=True)]


def run(
    statements: Statements,
    sizes: Sequence[int],
    w: np.ndarray,
    gradients: Sequence[np.ndarray],
    rates: Sequence[float],
) -> list[np.ndarray]:
    """The updates of all steps, `w <- w - update` after each. Every statement is executed."""
    dtype = w.dtype
    m = v = np.zeros_like(w)
    updates = []
    with np.errstate(all="ignore"):
        for g, rate in zip(gradients, rates, strict=True):
            scope = {name: Value(TREE, row) for name, row in (("w", w), ("g", g), ("m", m), ("v", v))}
            scope["lr"] = Value(SCALAR, np.full(1, rate, dtype))
            for target, function, args in statements:
                values = [scope[a] if isinstance(a, str) else Value(SCALAR, np.full(1, a, dtype)) for a in args]
                scope[target] = call(function, values, sizes, dtype)
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
