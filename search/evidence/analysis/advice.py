"""Five lines of plain words: when to use a program, where to begin, batch sizes, memory, when not."""

from __future__ import annotations

import math
from collections.abc import Mapping

from programs.analysis.lion_k import SQUARE

from search.evidence.analysis.cheap_state import FLOAT32, cheap_states
from search.evidence.analysis.family import found_family
from search.evidence.analysis.maps import ROOM
from search.evidence.analysis.properties import all_properties
from search.evidence.analysis.sheet import Analysis
from search.evidence.analysis.stability import stability
from search.evidence.analysis.transfer import BATCH, transfer
from search.store.data_sheets import SheetSection, SheetTable

LEVEL = 0.02  # of the loss: a smaller difference to AdamW is none


def section(analysis: Analysis) -> SheetSection:
    """Return the section."""
    known = {one.name: one.value for one in analysis.of(all_properties)}
    lines = {
        "use it": _when(analysis),
        "begin at": _begin(analysis),
        "batch size": _batch(analysis, known),
        "memory": _memory(analysis, known),
        "not when": _not(analysis, known),
    }
    rows = [{"": what, "advice": text} for what, text in lines.items()]
    return SheetSection((), [SheetTable("advice", "advice", ("", "advice"), rows, ("", "advice"))])


def _when(analysis: Analysis) -> str:
    found = analysis.of(stability)
    ours, theirs = found.ours.best.loss, found.adamw.best.loss
    if not math.isfinite(ours):
        return f"not on {analysis.task.name}: it trains at no learning rate"
    apart = ours - theirs
    where = f"best loss {ours:.4f} on {analysis.task.name}, AdamW's {theirs:.4f}"
    if abs(apart) <= LEVEL * abs(theirs):
        return f"where you would use AdamW: level with it ({where})"
    return f"where the task is like {analysis.task.name}: {'ahead of' if apart < 0 else 'behind'} AdamW ({where})"


def _begin(analysis: Analysis) -> str:
    ours = analysis.of(stability).ours
    cell = ours.with_room
    highest = ours.highest_stable(cell.weight_decay)
    if highest is None:
        return "no setting found that trains"
    decay = "it has no weight decay" if cell.weight_decay is None else f"weight decay {cell.weight_decay:.2g}"
    return (
        f"learning rate {cell.learning_rate:.2g}, {decay}, warm-up and cosine: loss {cell.loss:.4f}, and room up to"
        f" {highest:.2g}"
    )


def _batch(analysis: Analysis, known: Mapping[str, str]) -> str:
    batch = analysis.task.batch_size
    kind = analysis.of(found_family).lion_k
    if kind is not None and kind.k is SQUARE:
        rule = "multiply the learning rate by the factor of the batch until training gets unstable"
    elif known["scaling of g"] == "invariant":
        rule = "multiply the learning rate by the root of its factor; far above, the best rate falls again (2405.14578)"
    else:
        rule = "updates depend on the size of gradients in their own way: tune the learning rate anew"
    measured = _measured(analysis)
    return f"{measured}; in theory, {rule}" if measured else f"looked at with {batch}; for others, in theory, {rule}"


def _measured(analysis: Analysis) -> str:
    """Return what the section on transfer has found of batch sizes, nothing if it was not asked for."""
    found = analysis.known(transfer)
    axis = None if found is None else found.axis(BATCH)
    if axis is None or axis.power is None:
        return ""
    sizes = f"from {min(axis.curves):g} to {max(axis.curves):g}"
    if not axis.power.is_sure:
        return f"{sizes} the slope of the best rate, {axis.power.in_words()}, could not be told from zero"
    return f"{sizes} the best rate was seen to go as the power {axis.power.exponent:.2f} of the batch size"


def _memory(analysis: Analysis, known: Mapping[str, str]) -> str:
    text = f"{known['state']} of 4 bytes a number in float32; with states in bfloat16, {known['states in bf16']}"
    return "; ".join([text, *(one.in_words for one in analysis.known(cheap_states) or () if one.form != FLOAT32)])


def _not(analysis: Analysis, known: Mapping[str, str]) -> str:
    """Return the reasons that hold, the heaviest first."""
    ours = analysis.of(stability).ours
    highest = ours.highest_stable(ours.best.weight_decay)
    reasons = {
        "gradients have outliers, unless they are clipped": known["bounded update"].startswith("no"),
        "there is no schedule to zero: it keeps its speed when gradients end": "keeps its speed"
        in known["zero gradients"],
        "the learning rate cannot be tuned: the best is near the edge": highest is not None
        and highest < ROOM * ours.best.learning_rate,
        "parameters are cut into shards: it looks at whole tensors": known["reach"] != "each weight by itself",
        "losses are rescaled on the way": known["scaling of the loss"] != "invariant",
        "gradients may overflow": "stay broken" in known["an infinite gradient"],
    }
    return "; ".join([reason for reason, holds in reasons.items() if holds][:3]) or "nothing found against it"
