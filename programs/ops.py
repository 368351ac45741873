"""The one table of functions. Every interpretation of a program reads it.

The meaning of a function is its NumPy column. The torch column is source text with `{0}`, `{1}`, ... for the arguments,
used both to run batches of programs and to write exported optimizers. The two agree up to rounding as long as nothing
overflows (sinh and cosh do so a little earlier in torch). The sign of a zero may differ after maximum, minimum, cbrt.
The C column, text in the same way, is what fused kernels are made of (docs/kernels.md). A function that adds up over
its arguments names these sums in a column of its own, and its texts refer to them after the arguments.
Guards (division, roots, logarithms) are as released with the Lion paper (arXiv 2302.06675), whose functions are the
set `paper`. What the other sets are for, and where they come from, is in docs/language.md. User-defined functions
join the table while a process runs (`user_functions.py`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from programs.kinds import ANY, COLUMN, LEAF, ROW, SCALAR, TREE, WEIGHTS
from programs.later import np

if TYPE_CHECKING:
    from programs.layout import Layout

EPS = 1e-8  # added to every divisor, and the value of get_eps

# The sets of functions, each with where it comes from and what it is for.
SETS = {
    "paper": "as released with the Lion paper (arXiv 2302.06675)",
    "steps": "where the training stands: for bias corrections (Adam, arXiv 1412.6980) and schedules",
    "matrices": "parameter tensors as matrices: Muon (Jordan et al., 2024), Adafactor (arXiv 1804.04235)",
}
LANGUAGES = {"paper": ("paper",), "extended": tuple(SETS)}
USER = "user"  # in place of the set of a function: it is user-defined

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # x -> a x + b x^3 + c x^5, of singular values (Jordan et al., Muon, 2024)
NEWTON_SCHULZ_STEPS = 5


def largest(kinds: Sequence[int]) -> int:
    """Return the kind of an elementwise result: the smallest to which all arguments can be broadcast."""
    return TREE if ROW in kinds and COLUMN in kinds else max(kinds)


def one_number(_kinds: Sequence[int]) -> int:
    """Return the kind of a sum over everything."""
    return SCALAR


def per_leaf(kinds: Sequence[int]) -> int:
    """Return the kind of a sum within each parameter tensor."""
    return min(kinds[0], LEAF)


def per_row(_kinds: Sequence[int]) -> int:
    """Return the kind of a sum along each row of each parameter tensor."""
    return ROW


def per_column(_kinds: Sequence[int]) -> int:
    """Return the kind of a sum along each column of each parameter tensor."""
    return COLUMN


def one_per_weight(_kinds: Sequence[int]) -> int:
    """Return the kind of what has its own number for each weight."""
    return TREE


def like_first(kinds: Sequence[int]) -> int:
    """Return the kind of the first argument, for functions that only rescale it by what all its numbers tell."""
    return kinds[0] if kinds[0] in (SCALAR, LEAF) else TREE


_RULES = (largest, one_number, per_leaf, per_row, per_column, one_per_weight, like_first)


@dataclass(frozen=True, slots=True)
class Op:
    """One function of the language.

    Attributes:
        accepts: for each argument, the kinds that it may have. A function that adds up, or works on matrices, takes
            rows and columns as the trees that they stand for.
        result: the rule that gives the kind of the result.
        numpy: maps arrays to an array. With the result `per_leaf` it is called with the start of each leaf `[L]` first,
            a function of matrices with the layout first.
        torch: the same as source text, in which `torch` and `math` are the only names; what works on matrices is called
            `orthogonalize`.
        c: an expression of C and of CUDA C++ over numbers; none for what works on matrices.
        infix: the operator that calls are written with, if any.
        commutative: whether the order of the two arguments makes no difference.
        sums: what the function adds up: pairs of arguments whose products are summed, or single ones, over everything
            or, by its result, within each parameter tensor, row or column. The texts refer to the sums by the numbers
            after those of the arguments.
        averages: whether each sum is divided by how many numbers it is of.
        unguarded: the NumPy meaning with an infinitesimal guard, where the function has one.
        of_numbers: the function that a function with the result `per_leaf` is where its argument is scalar or leaf.
        of_training: what the function tells of the training, `step` or `steps`, if anything.
        set: the set of functions that it belongs to, one of `SETS`, or `USER`.
        meaning: what it gives, in words about the arguments; without it, the torch column says so.
        names: of the arguments, of a user-defined function; those of the table have x, y and a.
        definition: of a user-defined function, its text.
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
    sums: tuple[tuple[int, ...], ...] = ()
    averages: bool = False
    unguarded: Callable[..., Any] | None = None
    of_numbers: str = ""
    of_training: str = ""
    set: str = USER
    meaning: str = ""
    names: tuple[str, ...] = ()
    definition: str = ""
    results: Mapping[tuple[int, ...], int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        results = {kinds: self.result(kinds) for kinds in itertools.product(*self.accepts)}
        object.__setattr__(self, "results", results)
        wrong = next((what for is_so, what in self._refused() if is_so), None)
        if wrong:
            raise ValueError(f"function {self.name}: {wrong}")

    def _refused(self) -> tuple[tuple[bool, str], ...]:
        """Return what cannot be run everywhere, each with whether it is so."""
        sums = bool(self.sums)
        takes_numbers = self.result is per_leaf and self.accepts[0] != WEIGHTS and not self.of_numbers
        return (
            (self.result is one_per_weight and (sums or self.arity != 1), "of whole matrices, it can take one argument"
             " and name no sums"),
            (self.result in (per_leaf, per_row, per_column) and not sums, "its result needs sums, named in `sums`"),
            (self.result not in _RULES, "its result follows none of the rules of `programs.ops`"),
            (takes_numbers, "`of_numbers` must name what it is where its argument is no tree"),
        )  # fmt: skip

    @property
    def arity(self) -> int:
        return len(self.accepts)

    @property
    def reduces(self) -> bool:
        """Whether values in different places of an argument meet."""
        return bool(self.sums) or self.of_matrices

    @property
    def of_matrices(self) -> bool:
        """Whether the function works on the matrices that parameter tensors are."""
        return self.result in (per_row, per_column, one_per_weight)

    @property
    def within(self) -> str:
        """Within what the sums run: `all`, `leaf`, `row` or `column`."""
        return {per_leaf: "leaf", per_row: "row", per_column: "column"}.get(self.result, "all")

    def of_kind(self, kind: int) -> Op:
        """Return the function that this one is for a first argument of this kind."""
        return OPS[self.of_numbers] if self.of_numbers and kind not in WEIGHTS else self

    def spread_kinds(self, kinds: Sequence[int]) -> list[int]:
        """Return the kinds to which arguments of these kinds are broadcast first; scalars are left as they are.

        They meet in the kind of the result; but what is added up, or worked on as a matrix, is a tree.
        """
        if self.reduces:
            return [TREE if kind in WEIGHTS else kind for kind in kinds]
        result = self.results[tuple(kinds)]
        return [kind if kind == SCALAR else result for kind in kinds]

    def number(self, args: Sequence[float]) -> float:
        """Return the value for numbers, in float64."""
        with np.errstate(all="ignore"):
            return float(np.ravel(self.of_kind(SCALAR).numpy(*(np.full(1, a) for a in args)))[0])

    def torch_code(self, args: Sequence[str]) -> str:
        """Return a call as torch code over rows `[.., P]`.

        In it `leaf_sum`, `row_sum`, `column_sum` sum within each of these, `leaf_mean`, ... divide by the length, and
        `orthogonalize` works on matrices.
        """
        what = "mean" if self.averages else "sum"
        total = f"torch.{what}({{}}, -1, keepdim=True)" if self.within == "all" else f"{self.within}_{what}({{}})"
        return self.torch.format(*args, *(total.format(" * ".join(args[i] for i in one)) for one in self.sums))


def _all(x: np.ndarray) -> Any:
    return np.add.reduce(x, axis=-1, keepdims=True)


def _global_norm(x: np.ndarray) -> Any:
    return np.sqrt(_all(x * x))


def _leaf_norm(starts: np.ndarray, x: np.ndarray) -> Any:
    return np.sqrt(np.add.reduceat(x * x, starts, axis=-1))


def _sqrt(x: np.ndarray) -> Any:
    return np.sqrt(np.abs(x))


def _interp(x: np.ndarray, y: np.ndarray, a: np.ndarray) -> Any:
    """Return (1 - a) x + a y from the nearer end, as torch.lerp does, so that both treat infinities alike."""
    near_x = np.abs(a) < 0.5
    if near_x.size == 1:  # as nearly always, and quicker
        return x + a * (y - x) if near_x.item() else y - (y - x) * (1 - a)
    return np.where(near_x, x + a * (y - x), y - (y - x) * (1 - a))


def _divide(guard: float) -> Callable[..., Any]:
    return lambda x, y: x / (y + guard)


def _leaf_rms(starts: np.ndarray, x: np.ndarray) -> Any:
    sizes = np.diff(starts, append=x.shape[-1]).astype(x.dtype)
    return np.sqrt(np.add.reduceat(x * x, starts, axis=-1) / sizes)


def _row_sum(layout: Layout, x: np.ndarray) -> Any:
    x = x if layout.by_row is None else x.take(layout.by_row, -1)
    return np.add.reduceat(x, layout.row_starts, axis=-1)


def _column_sum(layout: Layout, x: np.ndarray) -> Any:
    return np.add.reduceat(x.take(layout.by_column, -1), layout.column_starts, axis=-1)


def _row_mean(layout: Layout, x: np.ndarray) -> Any:
    return _row_sum(layout, x) / layout.row_lengths.astype(x.dtype)


def _column_mean(layout: Layout, x: np.ndarray) -> Any:
    return _column_sum(layout, x) / layout.column_lengths.astype(x.dtype)


def _orthogonalize(guard: float) -> Callable[[Layout, np.ndarray], Any]:
    """Return `orthogonalize` with a guard on the divisor; see docs/language.md for its source."""

    def of_matrix(x: np.ndarray, rows: int, columns: int) -> np.ndarray:
        x = x.reshape(*x.shape[:-1], rows, columns)
        a, b, c = (x.dtype.type(number) for number in NEWTON_SCHULZ)
        x = x.swapaxes(-1, -2) if rows > columns else x
        for _ in range(NEWTON_SCHULZ_STEPS):
            squares = x @ x.swapaxes(-1, -2)
            x = a * x + (b * squares + c * (squares @ squares)) @ x
        x = x.swapaxes(-1, -2) if rows > columns else x
        return x.reshape(*x.shape[:-2], rows * columns)

    def of_leaves(layout: Layout, x: np.ndarray) -> Any:
        norms = _leaf_norm(layout.starts, x) + x.dtype.type(guard)
        x = x / norms.take(layout.leaf_of, -1)
        for start, (rows, columns) in zip(layout.starts, layout.stored, strict=True):  # transposes go through
            if min(rows, columns) > 1:
                of_leaf = np.s_[..., start : start + rows * columns]
                x[of_leaf] = of_matrix(x[of_leaf], rows, columns)
        scales = np.array([math.sqrt(max(shape)) for shape in layout.matrices], x.dtype)
        return x * scales.take(layout.leaf_of)

    return of_leaves


def _clip(x: np.ndarray, c: np.ndarray) -> Any:
    return x * np.minimum(1.0, c / _global_norm(x))


def _constant(name: str, value: float) -> Op:
    return Op(name, (), one_number, lambda: np.float64(value), repr(value), f"{value!r}f")


def _of_training(name: str, what: str, meaning: str) -> Op:
    return Op(name, (), one_number, _unknown_outside, "", "", of_training=what, set="steps", meaning=meaning)


def _unknown_outside() -> Any:
    raise TypeError("known in a training only")


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
    _unary("abs", lambda x: np.abs(x), "torch.abs({0})", "fabsf({0})"),
    _unary("cos", lambda x: np.cos(x), "torch.cos({0})", "cosf({0})"),
    _unary("sin", lambda x: np.sin(x), "torch.sin({0})", "sinf({0})"),
    _unary("tan", lambda x: np.tan(x), "torch.tan({0})", "tanf({0})"),
    _unary("arcsin", lambda x: np.arcsin(x), "torch.arcsin({0})", "asinf({0})"),
    _unary("arccos", lambda x: np.arccos(x), "torch.arccos({0})", "acosf({0})"),
    _unary("arctan", lambda x: np.arctan(x), "torch.arctan({0})", "atanf({0})"),
    _unary("sinh", lambda x: np.sinh(x), "torch.sinh({0})", "sinhf({0})"),
    _unary("cosh", lambda x: np.cosh(x), "torch.cosh({0})", "coshf({0})"),
    _unary("tanh", lambda x: np.tanh(x), "torch.tanh({0})", "tanhf({0})"),
    _unary("arcsinh", lambda x: np.arcsinh(x), "torch.arcsinh({0})", "asinhf({0})"),
    _unary("arccosh", lambda x: np.arccosh(x), "torch.arccosh({0})", "acoshf({0})"),
    _unary("arctanh", lambda x: np.arctanh(x), "torch.arctanh({0})", "atanhf({0})"),
    _unary("exp", lambda x: np.exp(x), "torch.exp({0})", "expf({0})"),
    _unary("exp2", lambda x: np.exp2(x), "torch.exp2({0})", "exp2f({0})"),
    _unary("exp10", lambda x: np.power(x.dtype.type(10), x), "torch.pow(10.0, {0})", "powf(10.0f, {0})"),
    _unary("expm1", lambda x: np.expm1(x), "torch.expm1({0})", "expm1f({0})"),
    _unary("log", lambda x: np.log(np.abs(x)), "torch.log(torch.abs({0}))", "logf(fabsf({0}))"),
    _unary("log2", lambda x: np.log2(np.abs(x)), "torch.log2(torch.abs({0}))", "log2f(fabsf({0}))"),
    _unary("log10", lambda x: np.log10(np.abs(x)), "torch.log10(torch.abs({0}))", "log10f(fabsf({0}))"),
    _unary("log1p", lambda x: np.log(np.abs(1 + x)), "torch.log(torch.abs(1 + {0}))", "logf(fabsf(1.0f + {0}))"),
    _unary("square", lambda x: np.square(x), "torch.square({0})", "{0} * {0}"),
    _unary("sqrt", _sqrt, "torch.sqrt(torch.abs({0}))", "sqrtf(fabsf({0}))"),
    _unary("cube", lambda x: x * x * x, "{0} * {0} * {0}", "{0} * {0} * {0}"),
    _unary("cbrt", lambda x: np.cbrt(x), "torch.sign({0}) * torch.pow(torch.abs({0}), 1 / 3)", "cbrtf({0})"),
    # torch.sign(NaN) is 0; NumPy's, and so ours, is NaN.
    _unary("sign", lambda x: np.sign(x), "torch.where({0} == {0}, torch.sign({0}), {0})",
           "{0} > 0.0f ? 1.0f : {0} < 0.0f ? -1.0f : {0} + 0.0f"),
    _unary("reciprocal", lambda x: np.reciprocal(x), "torch.reciprocal({0})", "1.0f / {0}"),
    _unary("negative", lambda x: np.negative(x), "-{0}", "-{0}"),
    # --- one argument, reducing --------------------------------------------------------------------------------
    Op("norm", (ANY,), per_leaf, _leaf_norm, "torch.sqrt({1})", "sqrtf({1})", sums=((0, 0),), of_numbers="abs",
       meaning="the Euclidean norm of each parameter tensor; |x| of numbers"),
    Op("global_norm", (ANY,), one_number, _global_norm, "torch.sqrt({1})", "sqrtf({1})", sums=((0, 0),),
       meaning="the Euclidean norm of all numbers together"),
    # --- two arguments, elementwise ----------------------------------------------------------------------------
    _binary("add", lambda x, y: x + y, "{0} + {1}", "{0} + {1}", infix="+", commutative=True),
    _binary("sub", lambda x, y: x - y, "{0} - {1}", "{0} - {1}", infix="-"),
    _binary("mul", lambda x, y: x * y, "{0} * {1}", "{0} * {1}", infix="*", commutative=True),
    Op("div", (ANY, ANY), largest, _divide(EPS), "{0} / ({1} + 1e-08)", "{0} / ({1} + 1e-08f)", infix="/",
       unguarded=_divide(1e-100)),
    _binary("maximum", lambda x, y: np.maximum(x, y), "torch.maximum({0}, {1})",
            "{0} >= {1} || {0} != {0} ? {0} : {1}", commutative=True),
    _binary("minimum", lambda x, y: np.minimum(x, y), "torch.minimum({0}, {1})",
            "{0} <= {1} || {0} != {0} ? {0} : {1}", commutative=True),
    _binary("power", lambda x, y: np.power(x, y), "torch.pow({0}, {1})", "powf({0}, {1})"),
    # --- two arguments, reducing: a tree is one long vector ----------------------------------------------------
    Op("dot", (WEIGHTS, WEIGHTS), one_number, lambda x, y: _all(x * y), "{2}", "{2}", commutative=True,
       sums=((0, 1),), meaning="the inner product, each of the two as one long vector"),
    Op("cosine_sim", (WEIGHTS, WEIGHTS), one_number,
       lambda x, y: _all(x * y) / (_global_norm(x) * _global_norm(y)),
       "{2} / (torch.sqrt({3}) * torch.sqrt({4}))", "{2} / (sqrtf({3}) * sqrtf({4}))", commutative=True,
       sums=((0, 1), (0, 0), (1, 1)), meaning="the cosine of the angle between the two, each as one long vector"),
    # --- clip by global norm, interpolation --------------------------------------------------------------------
    Op("clip", (ANY, (SCALAR,)), like_first, _clip, "{0} * torch.clamp({1} / torch.sqrt({2}), max=1.0)",
       "{0} * ({1} / sqrtf({2}) >= 1.0f ? 1.0f : {1} / sqrtf({2}))", sums=((0, 0),),
       meaning="x min(1, a / global_norm(x))"),
    Op("interp", (ANY, ANY, (SCALAR,)), largest, _interp, "torch.lerp({0}, {1}, {2})",
       "fabsf({2}) < 0.5f ? {0} + {2} * ({1} - {0}) : {1} - ({1} - {0}) * (1.0f - {2})",
       meaning="(1 - a) x + a y"),
)  # fmt: skip

_STEPS = (
    _of_training("get_step", "step", "the number of this step: 1, 2, 3, ..."),
    _of_training("get_steps", "steps", "the number of steps of the whole training"),
)

_MATRICES = (
    Op("orthogonalize", (WEIGHTS,), one_per_weight, _orthogonalize(EPS), "orthogonalize({0})", "", set="matrices",
       unguarded=_orthogonalize(1e-100),
       meaning="the polar factor by five Newton-Schulz steps, scaled to the RMS of sign(x); of a vector, x / rms(x)"),
    Op("row_norm", (WEIGHTS,), per_row, lambda layout, x: np.sqrt(_row_sum(layout, x * x)), "torch.sqrt({1})",
       "sqrtf({1})", sums=((0, 0),), set="matrices", meaning="the Euclidean norm of each row"),
    Op("column_norm", (WEIGHTS,), per_column, lambda layout, x: np.sqrt(_column_sum(layout, x * x)), "torch.sqrt({1})",
       "sqrtf({1})", sums=((0, 0),), set="matrices", meaning="the Euclidean norm of each column"),
    Op("row_mean", (WEIGHTS,), per_row, _row_mean, "{1}", "{1}", sums=((0,),), averages=True, set="matrices",
       meaning="the mean of each row"),
    Op("column_mean", (WEIGHTS,), per_column, _column_mean, "{1}", "{1}", sums=((0,),), averages=True, set="matrices",
       meaning="the mean of each column"),
    Op("rms", (ANY,), per_leaf, _leaf_rms, "torch.sqrt({1})", "sqrtf({1})", sums=((0, 0),), averages=True,
       of_numbers="abs", set="matrices",
       meaning="the root of the mean square of each parameter tensor; |x| of numbers"),
)  # fmt: skip

_PAPER = tuple(replace(op, set="paper") for op in _TABLE)
OPS: dict[str, Op] = {op.name: op for op in (*_PAPER, *_STEPS, *_MATRICES)}  # and what `user_functions` defines
INFIX: dict[str, Op] = {op.infix: op for op in OPS.values() if op.infix}


def functions_of(sets: Container[str]) -> tuple[Op, ...]:
    """Return the functions of some sets, in the order of the table."""
    return tuple(op for op in OPS.values() if op.set in sets)


def digest(op: Op) -> str:
    """Return a digest of what a function means.

    Functions that two people call by one name need not be the same, so keys tell them apart by this digest.
    """
    more = (what for what in (op.sums, op.averages, op.of_training) if what)
    meaning = (op.accepts, op.result.__name__, op.torch, op.c, op.commutative, *more)
    return sha256(repr(meaning).encode()).hexdigest()[:32]
