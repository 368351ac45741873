"""Data sets, models and tasks by name: built in, or a user's own function as `module:function`.

A user's code is imported only because a config or a call names it, never because a database does.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

from programs.errors import InputError

from proxy_tasks.torch_state import usual_torch

Args = tuple[tuple[str, Any], ...]  # keyword arguments as immutable data


def args(**keywords: Any) -> Args:
    """Return keyword arguments for a data set or a model, in the form that a task keeps."""
    return frozen(keywords)


def frozen(keywords: Mapping[str, Any]) -> Args:
    """Return keyword arguments with lists as tuples, in the order of their names."""
    return tuple((name, _immutable(value)) for name, value in sorted(keywords.items()))


def _immutable(value: Any) -> Any:
    return tuple(_immutable(item) for item in value) if isinstance(value, list | tuple) else value


def is_users(name: str) -> bool:
    """Return whether a name is `module:function` rather than something built in."""
    return ":" in name


def find(name: str, builtin: Mapping[str, Callable[..., Any]], what: str) -> Callable[..., Any]:
    """Return the function called `name`.

    Args:
        name: a key of `builtin`, or `module:function` of something that can be imported.
        builtin: the functions that are built in.
        what: "data set", "model" or "task", for messages.

    Raises:
        InputError: there is none.
    """
    if not is_users(name):
        if name not in builtin:
            known = ", ".join(sorted(builtin))
            raise InputError(f"unknown {what} '{name}'; there are {known}, and user-defined ones as module:function")
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


def call(name: str, builtin: Mapping[str, Callable[..., Any]], what: str, *first: Any, args: Args = ()) -> Any:
    """Return what the function called `name` returns for these arguments.

    Raises:
        InputError: there is no such function, or it does not take these arguments.
    """
    function = find(name, builtin, what)
    try:
        inspect.signature(function).bind(*first, **dict(args))
    except TypeError as error:
        known = list(inspect.signature(function).parameters)[len(first) :]
        takes = f"it takes {', '.join(known)}" if known else "it takes none"
        raise InputError(f"{what} '{name}': {error}; {takes}") from None
    with usual_torch():  # whatever its module did when it was imported
        return function(*first, **dict(args))


def source_digest(name: str) -> str:
    """Return SHA-256 of the file that defines `module:function`, so that edited code is another task; else "".

    What that file imports is not covered.
    """
    if not is_users(name):
        return ""
    module = importlib.import_module(name.partition(":")[0])
    return sha256(inspect.getsource(module).encode()).hexdigest()
