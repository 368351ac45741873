"""All sections of a data sheet, in their order: a section is a file with a function `section`."""

from __future__ import annotations

from collections.abc import Callable

from programs.errors import InputError

from search.evidence.analysis import advice, cheap_state, family, properties, stability, transfer
from search.evidence.analysis.sheet import Analysis
from search.store.data_sheets import SheetSection

SECTIONS: dict[str, Callable[[Analysis], SheetSection]] = {
    "properties": properties.section,
    "family": family.section,
    "stability": stability.section,
    "transfer": transfer.section,
    "states": cheap_state.section,
    "advice": advice.section,
}


def chosen_sections(text: str) -> list[str]:
    """Return the names of sections in a list with commas, or of all of them for `all`, in their order.

    Raises:
        InputError: there is no such section.
    """
    names = list(SECTIONS) if text == "all" else [name.strip() for name in text.split(",")]
    for name in names:
        if name not in SECTIONS:
            raise InputError(f"--sections: no section '{name}'; there are {', '.join(SECTIONS)}, and 'all'")
    return [name for name in SECTIONS if name in names]
