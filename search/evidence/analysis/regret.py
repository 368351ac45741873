"""What it costs to keep tuned settings when the data change, beside AdamW and Lion.

Each rule keeps the best setting of its stability map. On changed data it is compared, seed by seed, with the best of
that setting and those around it: learning rates from a quarter to four times as high, and a tenth and ten times the
decay. The best is chosen on the seeds that it is compared on, so regrets are a little too large; the row of the data
themselves shows by how much.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from programs import zoo
from programs.program import Program

from search.evidence.analysis.maps import Cell, cell_program, grown
from search.evidence.analysis.sheet import Analysis
from search.evidence.analysis.stability import stability
from search.evidence.analysis.variations import changed_tasks
from search.settings.baselines import TORCH_ADAMW
from search.settings.seeds import tuning_seeds
from search.settings.tasks import TaskSeeds
from search.store.data_sheets import SheetTable, finite
from search.training.service import Trainings
from search.training.statistics import standard_error

LION = "lion"
UNCHANGED = "none"
RATES = (1.0, 0.25, 0.5, 2.0, 4.0)  # times the rate that is kept, which comes first
DECAYS = (0.1, 10.0)
SEEDS = 3  # at least


class Regret(NamedTuple):
    """The loss of a rule with its setting kept, and of its best setting, on changed data; infinite where all failed."""

    rule: str
    change: str
    kept: float
    best: float
    error: float

    @property
    def regret(self) -> float:
        """By how much the loss is higher with the setting kept."""
        return self.kept - self.best


class Regrets(NamedTuple):
    """All of them, or why there are none."""

    rows: list[Regret]
    left_out: str


def regrets(analysis: Analysis) -> Regrets:
    """Return the regrets of the program, of AdamW and of Lion, on each change of the data."""
    tasks, left_out = changed_tasks(analysis.task)
    if not tasks:
        return Regrets([], left_out)
    seeds = tuning_seeds(max(SEEDS, len(analysis.seeds)))
    on = [TaskSeeds(task, seeds) for task in (analysis.task, *tasks.values())]
    found = []
    for rule, tuned in _tuned(analysis).items():
        if not np.isfinite(tuned.loss):
            continue
        trained = analysis.service.train(list(_around(tuned)), on)
        for change, of_task in zip([UNCHANGED, *tasks], zip(*trained, strict=True), strict=True):
            found.append(_regret(rule, change, of_task, seeds))
    return Regrets(found, "")


def _tuned(analysis: Analysis) -> dict[str, Cell]:
    """Return the rules with their tuned settings: the program, and of AdamW and Lion those that it is not."""
    maps = analysis.of(stability)
    found = {analysis.name: maps.ours.best}
    others: dict[str, tuple[Program, Cell | None]] = {
        TORCH_ADAMW: (zoo.load(TORCH_ADAMW), maps.adamw.best),
        LION: (zoo.load(LION), None),
    }
    ours = analysis.service.candidate(analysis.program).key
    for name, (program, cell) in others.items():
        if analysis.service.candidate(program).key != ours:
            found[name] = cell or grown(analysis, {name: program}, halvings=0)[0].best
    return found


def _around(tuned: Cell) -> dict[Program, None]:
    """Return the tuned program, and those with settings around its own, each once."""
    rates = {cell_program(tuned.program, factor, tuned.weight_decay): None for factor in RATES}
    decays = [] if not tuned.weight_decay else [tuned.weight_decay * factor for factor in DECAYS]
    return rates | {cell_program(tuned.program, 1.0, decay): None for decay in decays}


def _regret(rule: str, change: str, trained: Sequence[Trainings], seeds: Sequence[int]) -> Regret:
    losses = np.array([one.losses(seeds) for one in trained])
    best = losses[int(np.argmin(losses.mean(axis=1)))]
    apart = losses[0] - best
    error = standard_error(apart.tolist()) if np.isfinite(apart).all() else float("nan")
    return Regret(rule, change, float(losses[0].mean()), float(best.mean()), error)


# --- what the section says --------------------------------------------------------------------------------------------


def regret_table(found: Regrets) -> SheetTable:
    """Return the table."""
    columns = ("rule", "change of the data", "setting kept", "tuned anew", "regret", "error")
    rows = [
        _row(columns, (r.rule, r.change, finite(r.kept), finite(r.best), finite(r.regret), finite(r.error)))
        for r in found.rows
    ]
    title = "loss with tuned settings kept when the data change, and tuned anew"
    return SheetTable("regret", title, columns, rows, ("rule", "change of the data"))


def _row(columns: Sequence[str], values: Sequence[str | float | None]) -> Mapping[str, str | float | None]:
    return dict(zip(columns, values, strict=True))


def regret_sentences(found: Regrets) -> list[str]:
    """Return a sentence for each rule: its largest regret, and on what."""
    if found.left_out:
        return [found.left_out]
    worst: dict[str, Regret] = {}
    for one in found.rows:
        if one.rule not in worst or one.regret > worst[one.rule].regret:
            worst[one.rule] = one
    return [
        f"{rule} with its setting kept: at most {one.regret:.4f} +- {one.error:.2g} above what tuning anew reaches, on"
        f" {one.change if one.change != UNCHANGED else 'the data themselves'}"
        for rule, one in worst.items()
    ]
