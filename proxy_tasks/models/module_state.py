"""What a module keeps from step to step, held by tensors, so that each replica has its own."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_DEEPEST = 5  # levels of objects within an attribute that are compared
_OF_EVERY_MODULE = frozenset(vars(nn.Module())) - {"training"}


class Slot:
    """A buffer or an attribute whose value a tensor can hold: a tensor, a number, or the state of a generator.

    Args:
        part: the layer that has it.
        name: of the buffer or attribute.

    Attributes:
        part: the layer.
        name: the name.
        is_buffer: whether it is a buffer.
    """

    def __init__(self, part: nn.Module, name: str) -> None:
        self.part, self.name = part, name
        self.is_buffer = name in part._buffers
        self._table: dict[str, Any] = part._buffers if self.is_buffer else vars(part)

    @property
    def is_tensor(self) -> bool:
        """Whether its value is a tensor itself."""
        return isinstance(self._table.get(self.name), Tensor)

    def read(self) -> Tensor | None:
        """Return a tensor with its value, None if no tensor can hold what it is now."""
        value = self._table.get(self.name)
        if isinstance(value, Tensor):
            return value.detach()
        if isinstance(value, torch.Generator):
            return value.get_state()
        number = {bool: torch.bool, int: torch.int64, float: torch.float64}.get(type(value))
        return None if number is None else torch.tensor(value, dtype=number)

    def write(self, value: Tensor) -> None:
        """Set it to the value that a tensor holds; the kind of its value stays."""
        now = self._table.get(self.name)
        if isinstance(now, torch.Generator):
            now.set_state(value.cpu())
        else:
            self._table[self.name] = value if isinstance(now, Tensor) else value.item()


def slots(module: nn.Module) -> dict[str, Slot]:
    """Return everything in a module that a tensor can hold besides its parameters, by its path."""
    return {path: slot for path, slot in _all_slots(module) if slot.read() is not None}


def held(module: nn.Module, without: Collection[str]) -> dict[str, Any]:
    """Return, by path, what a tensor can hold besides parameters, without some paths, to compare."""
    values = ((path, slot.read()) for path, slot in _all_slots(module) if path not in without)
    return {path: _plain(value, _DEEPEST) for path, value in values if value is not None}


def _all_slots(module: nn.Module) -> Iterator[tuple[str, Slot]]:
    """Yield every buffer and attribute by its path, whether or not a tensor can hold it."""
    for key, part in module.named_modules():
        for name in (*part._buffers, *(vars(part).keys() - _OF_EVERY_MODULE - {"training"})):
            yield f"{key}.{name}" if key else name, Slot(part, name)


def states(module: nn.Module) -> dict[str, Any]:
    """Return, by path, what every layer keeps besides its layers: parameters, buffers and attributes, to compare."""
    found: dict[str, Any] = {}
    for key, part in module.named_modules():
        kept: dict[str, Any] = part._parameters | part._buffers
        kept |= {name: value for name, value in vars(part).items() if name not in _OF_EVERY_MODULE}
        found |= {f"{key}.{name}" if key else name: _plain(value, _DEEPEST) for name, value in kept.items()}
    return found


def _plain(value: Any, depth: int) -> Any:
    """Return what can be compared with what the same object is later."""
    if isinstance(value, Tensor):
        value = value if value.layout == torch.strided else value.to_dense()
        data = value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        return str(value.dtype), tuple(value.shape), sha256(data.data).digest()
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, sha256(value.tobytes()).digest()
    if isinstance(value, torch.Generator):
        return value.get_state().numpy().tobytes()
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state)
    if isinstance(value, np.random.RandomState | random.Random):
        return repr(value.get_state() if isinstance(value, np.random.RandomState) else value.getstate())
    if value is None or isinstance(value, str | bytes | int | float | complex):
        return repr(value)
    if depth == 0 or isinstance(value, nn.Module | type) or callable(value):
        return type(value).__name__
    if isinstance(value, Mapping):
        return {repr(key): _plain(one, depth - 1) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset | deque):
        return [_plain(one, depth - 1) for one in value]
    return {key: _plain(one, depth - 1) for key, one in getattr(value, "__dict__", {}).items()}
