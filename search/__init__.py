"""The engine: evolutionary search over programs, its evaluators, its store and its commands.

For Python: `run` starts or continues a search, `open_store` opens what runs have written. They are loaded when they are
first asked for, since torch takes seconds.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import TYPE_CHECKING

_BESIDE = ("programs", "proxy_tasks")
_ROOT = Path(__file__).parents[1]


class _Beside:
    """Finds our other packages beside this one.

    Python looks first in the folder of a script or a notebook, where a file of the user's may be called as one of them.
    """

    @staticmethod
    def find_spec(name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        return PathFinder.find_spec(name, [str(_ROOT)]) if name in _BESIDE else None


for _name in _BESIDE:
    _file = getattr(sys.modules.get(_name), "__file__", None)
    if _file is not None and not Path(_file).is_relative_to(_ROOT):
        raise ImportError(
            f"the module '{_name}' is {_file} here, and optsearch has a package of that name: rename that file, or"
            " import search before it"
        )
sys.meta_path.insert(0, _Beside)

from programs.later import names_of  # noqa: E402  # found by the above

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
