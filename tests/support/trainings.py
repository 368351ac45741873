"""Short tasks, evolved programs, and outcomes without what a clock decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from programs import Program, parse, zoo
from programs.mutation import mutate

from proxy_tasks import Outcome, Replica, Task, get_task, train

OF_MATRICES = parse("""m = interp(g, m, 0.9)
update = orthogonalize(m)
x = square(update)
x = row_mean(x)
v = interp(x, v, 0.95)
x = sqrt(v)
update = update / x
t = get_step()
x = sqrt(t)
x = 0.01 / x
update = update * x
update = update * lr""")
"""Orthogonalized momentum over the root of its mean square by rows, in steps that become shorter."""


def short_task(steps: int = 40) -> Task:
    """The digits task for a few steps."""
    return replace(get_task("digits_mlp"), steps=steps)


def evolved(rng: Random, most_mutations: int = 40) -> Program:
    """A program of the zoo after some mutations."""
    program = zoo.load(rng.choice(zoo.names()))
    for _ in range(rng.randrange(most_mutations)):
        program, _ = mutate(program, rng)
    return program


def train_all(task: Task, replicas: Sequence[Replica]) -> list[Outcome]:
    """Outcomes with `seconds` set to zero, in one batch."""
    return [outcome._replace(seconds=0.0) for outcome in train(task, replicas)]


def train_each(task: Task, replicas: Sequence[Replica]) -> list[Outcome]:
    """The same, every replica in a batch of its own."""
    return [train_all(task, [replica])[0] for replica in replicas]
