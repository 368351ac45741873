"""Stability: the loss over learning rate and decay, where training diverges, and how sharp the result is.

All cells of a map are trained at once, as replicas. A map begins around the program's own constants; where the best
lies at an edge it grows, and upwards until nothing trains any more. A cell is stable if it gains at least half of what
the best cell gains on the untrained model. torch's AdamW, as the language has it, gets a map of its own beside.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from programs import zoo
from programs.hyperparameters import decay_of, learning_rate_of, scaled, with_decay
from programs.program import Program

from proxy_tasks import configured_process
from proxy_tasks.trainer import validation_losses

from search.evidence.analysis.sheet import Analysis, SheetSection, SheetTable, finite
from search.evidence.analysis.walk import start, trained, training_losses
from search.settings.baselines import TORCH_ADAMW
from search.settings.tasks import TaskSeeds

RATES, DECAYS = range(-2, 4), range(-1, 2)  # exponents: half decades of the learning rate, decades of the decay
LOWEST, HIGHEST, MOST_DECAY = -10, 16, 5
NO_DECAY = -99  # in place of an exponent
HALVINGS = 3  # of the half decade in which the edge of divergence lies
ROOM = 3.0  # from a learning rate to the edge of divergence, where people begin
DIRECTIONS = 16  # random perturbations of the result
PERTURBATIONS = (0.05, 0.2)  # their length over that of the weights at the start


class Cell(NamedTuple):
    """A setting and what came of it: the mean loss over seeds, infinite where a training failed."""

    learning_rate: float
    weight_decay: float | None
    loss: float
    program: Program


class StabilityMap(NamedTuple):
    """All cells of a program, those at the edge of divergence among them, and the loss of the untrained model."""

    name: str
    cells: list[Cell]
    untrained: float

    @property
    def best(self) -> Cell:
        """The cell of the lowest loss."""
        return min(self.cells, key=lambda cell: cell.loss)

    def highest_stable(self, decay: float | None) -> float | None:
        """Return the highest stable learning rate at a decay, None where nothing trains."""
        most = stable_loss(self.best.loss, self.untrained)
        rates = (c.learning_rate for c in self.cells if c.weight_decay == decay and c.loss < most)
        return max(rates, default=None)

    @property
    def with_room(self) -> Cell:
        """The cell of the lowest loss among those far below the edge, `ROOM` times at least; the best without any."""
        edges = {decay: self.highest_stable(decay) or 0.0 for decay in self.decays}
        cells = (c for c in self.cells if c.learning_rate * ROOM <= edges[c.weight_decay])
        return min(cells, key=lambda cell: cell.loss, default=self.best)

    @property
    def decays(self) -> list[float | None]:
        """The decays of all cells, in order."""
        return sorted({cell.weight_decay for cell in self.cells}, key=lambda decay: decay or 0.0)


class Stability(NamedTuple):
    """The maps of the program and of AdamW, and how much random perturbations add to their loss, by their length."""

    ours: StabilityMap
    adamw: StabilityMap
    sharpness: dict[str, dict[float, float]]


def stable_loss(best: float, untrained: float) -> float:
    """Return the loss below which a setting is stable."""
    return min(untrained, (best + untrained) / 2)


def stability(analysis: Analysis) -> Stability:
    """Return the maps, with trainings on all seeds of the analysis."""
    untrained = _untrained_loss(analysis)
    programs = {analysis.name: analysis.program, f"{TORCH_ADAMW} beside": zoo.load(TORCH_ADAMW)}
    growing = [_Growing(name, program, untrained) for name, program in programs.items()]
    while any(one.wanted() for one in growing):
        _train(analysis, growing, [one.wanted() for one in growing])
    for _ in range(HALVINGS):
        _train(analysis, growing, [one.edges() for one in growing])
    ours, adamw = (StabilityMap(one.name, list(one.cells.values()), untrained) for one in growing)
    return Stability(ours, adamw, _sharpness(analysis, [ours, adamw]))


class _Growing:
    """A map that grows; cells by the exponents of learning rate and decay."""

    def __init__(self, name: str, program: Program, untrained: float) -> None:
        self.name = name
        self._untrained = untrained
        self.cells: dict[tuple[float, int], Cell] = {}
        self._program = program
        self._decay = decay_of(program)
        self._rates: Sequence[int] = RATES
        self._decays = [NO_DECAY] if self._decay is None else [NO_DECAY, *DECAYS]

    def program(self, rate: float, decay: int) -> tuple[float, float | None, Program]:
        """Return the learning rate, the decay, and the program of a cell."""
        factor = float(f"{10 ** (rate / 2):.6g}")
        own = learning_rate_of(self._program) or 1.0
        if self._decay is None:
            return own * factor, None, scaled(self._program, factor)
        size = 0.0 if decay == NO_DECAY else float(f"{(self._decay or 0.1) * 10.0**decay:.6g}")
        return own * factor, size, scaled(with_decay(self._program, size), factor)

    def wanted(self) -> list[tuple[float, int]]:
        """Return the cells that are wanted next; none when the map is complete."""
        new = self._missing()
        if not new:
            self._grow()
            new = self._missing()
        return new

    def _missing(self) -> list[tuple[float, int]]:
        return [(r, d) for r in self._rates for d in self._decays if (r, d) not in self.cells]

    def _grow(self) -> None:
        (rate, decay), _ = min(self.cells.items(), key=lambda item: item[1].loss)
        top, bottom = self._rates[-1], self._rates[0]
        if any((top, d) in self._stable() for d in self._decays) and top < HIGHEST:
            self._rates = range(bottom, top + 3)
        elif (rate == bottom or math.isinf(self.cells[rate, decay].loss)) and bottom > LOWEST:
            self._rates = range(bottom - 2, top + 1)
        elif decay == self._decays[-1] != NO_DECAY and decay < MOST_DECAY:
            self._decays.append(decay + 1)

    def _stable(self) -> set[tuple[float, int]]:
        most = stable_loss(min(cell.loss for cell in self.cells.values()), self._untrained)
        return {place for place, cell in self.cells.items() if cell.loss < most}

    def edges(self) -> list[tuple[float, int]]:
        """Return the cells half way between the highest stable rate of each decay and the next that is not."""
        found = []
        for decay in self._decays:
            stable = max((rate for rate, d in self._stable() if d == decay), default=math.inf)
            above = [rate for rate, d in self.cells if d == decay and rate > stable]
            found += [((stable + min(above)) / 2, decay)] if above else []
        return found


def _train(analysis: Analysis, maps: Sequence[_Growing], wanted: Sequence[Sequence[tuple[float, int]]]) -> None:
    """Train cells of all maps at once."""
    settings = [(one, place, one.program(*place)) for one, of in zip(maps, wanted, strict=True) for place in of]
    trained = analysis.service.train([p for _, _, (_, _, p) in settings], [TaskSeeds(analysis.task, analysis.seeds)])
    for (one, place, (rate, decay, program)), (found,) in zip(settings, trained, strict=True):
        one.cells[place] = Cell(rate, decay, statistics.fmean(found.losses(analysis.seeds)), program)


def _untrained_loss(analysis: Analysis) -> float:
    """Return the loss of the model before training, the mean over seeds."""
    data, model = analysis.task.load()
    with configured_process():
        rows = [model.parameters(model.initial_row(seed)[None]) for seed in analysis.seeds]
        return statistics.fmean(validation_losses(data, model.validation, row)[0] for row in rows)


def _sharpness(analysis: Analysis, maps: Iterable[StabilityMap]) -> dict[str, dict[float, float]]:
    """Return what perturbations of each length add to the training loss of the best setting, mean over directions."""
    maps, seed = list(maps), analysis.seeds[0]
    origin = start(analysis.task, seed)
    with configured_process():
        ends = trained(analysis.task, [one.best.program for one in maps], seed)
        found = {}
        for one, w in zip(maps, ends, strict=True):
            directions = np.random.default_rng(seed).normal(size=(DIRECTIONS, len(w)))
            directions *= np.linalg.norm(origin) / np.linalg.norm(directions, axis=1, keepdims=True)
            at = training_losses(analysis.task, w[None])[0]
            found[one.name] = {
                length: float(np.mean(training_losses(analysis.task, w + length * directions))) - float(at)
                for length in PERTURBATIONS
            }
    return found


# --- the section -----------------------------------------------------------------------------------------------------


def section(analysis: Analysis) -> SheetSection:
    """Return the section."""
    found = analysis.of(stability)
    sentences = [_best(one) for one in (found.ours, found.adamw)]
    return SheetSection(sentences, [_map(found.ours), _edges(found), _sharp(found)])


def _best(one: StabilityMap) -> str:
    best, highest = one.best, one.highest_stable(one.best.weight_decay)
    if highest is None or math.isinf(best.loss):
        return f"{one.name}: nothing trains at any learning rate"
    decay = "" if best.weight_decay is None else f", weight decay {best.weight_decay:.3g}"
    margin = f"{highest / best.learning_rate:.3g}"
    return (
        f"{one.name}: lowest loss {best.loss:.5f} at learning rate {best.learning_rate:.3g}{decay}; stable up to"
        f" {highest:.3g}, {margin} times as much"
    )


def _map(one: StabilityMap) -> SheetTable:
    columns = ("learning rate", "decay", "loss")
    rows = [
        dict(zip(columns, (cell.learning_rate, cell.weight_decay, finite(cell.loss)), strict=True))
        for cell in sorted(one.cells, key=lambda cell: (cell.learning_rate, cell.weight_decay or 0.0))
    ]
    title = f"loss over learning rate and decay, {one.untrained:.4f} before training; - where training fails"
    return SheetTable("stability", title, columns, rows, across="decay")


def _edges(found: Stability) -> SheetTable:
    rows = [
        {"program": one.name, "decay": decay, "highest stable rate": one.highest_stable(decay)}
        for one in (found.ours, found.adamw)
        for decay in one.decays
    ]
    return SheetTable("edges", "edge of divergence", ("program", "decay", "highest stable rate"), rows, ("program",))


def _sharp(found: Stability) -> SheetTable:
    rows = [
        {"program": name, "perturbation": length, "loss added": finite(added)}
        for name, of in found.sharpness.items()
        for length, added in of.items()
    ]
    title = "sharpness: loss added by random perturbations, their length over that of the first weights"
    return SheetTable("sharpness", title, ("program", "perturbation", "loss added"), rows, ("program",))
