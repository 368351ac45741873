"""The global random numbers of torch, NumPy and Python: set for a while, and compared."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw all global random numbers of the CPU from a seed until the context ends."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def random_state() -> tuple[Any, ...]:
    """Return the state of all global random numbers, also of GPUs in use: equal if none was drawn meanwhile."""
    numpy = np.random.get_state(legacy=False)
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    states = [state.cpu().numpy().tobytes() for state in (torch.get_rng_state(), *devices)]
    return states, random.getstate(), repr(numpy)
