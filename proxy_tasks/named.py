"""Data sets, models and tasks by name: built in, or a user's own function as `module:function`.

A user's code is imported only because a config or a call names it, never because a database does.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from programs.errors import InputError

from proxy_tasks.sources import also_named, changed_files, is_users_file, sources

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


def name_of(function: Callable[..., Any]) -> str:
    """Return `module:function`, by which other processes find a function, for one of a module that can be imported.

    Raises:
        InputError: there is no such name.
    """
    name, module = getattr(function, "__qualname__", ""), getattr(function, "__module__", "")
    if module == "__main__":
        module = Path(getattr(sys.modules["__main__"], "__file__", None) or "").stem
    if not module or not name.isidentifier():
        raise InputError(
            f"{function!r} has no name by which workers find it: define it with `def` at the top of a file, import it"
            " from there, and give it, or 'module:function'"
        )
    return f"{module}:{name}"


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
    if not re.fullmatch(r"\w+(\.\w+)*:\w+", name):
        raise InputError(f"{what} '{name}': expected module:function, such as mine:task")
    module_name, _, function_name = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except SyntaxError as error:  # also where the text is in UTF-16
        where = f"{error.filename}, line {error.lineno}: " if error.lineno else ""
        raise InputError(
            f"{what} '{name}': '{module_name}' is not Python ({where}{error.msg}); mend it, and save it as UTF-8"
        ) from error
    except SystemExit:
        raise InputError(
            f"{what} '{name}': '{module_name}' ends the program when it is imported; put what it runs under"
            ' `if __name__ == "__main__":`'
        ) from None
    except Exception as error:
        fix = "; put its file beside the config, or install it" if isinstance(error, ModuleNotFoundError) else ""
        raise InputError(f"{what} '{name}': cannot import '{module_name}' ({reason_of(error)}){fix}") from error
    if (file := also_named(module)) is not None:
        raise InputError(
            f"{what} '{name}': '{module_name}' is {module.__file__} here, and {file} has that name too: rename yours"
        )
    function = getattr(module, function_name, None)
    if not callable(function):
        raise InputError(f"{what} '{name}': '{module_name}' has no function '{function_name}'")
    return function  # type: ignore[no-any-return]


def call(name: str, builtin: Mapping[str, Callable[..., Any]], what: str, *first: Any, args: Args = ()) -> Any:
    """Return what the function called `name` returns for these arguments.

    Raises:
        InputError: there is no such function, it does not take these arguments, or it is a user's and raises something.
    """
    function = find(name, builtin, what)
    if is_users(name):
        return call_users(f"{what} '{name}'", function, first, args)
    check_arguments(f"{what} '{name}'", function, first, args)
    return function(*first, **dict(args))


def call_users(what: str, function: Callable[..., Any], first: Sequence[Any] = (), args: Args = ()) -> Any:
    """Return what a user's function returns for these arguments; `what` is the function, for messages.

    Raises:
        InputError: it does not take these arguments, or raises something.
    """
    from proxy_tasks.torch_state import usual_torch  # here: names of tasks are read without torch

    check_arguments(what, function, first, args)
    try:
        with usual_torch():  # whatever its module did when it was imported
            return function(*first, **dict(args))
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        raise InputError(f"{what} raised {reason_of(error)}") from error


def check_arguments(what: str, function: Callable[..., Any], first: Sequence[Any], args: Args) -> None:
    """Raise InputError unless a function takes these arguments; `what` is the function, for messages."""
    try:
        inspect.signature(function).bind(*first, **dict(args))
    except TypeError as error:
        known = list(inspect.signature(function).parameters)[len(first) :]
        takes = f"it takes {', '.join(known)}" if known else "it takes none"
        raise InputError(f"{what}: {error}; {takes}") from None


def reason_of(error: BaseException) -> str:
    """Return an exception in one line: its kind, the first line of its message, and where it was raised."""
    said = (str(error).strip().splitlines() or [""])[0][:300]
    frames = traceback.extract_tb(error.__traceback__)
    files = (frame for frame in reversed(frames) if not frame.filename.startswith("<"))  # as <frozen importlib...>
    own = next((frame for frame in files if is_users_file(Path(frame.filename))), None)
    where = f" ({Path(own.filename).name}, line {own.lineno})" if own is not None else ""
    return f"{type(error).__name__}: {said}{where}"


def source_meaning(name: str) -> dict[str, Any]:
    """Return what `module:function` is made of, so that edited code is another task; nothing for what is built in.

    Raises:
        InputError: its file cannot be read, or has changed since it was imported.
    """
    if not is_users(name):
        return {"source": ""}
    module = name.partition(":")[0]
    if changed := changed_files(module):
        raise InputError(
            f"'{name}': {', '.join(changed)} has changed since this process imported it; start another Python process"
        )
    files, packages = sources(module)
    return {"source": files, "packages": packages}
