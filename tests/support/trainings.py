"""Short tasks, evolved programs, and outcomes without what a clock decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from programs import Program, zoo
from programs.mutation import mutate

from proxy_tasks import Outcome, Replica, Task, get_task, train


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
