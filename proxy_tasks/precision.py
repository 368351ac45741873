"""Matrix products with fewer digits, for devices that compute them faster so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from proxy_tasks.task import Matmul


def precision(matmul: Matmul, device: torch.device) -> AbstractContextManager[None]:
    """Meanwhile products of matrices, and convolutions, are computed from float32, tf32 or bf16 numbers."""
    if device.type == "cuda":
        return _on_gpu(matmul)
    return _bf16(device) if matmul == "bf16" else nullcontext()


@contextmanager
def _on_gpu(matmul: Matmul) -> Iterator[None]:
    before, is_reduced = torch.get_float32_matmul_precision(), matmul != "float32"
    torch.set_float32_matmul_precision("high" if is_reduced else "highest")
    # Left alone, torch takes TF32 for convolutions whatever it takes for products.
    convolutions = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=is_reduced)
    try:
        with convolutions, _bf16(torch.device("cuda")) if matmul == "bf16" else nullcontext():
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def _bf16(device: torch.device) -> torch.autocast:
    """Casts are not kept for the next product: a recorded step must make its own."""
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)
