"""Kinds of settings that several models have."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import GroupedMetadata
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from search.settings.baselines import BASELINES
from search.settings.limits import Limit
from search.settings.names import NAME
from search.settings.yaml_text import DEEPEST, Unclear


class Immutable(BaseModel):
    """Settings that cannot be changed once they are read, and that refuse unknown ones."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Within(GroupedMetadata):
    """What makes a number one of a limit, whose reason is said where the number is too large or endless."""

    limit: Limit

    def __iter__(self) -> Iterator[object]:
        least, most, _ = self.limit
        yield Field(strict=True, le=most) if least is None else Field(strict=True, ge=least, le=most)
        yield WrapValidator(self._with_reason)

    def _with_reason(self, value: Any, check: ValidatorFunctionWrapHandler) -> Any:
        try:
            return check(value)
        except ValidationError as error:
            first = error.errors()[0]
            if first["type"] not in ("less_than_equal", "finite_number"):
                raise
            raise ValueError(f"{first['msg']}: {self.limit.why}") from None


def plain(text: str) -> str:
    """Return a text that any database and any terminal takes."""
    if any(unicodedata.category(c) == "Cc" for c in text):
        raise ValueError("expected a text without control characters")
    return text


def _known_baselines(names: tuple[str, ...]) -> tuple[str, ...]:
    for name, times in Counter(names).items():
        if name not in BASELINES:
            raise ValueError(f"unknown baseline '{name}'; there are {', '.join(BASELINES)}")
        if times > 1:
            raise ValueError(f"'{name}' is named {times} times; name it once")
    return names


def _encodable(text: str) -> str:
    """Return a text that any database takes."""
    if any(c == "\0" or unicodedata.category(c) == "Cs" for c in text):
        raise ValueError("expected a text without null characters")
    return text


def _argument(value: Any, depth: int = 0) -> Any:
    """Return an argument of a user's function: data that JSON keeps as it is, and that can be compared."""
    if isinstance(value, Unclear):
        raise ValueError(f"may be read as a text, or else as a number or a truth value; for the text write '{value}'")
    if isinstance(value, list | tuple):
        if depth >= DEEPEST:
            raise ValueError(f"lists more than {DEEPEST} deep, or one within itself")
        return [_argument(item, depth + 1) for item in value]
    if isinstance(value, str | Path):
        return _encodable(str(value))
    is_whole = isinstance(value, int) and -(2**63) <= value < 2**64
    if value is None or is_whole or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ValueError("expected null, true, false, a finite number of 64 bits, a text, or a list of these")


def _name(value: str) -> str:
    """Return the name of a search or funnel, of letters alone that stand for themselves: the store reads no others."""
    if NAME.fullmatch(value) is None:
        raise ValueError("expected letters, digits, and . _ - alone, without separate accents, at most 200 characters")
    return value


Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Text = Annotated[str, Field(max_length=4_000), AfterValidator(plain)]
ShortText = Annotated[str, Field(max_length=200), AfterValidator(plain)]
Arguments = dict[Annotated[str, AfterValidator(plain)], Annotated[Any, AfterValidator(_argument)]]
BaselineNames = Annotated[tuple[str, ...], AfterValidator(_known_baselines)]
SearchName = Annotated[str, AfterValidator(_name)]
