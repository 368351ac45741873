"""Kinds of settings that several models have."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from search.settings.baselines import BASELINES


class Immutable(BaseModel):
    """Settings that cannot be changed once they are read, and that refuse unknown ones."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _no_truth_value(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("expected a number")
    return value


def _known_baselines(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in BASELINES:
            raise ValueError(f"unknown baseline '{name}'; there are {', '.join(BASELINES)}")
    return names


PositiveInt = Annotated[int, Field(ge=1, strict=True)]
Number = Annotated[float, BeforeValidator(_no_truth_value)]  # YAML reads 1e-3 as text; pydantic makes it a number
BaselineNames = Annotated[tuple[str, ...], AfterValidator(_known_baselines)]
SearchName = Annotated[str, Field(pattern=r"^[\w.-]+$")]
