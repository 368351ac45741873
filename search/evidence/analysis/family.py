"""The family of a program, and for a Lion-K with decoupled decay whether training keeps to what the theory says.

Lion-K: *Lion Secretly Solves Constrained Optimization* (Liu et al., arXiv 2310.05898). Two trainings are looked at step
by step: the best setting of the stability map, and one whose decay asks for half the norm that weights reach without
any. The Lyapunov function is that of the paper for the continuous limit, with the learning rate of each step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from programs.analysis.coupling import coupling
from programs.analysis.family import FAR, Family, family
from programs.analysis.lion_k import LionK, lion_k
from programs.analysis.properties import Subject
from programs.hyperparameters import with_decay
from programs.layout import Layout

from proxy_tasks import Task, configured_process

from search.evidence.analysis.sheet import Analysis
from search.evidence.analysis.stability import stability
from search.evidence.analysis.walk import start, trained, training_losses, walk
from search.store.data_sheets import SheetSection, SheetTable

NEIGHBOURS = 4  # of the zoo that are shown
POINTS = 40  # of a training, at which the Lyapunov function is computed
BURNT_IN = 0.01  # of the excess of the first weights over the bound that is left then
ROUNDING = 1e-3  # of the bound: within it weights count as inside, in float32


class ConstraintRun(NamedTuple):
    """A training of a Lion-K with decoupled decay.

    `burn_in`: steps until the bound should hold, None if that takes longer than the training. `largest`: the largest
    norm after that over the bound. `lyapunov`: the first value of the Lyapunov function within the bound, the last, and
    the share of the intervals between points in which it falls; None where it is not known.
    """

    setting: str
    weight_decay: float
    bound: float
    burn_in: int | None
    largest: float | None
    lyapunov: tuple[float, float, float] | None

    @property
    def violation(self) -> float | None:
        """By how much of the bound weights exceed it at most."""
        return None if self.largest is None else max(0.0, self.largest - 1.0)


def found_family(analysis: Analysis) -> Family:
    """Return the family of a program by its text."""
    return family(analysis.subject)


def constraint_runs(analysis: Analysis) -> list[ConstraintRun]:
    """Return what trainings say of the constraint, nothing for programs that have none."""
    found = analysis.of(found_family).lion_k
    is_decoupled = coupling(analysis.program.dataflow) == {"decoupled"}
    if found is None or found.k.bounded is None or not is_decoupled or analysis.subject.decay is None:
        return []
    best = analysis.of(stability).ours.best
    if best.weight_decay is None or math.isinf(best.loss):
        return []
    task, seed, layout = analysis.task, analysis.seeds[0], analysis.task.load()[1].layout
    with configured_process():
        (free,) = trained(task, [with_decay(best.program, 0.0)], seed)
        unit = lion_k(Subject(with_decay(best.program, 1.0)))
        assert unit is not None
        assert unit.radius is not None
        binding = unit.radius / (0.5 * found.k.bounded(layout, free))
        settings = {"best": best.weight_decay, "half the free norm": float(f"{binding:.3g}")}
        programs = [with_decay(best.program, decay) for decay in settings.values()]
        kinds = [lion_k(Subject(program)) for program in programs]
        followed = [_Followed(task, kind, layout, seed) for kind in kinds]
        for moment in walk(task, programs, seed):
            for one, g, w in zip(followed, moment.g, moment.w, strict=True):
                one.see(moment.step, moment.rate * task.update_scale, g, w)
        return [
            one.result(setting, decay)
            for one, (setting, decay) in zip(followed, settings.items(), strict=True)
            if one.is_bounded
        ]


class _Followed:
    """A training of a Lion-K of a known bound: its norm at every step, and its Lyapunov function at some."""

    def __init__(self, task: Task, kind: LionK | None, layout: Layout, seed: int) -> None:
        self._task, self._layout = task, layout
        self.is_bounded = kind is not None and kind.radius is not None
        self._kind = kind
        self._excess = self._size(start(task, seed)) - self._radius
        self._every = max(1, task.steps // POINTS)
        self._m: np.ndarray | float = 0.0
        self._burn_in: int | None = 0 if self._excess <= 0 else None
        self._largest: float | None = None
        self._points: list[tuple[np.ndarray, float]] = []

    @property
    def _radius(self) -> float:
        return math.inf if self._kind is None or self._kind.radius is None else self._kind.radius

    def _size(self, w: np.ndarray) -> float:
        bounded = None if self._kind is None else self._kind.k.bounded
        return 0.0 if bounded is None else bounded(self._layout, w)

    def see(self, step: int, rate: float, g: np.ndarray, w: np.ndarray) -> None:
        """Take in the gradient and the weights, both `[P]`, of a step with this learning rate."""
        kind = self._kind
        if kind is None or not self.is_bounded:
            return
        decay = kind.scale / self._radius
        self._excess *= max(0.0, 1.0 - rate * decay)
        if self._burn_in is None and self._excess <= BURNT_IN * self._radius:
            self._burn_in = step + 1
        size = self._size(w) / self._radius
        if self._burn_in is not None:
            self._largest = max(self._largest or 0.0, size)
        if kind.beta1 is None or kind.beta2 is None or kind.k.of is None:
            return
        self._m = kind.beta2 * self._m + (1 - kind.beta2) * g
        if step % self._every == 0 and size <= 1 + ROUNDING:
            lag = (1 - kind.beta2) + rate * decay * (1 - kind.beta1)
            pull = kind.scale * kind.k.of(self._layout, np.asarray(self._m)) + decay * float(np.sum(self._m * w))
            self._points.append((w, rate * kind.beta1 / lag * pull if lag else 0.0))

    def result(self, setting: str, decay: float) -> ConstraintRun:
        """Return what was seen."""
        return ConstraintRun(setting, decay, self._radius, self._burn_in, self._largest, self._lyapunov())

    def _lyapunov(self) -> tuple[float, float, float] | None:
        if len(self._points) < 2:
            return None
        losses = training_losses(self._task, np.stack([w for w, _ in self._points]))
        values = [float(loss) + pull for loss, (_, pull) in zip(losses, self._points, strict=True)]
        falls = [after <= before for before, after in pairwise(values)]
        return values[0], values[-1], sum(falls) / len(falls)


# --- the section -----------------------------------------------------------------------------------------------------


def section(analysis: Analysis) -> SheetSection:
    """Return the section."""
    found = analysis.of(found_family)
    nearest = found.neighbours[0]
    like = nearest.name if nearest.distance <= FAR else "nothing"
    sentences = [f"family of {analysis.name}: {found.name}; it moves weights like {like} in the zoo"]
    if found.lion_k is not None:
        sentences += _about(found.lion_k)
    rows = [{"program": one.name, "distance": one.distance} for one in found.neighbours[:NEIGHBOURS]]
    title = "nearest programs of the zoo: 0 for updates of one direction, 1 for unrelated ones"
    tables = [SheetTable("neighbours", title, ("program", "distance"), rows, ("program",))]
    return SheetSection(sentences, tables + _constraint_tables(analysis.of(constraint_runs)))


def _about(found: LionK) -> list[str]:
    """Return sentences about a Lion-K."""
    momentum = "a momentum of gradients changed by other functions"
    if found.beta1 is not None:
        momentum = f"beta1 = {found.beta1:.6g}, beta2 = {found.beta2:.6g}"
    sentences = [f"its update is the gradient of K = {found.k.name} ({momentum})"]
    if found.radius is not None:
        sentences.append(f"its decoupled decay keeps the {found.k.bound} of the weights <= {found.radius:.4g}")
    return sentences


def _constraint_tables(runs: Sequence[ConstraintRun]) -> list[SheetTable]:
    if not runs:
        return []
    columns = ("training", "decay", "bound", "burn-in steps", "largest / bound", "violation",
               "H first", "H last", "H falls")  # fmt: skip
    rows = [
        dict(
            zip(
                columns,
                (
                    *(r.setting, r.weight_decay, r.bound, r.burn_in, r.largest, r.violation),
                    *(r.lyapunov or (None, None, None)),
                ),
                strict=True,
            )
        )
        for r in runs
    ]
    title = "the bound in training after burn-in, and H, the Lyapunov function: share of intervals in which it falls"
    return [SheetTable("constraint", title, columns, rows, ("training",))]
