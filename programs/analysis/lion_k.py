"""Rules that follow the gradient of a convex function K of a momentum, and the constraint that decay makes of it.

The family Lion-K (*Lion Secretly Solves Constrained Optimization*, Liu et al., arXiv 2310.05898) is

    z = b1 m + (1 - b1) g,   m = b2 m + (1 - b2) g,   w <- w - lr (s grad K(z) + d w),

which minimises the loss plus (s/d) K*(d w / s). Where K is a norm, K* is zero within the unit ball of the dual norm and
infinite outside: the dual norm of w ends at or below s / d. For Lion, K is the 1-norm and |w| <= 1 / d.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import numpy as np

from programs.analysis import samples
from programs.analysis.coupling import coupling
from programs.analysis.properties import Subject
from programs.graph import G, M, V, W
from programs.layout import Layout
from programs.simplify.facts import UNKNOWN, signs
from programs.simplify.graph import Graph, Reading, read
from programs.simplify.linear import ONE, Form, Forms

Measure = Callable[[Layout, np.ndarray], float]


class ConvexK(NamedTuple):
    """A convex function, by its name.

    `of` gives its value where it is a norm. `bound` names the norm that decay bounds, and `bounded` gives it; there is
    none where the gradient of K is not bounded.
    """

    name: str
    of: Measure | None = None
    bound: str | None = None
    bounded: Measure | None = None


class LionK(NamedTuple):
    """A rule of the family: its K, and the two coefficients of its momentum, None where that is another one.

    `radius` is what decay bounds the norm by, s / d; None where there is no decoupled decay, or no bound. `scale` is s,
    the factor of grad K at a schedule of 1.
    """

    k: ConvexK
    beta1: float | None
    beta2: float | None
    scale: float
    radius: float | None


def _parts(layout: Layout, x: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the matrix of each tensor of a row `[P]`."""
    for part, shape in zip(np.split(x, layout.starts[1:]), layout.stored, strict=True):
        yield part.reshape(shape)


def _largest(layout: Layout, x: np.ndarray) -> float:  # noqa: ARG001 - as all measures
    return float(np.abs(x).max())


def _lines(combine: Callable[[np.ndarray], np.ndarray], axis: int) -> Measure:
    """Return the sum, or maximum, of the 2-norms of rows or columns of all tensors."""

    def measure(layout: Layout, x: np.ndarray) -> float:
        flipped = zip(_parts(layout, x), layout.flipped, strict=True)
        return float(combine(np.concatenate([np.linalg.norm(p, axis=axis ^ 1 ^ f) for p, f in flipped])))

    return measure


def _of_tensors(
    combine: Callable[[np.ndarray], np.ndarray], ord_: float | Literal["nuc"] | None, power: float
) -> Measure:
    """Return the sum, or maximum, of norms of all tensors, each times its size to a power."""

    def size(part: np.ndarray) -> float:
        return math.pow(max(part.shape) if ord_ in ("nuc", 2) else part.size, power)

    return lambda layout, x: float(
        combine(np.array([np.linalg.norm(p, ord=ord_) * size(p) for p in _parts(layout, x)]))
    )


_MAX = ("max norm", _largest)
_GRADIENTS = {
    "sign": ConvexK("1-norm", lambda _, x: float(np.abs(x).sum()), *_MAX),
    "orthogonalize": ConvexK(
        "nuclear norm of each matrix, times the root of its longer side", _of_tensors(np.sum, "nuc", 0.5),
        "spectral norm over the root of the longer side", _of_tensors(np.max, 2, -0.5),
    ),
    "tanh": ConvexK("sum of log cosh", None, *_MAX),
    "arctan": ConvexK("sum of integrals of arctan", None, *_MAX),
    "clip": ConvexK("Huber function of the 2-norm", None, "2-norm", lambda _, x: float(np.linalg.norm(x))),
    **{name: ConvexK(f"sum of integrals of {name}") for name in ("cbrt", "cube", "sinh", "arcsinh")},
}  # fmt: skip
_OVER = {
    "global_norm": ConvexK("2-norm", lambda _, x: float(np.linalg.norm(x)), "2-norm",
                           lambda _, x: float(np.linalg.norm(x))),
    "norm": ConvexK("sum of the 2-norms of tensors", _of_tensors(np.sum, None, 0.0),
                    "largest 2-norm of a tensor", _of_tensors(np.max, None, 0.0)),
    "rms": ConvexK("sum of the 2-norms of tensors, times the root of their size", _of_tensors(np.sum, None, 0.5),
                   "largest RMS of a tensor", _of_tensors(np.max, None, -0.5)),
    "row_norm": ConvexK("sum of the 2-norms of rows", _lines(np.sum, 0), "largest 2-norm of a row", _lines(np.max, 0)),
    "column_norm": ConvexK("sum of the 2-norms of columns", _lines(np.sum, 1),
                           "largest 2-norm of a column", _lines(np.max, 1)),
}  # fmt: skip
SQUARE = ConvexK("half the square of the 2-norm")
"""Its gradient is the momentum itself, as in gradient descent."""


def lion_k(subject: Subject) -> LionK | None:
    """Return what a program is as a member of the family, None if it is none."""
    reading = read(subject.bare)
    graph, roots, forms = reading.graph, reading.roots, Forms(reading.graph)
    core = _without_factors(reading, roots.update)
    k, z = _gradient_of(graph, core)
    momentum = _momentum(forms, z, dict(roots.states))
    inputs = _atoms(forms.of(z)).union(*map(_atoms, momentum.values()))
    if len(inputs) != 1 or _depends(graph, z, {W}) or (k is SQUARE and inputs != {G}):
        return None
    beta1, beta2 = _betas(forms.of(z), momentum) if inputs == {G} else (None, None)
    scale = _scale(subject, k)
    return LionK(k, beta1, beta2, scale, _radius(subject, k, scale))


def _gradient_of(graph: Graph, core: int) -> tuple[ConvexK, int]:
    """Return K and the value at which its gradient is taken."""
    function, args, _, _ = graph.nodes[core]
    if function in _GRADIENTS:
        return _GRADIENTS[function], args[0]
    if function == "div":
        divisor = graph.nodes[args[1]]
        if divisor.function in _OVER and divisor.args[0] == args[0]:
            return _OVER[divisor.function], args[0]
    return SQUARE, core


def _without_factors(reading: Reading, node: int) -> int:
    """Return a value without its positive factors that are the same for all weights, whatever the gradients."""
    graph, roots, _ = reading
    known = signs(graph, roots)

    def is_factor(n: int) -> bool:
        return known[n] != UNKNOWN and not _depends(graph, n, {W, G, M, V})

    while True:
        function, args, _, _ = graph.nodes[node]
        if function == "div" and is_factor(args[1]):
            node = args[0]
        elif function == "mul" and any(map(is_factor, args)):
            node = args[1] if is_factor(args[0]) else args[0]
        else:
            return node


def _depends(graph: Graph, node: int, on: set[int]) -> bool:
    return not graph.below([node]).isdisjoint(on)


def _atoms(form: Form) -> set[int]:
    """Return what a linear form is made of besides states."""
    return set(form) - {M, V}


def _momentum(forms: Forms, z: int, following: dict[int, int]) -> dict[int, Form]:
    """Return what follows on each state that a value is a sum of, now or at earlier steps."""
    found: dict[int, Form] = {}
    waiting = set(forms.of(z)) & following.keys()
    while waiting:
        slot = waiting.pop()
        found[slot] = forms.of(following[slot])
        waiting |= found[slot].keys() & following.keys() - found.keys()
    return found


def _betas(form: Form, momentum: dict[int, Form]) -> tuple[float | None, float | None]:
    """Return b1 and b2 for a momentum of the gradient itself; the state may be kept in any units."""
    if not momentum:
        return 0.0, 0.0
    if len(momentum) > 1 or ONE in form:
        return None, None
    ((slot, after),) = momentum.items()
    kept, added = float(after.get(slot, 0)), float(after.get(G, 0))
    if not 0 <= kept < 1 or added <= 0:
        return None, None
    ahead, old = float(form.get(G, 0)), float(form.get(slot, 0)) * added / (1 - kept)
    return (old / (old + ahead), kept) if min(old, ahead) >= 0 < old + ahead else (None, None)


def _scale(subject: Subject, k: ConvexK) -> float:
    if k.bounded is None:
        return 1.0
    found = samples.updates(subject.bare, samples.random_samples())
    return max(k.bounded(samples.LAYOUT, row) for row in found)


def _radius(subject: Subject, k: ConvexK, scale: float) -> float | None:
    """Return s / d: decay is what a weight of 1 adds to the update of a weight of 0."""
    if k.bounded is None or coupling(subject.program.dataflow) != {"decoupled"}:
        return None
    w, g = samples.random_samples()
    one, none = (samples.updates(subject.program, samples.Samples(np.full_like(w, x), g)) for x in (1.0, 0.0))
    decay = float(np.median(one - none))
    return scale / decay if decay > 0 else None
