"""The genetic algorithm of *Evolving Deep Learning Optimizers* (Marfinetz, arXiv 2512.11853), on this engine.

An optimizer is a weighted sum of up to four terms with log-scaled constants and flags. 50 genomes a generation: three
elites, the others by tournaments of four, crossover and mutation, whose rates fall over 50 generations. The first
generation holds SGD with momentum, Adam, AdamW and RMSProp. Written after the paper and its published notebook. Two
things differ: the task sets the schedule, so that genes for it would only add a second one, and epsilon is that of the
language's division.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

POPULATION, ELITES, TOURNAMENT, GENERATIONS, MOST_TERMS = 50, 3, 4, 50, 4

TERMS = {
    "gradient": "{to} = g * 1.0",
    "momentum": "{to} = m_hat * 1.0",
    "rms": "{to} = g / root",
    "adam": "{to} = m_hat / root",
    "sign": "{to} = sign(g)",
    "unit": "{to} = g / size",
    "nesterov": "{to} = interp(m_hat, g, 0.9)",
}


@dataclass(frozen=True)
class Genome:
    """What is inherited. Rates and decay are powers of ten; a flag that is off leaves out what it is called after."""

    terms: tuple[tuple[str, float], ...]
    rate: float = -3.0
    decay: float = -4.0
    beta1: float = 0.9
    beta2: float = 0.999
    momentum: bool = True
    second_moment: bool = True
    correction: bool = True
    clipping: bool = False
    bound: float = 1.0

    def text(self) -> str:
        """Return it as a program."""
        lines = []
        if self.clipping:
            lines += [f"high = {self.bound!r} * 1.0", "low = negative(high)", "g = minimum(g, high)"]
            lines += ["g = maximum(g, low)"]
        lines += ["t = get_step()", "size = abs(g)", "g2 = square(g)"]
        lines += [f"m = interp(g, m, {self.beta1!r})"] if self.momentum else []
        lines += [f"v = interp(g2, v, {self.beta2!r})"] if self.second_moment else []
        lines += _corrected("m_hat", "m" if self.momentum else "g", self.beta1, self.correction and self.momentum)
        lines += _corrected("v_hat", "v" if self.second_moment else "g2", self.beta2,
                            self.correction and self.second_moment)  # fmt: skip
        lines.append("root = sqrt(v_hat)")
        for number, (term, weight) in enumerate(self.terms):
            lines += [TERMS[term].format(to="x"), f"x = x * {weight!r}"]
            lines.append("update = update + x" if number else "update = x * 1.0")
        lines += [f"x = w * {10**self.decay!r}", "update = update + x"]
        lines += [f"lr = lr * {10**self.rate!r}", "update = update * lr"]
        return "def train(w, g, m, v, lr):\n" + "".join(f"    {line}\n" for line in lines) + "    return update, m, v\n"


def _corrected(to: str, of: str, beta: float, correction: bool) -> list[str]:
    if not correction:
        return [f"{to} = {of} * 1.0"]
    return [f"c = power({beta!r}, t)", "c = 1.0 - c", f"{to} = {of} / c"]


KNOWN = (
    Genome((("momentum", 1.0),), rate=-2.0, second_moment=False, correction=False),
    Genome((("adam", 1.0),)),
    Genome((("adam", 1.0),), decay=-2.0),
    Genome((("rms", 1.0),), beta2=0.99, momentum=False, correction=False),
)


class GenomePeer:
    """See the module."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._generation = 0
        self._population = [*KNOWN, *(self._drawn() for _ in range(POPULATION - len(KNOWN)))]
        self.evaluated = 0

    def ask(self) -> list[str]:
        """Return the programs of a generation."""
        return [genome.text() for genome in self._population]

    def tell(self, fitness: Sequence[float]) -> None:
        """Make the next generation."""
        self.evaluated += len(fitness)
        ranked = sorted(range(len(fitness)), key=lambda number: fitness[number], reverse=True)
        following = [self._population[number] for number in ranked[:ELITES]]
        while len(following) < POPULATION:
            mother, father = (self._selected(fitness) for _ in range(2))
            following.append(self._mutated(self._crossed(mother, father)))
        self._population = following
        self._generation += 1

    def _selected(self, fitness: Sequence[float]) -> Genome:
        entrants = self._random.sample(range(len(fitness)), TOURNAMENT)
        return self._population[max(entrants, key=lambda number: fitness[number])]

    def _crossed(self, mother: Genome, father: Genome) -> Genome:
        draw = self._random
        first = mother.terms[: draw.randint(1, len(mother.terms))]
        terms = (first + father.terms[draw.randint(0, len(father.terms) - 1) :])[:MOST_TERMS]
        others = [name for name in vars(mother) if name != "terms"]
        return Genome(terms, **{name: getattr(draw.choice((mother, father)), name) for name in others})

    def _mutated(self, genome: Genome) -> Genome:
        draw, fading = self._random, 1 - 0.5 * min(1.0, self._generation / GENERATIONS)
        spread = 0.3 * fading
        changed = dict(vars(genome))
        for name, least, most, scale in (
            ("rate", -5, -1, 1.0), ("beta1", 0, 0.999, 0.2), ("beta2", 0, 0.9999, 0.1), ("decay", -6, -2, 1.0)
        ):  # fmt: skip
            if draw.random() < 0.35 * fading:
                changed[name] = min(most, max(least, changed[name] + draw.gauss(0, scale * spread)))
        terms = [
            (
                term,
                min(5, max(-5, weight * math.exp(draw.gauss(0, spread)))) if draw.random() < 0.35 * fading else weight,
            )
            for term, weight in genome.terms
        ]
        if draw.random() < 0.15 * fading:
            terms = self._restructured(terms)
        for flag in ("momentum", "second_moment", "correction", "clipping"):
            if draw.random() < 0.1 * fading:
                changed[flag] = not changed[flag]
        return replace(genome, **changed | {"terms": tuple(terms)})

    def _moved(self, weight: float, spread: float, chance: float) -> float:
        if self._random.random() >= chance:
            return weight
        return min(5.0, max(-5.0, weight * math.exp(self._random.gauss(0, spread))))

    def _restructured(self, terms: list[tuple[str, float]]) -> list[tuple[str, float]]:
        draw, kind = self._random, self._random.choice(("add", "remove", "change"))
        at = draw.randrange(len(terms))
        if kind == "add" and len(terms) < MOST_TERMS:
            return [*terms, (draw.choice([*TERMS]), draw.uniform(-1, 1))]
        if kind == "remove" and len(terms) > 1:
            return terms[:at] + terms[at + 1 :]
        if kind == "change":
            return [*terms[:at], (draw.choice([*TERMS]), terms[at][1]), *terms[at + 1 :]]
        return terms

    def _drawn(self) -> Genome:
        draw = self._random
        return Genome(
            tuple((draw.choice([*TERMS]), draw.uniform(-1, 1)) for _ in range(draw.randint(1, 3))),
            draw.uniform(-4, -2), draw.uniform(-5, -3), draw.uniform(0.5, 0.99), draw.uniform(0.9, 0.9999),
            draw.random() < 0.7, draw.random() < 0.7, draw.random() < 0.6, draw.random() < 0.2, draw.uniform(0.5, 2),
        )  # fmt: skip
