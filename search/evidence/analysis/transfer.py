"""Transfer without tuning anew: how the best learning rate goes with batch size, steps, width and depth.

At each value of an axis a grid of learning rates is trained, all of it as replicas, with everything else as in the best
setting of the stability map: its decay, and the schedule over all steps. Batch sizes are compared at equal steps, and
steps at equal batch size, so that a change of both is the product of the two. Grids grow where the best is at an edge.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from programs.analysis.properties import PROPERTIES
from programs.hyperparameters import scaled

from search.evidence.analysis.maps import Cell
from search.evidence.analysis.regret import regret_sentences, regret_table, regrets
from search.evidence.analysis.scaling import (
    LEVEL,
    Power,
    RateCurve,
    Surge,
    error_of_best,
    fit_power,
    fit_surge,
)
from search.evidence.analysis.sheet import Analysis
from search.evidence.analysis.stability import stability
from search.evidence.analysis.variations import axes
from search.settings.seeds import tuning_seeds
from search.settings.tasks import TaskSeeds
from search.store.data_sheets import SheetSection, SheetTable, finite

GRID = range(-2, 3)  # powers of two of the best rate of the task itself
LEAST, MOST = -8, 8
SEEDS = 3  # at least: intervals are drawn from them
BATCH_FACTOR, STEPS_FACTOR = 8, 4  # for which rates are recommended
BATCH, LENGTH = "batch size", "steps"
SCALING = PROPERTIES["scaling of g"]  # the surge is that of rules that do not see it


class Scaling(NamedTuple):
    """An axis with the losses at each value, and what was fitted to the best rates: None for too few of them."""

    name: str
    own: float
    curves: dict[float, RateCurve]
    power: Power | None
    surge: Surge | None

    @property
    def edges(self) -> list[float]:
        """The values whose best rate is at an edge of the rates that were tried."""
        return [value for value, curve in self.curves.items() if curve.best is None or curve.best.is_edge]

    def moved(self, value: float) -> float:
        """Return the factor on the rate from the task's own value to another: 1 where no exponent is known."""
        return 1.0 if self.power is None or not self.power.is_sure else float((value / self.own) ** self.power.exponent)


class Transfer(NamedTuple):
    """The axes that the task has, what is left out and why, and the setting that they begin from."""

    start: Cell
    axes: list[Scaling]
    left_out: list[str]

    @property
    def own_best(self) -> float:
        """The best rate of the task itself, refined where it is inside its grid."""
        batch = self.axis(BATCH)
        best = None if batch is None else batch.curves[batch.own].best
        return self.start.learning_rate if best is None or best.is_edge else best.rate

    def axis(self, name: str) -> Scaling | None:
        """Return an axis by its name."""
        return next((axis for axis in self.axes if axis.name == name), None)


def transfer(analysis: Analysis) -> Transfer:
    """Return how the best rate goes with everything that the task can vary."""
    start = analysis.of(stability).ours.best
    if not np.isfinite(start.loss):
        return Transfer(start, [], ["nothing is varied: the program trains at no learning rate"])
    found, left_out = axes(analysis.task)
    seeds = tuning_seeds(max(SEEDS, len(analysis.seeds)))
    grids = [_Grid(axis.name, value, TaskSeeds(task, seeds)) for axis in found for value, task in axis.tasks.items()]
    while unfinished := [grid for grid in grids if grid.wanted]:
        for grid in unfinished:
            grid.train(analysis, start)
    own = {BATCH: analysis.task.batch_size, LENGTH: analysis.task.steps}
    scalings = []
    for axis in found:
        curves = {grid.value: grid.curve(start) for grid in grids if grid.axis == axis.name}
        scalings.append(Scaling(axis.name, own.get(axis.name, 1), curves, fit_power(curves), fit_surge(curves)))
    return Transfer(start, scalings, left_out)


class _Grid:
    """Losses at powers of two of a rate, at one value of an axis; more are wanted until the best is at no end."""

    def __init__(self, axis: str, value: float, on: TaskSeeds) -> None:
        self.axis, self.value = axis, value
        self._on = on
        self._losses: dict[int, list[float]] = {}

    @property
    def wanted(self) -> list[int]:
        """The powers of two that are trained next."""
        if not self._losses:
            return list(GRID)
        low, high = min(self._losses), max(self._losses)
        best = min(self._losses, key=lambda power: float(np.mean(self._losses[power])))
        beyond = (low - 2, low - 1) if best == low else (high + 1, high + 2) if best == high else ()
        return [power for power in beyond if LEAST <= power <= MOST]

    def train(self, analysis: Analysis, start: Cell) -> None:
        """Train what is wanted."""
        wanted = self.wanted
        programs = [scaled(start.program, 2.0**power) for power in wanted]
        for power, (found,) in zip(wanted, analysis.service.train(programs, [self._on]), strict=True):
            self._losses[power] = found.losses(self._on.seeds)

    def curve(self, start: Cell) -> RateCurve:
        """Return all losses by learning rate."""
        powers = sorted(self._losses)
        rates = np.array([start.learning_rate * 2.0**power for power in powers])
        return RateCurve(rates, np.array([self._losses[power] for power in powers]))


# --- the section -----------------------------------------------------------------------------------------------------


def section(analysis: Analysis) -> SheetSection:
    """Return the section."""
    found, data = analysis.of(transfer), analysis.of(regrets)
    sentences = [sentence for axis in found.axes for sentence in _about(axis)]
    batch = found.axis(BATCH)
    if batch is not None and SCALING(analysis.subject)[0] == "invariant":
        sentences += _surge(batch)
    sentences += [*found.left_out, *regret_sentences(data)]
    tables = [_bests(found), _losses(found), _exponents(found), _recommended(found), regret_table(data)]
    return SheetSection(sentences, [table for table in tables if table.rows])


def _about(axis: Scaling) -> list[str]:
    """Return sentences about the exponent of an axis, and about bests that were not found."""
    sentences = []
    if axis.power is None:
        sentences.append(f"{axis.name}: fewer than three best rates are known, so there is no exponent")
    else:
        says = f"the best rate goes as its power {axis.power.in_words()}"
        if not axis.power.is_sure:
            says = f"the slope of the best rate, {axis.power.in_words()}, cannot be told from zero"
        sentences.append(f"{axis.name}: {says}")
    if axis.edges:
        values = ", ".join(f"{value:g}" for value in axis.edges)
        sentences.append(f"{axis.name}: at {values} the best is at the edge of the grid, and counts for no exponent")
    return sentences


def _surge(batch: Scaling) -> list[str]:
    """Return a sentence about the rise and fall of the best rate with the batch size."""
    if batch.power is None or batch.surge is None:
        return []
    values = list(batch.curves)
    better = batch.surge.misfit < batch.power.misfit
    within = min(values) < batch.surge.peak < max(values)
    peak = f"with its peak at {batch.surge.peak:.3g}, {'within' if within else 'outside'} the batch sizes looked at"
    verdict = "fits better than" if better else "fits no better than"
    return [f"the rise and fall of the surge (2405.14578), {peak}, {verdict} a power"]


def _bests(found: Transfer) -> SheetTable:
    columns = ("axis", "value", "best rate", "error in decades", "loss", "at the edge")
    rows = []
    for axis in found.axes:
        for value, curve in axis.curves.items():
            best = curve.best
            lowest = finite(float(curve.losses.mean(axis=1).min()))
            shown = (None, None, lowest, "yes") if best is None else (
                best.rate, finite(error_of_best(curve)), lowest, "yes" if best.is_edge else "no"
            )  # fmt: skip
            rows.append(dict(zip(columns, (axis.name, value, *shown), strict=True)))
    title = "best learning rate, by a parabola over its logarithm; for width and depth, values are factors"
    return SheetTable("transfer", title, columns, rows, ("axis", "at the edge"))


def _losses(found: Transfer) -> SheetTable:
    columns = ("axis", "value", "learning rate", "loss")
    rows = [
        dict(zip(columns, (axis.name, value, float(rate), finite(float(loss))), strict=True))
        for axis in found.axes
        for value, curve in axis.curves.items()
        for rate, loss in zip(curve.rates, curve.losses.mean(axis=1), strict=True)
    ]
    return SheetTable("transfer losses", "mean losses behind these", columns, rows, ("axis",), is_detail=True)


def _exponents(found: Transfer) -> SheetTable:
    columns = ("axis", "exponent", "low", "high", "told from zero", "peak of the surge")
    rows = [
        dict(
            zip(
                columns,
                (
                    *(axis.name, axis.power.exponent, axis.power.low, axis.power.high),
                    "yes" if axis.power.is_sure else "no",
                    axis.surge.peak if axis.name == BATCH and axis.surge is not None else None,
                ),
                strict=True,
            )
        )
        for axis in found.axes
        if axis.power is not None
    ]
    title = f"exponents of the best learning rate, with {LEVEL:.0%} intervals over seeds"
    return SheetTable("exponents", title, columns, rows, ("axis", "told from zero"))


def _recommended(found: Transfer) -> SheetTable:
    """Return the rates for a larger batch and a longer training: by the exponents, and as measured where they were."""
    columns = ("change", "by the exponents", "measured")
    own = found.own_best
    wanted = {BATCH: BATCH_FACTOR, LENGTH: STEPS_FACTOR}
    known = {axis.name: axis for axis in found.axes if axis.name in wanted}
    rows, both = [], 1.0
    for name, axis in known.items():
        value = axis.own * wanted[name]
        both *= axis.moved(value)
        measured = _measured(axis.curves, value)
        rows.append(_recommendation(columns, f"{wanted[name]} times the {name}", own * axis.moved(value), measured))
    if len(known) == len(wanted):
        rows.append(_recommendation(columns, "both", own * both, None))
    title = f"learning rates recommended, from {own:.3g} of the task itself"
    return SheetTable("recommended", title, columns, rows, ("change",))


def _recommendation(columns: tuple[str, ...], *values: str | float | None) -> Mapping[str, str | float | None]:
    return dict(zip(columns, values, strict=True))


def _measured(curves: Mapping[float, RateCurve], value: float) -> float | None:
    best = curves[value].best if value in curves else None
    return None if best is None or best.is_edge else best.rate
