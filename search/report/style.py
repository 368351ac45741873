"""Colours, dashes and symbols of the figures: colours by name, which the page puts in for light and for dark."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from search.settings.baselines import BASELINES

# Those of Okabe and Ito.
OURS, REFERENCE, THIRD, FOURTH, FIFTH, SIXTH = (f"$colour{n}" for n in range(6))
INK, MUTED, SOFT, GROUND = "$ink", "$muted", "$soft", "$ground"

_FIRST_OF_OTHERS = 1  # colours of programs are `OURS`
_DASHES = ("dash", "dot", "dashdot", "longdash", "longdashdot")  # besides colours, which some cannot tell apart
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star", "triangle-down", "pentagon")
# The first are those that most searches tune, and get the colours that are easiest to tell apart.
_PLACES = {
    name: place
    for place, name in enumerate(
        dict.fromkeys(("torch_adamw", "lion", "sgd_momentum", "adamw", "nadamw", "nesterov", "torch_muon", *BASELINES))
    )
}


class Mark(NamedTuple):
    """How a figure draws a competitor."""

    colour: str
    dash: str
    symbol: str


def marks_of(baselines: Iterable[str]) -> dict[str, Mark]:
    """Return how to draw baselines: each the same in all figures, and no two in one colour."""
    places = dict(_PLACES)
    for name in baselines:
        places.setdefault(name, len(places))
    return {
        name: Mark(f"$colour{_FIRST_OF_OTHERS + place}", _DASHES[place % len(_DASHES)], _SYMBOLS[place % len(_SYMBOLS)])
        for name, place in places.items()
    }
