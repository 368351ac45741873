"""Names of variables in generated code: those of the program, unless that would hide something."""

from __future__ import annotations

import builtins
import keyword
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import count

from programs.export.schedule import helper_names

# What generated code calls by name.
RESERVED = frozenset(
    {"torch", "math", "Tensor", "Any", "Callable", "Optimizer", "Parameter", "ParamsT", "annotations", "defaultdict"}
    | {"Iterator", "chain", "traceback", "LambdaLR", *helper_names()}
    | {"param", "params", "weights", "grads", "ms", "vs", "lr", "m_in", "v_in", "x", "y", "z"}
    | {"self", "group", "entries", "device", "i", "differentiable", "maximize", "foreach", "capturable", "state_dtype"}
    | {"state_bits", "opened"}
)


class Scope:
    """Variables of one function body. A name is used again for a new value once the old one is no longer needed.

    A name keeps the Python type of its first value, for type checkers. `fixed` names are never used again;
    `loop_inputs` are what loops bind, and may be once they are no longer needed.
    """

    def __init__(self, fixed: Iterable[str], loop_inputs: Iterable[str] = ()) -> None:
        self._fixed, self._loop_inputs = set(fixed), frozenset(loop_inputs)
        self._held_until: dict[str, float] = {}
        self._types: dict[str, str] = {}
        self._times_fixed: Counter[str] = Counter()

    def fix(self, wanted: str) -> str:
        """Return a name that nothing else in the function has."""
        self._times_fixed[wanted] += 1
        name = self._first(wanted, lambda x: x in self._loop_inputs or x in self._held_until, self._times_fixed[wanted])
        self._fixed.add(name)
        return name

    def assign(self, wanted: str, now: float, until: float, type_name: str = "Any") -> str:
        """Return a name for a value that is made at `now` and read for the last time at `until`."""

        def is_taken(name: str) -> bool:
            is_held = self._held_until.get(name, now) > now
            return is_held or (type_name != "Any" and self._types.get(name, type_name) != type_name)

        name = self._first(wanted, is_taken)
        self._held_until[name] = until
        if type_name != "Any":
            self._types.setdefault(name, type_name)
        return name

    def hold(self, name: str, until: float) -> None:
        """Keep a name that was assigned elsewhere."""
        self._held_until[name] = until

    def next_loop(self) -> None:
        """Forget what the last loop assigned."""
        self._held_until.clear()

    def _first(self, wanted: str, is_taken: Callable[[str], bool], number: int = 1) -> str:
        """Return the first of `wanted`, `wanted_2`, `wanted_3` and so on, from `number` on, that is free."""
        wanted = wanted.strip("_") or "x_"
        names = (wanted if n == 1 else f"{wanted}_{n}" for n in count(number))
        return next(name for name in names if not (_hides(name) or name in self._fixed or is_taken(name)))


def _hides(name: str) -> bool:
    """Return whether a variable would hide something. Names that start with '_' are left to generated functions."""
    return name in RESERVED or keyword.iskeyword(name) or hasattr(builtins, name) or name.startswith("_")
