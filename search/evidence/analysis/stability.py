"""Stability: the loss over learning rate, decay and momentum, where training diverges, and how sharp the result is.

torch's AdamW, as the language has it, gets a map of its own beside. A program with a momentum (`momentum_of`) gets maps
for averages of a quarter and of four times the length, too, without decay, and at its best decay and those beside.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from programs import zoo
from programs.hyperparameters import decay_of, momentum_of, with_momentum
from programs.program import Program

from proxy_tasks import configured_process

from search.evidence.analysis.maps import DECAYS, OWN_DECAY, StabilityMap, grown
from search.evidence.analysis.sheet import Analysis
from search.evidence.analysis.walk import start, trained, training_losses
from search.settings.baselines import TORCH_ADAMW
from search.store.data_sheets import SheetSection, SheetTable, finite

LENGTHS = (0.25, 4.0)  # of averages, over their own
DIRECTIONS = 16  # random perturbations of the result
PERTURBATIONS = (0.05, 0.2)  # their length over that of the weights at the start


class Stability(NamedTuple):
    """The maps of the program and of AdamW, and how much random perturbations add to their loss, by their length.

    `momenta` are the maps of the program with its own momentum and with others, in order; none without a momentum.
    """

    ours: StabilityMap
    adamw: StabilityMap
    sharpness: dict[str, dict[float, float]]
    momenta: dict[float, StabilityMap]


def stability(analysis: Analysis) -> Stability:
    """Return the maps, with trainings on all seeds of the analysis."""
    programs = {analysis.name: analysis.program, f"{TORCH_ADAMW} beside": zoo.load(TORCH_ADAMW)}
    ours, adamw = grown(analysis, programs)
    own, others = momentum_of(analysis.program), _other_momenta(analysis.program)
    named = {f"momentum {value:g}": program for value, program in others.items()}
    rest = grown(analysis, named, decays=_decays_beside(analysis.program, ours.best.weight_decay))
    momenta = {} if own is None else {own: ours} | dict(zip(others, rest, strict=True))
    return Stability(ours, adamw, _sharpness(analysis, [ours, adamw]), dict(sorted(momenta.items())))


def _other_momenta(program: Program) -> dict[float, Program]:
    """Return a program with other momenta: averages of other lengths, 1 / (1 - momentum)."""
    own = momentum_of(program)
    if own is None:
        return {}
    values = [float(f"{1 - (1 - own) / length:.6g}") for length in LENGTHS]
    return {value: with_momentum(program, value) for value in values if 0 < value < 1}


def _decays_beside(program: Program, best: float | None) -> range:
    """Return the exponents of a decay and of those beside it, over the program's own; of no decay, the first ones."""
    middle = round(math.log10(best / (decay_of(program) or OWN_DECAY))) if best else DECAYS[0] + 1
    return range(middle - 1, middle + 2)


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
    sentences += [_best(one) for one in found.momenta.values() if one is not found.ours]
    return SheetSection(sentences, [_map(found), _edges(found), _sharp(found)])


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


def _map(found: Stability) -> SheetTable:
    columns = ("momentum", "learning rate", "decay", "loss")
    rows = [
        dict(zip(columns, (momentum, cell.learning_rate, cell.weight_decay, finite(cell.loss)), strict=True))
        for momentum, one in (found.momenta.items() or [(None, found.ours)])
        for cell in sorted(one.cells, key=lambda cell: (cell.learning_rate, cell.weight_decay or 0.0))
    ]
    title = f"loss over learning rate and decay, {found.ours.untrained:.4f} before training; - where training fails"
    return SheetTable("stability", title, columns, rows, across="decay", facet="momentum")


def _edges(found: Stability) -> SheetTable:
    columns = ("program", "decay", "highest stable rate")
    maps = [found.ours, found.adamw, *(one for one in found.momenta.values() if one is not found.ours)]
    rows = [
        dict(zip(columns, (one.name, decay, one.highest_stable(decay)), strict=True))
        for one in maps
        for decay in one.decays
    ]
    return SheetTable("edges", "edge of divergence", columns, rows, ("program",))


def _sharp(found: Stability) -> SheetTable:
    rows = [
        {"program": name, "perturbation": length, "loss added": finite(added)}
        for name, of in found.sharpness.items()
        for length, added in of.items()
    ]
    title = "sharpness: loss added by random perturbations, their length over that of the first weights"
    return SheetTable("sharpness", title, ("program", "perturbation", "loss added"), rows, ("program",))
