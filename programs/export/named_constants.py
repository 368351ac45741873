"""Names of constants, which become hyperparameters of exported optimizers, and the values that they may take.

The place of a constant in the rule decides.

| place of the constant                                    | name         | values      |
|----------------------------------------------------------|--------------|-------------|
| factor of a state in the sum that is its next value      | momentum     | [0, 1)      |
| the same of a second moment, or beside other averages    | beta         | [0, 1)      |
| coefficient of `interp`                                  | beta         | [0, 1)      |
| factor of the weights                                    | weight_decay | 0 and more  |
| bound of `clip`                                          | max_norm     | 0 and more  |
| `get_eps`, or a small number added                       | eps          | 0 and more  |
| `get_steps`                                              | total_steps  | 1 and more  |
| anything else, or a value out of range                   | c            | any number  |

Names that occur more than once are numbered; `c` always is. Of coefficients of averages, that of the first moment is
`beta1` and that of the second `beta2`, as in Adam, also where there is no other. Coefficients of averages come first,
those of first moments before those of second ones; the rest follows in order of use. Two coefficients of averages are
what torch's own optimizers take as one argument, `betas`, in this order. A number of which a power of the step is taken
is the coefficient of an average, if it is equal to one: then the power corrects the bias of that average.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import count
from typing import NamedTuple

from programs.graph import M, V, W
from programs.lowering import NUMBER, LoweredRule
from programs.phases import Value

SMALL = 1e-3  # what is added to guard a division is below this


class NamedConstant(NamedTuple):
    """A constant as a hyperparameter. `check` is a Python expression over its name that must hold, or None.

    `in_betas`: whether it is one of the two that torch's own optimizers would call `betas`. `is_count`: whether it is
    the length of the training, NaN if none is known.
    """

    name: str
    default: float
    check: str | None
    meaning: str
    in_betas: bool = False
    is_count: bool = False

    @property
    def is_required(self) -> bool:
        """Whether there is no default."""
        return self.is_count and math.isnan(self.default)


class _Place(NamedTuple):
    """Where a constant stands: the function, its position, and the other arguments."""

    function: str
    position: int
    others: tuple[int, ...]


def _is_fraction(x: float) -> bool:
    return 0 <= x < 1


def _is_positive(x: float) -> bool:
    return 0 <= x < math.inf


_FRACTION, _POSITIVE = "0.0 <= {0} < 1.0", "{0} >= 0.0"
_Fits = Callable[[_Place, float], bool]
_NAMES: tuple[tuple[str, _Fits, str | None, str], ...] = (
    ("beta", lambda p, c: p.function == "interp" and p.position == 2 and _is_fraction(c), _FRACTION,
     "coefficient of an interpolation"),
    ("weight_decay", lambda p, c: p.function == "mul" and p.others == (W,) and _is_positive(c), _POSITIVE,
     "coefficient of the weights"),
    ("max_norm", lambda p, c: p.function == "clip" and p.position == 1 and _is_positive(c), _POSITIVE,
     "largest global norm"),
    ("eps", lambda p, c: p.function == "add" and 0 < c <= SMALL, _POSITIVE, "term added for numerical stability"),
)  # fmt: skip


def named_constants(rule: LoweredRule) -> dict[int, NamedConstant]:
    """Return the named constants of a rule, by value."""
    averages = _averages(rule)
    corrections = _corrections(rule, averages)
    found = {
        n: _describe(rule, n, averages)
        for n in rule.constants
        if rule.users[n] and n not in corrections and not _stays_a_number(rule, n)
    }
    others = sorted(found.keys() - averages.keys(), key=lambda n: rule.users[n][0][0])
    is_pair = list(averages.values()) in ([False, False], [False, True])
    counts = Counter(base for base, _, _ in found.values())
    used: Counter[str] = Counter()
    betas = _numbers_of_betas([n for n in [*averages, *others] if found[n][0] == "beta"], averages)
    result = {}
    for n in [*averages, *others]:
        base, check, meaning = found[n]
        used[base] += 1
        number = betas.get(n, used[base])
        name = base if counts[base] == 1 and base != "c" and n not in betas else f"{base}{number}"
        check = check and check.format(name)
        result[n] = NamedConstant(name, rule.constants[n], check, meaning, is_pair and n in averages, n == rule.steps)
    return result | {n: result[average] for n, average in corrections.items()}


def _numbers_of_betas(coefficients: Sequence[int], averages: Mapping[int, bool]) -> dict[int, int]:
    """Return the numbers of coefficients that are called beta: of the first moment 1, of the second 2, as in Adam.

    The others follow. Nothing is numbered where no coefficient is of an average: the caller counts these.
    """
    moments = {averages[n]: n for n in reversed(coefficients) if n in averages}
    found = {n: 1 + is_second for is_second, n in moments.items()}
    if not found:
        return {}
    following = count(3 if True in moments else 2)
    return found | {n: next(following) for n in coefficients if n not in found}


def _stays_a_number(rule: LoweredRule, n: int) -> bool:
    """Return whether a constant is none to be set: pi, e, and the 1 of 1 - beta^step, which corrects a bias."""
    readers = [(rule.values[user], place) for user, place in rule.users[n]]
    return rule.values[n].function in ("get_pi", "get_e") or (
        rule.constants[n] == 1.0
        and all(value.function == "sub" and place == 0 for value, place in readers)
        and all(_is_power_of_step(rule, rule.values[value.args[1]]) for value, _ in readers)
    )


def _is_power_of_step(rule: LoweredRule, value: Value) -> bool:
    return value.function == "power" and value.args[1] == rule.step and value.args[0] in rule.constants


def _describe(rule: LoweredRule, n: int, averages: dict[int, bool]) -> tuple[str, str | None, str]:
    """Return the name, the check and the meaning of a constant, by the first value that reads it."""
    reader, position = rule.users[n][0]
    value, constant = rule.values[reader], rule.constants[n]
    if rule.values[n].function == "get_eps":
        return "eps", _POSITIVE, "term added for numerical stability"
    if n == rule.steps:
        return "total_steps", "{0} >= 1", "number of steps of the whole training"
    if n in averages and value.function == "mul":
        name = "momentum" if list(averages.values()) == [False] else "beta"
        return name, _FRACTION, "factor of the state at each step"
    place = _Place(value.function, position, tuple(a for i, a in enumerate(value.args) if i != position))
    for name, fits, check, meaning in _NAMES:
        if fits(place, constant):
            return name, check, meaning
    check = "math.isfinite({0})" if math.isfinite(constant) else None
    return "c", check, f"constant of `{value.function}`"


# --- coefficients of averages -----------------------------------------------------------------------------------------


def _averages(rule: LoweredRule) -> dict[int, bool]:
    """Return the constants that say how much of an average stays, each with whether it is of a second moment.

    First moments come first. A second moment is a state that is never negative.
    """
    summands = _summands(rule)
    found: dict[int, bool] = {}
    for n, value in enumerate(rule.values):
        if value.function == "interp" and value.args[1] in (M, V):
            _, average, constant = value.args
        elif value.function == "mul" and n in summands and not {M, V}.isdisjoint(value.args):
            average, constant = sorted(value.args)  # constants come after the inputs
        else:
            continue
        is_first_use = rule.values[constant].function == NUMBER and rule.users[constant][0][0] == n
        if is_first_use and _is_fraction(rule.constants[constant]):
            found[constant] = average in rule.never_negative
    return dict(sorted(found.items(), key=lambda item: item[1]))


def _corrections(rule: LoweredRule, averages: Collection[int]) -> dict[int, int]:
    """Return the constants of whose powers the step is the exponent, each with the coefficient that it is equal to."""
    found = {}
    for n, constant in rule.constants.items():
        equal = [average for average in averages if rule.constants[average] == constant]
        readers = [rule.values[user] for user, _ in rule.users[n]]
        if readers and all(_is_power_of_step(rule, value) for value in readers) and len(equal) == 1:
            found[n] = equal[0]
    return found


def _summands(rule: LoweredRule) -> set[int]:
    """Return the values that are added up to the next values of the states."""
    found, stack = set[int](), list(rule.states.values())
    while stack:
        n = stack.pop()
        if n not in found:
            found.add(n)
            stack += {"add": rule.values[n].args, "sub": rule.values[n].args[:1]}.get(rule.values[n].function, ())
    return found
