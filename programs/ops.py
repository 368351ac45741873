"""The one table of functions. Every interpretation of a program reads it.

Kinds are ordered, so that broadcasting is `max`: a scalar is one number, a leaf-kind value one number for each
parameter tensor, a tree one number for each weight. Arrays have them on the last axis: `[.., 1]`, `[.., L]`, `[.., P]`.

The meaning of a function is its NumPy column. The torch column is source text with `{0}`, `{1}`, ... for the arguments,
used both to run batches of programs and to write exported optimizers. The two agree up to rounding as long as nothing
overflows (sinh and cosh do so a little earlier in torch). The sign of a zero may differ after maximum, minimum, cbrt.
The C column, text in the same way, is what fused kernels are made of (docs/kernels.md). A function that adds up over
its arguments names these sums in a column of its own, and its texts refer to them after the arguments.
Guards (division, roots, logarithms) are as released with the Lion paper (arXiv 2302.06675).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np

SCALAR, LEAF, TREE = 0, 1, 2
KIND_NAMES = ("scalar", "leaf", "tree")

ANY = (SCALAR, LEAF, TREE)
EPS = 1e-8  # added to every divisor, and the value of get_eps


def largest(kinds: Sequence[int]) -> int:
    """Return the kind of an elementwise result: the largest kind of the arguments, which are broadcast to it."""
    return max(kinds)


def one_number(_kinds: Sequence[int]) -> int:
    """Return the kind of a sum over everything."""
    return SCALAR


def per_leaf(kinds: Sequence[int]) -> int:
    """Return the kind of a sum within each parameter tensor."""
    return min(kinds[0], LEAF)


def like_first(kinds: Sequence[int]) -> int:
    """Return the kind of the first argument, for functions that only rescale it."""
    return kinds[0]


@dataclass(frozen=True, slots=True)
class Op:
    """One function of the language.

    Attributes:
        accepts: for each argument, the kinds that it may have.
        result: the rule that gives the kind of the result.
        numpy: maps arrays to an array; with the result `per_leaf` it is called with the start of each leaf `[L]` first.
        torch: the same as source text, in which `torch` and `math` are the only names.
        c: an expression of C and of CUDA C++ over numbers.
        infix: the operator that calls are written with, if any.
        commutative: whether the order of the two arguments makes no difference.
        sums: what the function adds up: pairs of arguments whose products are summed, over everything or, with the
            result `per_leaf`, within each parameter tensor. The texts refer to the sums by the numbers after those of
            the arguments.
        unguarded: the NumPy meaning with an infinitesimal guard, where the function has one.
        of_numbers: the function that a function with the result `per_leaf` is where its argument is not a tree.
        results: the kind of the result by the kinds of the arguments, for all calls that fit.
    """

    name: str
    accepts: tuple[tuple[int, ...], ...]
    result: Callable[[Sequence[int]], int]
    numpy: Callable[..., Any]
    torch: str
    c: str
    infix: str | None = None
    commutative: bool = False
    sums: tuple[tuple[int, int], ...] = ()
    unguarded: Callable[..., Any] | None = None
    of_numbers: str = ""
    results: Mapping[tuple[int, ...], int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        results = {kinds: self.result(kinds) for kinds in itertools.product(*self.accepts)}
        object.__setattr__(self, "results", results)

    @property
    def arity(self) -> int:
        return len(self.accepts)

    @property
    def reduces(self) -> bool:
        """Whether values in different places of an argument meet."""
        return bool(self.sums)

    @property
    def within_leaves(self) -> bool:
        """Whether the sums run within each parameter tensor."""
        return self.result is per_leaf

    def of_kind(self, kind: int) -> Op:
        """Return the function that this one is for a first argument of this kind."""
        return OPS[self.of_numbers] if self.of_numbers and kind != TREE else self

    def number(self, args: Sequence[float]) -> float:
        """Return the value for numbers, in float64."""
        with np.errstate(all="ignore"):
            return float(np.ravel(self.of_kind(SCALAR).numpy(*(np.full(1, a) for a in args)))[0])

    def torch_code(self, args: Sequence[str]) -> str:
        """Return a call as torch code over rows `[.., P]`, in which `leaf_sum` sums within parameter tensors."""
        total = "leaf_sum({0} * {1})" if self.within_leaves else "torch.sum({0} * {1}, -1, keepdim=True)"
        return self.torch.format(*args, *(total.format(args[i], args[j]) for i, j in self.sums))


def _all(x: np.ndarray) -> Any:
    return np.add.reduce(x, axis=-1, keepdims=True)


def _global_norm(x: np.ndarray) -> Any:
    return np.sqrt(_all(x * x))


def _leaf_norm(starts: np.ndarray, x: np.ndarray) -> Any:
    return np.sqrt(np.add.reduceat(x * x, starts, axis=-1))


def _sqrt(x: np.ndarray) -> Any:
    return np.sqrt(np.abs(x))


def _log(log: np.ufunc) -> Callable[[np.ndarray], Any]:
    return lambda x: log(np.abs(x))


def _interp(x: np.ndarray, y: np.ndarray, a: np.ndarray) -> Any:
    """Return (1 - a) x + a y from the nearer end, as torch.lerp does, so that both treat infinities alike."""
    near_x = np.abs(a) < 0.5
    if near_x.size == 1:  # as nearly always, and quicker
        return x + a * (y - x) if near_x.item() else y - (y - x) * (1 - a)
    return np.where(near_x, x + a * (y - x), y - (y - x) * (1 - a))


def _divide(guard: float) -> Callable[..., Any]:
    return lambda x, y: x / (y + guard)


def _clip(x: np.ndarray, c: np.ndarray) -> Any:
    return x * np.minimum(1.0, c / _global_norm(x))


def _constant(name: str, value: float) -> Op:
    return Op(name, (), one_number, lambda: np.float64(value), repr(value), f"{value!r}f")


def _unary(name: str, numpy: Callable[..., Any], torch: str, c: str) -> Op:
    return Op(name, (ANY,), largest, numpy, torch, c)


def _binary(
    name: str, numpy: Callable[..., Any], torch: str, c: str, infix: str | None = None, commutative: bool = False
) -> Op:
    return Op(name, (ANY, ANY), largest, numpy, torch, c, infix, commutative)


_TABLE = (
    # --- constants ---------------------------------------------------------------------------------------------
    _constant("get_pi", math.pi),
    _constant("get_e", math.e),
    _constant("get_eps", EPS),
    # --- one argument, elementwise -----------------------------------------------------------------------------
    _unary("abs", np.abs, "torch.abs({0})", "fabsf({0})"),
    _unary("cos", np.cos, "torch.cos({0})", "cosf({0})"),
    _unary("sin", np.sin, "torch.sin({0})", "sinf({0})"),
    _unary("tan", np.tan, "torch.tan({0})", "tanf({0})"),
    _unary("arcsin", np.arcsin, "torch.arcsin({0})", "asinf({0})"),
    _unary("arccos", np.arccos, "torch.arccos({0})", "acosf({0})"),
    _unary("arctan", np.arctan, "torch.arctan({0})", "atanf({0})"),
    _unary("sinh", np.sinh, "torch.sinh({0})", "sinhf({0})"),
    _unary("cosh", np.cosh, "torch.cosh({0})", "coshf({0})"),
    _unary("tanh", np.tanh, "torch.tanh({0})", "tanhf({0})"),
    _unary("arcsinh", np.arcsinh, "torch.arcsinh({0})", "asinhf({0})"),
    _unary("arccosh", np.arccosh, "torch.arccosh({0})", "acoshf({0})"),
    _unary("arctanh", np.arctanh, "torch.arctanh({0})", "atanhf({0})"),
    _unary("exp", np.exp, "torch.exp({0})", "expf({0})"),
    _unary("exp2", np.exp2, "torch.exp2({0})", "exp2f({0})"),
    _unary("exp10", lambda x: np.power(x.dtype.type(10), x), "torch.pow(10.0, {0})", "powf(10.0f, {0})"),
    _unary("expm1", np.expm1, "torch.expm1({0})", "expm1f({0})"),
    _unary("log", _log(np.log), "torch.log(torch.abs({0}))", "logf(fabsf({0}))"),
    _unary("log2", _log(np.log2), "torch.log2(torch.abs({0}))", "log2f(fabsf({0}))"),
    _unary("log10", _log(np.log10), "torch.log10(torch.abs({0}))", "log10f(fabsf({0}))"),
    _unary("log1p", lambda x: np.log(np.abs(1 + x)), "torch.log(torch.abs(1 + {0}))", "logf(fabsf(1.0f + {0}))"),
    _unary("square", np.square, "torch.square({0})", "{0} * {0}"),
    _unary("sqrt", _sqrt, "torch.sqrt(torch.abs({0}))", "sqrtf(fabsf({0}))"),
    _unary("cube", lambda x: x * x * x, "{0} * {0} * {0}", "{0} * {0} * {0}"),
    _unary("cbrt", np.cbrt, "torch.sign({0}) * torch.pow(torch.abs({0}), 1 / 3)", "cbrtf({0})"),
    # torch.sign(NaN) is 0; NumPy's, and so ours, is NaN.
    _unary("sign", np.sign, "torch.where({0} == {0}, torch.sign({0}), {0})",
           "{0} > 0.0f ? 1.0f : {0} < 0.0f ? -1.0f : {0} + 0.0f"),
    _unary("reciprocal", np.reciprocal, "torch.reciprocal({0})", "1.0f / {0}"),
    _unary("negative", np.negative, "-{0}", "-{0}"),
    # --- one argument, reducing --------------------------------------------------------------------------------
    Op("norm", (ANY,), per_leaf, _leaf_norm, "torch.sqrt({1})", "sqrtf({1})", sums=((0, 0),), of_numbers="abs"),
    Op("global_norm", (ANY,), one_number, _global_norm, "torch.sqrt({1})", "sqrtf({1})", sums=((0, 0),)),
    # --- two arguments, elementwise ----------------------------------------------------------------------------
    _binary("add", np.add, "{0} + {1}", "{0} + {1}", infix="+", commutative=True),
    _binary("sub", np.subtract, "{0} - {1}", "{0} - {1}", infix="-"),
    _binary("mul", np.multiply, "{0} * {1}", "{0} * {1}", infix="*", commutative=True),
    Op("div", (ANY, ANY), largest, _divide(EPS), "{0} / ({1} + 1e-08)", "{0} / ({1} + 1e-08f)", infix="/",
       unguarded=_divide(1e-100)),
    _binary("maximum", np.maximum, "torch.maximum({0}, {1})",
            "{0} >= {1} || {0} != {0} ? {0} : {1}", commutative=True),
    _binary("minimum", np.minimum, "torch.minimum({0}, {1})",
            "{0} <= {1} || {0} != {0} ? {0} : {1}", commutative=True),
    _binary("power", np.power, "torch.pow({0}, {1})", "powf({0}, {1})"),
    # --- two arguments, reducing: a tree is one long vector ----------------------------------------------------
    Op("dot", ((TREE,), (TREE,)), one_number, lambda x, y: _all(x * y), "{2}", "{2}", commutative=True,
       sums=((0, 1),)),
    Op("cosine_sim", ((TREE,), (TREE,)), one_number,
       lambda x, y: _all(x * y) / (_global_norm(x) * _global_norm(y)),
       "{2} / (torch.sqrt({3}) * torch.sqrt({4}))", "{2} / (sqrtf({3}) * sqrtf({4}))", commutative=True,
       sums=((0, 1), (0, 0), (1, 1))),
    # --- clip by global norm, interpolation --------------------------------------------------------------------
    Op("clip", (ANY, (SCALAR,)), like_first, _clip, "{0} * torch.clamp({1} / torch.sqrt({2}), max=1.0)",
       "{0} * ({1} / sqrtf({2}) >= 1.0f ? 1.0f : {1} / sqrtf({2}))", sums=((0, 0),)),
    Op("interp", (ANY, ANY, (SCALAR,)), largest, _interp, "torch.lerp({0}, {1}, {2})",
       "fabsf({2}) < 0.5f ? {0} + {2} * ({1} - {0}) : {1} - ({1} - {0}) * (1.0f - {2})"),
)  # fmt: skip

# User-defined functions go here, as rows like those above: see docs/user_functions.md.
USER_OPS: tuple[Op, ...] = ()

OPS: dict[str, Op] = {op.name: op for op in (*_TABLE, *USER_OPS)}
INFIX: dict[str, Op] = {op.infix: op for op in OPS.values() if op.infix}


def user_definitions() -> dict[str, str]:
    """Return a digest of what each user-defined function means, by name.

    Functions that two people call by one name need not be the same, so keys, histories and workers tell them apart by
    this digest.
    """
    return {op.name: sha256(repr(_meaning(op)).encode()).hexdigest()[:32] for op in USER_OPS}


def _meaning(op: Op) -> tuple[object, ...]:
    meaning = (op.accepts, op.result.__name__, op.torch, op.c, op.commutative)
    return (*meaning, op.sums) if op.sums else meaning
