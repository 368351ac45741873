"""Children in which a live value has something added, or is averaged over steps: what optimizers are mostly made of.

By insertions both take several steps of which the first ones do nothing, and such steps are not drawn in programs that
are kept clean.
"""

from __future__ import annotations

import math
from random import Random

from programs.editing import choose, names_of, new_names, renamed, scope_at
from programs.graph import INPUTS
from programs.kinds import WEIGHTS
from programs.liveness import live, live_program
from programs.program import Program, Statement
from programs.proposals.functions import values_of
from programs.proposals.material import Material, is_new

USUAL_LOGIT = 2.2  # of 0.9, in the middle of the coefficients of averages


def combine(program: Program, rng: Random, material: Material) -> Program | None:
    """Return the program with a multiple of another value added to a random live value, such as weight decay.

    The factor is log-normal, or minus that. Both have a number for each weight.
    """
    values = [value for value in values_of(program) if value.kind in WEIGHTS]
    if not values or not material.names.issuperset({"add", "mul"}):
        return None
    value = choose(rng, values)
    unwritten = {INPUTS[slot] for slot, last in program.dataflow.states.items() if slot == last}
    others = [
        name
        for name, kind in scope_at(program, value.position).items()
        if kind in WEIGHTS and name != value.name and name not in unwritten
    ]
    other, sign = choose(rng, others), choose(rng, (1.0, -1.0))
    spare = next(new_names(names_of(program)))
    added = [
        Statement(spare, "mul", (other, sign * math.exp(rng.gauss(0.0, 1.0)))),
        Statement(value.name, "add", (value.name, spare)),
    ]
    child = Program((*program.statements[: value.position], *added, *program.statements[value.position :]))
    return child if is_new(child, program, material) else None


def average(program: Program, rng: Random, material: Material) -> Program | None:
    """Return the program with a random live value averaged over steps in a free state, as momentum is.

    The coefficient is around 0.9, by a normal step of its logit. Dead statements are gone in the child.
    """
    alive = live_program(program)
    used = live(alive.dataflow).nodes
    free = [slot for slot in alive.dataflow.states if slot not in used]
    if not free or "interp" not in material.names:
        return None
    state = INPUTS[free[0]]
    alive = renamed(alive, state, next(new_names(names_of(alive))))
    last = len(alive)
    values = [value for value in values_of(alive) if value.kind in WEIGHTS and value.position < last]
    if not values:
        return None
    value = choose(rng, values)
    coefficient = 1.0 / (1.0 + math.exp(-rng.gauss(USUAL_LOGIT, 1.0)))
    added = Statement(state, "interp", (value.name, state, coefficient))
    rest = _reading(alive.statements[value.position :], value.name, state)
    child = Program((*alive.statements[: value.position], added, *rest))
    return child if is_new(child, program, material) else None


def _reading(statements: tuple[Statement, ...], old: str, new: str) -> list[Statement]:
    """Return the statements with one name in place of another in what they read, until the old one is assigned."""
    found = list[Statement]()
    for position, statement in enumerate(statements):
        found.append(statement._replace(args=tuple(new if arg == old else arg for arg in statement.args)))
        if statement.target == old:
            return [*found, *statements[position + 1 :]]
    return found
