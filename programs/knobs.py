"""The two constants that people tune, found in a program by the convention of the zoo.

`lr = lr * c` holds the peak learning rate and `wd = w * c` the weight decay.
"""

from __future__ import annotations

from programs.errors import InputError
from programs.program import Program


def with_learning_rate(program: Program, value: float) -> Program:
    """The program with its peak learning rate set.

    Raises:
        InputError: the program has no statement `lr = lr * c`.
    """
    return _with_constant(program, ("lr", "mul", "lr"), value, "lr = lr * c")


def with_weight_decay(program: Program, value: float) -> Program:
    """The program with its weight decay set.

    Raises:
        InputError: the program has no statement `wd = w * c`.
    """
    return _with_constant(program, ("wd", "mul", "w"), value, "wd = w * c")


def _with_constant(program: Program, pattern: tuple[str, str, str], value: float, shown: str) -> Program:
    for i, statement in enumerate(program.statements):
        if (statement.target, statement.function, statement.args[:1]) == (*pattern[:2], pattern[2:]):
            changed = statement._replace(args=(statement.args[0], float(value)))
            return Program((*program.statements[:i], changed, *program.statements[i + 1 :]))
    raise InputError(f"the program has no statement '{shown}' to tune")
