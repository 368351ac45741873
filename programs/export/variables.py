"""Names of variables in generated code: those of the program, unless that would hide something."""

from __future__ import annotations

import builtins
import keyword
from collections.abc import Collection

# What generated code calls by name.
RESERVED = frozenset(
    {"torch", "math", "Tensor", "Any", "Callable", "Optimizer", "Parameter", "ParamsT", "annotations", "defaultdict"}
    | {"param", "params", "weights", "grads", "ms", "vs", "lr", "m_in", "v_in", "x", "y", "z"}
    | {"self", "group", "entries", "device", "i", "differentiable", "maximize", "foreach", "capturable", "state_dtype"}
)


def is_free(name: str, taken: Collection[str]) -> bool:
    """Return whether a variable may bear the name. Names that start with '_' are left to the generated functions."""
    return not (
        name in RESERVED or name in taken or keyword.iskeyword(name) or hasattr(builtins, name) or name.startswith("_")
    )


def free_name(wanted: str, taken: Collection[str]) -> str:
    """Return `wanted` where it is free, or else with a number."""
    wanted = wanted.strip("_") or "x_"
    name, number = wanted, 2
    while not is_free(name, taken):
        name = f"{wanted}_{number}"
        number += 1
    return name


class Scope:
    """Variables of one function body. A name is used again for a new value once the old one is no longer needed.

    `fixed` names are never used again; `loop_inputs` are what loops bind, and may be once they are no longer needed.
    """

    def __init__(self, fixed: Collection[str], loop_inputs: Collection[str] = ()) -> None:
        self._fixed, self._loop_inputs = set(fixed), frozenset(loop_inputs)
        self._held_until: dict[str, float] = {}

    def fix(self, wanted: str) -> str:
        """Return a name that nothing else in the function has."""
        name = free_name(wanted, self._fixed | self._loop_inputs | set(self._held_until))
        self._fixed.add(name)
        return name

    def assign(self, wanted: str, now: float, until: float) -> str:
        """Return a name for a value that is made at `now` and read for the last time at `until`."""
        held = {name for name, end in self._held_until.items() if end > now}
        name = free_name(wanted, self._fixed | held)
        self._held_until[name] = until
        return name

    def hold(self, name: str, until: float) -> None:
        """Keep a name that was assigned elsewhere."""
        self._held_until[name] = until

    def next_loop(self) -> None:
        """Forget what the last loop assigned."""
        self._held_until.clear()
