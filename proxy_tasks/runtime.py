"""The process that trains: its settings, the precision of its matrix products, its memory."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from proxy_tasks.task import Matmul
from proxy_tasks.torch_state import usual_torch

# Parameters of glibc's mallopt(3).
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_MMAP_THRESHOLD = 32 * 2**20


def configure_process(threads: int = 1) -> None:
    """Set one thread, so that results do not depend on the machine; no denormals; memory kept for the next step."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Keep glibc from giving activations back to the kernel: page faults would take a third of the time."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "gnu_get_libc_version"):  # other C libraries have no such parameters
            libc.mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
            libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


@contextmanager
def configured_process() -> Iterator[None]:
    """Apply `configure_process` and `usual_torch` until the context ends, in a process that does other things too."""
    threads = torch.get_num_threads()
    configure_process()
    try:
        with usual_torch():
            yield
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(False)


# --- precision of matrix products -------------------------------------------------------------------------------


def precision(matmul: Matmul, device: torch.device) -> AbstractContextManager[None]:
    """Return a context in which matrix products and convolutions are computed from float32, tf32 or bf16 numbers."""
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
    """Return autocast without its cache of casts: a recorded step must make its own."""
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)


def peak_memory_mib() -> float:
    """Return the peak resident memory of this process in MiB."""
    import resource  # imported here: not every system has it

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # bytes there, KiB elsewhere
