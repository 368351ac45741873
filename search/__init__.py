"""The engine: evolutionary search over programs, its evaluators, its store and its commands.

For Python: `run` starts or continues a search, `open_store` opens what runs have written. They are loaded when they are
first asked for, since torch takes seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from programs.later import names_of

if TYPE_CHECKING:
    from programs.errors import InputError

    from search.api import Result, open_store, run
    from search.errors import RunError
    from search.evolution.callbacks import Callback
    from search.evolution.progress import Progress
    from search.results.results import Results
    from search.settings.settings import Settings

__all__ = ["Callback", "InputError", "Progress", "Result", "Results", "RunError", "Settings", "open_store", "run"]

__getattr__ = names_of(__name__, {
    "Callback": "search.evolution.callbacks",
    "InputError": "programs.errors",
    "Progress": "search.evolution.progress",
    "Result": "search.api",
    "Results": "search.results.results",
    "RunError": "search.errors",
    "Settings": "search.settings.settings",
    "open_store": "search.api",
    "run": "search.api",
})  # fmt: skip


def __dir__() -> list[str]:
    return __all__
