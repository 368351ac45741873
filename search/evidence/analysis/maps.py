"""Maps of the loss over learning rate and decay, whose cells are trained at once, as replicas.

A map begins around the program's own constants; where the best lies at an edge it grows, and upwards until nothing
trains any more. A cell is stable if it gains at least half of what the best cell gains on the untrained model.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from programs.hyperparameters import decay_of, learning_rate_of, scaled, with_decay
from programs.program import Program

from proxy_tasks import configured_process
from proxy_tasks.trainer import validation_losses

from search.evidence.analysis.sheet import Analysis
from search.settings.tasks import TaskSeeds

RATES, DECAYS = range(-2, 4), range(-1, 2)  # exponents: half decades of the learning rate, decades of the decay
LOWEST, HIGHEST, MOST_DECAY = -10, 16, 5
NO_DECAY = -99  # in place of an exponent
OWN_DECAY = 0.1  # of programs whose decay is zero
HALVINGS = 3  # of the half decade in which the edge of divergence lies
ROOM = 3.0  # from a learning rate to the edge of divergence, where people begin


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


def stable_loss(best: float, untrained: float) -> float:
    """Return the loss below which a setting is stable."""
    return min(untrained, (best + untrained) / 2)


def grown(
    analysis: Analysis, programs: Mapping[str, Program], halvings: int = HALVINGS, decays: range | None = None
) -> list[StabilityMap]:
    """Return maps of programs by what they are called, with trainings on all seeds of the analysis.

    Args:
        analysis: the task, the seeds, and what trains.
        programs: by name.
        halvings: of the half decade in which the edge of divergence lies.
        decays: exponents of the decay over that of the programs; without them maps grow to where the best lies.
    """
    untrained = _untrained_loss(analysis)
    first, most = (DECAYS, MOST_DECAY) if decays is None else (decays, decays[-1])
    growing = [_Growing(name, program, untrained, first, most) for name, program in programs.items()]
    while any(one.wanted() for one in growing):
        _train(analysis, growing, [one.wanted() for one in growing])
    for _ in range(halvings):
        _train(analysis, growing, [one.edges() for one in growing])
    return [StabilityMap(one.name, list(one.cells.values()), untrained) for one in growing]


def cell_program(program: Program, factor: float, decay: float | None) -> Program:
    """Return a program with its updates multiplied by a factor, and a decay if it has one to set."""
    return scaled(program if decay is None else with_decay(program, decay), factor)


class _Growing:
    """A map that grows; cells by the exponents of learning rate and decay."""

    def __init__(self, name: str, program: Program, untrained: float, decays: range, most_decay: int) -> None:
        self.name = name
        self._most_decay = most_decay
        self._untrained = untrained
        self.cells: dict[tuple[float, int], Cell] = {}
        self._program = program
        self._decay = decay_of(program)
        self._rates: Sequence[int] = RATES
        self._decays = [NO_DECAY] if self._decay is None else [NO_DECAY, *decays]

    def program(self, rate: float, decay: int) -> tuple[float, float | None, Program]:
        """Return the learning rate, the decay, and the program of a cell."""
        factor = float(f"{10 ** (rate / 2):.6g}")
        own = learning_rate_of(self._program) or 1.0
        size = None
        if self._decay is not None:
            size = 0.0 if decay == NO_DECAY else float(f"{(self._decay or OWN_DECAY) * 10.0**decay:.6g}")
        return own * factor, size, cell_program(self._program, factor, size)

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
        elif decay == self._decays[-1] != NO_DECAY and decay < self._most_decay:
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
