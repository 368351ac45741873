"""Values as they go into the database and come out of it. What comes out may have been written by anybody."""

from __future__ import annotations

import json
import math
from typing import Any

from programs.errors import InputError

LONGEST_REASON = 2000  # characters
DEEPEST = 30  # levels of nesting in JSON: far beyond any that we write


class ForeignDataError(InputError):
    """A database holds something that optsearch did not write: `what` says what."""

    def __init__(self, place: str, what: str) -> None:
        super().__init__(
            f"{place}: holds something that optsearch did not write ({what}); restore a copy of it, or name another"
            " with --store"
        )
        self.what = what


def clean_text(text: str | None) -> str | None:
    """Text that any database takes: no null characters, no halves of characters, not endless."""
    if text is None:
        return None
    text = text[:LONGEST_REASON].replace("\0", "\N{REPLACEMENT CHARACTER}")
    return text.encode("utf-8", "replace").decode("utf-8")


def clean_number(value: float | None) -> float | None:
    """None for what is not finite: the two kinds of database would keep it differently."""
    return value if value is not None and math.isfinite(value) else None


def to_json(value: Any) -> str:
    """JSON text; numbers that are not finite become null, since JSON has none."""
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return clean_number(value) if isinstance(value, float) else value


def from_json(text: Any) -> Any:
    """Return what JSON text says.

    Raises:
        ValueError: it is none, is nested too deeply, or has a number that is not finite.
    """
    if not isinstance(text, str | bytes):  # SQLite makes numbers of some
        raise ValueError("no JSON")
    value = json.loads(text, parse_constant=_refuse)
    opening = ("[", "{") if isinstance(text, str) else (b"[", b"{")
    if sum(map(text.count, opening)) > DEEPEST and _is_deep(value):  # type: ignore[arg-type]  # of one type
        raise ValueError("deeply nested JSON")
    return value


def _refuse(name: str) -> float:
    raise ValueError(f"{name} in JSON")


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEEPEST):
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner += item.values()
            elif isinstance(item, list):
                inner += item
        level = [item for item in inner if isinstance(item, dict | list)]
        if not level:
            return False
    return True
