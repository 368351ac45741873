"""Checks of the arguments of models, before anything is built."""

from __future__ import annotations

from typing import Any

from programs.errors import InputError

from proxy_tasks.datasets.checks import whole


def wholes(what: str, name: str, value: Any, least: int = 0) -> tuple[int, ...]:
    """Return `value` as a tuple of positive whole numbers, at least `least` of them.

    Raises:
        InputError: it is something else; the message names the argument `name` of `what`.
    """
    if not isinstance(value, list | tuple) or len(value) < least:
        raise InputError(f"{what}: '{name}' is {value!r}; give a list of whole numbers, {least} or more of them")
    return tuple(whole(what, name, number, 1) for number in value)
