"""Names of constants, which become hyperparameters of exported optimizers, and the values that they may take.

The place of a constant in the rule decides.

| place of the constant                     | name         | values      |
|-------------------------------------------|--------------|-------------|
| coefficient of `interp`                   | beta         | [0, 1)      |
| factor of the weights                     | weight_decay | 0 and more  |
| factor of a state as the last step left it| momentum     | [0, 1)      |
| bound of `clip`                           | max_norm     | 0 and more  |
| `get_eps`, or a small number added        | eps          | 0 and more  |
| anything else, or a value out of range    | c            | any number  |

The first row that fits gives the name. Names that occur more than once are numbered in order of use; `c` always is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from programs.graph import M, V, W
from programs.lowering import LoweredRule

SMALL = 1e-3  # what is added to guard a division is below this


class NamedConstant(NamedTuple):
    """A constant as a hyperparameter. `check` is a Python expression over its name that must hold, or None."""

    name: str
    default: float
    check: str | None
    meaning: str


class _Place(NamedTuple):
    """Where a constant stands: the function, its position, and the other arguments."""

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


def named_constants(rule: LoweredRule) -> dict[int, NamedConstant]:
    """Return the named constants of a rule, by value; pi and e remain numbers."""
    readers = rule.users()
    found = {
        n: _describe(rule, n, *readers[n][0])
        for n in rule.constants
        if readers[n] and rule.values[n].function not in ("get_pi", "get_e")
    }
    counts = Counter(base for base, _, _ in found.values())
    used: Counter[str] = Counter()
    result = {}
    for n, (base, check, meaning) in sorted(found.items(), key=lambda item: readers[item[0]][0][0]):
        used[base] += 1
        name = base if counts[base] == 1 and base != "c" else f"{base}{used[base]}"
        result[n] = NamedConstant(name, rule.constants[n], check and check.format(name), meaning)
    return result


def _describe(rule: LoweredRule, n: int, reader: int, position: int) -> tuple[str, str | None, str]:
    """Return the name, the check and the meaning of a constant, by the first value that reads it."""
    value, constant = rule.values[reader], rule.constants[n]
    if rule.values[n].function == "get_eps":
        return "eps", "{0} >= 0.0", "term added for numerical stability"
    place = _Place(value.function, position, tuple(a for i, a in enumerate(value.args) if i != position))
    for name, fits, check, meaning in _NAMES:
        if fits(place, constant):
            return name, check, meaning
    check = "math.isfinite({0})" if math.isfinite(constant) else None
    return "c", check, f"constant of `{value.function}`"
