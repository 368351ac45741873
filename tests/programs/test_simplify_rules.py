"""Every row of the table of rules against its tag, with evaluators that share nothing with the language's own.

`exact` is checked bit for bit with the oracle on extreme floats, `rounding` over the real numbers with 120 digits, and
`domain` over the real numbers outside the set that the row states.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mpmath import mp, mpc, mpf

from programs.ops import OPS
from programs.simplify.patterns import NUMBERS, SCALARS, SMALL, Pattern, pattern
from programs.simplify.rules import DOMAIN, EXACT, ROUNDING, RULES, TAGS, Rule

from tests.support import oracle
from tests.support.oracle import LEAF, MATRIX, SCALAR, TREE, Shape, Value

REDUCTIONS = ("norm", "global_norm", "dot", "cosine_sim", "clip", "rms", *MATRIX)
EXTREME = (
    0.0,
    -0.0,
    1e-45,
    -1e-40,
    1.2e-38,
    1e-20,
    -1e-9,
    0.3,
    -0.7,
    1.0,
    -1.0,
    2.5,
    -3.7,
    40.0,
    -100.0,
    1e9,
    -1e20,
    3e38,
)
NO_NUMBERS = (np.inf, -np.inf, np.nan)
CONSTANTS = (0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 1e-3, 30.0)


def of_tag(tag: str) -> list[Any]:
    return [pytest.param(rule, id=str(rule)) for rule in RULES if rule.tag == tag]


def letters(*shapes: Pattern) -> list[str]:
    found: dict[str, None] = {}
    for shape in shapes:
        if isinstance(shape, str):
            found[shape] = None
        elif isinstance(shape, tuple):
            found |= dict.fromkeys(letters(*shape[1:]))  # type: ignore[arg-type]
    return list(found)


def functions(shape: Pattern) -> set[str]:
    if not isinstance(shape, tuple):
        return set()
    return {str(shape[0])}.union(*(functions(s) for s in shape[1:]))  # type: ignore[arg-type]


def meets(rule: Rule, values: Mapping[str, Any]) -> bool:
    """Whether numbers fulfil what the rule asks for; a value known as not negative is never -0."""
    for condition in rule.when:
        letter, relation, _ = condition.split()
        x = values.get(letter)
        if relation == "is" or x is None:
            continue
        fits = {">": x > 0, ">=": x >= 0 and np.signbit(float(x)) == 0, "<": x < 0, "<=": x <= 0}[relation]
        if not fits:
            return False
    return True


def test_the_table_is_well_formed() -> None:
    assert len({str(rule) for rule in RULES}) == len(RULES)
    tags = ", ".join(f"{sum(rule.tag == tag for rule in RULES)} {tag}" for tag in TAGS)
    page = (Path(__file__).parents[2] / "docs" / "simplify.md").read_text(encoding="utf-8")
    assert f"{len(RULES)} rows in [`rules.py`](../programs/simplify/rules.py): {tags}, written" in page
    for rule in RULES:
        left, right = pattern(rule.left), pattern(rule.right)
        assert rule.tag in TAGS and (rule.tag == DOMAIN) == bool(rule.differs), rule
        assert isinstance(left, tuple) and functions(left) | functions(right) <= OPS.keys(), rule
        assert set(letters(right)) <= set(letters(left)), rule
        assert {c.split()[0] for c in rule.when} <= set(letters(left)), rule


# --- exact: bit for bit ------------------------------------------------------------------------------------------


def evaluate(shape: Pattern, values: Mapping[str, Value], shapes: Sequence[Shape], dtype: Any) -> Value:
    if isinstance(shape, str):
        return values[shape]
    if isinstance(shape, float):
        return Value(SCALAR, np.full(1, shape, dtype))
    args = [evaluate(s, values, shapes, dtype) for s in shape[1:]]  # type: ignore[arg-type]
    return oracle.call(str(shape[0]), args, shapes, dtype)


def places(rule: Rule, dtype: Any) -> Iterator[tuple[dict[str, Value], Sequence[Shape]]]:
    """Arguments for the letters of a rule: for elementwise rules trees of all combinations of extreme floats."""
    names = letters(pattern(rule.left))
    scalars = [n for n in names if n in NUMBERS + SCALARS]
    trees = [n for n in names if n not in scalars]
    small = EXTREME if len(trees) < 3 else EXTREME[::2]
    choices = [CONSTANTS if n in NUMBERS else (*EXTREME, *NO_NUMBERS) for n in scalars]
    for numbers in itertools.product(*choices):
        fixed = dict(zip(scalars, numbers, strict=True))
        if meets(rule, fixed):
            bound = {n: Value(SCALAR, np.full(1, x, dtype)) for n, x in fixed.items()}
            yield from _rows(rule, trees, bound, (*small, *NO_NUMBERS), dtype)


def _rows(
    rule: Rule, trees: Sequence[str], bound: dict[str, Value], floats: Sequence[float], dtype: Any
) -> Iterator[tuple[dict[str, Value], Sequence[Shape]]]:
    if functions(pattern(rule.left)) & set(REDUCTIONS):
        rng = np.random.default_rng(3)
        for _ in range(40):
            pool = floats if rng.random() < 0.3 else rng.normal(size=8).tolist()
            drawn = {n: rng.choice(pool, 1 if n == SMALL else 3).astype(dtype) for n in trees}
            yield {**bound, **{n: Value(LEAF if n == SMALL else TREE, x) for n, x in drawn.items()}}, [(1, 3)]
        return
    combinations = [
        c for c in itertools.product(floats, repeat=len(trees)) if meets(rule, dict(zip(trees, c, strict=True)))
    ]
    columns = np.array(combinations, dtype).reshape(len(combinations), len(trees)).T
    yield {**bound, **{n: Value(TREE, x) for n, x in zip(trees, columns, strict=True)}}, [len(combinations)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rule", of_tag(EXACT))
def test_exact_rules_are_bit_equal_on_extreme_floats(rule: Rule, dtype: Any) -> None:
    with np.errstate(all="ignore"):
        for values, sizes in places(rule, dtype):
            left, right = (evaluate(pattern(t), values, sizes, dtype).array for t in (rule.left, rule.right))
            right = np.broadcast_to(right, left.shape)
            np.testing.assert_array_equal(left, right)
            assert left.dtype == right.dtype == dtype
            zero = left == 0
            np.testing.assert_array_equal(np.signbit(left[zero]), np.signbit(right[zero]))


# --- rounding: the same over the real numbers ----------------------------------------------------------------------

mp.dps = 120
EPS = mpf("1e-8")


class UndefinedError(Exception):
    """Not a real number."""


def _real(x: Any) -> Any:
    if isinstance(x, mpc) or mp.isnan(x) or mp.isinf(x):
        raise UndefinedError
    return x


def _elementwise(guard: Any) -> dict[str, Callable[..., Any]]:
    def log(x: Any, base: Any = mp.e) -> Any:
        return mp.log(abs(x)) / mp.log(base)

    same = "cos sin tan sinh cosh tanh exp expm1 sign"
    inverse = {"arcsin": "asin", "arccos": "acos", "arctan": "atan"}
    inverse |= {"arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh"}
    return {
        **{name: getattr(mp, name) for name in same.split()},
        **{name: getattr(mp, theirs) for name, theirs in inverse.items()},
        "abs": abs,
        "negative": lambda x: -x,
        "square": lambda x: x * x,
        "cube": lambda x: x * x * x,
        "sqrt": lambda x: mp.sqrt(abs(x)),
        "cbrt": lambda x: mp.sign(x) * mp.cbrt(abs(x)),
        "reciprocal": lambda x: 1 / x,
        "exp2": lambda x: mpf(2) ** x,
        "exp10": lambda x: mpf(10) ** x,
        "log": log,
        "log2": lambda x: log(x, 2),
        "log10": lambda x: log(x, 10),
        "log1p": lambda x: log(1 + x),
        "add": lambda x, y: x + y,
        "sub": lambda x, y: x - y,
        "mul": lambda x, y: x * y,
        "div": lambda x, y: x / (y + guard),
        "maximum": max,
        "minimum": min,
        "power": lambda x, y: x**y,
        "interp": lambda x, y, a: (1 - a) * x + a * y,
    }


def _length(row: Sequence[Any]) -> Any:
    return mp.sqrt(sum(x * x for x in row))


def _reduction(name: str, rows: list[list[Any]], guard: Any) -> list[Any]:
    """Of a leaf that is one row."""
    width = len(rows[0])
    if name in ("norm", "global_norm"):
        return [_length(rows[0])]
    if name == "rms":
        return [_length(rows[0]) / mp.sqrt(width)]
    if name == "row_norm":
        return [_length(rows[0])] * width
    if name == "row_mean":
        return [sum(rows[0]) / width] * width
    if name in ("column_norm", "column_mean"):
        return [abs(x) for x in rows[0]] if name == "column_norm" else rows[0]
    if name == "orthogonalize":
        return [x / (_length(rows[0]) + guard) * mp.sqrt(width) for x in rows[0]]
    if name == "clip":
        factor = min(mpf(1), rows[1][0] / _length(rows[0]))
        return [x * factor for x in rows[0]]
    dot = sum(x * y for x, y in zip(*rows, strict=True))
    return [dot if name == "dot" else dot / (_length(rows[0]) * _length(rows[1]))]


def real(shape: Pattern, values: Mapping[str, list[Any]], guard: Any = EPS) -> list[Any]:
    """A pattern over the real numbers: rows of numbers, those of length 1 broadcast."""
    if isinstance(shape, str):
        return values[shape]
    if isinstance(shape, float):
        return [{np.e: mp.e, np.pi: mp.pi}.get(shape, mpf(repr(shape)))]
    rows = [real(s, values, guard) for s in shape[1:]]  # type: ignore[arg-type]
    name = str(shape[0])
    try:
        if name in REDUCTIONS:
            return [_real(x) for x in _reduction(name, rows, guard)]
        width = max(map(len, rows))
        spread = [row * (width // len(row)) for row in rows]
        return [_real(_elementwise(guard)[name](*args)) for args in zip(*spread, strict=True)]
    except (ZeroDivisionError, ValueError):
        raise UndefinedError from None


FLOATS = [mpf(x) for x in EXTREME if abs(x) < 1e19 and abs(x) not in (1e9,)] + [mpf("0.01"), mpf(7), mpf("-0.2")]


def real_values(rule: Rule) -> Iterator[dict[str, list[Any]]]:
    names = letters(pattern(rule.left))
    width = 3 if functions(pattern(rule.left)) & set(REDUCTIONS) else 1
    choices = {n: [mpf(x) for x in CONSTANTS] if n in NUMBERS else FLOATS for n in names}
    rng = np.random.default_rng(5)
    for _ in range(300 if width == 1 else 60):
        drawn = {n: [choices[n][i] for i in rng.integers(len(choices[n]), size=_width(n, width))] for n in names}
        if all(meets(rule, {n: row[i] for n, row in drawn.items() if i < len(row)}) for i in range(width)):
            yield drawn


def _width(name: str, width: int) -> int:
    return 1 if name in NUMBERS + SCALARS + SMALL else width


def compare_over_reals(rule: Rule, excluded: Callable[..., bool], guard: Any) -> int:
    """The number of places at which both sides were compared, wherever the left side is a number."""
    compared = 0
    for values in real_values(rule):
        if excluded(**{n: row[0] for n, row in values.items()}):
            continue
        try:
            left = real(pattern(rule.left), values, guard)
        except UndefinedError:
            continue
        right = real(pattern(rule.right), values, guard)
        for x, y in zip(left, right * (len(left) // len(right)), strict=True):
            assert abs(x - y) <= mpf("1e-25") * max(abs(x), mpf("1e-60")), (values, x, y)
            compared += 1
    return compared


@pytest.mark.parametrize("rule", of_tag(ROUNDING))
def test_rounding_rules_are_equal_over_the_real_numbers(rule: Rule) -> None:
    assert compare_over_reals(rule, lambda **_: False, EPS) > 5


# --- domain: the same outside the stated set -----------------------------------------------------------------------

SETS: dict[str, Callable[[Any], bool]] = {
    r"x < 0\b": lambda x: x < 0,
    r"\|x\| > 1\b": lambda x: abs(x) > 1,
    r"\|x\| > 8\b": lambda x: abs(x) > 8,
    r"x < -1\b": lambda x: x < -1,
    r"x < 1\b": lambda x: x < 1,
    r"x = 0\b": lambda x: x == 0,
    "x is zero everywhere": lambda x: x == 0,
}
BY_GUARD = ("is not far above 1e-8", "by at most 1e-8 of the value")


@pytest.mark.parametrize("rule", of_tag(DOMAIN))
def test_domain_rules_are_equal_outside_the_stated_set(rule: Rule) -> None:
    """Where the guard makes the difference, without a guard; at zero divisors the left side is no number then."""
    by_guard = any(text in rule.differs for text in BY_GUARD)
    outside = next((f for text, f in SETS.items() if re.match(text, rule.differs)), None)
    assert by_guard != (outside is not None), "no check for this set"
    if by_guard:
        assert compare_over_reals(rule, lambda **_: False, mpf(0)) > 5
    else:
        assert compare_over_reals(rule, lambda x, **_: outside(x), EPS) > 5  # type: ignore[misc]


@pytest.mark.parametrize("rule", of_tag(DOMAIN))
def test_domain_rules_differ_on_the_stated_set(rule: Rule) -> None:
    """The tag is no stricter than it must be: the two sides differ somewhere by more than rounding."""
    with np.errstate(all="ignore"):
        for values, sizes in places(rule, np.float64):
            left, right = (evaluate(pattern(t), values, sizes, np.float64).array for t in (rule.left, rule.right))
            if not np.allclose(left, np.broadcast_to(right, left.shape), rtol=1e-12, atol=0, equal_nan=True):
                return
    pytest.fail("no difference found")
