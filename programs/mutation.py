"""The four mutations. Each returns only valid programs; a draw that is not valid is drawn again.

Insert, delete and modify are the Lion paper's (arXiv 2302.06675, section 2) and equally likely: the kind of mutation is
drawn once and kept while its details are drawn again. Arguments and targets are drawn as in the released search space:
uniformly among the variables that fit, a new constant (or a new name) counting as one more choice. Rows, columns and
trees fit where one of them does. Randomness comes only from `rng.random()` and `rng.gauss()`. Where functions are
drawn, it is from a tuple of them: those of the paper and the user-defined ones if nothing else is said.
"""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from random import Random

from programs.editing import INPUT_KINDS, choose, is_valid, new_names, scope_at, with_argument
from programs.errors import InputError
from programs.kinds import SCALAR, WEIGHTS
from programs.ops import LANGUAGES, OPS, Op, functions_of
from programs.program import Program, Statement

ATTEMPTS = 50  # draws of the details before another kind of mutation is taken

PAPER = functions_of(LANGUAGES["paper"])


def mutate(
    program: Program, rng: Random, max_statements: int = 64, functions: Sequence[Op] = PAPER
) -> tuple[Program, str]:
    """Return a valid child by insertion, deletion or modification, and the name of what was done.

    The three are equally likely. Where one is impossible (a deletion from a program of one statement, an insertion into
    one of `max_statements`), another is drawn.
    """
    while True:
        mutation = choose(rng, (insert, delete, modify))
        if mutation is insert and len(program) >= max_statements:
            continue
        for _ in range(ATTEMPTS):
            child = insert(program, rng, functions) if mutation is insert else mutation(program, rng)
            if child is not None and is_valid(child):
                return child, mutation.__name__


def insert(program: Program, rng: Random, functions: Sequence[Op] = PAPER) -> Program | None:
    """Insert a random statement at a random place; its target is a new variable or one of a fitting kind."""
    position = int(rng.random() * (len(program) + 1))
    scope = scope_at(program, position)
    call = _draw_call(rng, scope, functions)
    if call is None:
        return None
    function, args, kind = call
    target = _draw_target({s.target for s in program.statements}, rng, scope, kind)
    statement = Statement(target, function, args)
    return Program((*program.statements[:position], statement, *program.statements[position:]))


def delete(program: Program, rng: Random) -> Program | None:
    """Delete one random statement."""
    position = int(rng.random() * len(program))
    return Program(program.statements[:position] + program.statements[position + 1 :])


def modify(program: Program, rng: Random) -> Program | None:
    """Change one argument of one random statement; its function stays.

    A constant is scaled by 2^a, a ~ N(0, 1), half of the time; otherwise the argument becomes another variable or a new
    constant.
    """
    position = int(rng.random() * len(program))
    statement = program.statements[position]
    if not statement.args:
        return None
    place = int(rng.random() * len(statement.args))
    old = statement.args[place]
    if not isinstance(old, str) and rng.random() < 0.5:
        new: str | float | None = _scaled(old, rng)
    else:
        new = _draw_argument(rng, scope_at(program, position), OPS[statement.function].accepts[place])
    return None if new is None or new == old else with_argument(program, position, place, new)


def tune(program: Program, rng: Random) -> tuple[Program, str]:
    """Scale one random constant by 2^a, a ~ N(0, 1): mutation as hyperparameter tuning.

    Raises:
        InputError: the program has no constants but zeros, which scaling leaves as they are.
    """
    places = [
        (i, j, a)
        for i, s in enumerate(program.statements)
        for j, a in enumerate(s.args)
        if not isinstance(a, str) and a
    ]
    if not places:
        raise InputError("the program has no constants to tune; start from another one")
    while True:
        position, place, old = choose(rng, places)
        new = _scaled(old, rng)
        if new != old:
            return with_argument(program, position, place, new), "tune"


def random_program(rng: Random, statements: int, functions: Sequence[Op] = PAPER) -> Program:
    """Return a valid program of random statements, drawn as insertions are; the last one assigns the update.

    Args:
        rng: where randomness comes from.
        statements: 1 or more.
        functions: what it may consist of; one of them at least gives a number for each weight.
    """
    scope, drawn = dict(INPUT_KINDS), list[Statement]()
    while len(drawn) < statements:
        call = _draw_call(rng, scope, functions)
        is_last = len(drawn) == statements - 1
        if call is None or (is_last and call[2] not in WEIGHTS):
            continue
        function, args, kind = call
        target = "update" if is_last else _draw_target(scope, rng, scope, kind)
        drawn.append(Statement(target, function, args))
        scope[target] = kind
    return Program(tuple(drawn))


def _draw_call(
    rng: Random, scope: dict[str, int], functions: Sequence[Op]
) -> tuple[str, tuple[str | float, ...], int] | None:
    """Return a random function with random arguments, and its kind; None where an argument finds no variable."""
    op = choose(rng, functions)
    args, kinds = [], []
    for accepted in op.accepts:
        argument = _draw_argument(rng, scope, accepted)
        if argument is None:
            return None
        args.append(argument)
        kinds.append(scope[argument] if isinstance(argument, str) else SCALAR)
    return op.name, tuple(args), op.results[tuple(kinds)]


def _draw_argument(rng: Random, scope: dict[str, int], accepted: tuple[int, ...]) -> str | float | None:
    choices: list[str | None] = [name for name, kind in scope.items() if kind in accepted]
    if SCALAR in accepted:
        choices.append(None)  # a new constant
    if not choices:
        return None
    name = choose(rng, choices)
    return rng.gauss(0.0, 1.0) if name is None else name


def _draw_target(taken: Container[str], rng: Random, scope: dict[str, int], kind: int) -> str:
    fitting = WEIGHTS if kind in WEIGHTS else (kind,)
    choices: list[str | None] = [name for name, k in scope.items() if k in fitting]
    choices.append(None)  # a new variable
    name = choose(rng, choices)
    return next(new_names(taken)) if name is None else name


def _scaled(constant: float, rng: Random) -> float:
    scaled = constant * 2.0 ** rng.gauss(0.0, 1.0)
    return scaled if math.isfinite(scaled) else constant
