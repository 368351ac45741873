"""The short form of a data sheet: what of it goes into the docstring of an exported file."""

from __future__ import annotations

from collections.abc import Iterator

from search.store.data_sheets import SheetSection, decoded
from search.store.encoding import ForeignDataError
from search.store.tables import DataSheetRow

_EIGHT_BITS = "8 bits"  # the row of the table of states


def short_form(sheet: DataSheetRow) -> dict[str, str]:
    """Return the lines of the short form by what they are about: family, what is proved, stability, states, advice.

    Raises:
        InputError: optsearch did not write the sheet.
    """
    try:
        return {f"data sheet, {what}": text for what, text in _lines(decoded(sheet.sections), sheet.task)}
    except (IndexError, KeyError, TypeError, ValueError):
        raise ForeignDataError(f"the data sheet of {sheet.program}", "its tables") from None


def _lines(sections: dict[str, SheetSection], task: str) -> Iterator[tuple[str, str]]:
    if "family" in sections:
        yield "family", sections["family"].sentences[0]
    if "properties" in sections:
        rows = sections["properties"].table("properties")
        proved = [f"{row['property']}: {row['value']}" for row in rows if row["evidence"] == "proved"]
        yield "proved", "; ".join(proved)
    if "stability" in sections:
        yield "stability", f"on {task}, {sections['stability'].sentences[0]}"
    for row in sections["states"].table("states") if "states" in sections else ():
        if row["states"] == _EIGHT_BITS and row["over float32"] is not None:
            above = f"{row['over float32']:+.5f} +- {row['error']:.2g}"
            yield "state_bits=8", f"loss on {task} {above} over states in float32, with small tensors in 8 bits too"
    for row in sections["advice"].table("advice") if "advice" in sections else ():
        yield str(row[""]), str(row["advice"])
