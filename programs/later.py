"""What is imported when it is first asked for: who only reads programs and results does not wait for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
else:

    class _NumPy:
        def __getattr__(self, name: str) -> Any:
            found = self.__dict__[name] = getattr(import_module("numpy"), name)  # which is not asked for again
            return found

    np = _NumPy()

__all__ = ["names_of", "np"]


def names_of(package: str, places: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a `__getattr__` for a package that has names of its modules.

    Args:
        package: its name.
        places: the modules by the names.
    """

    def find(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        return getattr(import_module(places[name]), name)

    return find
