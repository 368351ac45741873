"""What holds of the values of a program at every step: abstract interpretation of its dataflow over a domain.

A domain says what is known of inputs, of constants, and of a call by what is known of its arguments, mostly by a table
from function to rule. States are zero before the first step; what is known of them is weakened from step to step until
a further step changes nothing. What holds then holds at all steps, by induction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from programs.graph import INPUT, Dataflow, M, Node, V
from programs.liveness import live

Fact = TypeVar("Fact")

_ROUNDS = 50  # no domain needs more than a few


class Domain(Protocol[Fact]):
    """What is asked about the values of a program."""

    def input(self, slot: int) -> Fact:
        """Return what is known of `W`, `G` or `LR`."""

    def constant(self, value: float) -> Fact:
        """Return what is known of a number; states begin as the number zero."""

    def call(self, node: Node, args: Sequence[Fact], nodes: Sequence[Node]) -> Fact:
        """Return what is known of a call: `args` of its arguments, which are those of `nodes`."""

    def weaken(self, seen: Sequence[Fact], new: Fact) -> Fact:
        """Return what holds of a state if it was the last of `seen`, after those before it, and a step makes it `new`.

        Once a step makes nothing of it that was not allowed before, it must be the last of `seen` itself.
        """


def interpret(flow: Dataflow, domain: Domain[Fact]) -> dict[int, Fact]:
    """Return what a domain knows of each live node of a program."""
    alive, after = live(flow)
    seen = {slot: [domain.constant(0.0)] for slot in (M, V)}
    for _ in range(_ROUNDS):
        found: dict[int, Fact] = {}
        for number in alive:
            node = flow.nodes[number]
            if node.is_constant:
                found[number] = domain.constant(node.value)
            elif node.function == INPUT:
                found[number] = seen[number][-1] if number in seen else domain.input(number)
            else:
                found[number] = domain.call(node, [found[a] for a in node.args], [flow.nodes[a] for a in node.args])
        weaker = {slot: domain.weaken(seen[slot], found[node]) for slot, node in after.items()}
        if all(weaker[slot] == seen[slot][-1] for slot in weaker):
            return found
        for slot, fact in weaker.items():
            seen[slot].append(fact)
    raise AssertionError("a domain in which weakening does not end")
