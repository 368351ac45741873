"""Numbers in options: written as in files of settings, within bounds, and refused in one line."""

from __future__ import annotations

from typing import get_args, get_type_hints

import pytest
import typer

from search.commands.cli import COMMANDS, function_of
from search.commands.options import numeric
from search.commands.watch import seconds_of
from search.settings import limits
from search.settings.limits import Limit

SMALL = Limit(1, 5_000, "no reason")


def read(text: str, kind: type[int] | type[float] = int) -> float:
    return numeric(SMALL, kind)["parser"](text)  # type: ignore[no-any-return]


@pytest.mark.parametrize(("text", "value"), [("3", 3), ("1_000", 1000), ("0x10", 16), ("+5", 5), ("5000", 5000)])
def test_whole_numbers(text: str, value: int) -> None:
    assert read(text) == value


@pytest.mark.parametrize(
    "text",
    ["0", "5001", "-1", "1e3", "1.0", "010", "1__0", "", "many", "nan", "٣", " 3", "9" * 5000, "true", "0x"],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is not a whole number from 1 to 5000") as refused:
        read(text)
    assert len(refused.value.message) < 150


def test_numbers_with_fractions() -> None:
    assert read("1e3", float) == 1000.0 and read("1.5", float) == 1.5 and type(read("3", float)) is float
    for text in (".nan", "nan", ".inf", "inf", "1e400", "5000.1", "1,5", "010", "0.9"):
        with pytest.raises(typer.BadParameter, match="is not a number from 1 to 5000"):
            read(text, float)


def test_seconds_are_read_in_the_same_way() -> None:
    assert seconds_of("1e1") == 10.0 and seconds_of("0.5") == 0.5 and seconds_of(None) == 2.0
    for text in ("1__0", "010", "nan", ".nan", ".inf", "soon", "-1"):
        with pytest.raises(ValueError, match="expected seconds"):
            seconds_of(text)


def test_no_command_reads_numbers_in_another_way() -> None:
    seen = set()
    for name in COMMANDS:
        for option, hint in get_type_hints(function_of(name), include_extras=True).items():
            kinds = {kind for part in (hint, *get_args(hint)) for kind in (part, *get_args(part))}
            if {int, float} & kinds:
                (info,) = hint.__metadata__
                assert info.parser is not None, f"{name}: {option}"
                seen.add(option)
    assert {"program_id", "seeds", "steps", "tolerance", "limit", "until", "port", "workers", "pairs"} <= seen


def test_every_limit_is_one() -> None:
    for name, limit in vars(limits).items():
        if isinstance(limit, Limit):
            assert (limit.least or 0) < limit.most and limit.why, name
