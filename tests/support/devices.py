"""A stand-in for a GPU: training on the CPU as `Cuda` trains on a GPU.

With fused rules, replicas that are out carried along, and a step recorded once and replayed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from programs.kernels import c
from programs.kernels.batch import Launch
from programs.run.sharing import Skeletons

from proxy_tasks.backend import Bind
from proxy_tasks.cuda import PART_LENGTH, Cuda, bind_fused, shared_out
from proxy_tasks.models import Model
from proxy_tasks.models.chunks import Losses
from proxy_tasks.torch_state import CPU

COMPILED = TemporaryDirectory(prefix="kernels-")  # removed when the process ends
_recordings: list[list[Callable[[], Any]]] = []  # those that are being made


class Emulated(Cuda):
    """What is not of CUDA alone, in the way of `Cuda`."""

    def __init__(self, part_length: int = PART_LENGTH) -> None:
        self.device, self.name, self.moves, self.part_length = CPU, "emulated", 0, part_length

    def memory_mib(self) -> float:
        return 1024.0

    def release(self) -> None:
        pass

    def losses(self, model: Model) -> Losses:
        return model.losses

    def compiled(self, skeletons: Skeletons) -> Bind:
        sources = shared_out(skeletons, self.part_length)
        return bind_fused([(*source, _noted(c.compiled(source[0], Path(COMPILED.name)))) for source in sources])

    def repeated(self, step: Callable[[], None]) -> Callable[[int], None]:
        self.moves += 1
        return Replayed(step)


def _noted(launch: Launch) -> Launch:
    """The same, for recordings too."""

    def noted(*args: Any) -> None:
        launch(*args)
        for calls in _recordings:
            calls.append(partial(launch, *args))

    return noted


class Replayed:
    """Repeats a step as a CUDA graph does: the operations of one, again and again, on the memory that it used."""

    def __init__(self, step: Callable[[], None]) -> None:
        self._step = step
        self._calls: list[Callable[[], Any]] | None = None

    def __call__(self, times: int) -> None:
        for _ in range(times):
            if self._calls is None:
                self._calls = []
                _recordings.append(self._calls)
                with _Notes(self._calls):
                    self._step()
                _recordings.remove(self._calls)
            else:
                for call in self._calls:
                    call()


class _Notes(TorchDispatchMode):
    """Writes down every operation, with a call that computes it again into the memory where its result is."""

    def __init__(self, calls: list[Callable[[], Any]]) -> None:
        super().__init__()
        self._calls = calls

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        returns = func._schema.returns
        if any(r.alias_info is not None for r in returns) and not func._schema.is_mutable:
            return result  # a view
        held = tree_flatten(result)[0]

        def again() -> None:
            with torch.no_grad():
                new = tree_flatten(func(*args, **(kwargs or {})))[0]
                for place, value in zip(held, new, strict=True):
                    if isinstance(place, Tensor) and place is not value:
                        place.copy_(value)

        self._calls.append(again)
        return result
