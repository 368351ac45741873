"""Matrix products with fewer digits, for devices that compute them faster so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from proxy_tasks.task import Matmul


def precision(matmul: Matmul, device: torch.device) -> AbstractContextManager[None]:
    """Meanwhile products of matrices, and convolutions, are computed from float32, tf32 or bf16 numbers."""
    return nullcontext() if matmul == "float32" else _reduced(matmul, device)


@contextmanager
def _reduced(matmul: Matmul, device: torch.device) -> Iterator[None]:
    before, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    if device.type == "cuda":  # on CPUs torch would take bf16 for the same word
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
    try:
        # Casts are not kept for the next product: a recorded step must make its own.
        with torch.autocast(device.type, torch.bfloat16, enabled=matmul == "bf16", cache_enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
        torch.backends.cudnn.allow_tf32 = convolutions
