"""What a program that we are part of, or a user's module, may have changed about torch for the whole process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

CPU = torch.device("cpu")


@contextmanager
def usual_torch() -> Iterator[None]:
    """Have torch do what it does by itself until the context ends: float32 on the CPU, gradients, no autocast."""
    dtype = torch.get_default_dtype()
    with ExitStack() as usual:
        usual.enter_context(torch.inference_mode(False))
        usual.enter_context(torch.enable_grad())
        for device_type in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device_type):
                usual.enter_context(torch.autocast(device_type, enabled=False))
        if torch.get_default_device() != CPU:  # this context is not free: it takes part in every call of torch
            usual.enter_context(CPU)
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)
