"""The table of algebraic rules, as data.

A rule is two patterns (see `programs.simplify.patterns` for the letters) and a tag that says how far to trust it:

- `exact`: bit for bit the same, in float32 and in float64, whatever the arguments, infinities and NaN included;
- `rounding`: the same over the real numbers wherever the left side is one; floats differ by rounding, or where a value
  in between overflows or underflows;
- `domain`: differs on the set that stands in the last column.

The guard of the division counts: over the real numbers x / y is x / (y + 1e-8). `when` asks for the sign of a value, as
far as it is known (`programs.simplify.facts`), or for its kind.

Rules need not make a program smaller by themselves: many carry a constant factor or a minus outward, to where it meets
the learning rate. Which way a rule is used is decided by what it does to the cost (`programs.simplify.cost`).
"""

from __future__ import annotations

from dataclasses import dataclass

EXACT, ROUNDING, DOMAIN = TAGS = ("exact", "rounding", "domain")


@dataclass(frozen=True, slots=True)
class Rule:
    """`left` may be written as `right`. `when`: conditions such as `"x >= 0"` or `"x is tree"`, all of which must hold.

    `differs` is the set on which a rule with tag `domain` changes the value.
    """

    left: str
    right: str
    tag: str
    when: tuple[str, ...] = ()
    differs: str = ""

    def __str__(self) -> str:
        return f"{self.left} -> {self.right}" + (f" if {' and '.join(self.when)}" if self.when else "")


def _exact(left: str, right: str, *when: str) -> Rule:
    return Rule(left, right, EXACT, when)


def _real(left: str, right: str, *when: str) -> Rule:
    return Rule(left, right, ROUNDING, when)


def _domain(left: str, right: str, differs: str, *when: str) -> Rule:
    return Rule(left, right, DOMAIN, when, differs)


def _guard(left: str, right: str, divisor: str, *when: str) -> Rule:
    return Rule(left, right, DOMAIN, when, f"|{divisor}| is not far above 1e-8")


_ODD = ("sin", "tan", "arcsin", "arctan", "sinh", "tanh", "arcsinh", "arctanh", "cbrt", "cube", "reciprocal")
_EVEN = (
    "abs",
    "square",
    "cos",
    "cosh",
    "sqrt",
    "log",
    "log2",
    "log10",
    "norm",
    "global_norm",
    "rms",
    "row_norm",
    "column_norm",
)
_KEEP_SIGN = ("sinh", "tanh", "arctan", "arcsinh", "cbrt", "expm1")
_OF_PRODUCTS = ("abs", "square", "sqrt", "cube", "cbrt", "sign")  # f(x y) = f(x) f(y)
_WITH_FACTOR = ("square", "sqrt", "cube", "cbrt", "abs", "norm", "global_norm", "reciprocal")
_INVERSE = (("sinh", "arcsinh"), ("tan", "arctan"), ("arcsinh", "sinh"), ("cbrt", "cube"), ("cube", "cbrt"))

_OF_TINY = "the norm of a parameter tensor is not far above 1e-8"

RULES = (
    # --- numbers -----------------------------------------------------------------------------------------------
    _exact("get_pi()", "3.141592653589793"),
    _exact("get_e()", "2.718281828459045"),
    _exact("get_eps()", "1e-8"),
    # --- one and zero ------------------------------------------------------------------------------------------
    _exact("x * 1", "x"),
    _exact("x * -1", "negative(x)"),
    _exact("x - 0", "x"),
    _exact("x + -0.0", "x"),
    _real("x + 0", "x"),
    _real("x * 0", "0"),
    _real("0 / x", "0"),
    _real("0 - x", "negative(x)"),
    _real("x - x", "0"),
    _real("x / a", "x * (1 / a)"),
    _exact("x + x", "x * 2"),
    _real("interp(x, x, s)", "x"),
    _real("interp(0, x, s)", "x * s"),
    _real("x + (y - x)", "y"),
    _real("(x + y) - x", "y"),
    _real("x - (x - y)", "y"),
    # --- minus -------------------------------------------------------------------------------------------------
    _exact("negative(negative(x))", "x"),
    _exact("x + negative(y)", "x - y"),
    _exact("x - negative(y)", "x + y"),
    _real("negative(x - y)", "y - x"),
    _real("negative(x) - y", "negative(x + y)"),
    _exact("negative(x) * negative(y)", "x * y"),
    _exact("negative(x) * y", "negative(x * y)"),
    _exact("negative(x) / y", "negative(x / y)"),
    _exact("maximum(negative(x), negative(y))", "negative(minimum(x, y))"),
    _exact("minimum(negative(x), negative(y))", "negative(maximum(x, y))"),
    _exact("dot(negative(x), y)", "negative(dot(x, y))"),
    _exact("cosine_sim(negative(x), y)", "negative(cosine_sim(x, y))"),
    _exact("clip(negative(x), s)", "negative(clip(x, s))"),
    _real("interp(negative(x), negative(y), s)", "negative(interp(x, y, s))"),
    *(_exact(f"{f}(negative(x))", f"negative({f}(x))") for f in _ODD),
    _real("sign(negative(x))", "negative(sign(x))"),
    *(_exact(f"{f}(negative(x))", f"{f}(x)") for f in _EVEN),
    # --- absolute value, roots and powers ----------------------------------------------------------------------
    *(_exact(f"{f}(abs(x))", f"{f}(x)") for f in _EVEN),
    _exact("abs(x)", "x", "x >= 0"),
    _exact("abs(square(x))", "square(x)"),
    _exact("abs(sqrt(x))", "sqrt(x)"),
    _exact("x * x", "square(x)"),
    _exact("square(x) * x", "cube(x)"),
    _exact("abs(x) * abs(x)", "square(x)"),
    _real("sqrt(square(x))", "abs(x)"),
    _real("square(sqrt(x))", "abs(x)"),
    _real("sqrt(x) * sqrt(x)", "abs(x)"),
    _real("x * sign(x)", "abs(x)"),
    _real("abs(x) * sign(x)", "x"),
    _real("(x * y) * sign(x)", "abs(x) * y"),
    _real("(x * y) * x", "square(x) * y"),
    _real("maximum(x, negative(x))", "abs(x)"),
    *(_real(f"{f}(x) * {f}(y)", f"{f}(x * y)") for f in _OF_PRODUCTS),
    _real("power(x, 0)", "1"),
    _real("power(x, 1)", "x"),
    _real("power(x, 2)", "square(x)"),
    _real("power(x, 3)", "cube(x)"),
    _real("power(x, -1)", "reciprocal(x)"),
    _real("power(x, 0.5)", "sqrt(x)", "x >= 0"),
    _domain("power(x, 0.5)", "sqrt(x)", "x < 0, where the power is not a number"),
    _real("power(1, x)", "1"),
    _real("power(2, x)", "exp2(x)"),
    _real("power(10, x)", "exp10(x)"),
    _real("power(2.718281828459045, x)", "exp(x)"),
    _real("power(power(x, a), b)", "power(x, a * b)", "x > 0"),
    _real("power(square(x), 0.5)", "abs(x)"),
    _real("reciprocal(reciprocal(x))", "x"),
    _real("reciprocal(x) * reciprocal(y)", "reciprocal(x * y)"),
    # --- exponentials and logarithms ---------------------------------------------------------------------------
    _real("exp(log(x))", "abs(x)"),
    _real("exp2(log2(x))", "abs(x)"),
    _real("exp10(log10(x))", "abs(x)"),
    _real("log(exp(x))", "x"),
    _real("log2(exp2(x))", "x"),
    _real("log10(exp10(x))", "x"),
    _real("log1p(expm1(x))", "x"),
    _domain("expm1(log1p(x))", "x", "x < -1, where the logarithm is that of |1 + x|"),
    _real("exp(x) - 1", "expm1(x)"),
    _real("expm1(x) + 1", "exp(x)"),
    _real("log(x + 1)", "log1p(x)"),
    *(_real(f"{f}(x) * {f}(y)", f"{f}(x + y)") for f in ("exp", "exp2", "exp10")),
    *(_real(f"sqrt({f}(x))", f"{f}(x * 0.5)") for f in ("exp", "exp2", "exp10")),
    *(_real(f"{f}(x) + {f}(y)", f"{f}(x * y)") for f in ("log", "log2", "log10")),
    *(_real(f"{f}(square(x))", f"{f}(x) * 2") for f in ("log", "log2", "log10")),
    *(_real(f"{f}(sqrt(x))", f"{f}(x) * 0.5") for f in ("log", "log2", "log10")),
    *(_real(f"{f}(cube(x))", f"{f}(x) * 3") for f in ("log", "log2", "log10")),
    *(_real(f"{f}(reciprocal(x))", f"negative({f}(x))") for f in ("log", "log2", "log10")),
    *(_real(f"reciprocal({f}(x))", f"{f}(negative(x))") for f in ("exp", "exp2", "exp10")),
    # --- circular and hyperbolic functions ---------------------------------------------------------------------
    *(_real(f"{f}({g}(x))", "x") for f, g in _INVERSE),
    _domain("sin(arcsin(x))", "x", "|x| > 1, where the arcsine is not a number"),
    _domain("cos(arccos(x))", "x", "|x| > 1, where the arccosine is not a number"),
    _domain("tanh(arctanh(x))", "x", "|x| > 1, where the inverse is not a number"),
    _domain("arctanh(tanh(x))", "x", "|x| > 8, where tanh rounds to 1"),
    _domain("cosh(arccosh(x))", "x", "x < 1, where the inverse is not a number"),
    _real("arccosh(cosh(x))", "abs(x)"),
    _real("square(sin(x)) + square(cos(x))", "1"),
    _domain("sinh(x) / cosh(x)", "tanh(x)", "everywhere, by at most 1e-8 of the value"),
    _guard("sin(x) / cos(x)", "tan(x)", "cos(x)"),
    # --- signs -------------------------------------------------------------------------------------------------
    _exact("sign(sign(x))", "sign(x)"),
    _exact("sign(abs(x))", "abs(sign(x))"),
    _real("sign(square(x))", "abs(sign(x))"),
    _real("sign(sqrt(x))", "abs(sign(x))"),
    _exact("square(sign(x))", "abs(sign(x))"),
    _exact("sqrt(sign(x))", "abs(sign(x))"),
    _exact("cube(sign(x))", "sign(x)"),
    _real("cbrt(sign(x))", "sign(x)"),
    _real("sign(cube(x))", "sign(x)"),
    *(_exact(f"sign({f}(x))", "sign(x)") for f in _KEEP_SIGN),
    _domain("sign(arcsin(x))", "sign(x)", "|x| > 1, where the arcsine is not a number"),
    _domain("sign(arctanh(x))", "sign(x)", "|x| > 1, where the inverse is not a number"),
    _domain("sign(reciprocal(x))", "sign(x)", "x = 0, where the reciprocal is infinite"),
    _real("sign(x)", "1", "x > 0"),
    _real("sign(x * y)", "sign(x)", "y > 0"),
    _real("sign(x * a)", "negative(sign(x))", "a < 0"),
    _real("sign(x / y)", "sign(x)", "y >= 0"),
    _real("sign(clip(x, s))", "sign(x)", "s > 0"),
    # --- maximum and minimum -----------------------------------------------------------------------------------
    _exact("maximum(x, x)", "x"),
    _exact("minimum(x, x)", "x"),
    _real("maximum(maximum(x, y), y)", "maximum(x, y)"),
    _real("minimum(minimum(x, y), y)", "minimum(x, y)"),
    _real("maximum(minimum(x, y), y)", "y"),
    _real("minimum(maximum(x, y), y)", "y"),
    _real("maximum(maximum(x, a), b)", "maximum(x, maximum(a, b))"),
    _real("minimum(minimum(x, a), b)", "minimum(x, minimum(a, b))"),
    _real("maximum(x, a)", "x", "x >= 0", "a <= 0"),
    _real("minimum(x, a)", "a", "x >= 0", "a <= 0"),
    _real("maximum(x, y) + minimum(x, y)", "x + y"),
    _real("maximum(x, y) * minimum(x, y)", "x * y"),
    _real("maximum(x, y) - minimum(x, y)", "abs(x - y)"),
    # --- norms, products of trees, clipping --------------------------------------------------------------------
    _real("norm(k)", "abs(k)"),
    _real("global_norm(s)", "abs(s)"),
    _real("sqrt(dot(x, x))", "global_norm(x)"),
    _real("square(global_norm(x))", "dot(x, x)", "x is tree"),
    _domain("cosine_sim(x, x)", "1", "x is zero everywhere"),
    _domain("dot(x, y) / (global_norm(x) * global_norm(y))", "cosine_sim(x, y)",
            "the product of the norms is not far above 1e-8"),
    _real("cosine_sim(x * s, y)", "cosine_sim(x, y)", "s > 0", "x is tree"),
    _real("cosine_sim(x * a, y)", "negative(cosine_sim(x, y))", "a < 0", "x is tree"),
    _real("cosine_sim(clip(x, s), y)", "cosine_sim(x, y)", "s > 0"),
    _real("clip(clip(x, s), s)", "clip(x, s)", "s >= 0"),
    _real("clip(clip(x, a), b)", "clip(x, minimum(a, b))", "a >= 0", "b >= 0"),
    _real("global_norm(clip(x, s))", "minimum(global_norm(x), s)", "s >= 0", "x is tree"),
    # --- matrices ----------------------------------------------------------------------------------------------
    _real("rms(k)", "abs(k)"),
    *(_real(f"{f}({f}(x))", f"{f}(x)") for f in ("row_mean", "column_mean")),
    *(_real(f"{f}(negative(x))", f"negative({f}(x))") for f in ("row_mean", "column_mean")),
    *(_real(f"{f}(x * a)", f"{f}(x) * a") for f in ("row_mean", "column_mean")),
    *(_real(f"{f}(x * a)", f"{f}(x) * abs(a)") for f in ("rms", "row_norm", "column_norm")),
    _real("orthogonalize(negative(x))", "negative(orthogonalize(x))"),
    _domain("orthogonalize(x * s)", "orthogonalize(x)", _OF_TINY, "s > 0"),
    _domain("orthogonalize(x * a)", "negative(orthogonalize(x))", _OF_TINY, "a < 0"),
    _domain("orthogonalize(clip(x, s))", "orthogonalize(x)", _OF_TINY, "s > 0"),
    # --- constant factors go outward, and to scalars -----------------------------------------------------------
    _real("(x * a) * b", "x * (a * b)"),
    _real("(x * a) * y", "(x * y) * a"),
    _real("(x * a) * s", "x * (s * a)"),
    _real("(x * s) * t", "x * (s * t)"),
    _real("(x * k) * s", "x * (k * s)"),
    _real("(x * s) * y", "(x * y) * s"),
    _real("(x * a) / y", "(x / y) * a"),
    _real("(x * s) / y", "(x / y) * s"),
    _real("(x / s) * t", "x * (t / s)"),
    _real("(x * s) / t", "x * (s / t)"),
    *(_real(f"{f}(x * a)", f"{f}(x) * {f}(a)") for f in _WITH_FACTOR),
    _real("dot(x * s, y)", "dot(x, y) * s", "x is tree"),
    _real("maximum(x * a, y * a)", "maximum(x, y) * a", "a > 0"),
    _real("minimum(x * a, y * a)", "minimum(x, y) * a", "a > 0"),
    _real("power(x * a, b)", "power(x, b) * power(a, b)", "a > 0"),
    _real("clip(x * a, b)", "clip(x, b * reciprocal(a)) * a", "a > 0"),
    _real("interp(x * a, y * a, s)", "interp(x, y, s) * a"),
    _guard("x / (y * a)", "(x / y) * reciprocal(a)", "y"),
    # --- common factors ----------------------------------------------------------------------------------------
    _real("x * z + y * z", "(x + y) * z"),
    _real("x * z - y * z", "(x - y) * z"),
    _real("x * z + z", "(x + 1) * z"),
    _real("x / z + y / z", "(x + y) / z"),
    _real("x / z - y / z", "(x - y) / z"),
    _real("interp(x * z, y * z, s)", "interp(x, y, s) * z"),
    _real("interp(x / z, y / z, s)", "interp(x, y, s) / z"),
    # --- quotients: the guard makes them differ where the divisor is small -------------------------------------
    _guard("x / x", "1", "x"),
    _guard("x / abs(x)", "sign(x)", "x"),
    _guard("abs(x) / x", "sign(x)", "x"),
    _domain("x / sign(x)", "abs(x)", "everywhere, by at most 1e-8 of the value"),
    _guard("x / square(x)", "1 / x", "x"),
    _guard("square(x) / x", "x", "x"),
    _guard("square(x) / abs(x)", "abs(x)", "x"),
    _guard("cube(x) / x", "square(x)", "x"),
    _guard("cube(x) / square(x)", "x", "square(x)"),
    _guard("abs(x) / square(x)", "1 / abs(x)", "square(x)"),
    _guard("x / sqrt(x)", "sqrt(x)", "x", "x >= 0"),
    _guard("abs(x) / sqrt(x)", "sqrt(x)", "sqrt(x)"),
    _guard("(x * y) / y", "x", "y"),
    _guard("(x / y) * y", "x", "y"),
    _guard("x / (x * y)", "1 / y", "x y"),
    _guard("(x * z) / (y * z)", "x / y", "y or z"),
    _guard("(x / z) / (y / z)", "x / y", "y or z"),
    _guard("(x / y) / (1 / y)", "x", "y or 1 / y"),
    _guard("(x / y) * (y / z)", "x / z", "y"),
    _guard("x / (1 / y)", "x * y", "1 / y"),
    _guard("x / reciprocal(y)", "x * y", "1 / y"),
    _guard("x * reciprocal(y)", "x / y", "y"),
    _guard("x / (y / z)", "(x * z) / y", "y / z or z"),
    _guard("(x / y) / z", "x / (y * z)", "y or z"),
    _guard("sqrt(x) / sqrt(y)", "sqrt(x / y)", "y"),
    _guard("square(x) / square(y)", "square(x / y)", "y"),
    _guard("abs(x) / abs(y)", "abs(x / y)", "y"),
    _guard("exp(x) / exp(y)", "exp(x - y)", "exp(y)"),
    _guard("log(x) - log(y)", "log(x / y)", "y"),
)  # fmt: skip
