"""Data sets, models and tasks by name: built in, or a user's own function as `module:function`.

A user's code is imported only because a config or a call names it: nothing read from a database ever gets here.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

from programs.errors import InputError

Args = tuple[tuple[str, Any], ...]  # keyword arguments as immutable data


def args(**keywords: Any) -> Args:
    """Keyword arguments for a data set or a model, in the form that a task keeps."""
    return tuple(keywords.items())


def find(name: str, builtin: Mapping[str, Callable[..., Any]], what: str) -> Callable[..., Any]:
    """The function called `name`.

    Args:
        name: a key of `builtin`, or `module:function` of something that can be imported.
        builtin: what is built in.
        what: what is being looked for, for the message: "data set", "model", "task".

    Raises:
        InputError: there is none.
    """
    if ":" not in name:
        if name not in builtin:
            known = ", ".join(sorted(builtin))
            raise InputError(f"unknown {what} '{name}'; there are {known}, and your own as module:function")
        return builtin[name]
    module_name, _, function_name = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise InputError(
            f"{what} '{name}': cannot import '{module_name}' ({error}); put its file beside the config, or install it"
        ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise InputError(f"{what} '{name}': '{module_name}' has no function '{function_name}'")
    return function  # type: ignore[no-any-return]


def source_digest(name: str) -> str:
    """SHA-256 of the file that defines `module:function`, so that edited code is another task; "" for what is built in.

    What that file imports is not covered.
    """
    if ":" not in name:
        return ""
    module = importlib.import_module(name.partition(":")[0])
    return sha256(inspect.getsource(module).encode()).hexdigest()
