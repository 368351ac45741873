"""What cheaper states cost: the program at its best setting, with its states kept in less memory, on fresh seeds."""

from __future__ import annotations

import statistics
from typing import NamedTuple, get_args

from programs.analysis.bounds import per_weight_states

from proxy_tasks.state_forms import bytes_per_weight
from proxy_tasks.task import StateForm

from search.evidence.analysis.sheet import Analysis
from search.evidence.analysis.stability import stability
from search.evidence.analysis.variations import with_states
from search.settings.seeds import fresh_seeds
from search.settings.tasks import TaskSeeds
from search.store.data_sheets import SheetSection, SheetTable, finite
from search.training.statistics import Difference, difference

SEEDS = 6
FLOAT32: StateForm = "float32"
NAMES: dict[StateForm, str] = {"float32": "float32", "bf16": "bfloat16", "8bit": "8 bits", "low_rank": "low rank"}


class KeptStates(NamedTuple):
    """A form of the states: bytes for each weight, the mean loss, and by how much it is above that in float32."""

    form: StateForm
    bytes_per_weight: float
    loss: float
    above: Difference | None

    @property
    def in_words(self) -> str:
        """What it costs."""
        name = NAMES[self.form]
        if self.above is None:
            return f"states in {name}: training fails"
        return f"states in {name}: loss {self.above.mean:+.5f} +- {self.above.standard_error:.2g} over float32"


def cheap_states(analysis: Analysis) -> list[KeptStates]:
    """Return all forms, float32 first; nothing for a program without a state for each weight."""
    best = analysis.of(stability).ours.best
    if not per_weight_states(best.program.dataflow) or finite(best.loss) is None:
        return []
    forms: tuple[StateForm, ...] = get_args(StateForm)
    seeds = fresh_seeds(SEEDS)
    on = [TaskSeeds(with_states(analysis.task, form), seeds) for form in forms]
    (trained,) = analysis.service.train([best.program], on)
    layout = analysis.task.load()[1].layout
    plain = dict(zip(seeds, trained[0].losses(seeds), strict=True))
    found = []
    for form, one in zip(forms, trained, strict=True):
        losses = dict(zip(seeds, one.losses(seeds), strict=True))
        is_known = form != FLOAT32 and not one.failures and not trained[0].failures
        above = difference(losses, plain) if is_known else None
        size = bytes_per_weight(form, best.program, layout)
        found.append(KeptStates(form, size, statistics.fmean(losses.values()), above))
    return found


# --- the section -----------------------------------------------------------------------------------------------------


def section(analysis: Analysis) -> SheetSection:
    """Return the section."""
    found = analysis.of(cheap_states)
    if not found:
        return SheetSection(
            [f"{analysis.name} has no state for each weight that could be kept cheaper, or it trains nowhere"]
        )
    columns = ("states", "bytes per weight", "loss", "over float32", "error", "z")
    rows = []
    for one in found:
        above = (None, None, None) if one.above is None else (
            one.above.mean, one.above.standard_error, finite(one.above.z)
        )  # fmt: skip
        values = (NAMES[one.form], one.bytes_per_weight, finite(one.loss), *above)
        rows.append(dict(zip(columns, values, strict=True)))
    title = f"states kept in less memory, on {SEEDS} fresh seeds; all tensors, however small"
    sentences = [one.in_words for one in found if one.form != FLOAT32]
    return SheetSection(sentences, [SheetTable("states", title, columns, rows, ("states",))])
