"""Checks of the arguments of data sets and models, before anything is read, generated or built."""

from __future__ import annotations

from typing import Any

from programs.errors import InputError


def whole(what: str, name: str, value: Any, least: int, most: int = 2**31) -> int:
    """Return `value` as a whole number between `least` and `most`.

    Raises:
        InputError: it is something else; the message names the argument `name` of `what`.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InputError(f"{what}: '{name}' is {value!r}; give a whole number from {least} to {most}")
    return value


def real(what: str, name: str, value: Any, least: float, most: float) -> float:
    """Return `value` as a number between `least` and `most`.

    Raises:
        InputError: it is something else; the message names the argument `name` of `what`.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise InputError(f"{what}: '{name}' is {value!r}; give a number from {least:g} to {most:g}")
    return float(value)


def wholes(what: str, name: str, value: Any, least: int = 0) -> tuple[int, ...]:
    """Return `value` as a tuple of positive whole numbers, at least `least` of them.

    Raises:
        InputError: it is something else; the message names the argument `name` of `what`.
    """
    if not isinstance(value, list | tuple) or len(value) < least:
        raise InputError(f"{what}: '{name}' is {value!r}; give a list of whole numbers, {least} or more of them")
    return tuple(whole(what, name, number, 1) for number in value)
