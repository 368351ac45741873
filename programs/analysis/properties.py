"""The properties of a program, each by algebra where that can tell, else on samples, and marked as proved or sampled.

What is said of gradients and weights is said of the rule without its decay, which has a property of its own, but for
the loss, the rotations and the fixed points, which are said of all. Guards of divisions count as infinitesimal.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import cached_property
from typing import Literal, NamedTuple

from programs.analysis import samples
from programs.analysis.bounds import bound_of_update
from programs.analysis.coupling import coupling
from programs.analysis.laws import (
    NO_GRADIENTS,
    SCALE_OF_G,
    SCALE_OF_W,
    SIGN_OF_G,
    UNITS_OF_W,
    ZERO,
    Direction,
    Law,
    law_of_update,
)
from programs.analysis.rotation import GROUPS, rotations
from programs.hyperparameters import decay_of, with_decay
from programs.kinds import LEAF
from programs.liveness import live, states_in_words
from programs.ops import OPS
from programs.program import Program
from programs.simplify import simplify_algebra

Evidence = Literal["proved", "sampled", "measured"]


class Property(NamedTuple):
    """What holds of a program, and how that is known."""

    name: str
    value: str
    evidence: Evidence


class Subject:
    """A program that is looked at.

    Attributes:
        program: as it is.
        decay: the size of its decay, None if it has none to set.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.decay = decay_of(program)

    @cached_property
    def bare(self) -> Program:
        """The program without its decay, as simple as algebra makes it."""
        return simplify_algebra(with_decay(self.program, 0.0) if self.decay else self.program).program


def properties(subject: Subject) -> list[Property]:
    """Return all properties of a program, in the order of the data sheet."""
    return [Property(name, *found) for name, how in PROPERTIES.items() for found in [how(subject)]]


Found = tuple[str, Evidence]


def _odd(subject: Subject) -> Found:
    law = law_of_update(subject.bare.dataflow, SIGN_OF_G)
    if isinstance(law, Law):
        return _yes(law.is_odd), "proved"
    return _yes(law == ZERO or samples.is_odd_on_samples(subject.bare, SIGN_OF_G)), "sampled"


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"


def _scaling(direction: Direction, with_decay: bool = False, equivariant: int = 1) -> Callable[[Subject], Found]:
    """Return what says how updates scale in a direction; of degree `equivariant` they do as they should."""

    def how(subject: Subject) -> Found:
        program = subject.program if with_decay else subject.bare
        law = law_of_update(program.dataflow, direction)
        if isinstance(law, Law):
            return _degree(law.degree, equivariant), "proved"
        degree = samples.sampled_degree(program, direction)
        return "neither" if degree is None else _degree(Fraction(degree), equivariant), "sampled"

    return how


def _degree(degree: Fraction, equivariant: int) -> str:
    if degree in (0, equivariant):
        return "equivariant" if degree == equivariant else "invariant"
    return f"as the power {float(degree):g}"


def _bound(subject: Subject) -> Found:
    bound = bound_of_update(subject.bare.dataflow)
    if math.isfinite(bound):
        return f"yes, {bound:g} per weight", "proved"
    law = law_of_update(subject.bare.dataflow, SCALE_OF_G)
    if isinstance(law, Law) and law.degree:
        return "no", "proved"
    largest = samples.largest_updates(subject.bare)
    if largest.weight is None and largest.rms is None:
        return "no", "sampled"
    parts = [f"{size:.2g} {of}" for size, of in zip(largest, ("per weight", "in RMS of a tensor"), strict=True) if size]
    return f"yes, {' and '.join(parts)}", "sampled"


def _fixed_points(subject: Subject) -> Found:
    """Where weights stay once gradients are zero and states have come to zero."""
    law = law_of_update(subject.program.dataflow, NO_GRADIENTS)
    if law == ZERO:
        return "every w without gradient", "proved"
    if isinstance(law, Law) and law.degree:
        return "w = 0 alone, where it has no gradient", "proved"
    rest = samples.without_gradients(subject.program)
    return ("none: moves without gradients" if rest.moves else "every w without gradient"), "sampled"


def _reach(subject: Subject) -> Found:
    flow = subject.program.dataflow
    reach = 0
    for number in live(flow).nodes:
        node = flow.nodes[number]
        op = OPS[node.function] if node.is_call else None
        kinds = [flow.nodes[a].kind for a in node.args]
        if op is not None and op.reduces and max(kinds) >= LEAF:
            within = op.within if op.sums else "leaf"
            reach = max(reach, {"row": 1, "column": 1, "leaf": 2, "all": 3}[within])
    return ("each weight by itself", "rows or columns", "each tensor by itself", "global")[reach], "proved"


_WAYS = {"decoupled": "decoupled", "gradient": "through the gradient", "norm": "norm-dependent"}


def _decay(subject: Subject) -> Found:
    ways = coupling(subject.program.dataflow)
    found = ", ".join(text for way, text in _WAYS.items() if way in ways)
    return (f"{found} ({subject.decay:g})" if found and subject.decay else found) or "none", "proved"


def _rotations(subject: Subject) -> Found:
    names = {
        "all": "yes, of all weights",
        "tensor": "yes, of each tensor",
        "matrix": "of rows and of columns of a matrix alone",
    }
    group = rotations(subject.program.dataflow)
    if group is not None:
        return names[group], "proved"
    on_samples = next((g for g in GROUPS if samples.turns_on_samples(subject.program, g)), None)
    return names[on_samples] if on_samples else "no", "sampled"


def _state(subject: Subject) -> Found:
    slots = states_in_words(subject.program)
    return f"{slots} slot{'s' * (slots != '1')}", "proved"


def _step(subject: Subject) -> Found:
    """What a step of the simplest form costs."""
    flow = subject.program.dataflow
    calls = [flow.nodes[n] for n in live(flow).nodes if flow.nodes[n].is_call]
    sums = sum(len(OPS[c.function].sums) for c in calls)
    matrices = sum(not OPS[c.function].sums and OPS[c.function].of_matrices for c in calls)
    each = sum(c.kind > LEAF for c in calls) - matrices
    parts = [f"{each} functions of each weight", *[f"{sums} sums"] * bool(sums)]
    return ", ".join(parts + ["orthogonalises"] * bool(matrices)), "proved"


def _zero_gradients(subject: Subject) -> Found:
    rest = samples.without_gradients(subject.bare)
    start = "not finite" if not rest.is_finite else "moves" if rest.moves else "stays"
    after = "keeps its speed" if rest.coasts is None else f"coasts {rest.coasts} steps"
    return f"{start} from the start, {after} once they end", "sampled"


def _infinities(subject: Subject) -> Found:
    found = samples.after_infinity(subject.program)
    reach = {
        "nothing": "no weight is lost",
        "weight": "its weight is lost",
        "tensor": "its tensor is lost",
        "all": "all weights are lost",
    }
    return f"{reach[found.reaches]}{'' if found.recovers else ', updates stay broken'}", "sampled"


def _bf16(subject: Subject) -> Found:
    off = samples.loss_in_bf16(subject.bare)
    return ("not finite" if math.isinf(off) else f"updates are off by {off:.2g} of their RMS"), "sampled"


PROPERTIES: dict[str, Callable[[Subject], Found]] = {
    "odd in g": _odd,
    "scaling of g": _scaling(SCALE_OF_G),
    "scaling of w": _scaling(SCALE_OF_W),
    "units of w": _scaling(UNITS_OF_W),
    "scaling of the loss": _scaling(SCALE_OF_G, with_decay=True),
    "bounded update": _bound,
    "fixed points": _fixed_points,
    "reach": _reach,
    "decay": _decay,
    "state": _state,
    "step": _step,
    "rotations": _rotations,
    "zero gradients": _zero_gradients,
    "an infinite gradient": _infinities,
    "states in bf16": _bf16,
}
