"""The tree search of *Efficient Non-Parametric Optimizer Search* (Wang et al., arXiv 2209.13575), on this engine.

An update is an expression over the gradient, its averages and some operators. Expressions are the leaves of a tree: its
root is an open expression, and each edge fills the first opening. The search goes down this tree: expressions below the
children of the node that it has reached are drawn at random, those that mean nothing or do not descend are thrown out
without training, the others are trained, each at ten learning rates; after some of them it moves to the child whose
expressions did best on average. Where nothing new is left below a node, it begins again at the root. It ends after
`BUDGET` evaluations.
Written after the paper and its published code. Left out are operators that drop weights at random, schedules, which
the task sets, and the average of cubed gradients, since programs keep two states.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from random import Random

import numpy as np

BUDGET, SAMPLES = 128, 32  # evaluations in all, and before each step down
GROUP = 8  # expressions trained together
MOST_DRAWS = 4500  # to find them
DEPTH = 4
RATES = (0.0006, 0.001, 0.003, 0.006, 0.01, 0.03, 0.06, 0.1, 0.3, 1.0)
OPEN = "?"

BINARY = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": lambda x, y: x / (y + 1e-8)}
UNARY = {
    "negative": np.negative, "exp": np.exp, "log": lambda x: np.log(np.abs(x)),
    "sqrt": lambda x: np.sqrt(np.abs(x)), "sign": np.sign,
}  # fmt: skip
OPERANDS = ("g", "g2", "g3", "m", "v", "sign_g", "sign_m", "1.0", "2.0", "w_1", "w_2", "w_3", "w_4")
_HEAD = """\
g2 = square(g)
g3 = cube(g)
m = interp(g, m, 0.9)
v = interp(g2, v, 0.999)
sign_g = sign(g)
sign_m = sign(m)
w_1 = w * 0.1
w_2 = w * 0.01
w_3 = w * 0.001
w_4 = w * 0.0001
"""

Expression = tuple  # ("add", left, right), ("sqrt", of), an operand, or OPEN


def openings(expression: Expression | str, depth: int = 0) -> list[int]:
    """Return the depths of what is open, from left to right."""
    if isinstance(expression, str):
        return [depth] if expression == OPEN else []
    return [found for part in expression[1:] for found in openings(part, depth + 1)]


def filled(expression: Expression | str, part: Expression | str) -> Expression | str:
    """Return an expression whose first opening is filled."""
    if isinstance(expression, str):
        return part if expression == OPEN else expression
    for at, inner in enumerate(expression[1:], 1):
        if openings(inner):
            return (*expression[:at], filled(inner, part), *expression[at + 1 :])
    return expression


def children(expression: Expression | str) -> list[Expression | str]:
    """Return what the first opening can become."""
    depth = openings(expression)[0]
    parts: list[Expression | str] = list(OPERANDS)
    if depth < DEPTH:
        parts += [(name, OPEN, OPEN) for name in BINARY] + [(name, OPEN) for name in UNARY]
    return [filled(expression, part) for part in parts]


def value(expression: Expression | str, known: dict[str, np.ndarray]) -> np.ndarray:
    """Return what an expression is where its operands are known."""
    if isinstance(expression, str):
        return known[expression] if expression in known else np.full_like(known["g"], float(expression))
    parts = [value(part, known) for part in expression[1:]]
    return (BINARY | UNARY)[expression[0]](*parts)


def text(expression: Expression | str, rate: float) -> str:
    """Return an expression as a program with a learning rate."""
    lines = _HEAD.splitlines()

    def named(part: Expression | str) -> str:
        if isinstance(part, str):
            return part
        arguments = ", ".join([named(inner) for inner in part[1:]])
        name = f"x{len(lines)}"
        lines.append(f"{name} = {part[0]}({arguments})")
        return name

    lines += [f"update = {named(expression)} * 1.0", f"lr = lr * {rate!r}", "update = update * lr"]
    body = "".join(f"    {line}\n" for line in lines)
    return f"def train(w, g, m, v, lr):\n{body}    return update, m, v\n"


class TreePeer:
    """See the module."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._known: dict[tuple[float, ...], float] = {}
        self._tests = [_operands(np.random.default_rng(number)) for number in range(8)]
        self._node: Expression | str = OPEN
        self._scores: dict[Expression | str, list[float]] = defaultdict(list)
        self._drawn: list[tuple[Expression | str, Expression | str]] = []
        self._here = 0
        self.evaluated = 0

    def ask(self) -> list[str]:
        """Return some expressions from below the node, each at every rate."""
        if self.evaluated >= BUDGET:
            return []
        self._draw()
        if not self._drawn and self._node != OPEN:
            self._go_to(OPEN)
            self._draw()
        return [text(leaf, rate) for _, leaf in self._drawn for rate in RATES]

    def _draw(self) -> None:
        """Draw expressions below the node that have not been evaluated, up to a group of them."""
        below = children(self._node)
        self._drawn = []
        for _ in range(MOST_DRAWS):
            child = self._random.choice(below)
            leaf = child
            while openings(leaf):
                leaf = self._random.choice(children(leaf))
            if (key := self._key(leaf)) is None:
                continue
            if key in self._known:
                self._scores[child].append(self._known[key])
            elif all(key != self._key(other) for _, other in self._drawn):
                self._drawn.append((child, leaf))
            if len(self._drawn) == GROUP:
                break

    def _go_to(self, node: Expression | str) -> None:
        self._node = node
        self._scores.clear()
        self._here = 0

    def tell(self, fitness: Sequence[float]) -> None:
        """Take the best of the rates, and go down when enough is known."""
        self.evaluated += len(self._drawn)
        self._here += len(self._drawn)
        for number, (child, leaf) in enumerate(self._drawn):
            best = max(fitness[number * len(RATES) : (number + 1) * len(RATES)])
            self._known[self._key(leaf) or ()] = best
            self._scores[child].append(best)
        if self._here >= SAMPLES:
            means = {
                child: sum(kept) / len(kept)
                for child, scores in self._scores.items()
                if openings(child) and (kept := [score for score in scores if math.isfinite(score)])
            }
            self._go_to(max(means, key=means.__getitem__) if means else OPEN)

    def _key(self, leaf: Expression | str) -> tuple[float, ...] | None:
        """What an expression does in a few cases, equal for equivalent ones; None if it is void or no descent."""
        found, descent = [], []
        with np.errstate(all="ignore"):
            for known in self._tests:
                update = value(leaf, known)
                if not np.isfinite(update).all() or np.ptp(update) == 0:
                    return None
                size = np.linalg.norm(update) * np.linalg.norm(known["g"])
                descent.append(float(update @ known["g"] / size))
                found.append(float(np.float32(update @ known["probe"])))
        return tuple(found) if min(descent) > 0 else None


def _operands(draw: np.random.Generator) -> dict[str, np.ndarray]:
    """Return operands after a few steps of gradients with a common direction, and what to probe updates with."""
    towards = draw.normal(size=16)
    gradients = [towards + 0.5 * draw.normal(size=16) for _ in range(10)]
    w, g = draw.normal(size=16), gradients[-1]
    known = {"g": g, "g2": g**2, "g3": g**3, "sign_g": np.sign(g), "probe": draw.normal(size=16)}
    for name, power, keep in (("m", 1, 0.9), ("v", 2, 0.999)):
        known[name] = sum((1 - keep) * keep ** (9 - i) * gradient**power for i, gradient in enumerate(gradients))
    return known | {"sign_m": np.sign(known["m"])} | {f"w_{i}": w * 0.1**i for i in range(1, 5)}
