"""The engine: evolutionary search over programs, its evaluators, its store and its commands.

For Python: `run` starts or continues a search, `open_store` opens what runs have written. They are loaded when they are
first asked for, since torch takes seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from programs.errors import InputError

    from search.api import Result, open_store, run
    from search.errors import RunError
    from search.evolution.driver import Progress
    from search.results.results import Results
    from search.settings.settings import Settings

_PLACES = {
    "InputError": "programs.errors",
    "Progress": "search.evolution.driver",
    "Result": "search.api",
    "Results": "search.results.results",
    "RunError": "search.errors",
    "Settings": "search.settings.settings",
    "open_store": "search.api",
    "run": "search.api",
}

__all__ = ["InputError", "Progress", "Result", "Results", "RunError", "Settings", "open_store", "run"]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'search' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_PLACES[name]), name)
