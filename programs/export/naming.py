"""Names of hyperparameters, by the place of a constant in the rule, and the values that they may take.

| place of the constant                     | name         | values      |
|-------------------------------------------|--------------|-------------|
| coefficient of `interp`                   | beta         | [0, 1)      |
| factor of the weights                     | weight_decay | 0 and more  |
| factor of a state as the last step left it| momentum     | [0, 1)      |
| bound of `clip`                           | max_norm     | 0 and more  |
| `get_eps`, or a small number added        | eps          | 0 and more  |
| anything else, or a value out of range    | c            | any number  |

The first row that fits names it. Names that occur once stand bare, others are numbered in order of use; `c` always is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from programs.dataflow import M, V, W
from programs.export.lowering import Rule

SMALL = 1e-3  # what is added to guard a division is below this


class Hyperparameter(NamedTuple):
    """A named constant. `check` is a Python expression over its name that must hold, or None."""

    name: str
    default: float
    check: str | None
    meaning: str


class _Place(NamedTuple):
    """Where a constant stands: in a function, with what beside it."""

    function: str
    position: int
    others: tuple[int, ...]


def _is_fraction(x: float) -> bool:
    return 0 <= x < 1


def _is_positive(x: float) -> bool:
    return 0 <= x < math.inf


_Fits = Callable[[_Place, float], bool]
_NAMES: tuple[tuple[str, _Fits, str | None, str], ...] = (
    ("beta", lambda p, c: p.function == "interp" and p.position == 2 and _is_fraction(c), "0.0 <= {0} < 1.0",
     "coefficient of an interpolation"),
    ("weight_decay", lambda p, c: p.function == "mul" and p.others == (W,) and _is_positive(c), "{0} >= 0.0",
     "coefficient of the weights"),
    ("momentum", lambda p, c: p.function == "mul" and p.others in ((M,), (V,)) and _is_fraction(c), "0.0 <= {0} < 1.0",
     "factor of the state at each step"),
    ("max_norm", lambda p, c: p.function == "clip" and p.position == 1 and _is_positive(c), "{0} >= 0.0",
     "largest global norm"),
    ("eps", lambda p, c: p.function == "add" and 0 < c <= SMALL, "{0} >= 0.0", "term added for numerical stability"),
)  # fmt: skip


def hyperparameters(rule: Rule) -> dict[int, Hyperparameter]:
    """The hyperparameters of a rule, by value; pi and e remain numbers."""
    users = rule.users()
    found: dict[int, tuple[str, str | None, str]] = {}
    for n in rule.constants:
        function = rule.values[n].function
        if users[n] and (function not in ("get_pi", "get_e")):
            found[n] = _describe(rule, n, users[n][0])
    counts = Counter(base for base, _, _ in found.values())
    used: Counter[str] = Counter()
    result = {}
    for n, (base, check, meaning) in sorted(found.items(), key=lambda item: users[item[0]][0][0]):
        used[base] += 1
        name = base if counts[base] == 1 and base != "c" else f"{base}{used[base]}"
        result[n] = Hyperparameter(name, rule.constants[n], check and check.format(name), meaning)
    return result


def _describe(rule: Rule, n: int, user: tuple[int, int]) -> tuple[str, str | None, str]:
    value, constant = rule.values[user[0]], rule.constants[n]
    if rule.values[n].function == "get_eps":
        return "eps", "{0} >= 0.0", "term added for numerical stability"
    place = _Place(value.function, user[1], tuple(a for i, a in enumerate(value.args) if i != user[1]))
    for name, fits, check, meaning in _NAMES:
        if fits(place, constant):
            return name, check, meaning
    check = "math.isfinite({0})" if math.isfinite(constant) else None
    return "c", check, f"constant of `{value.function}`"
