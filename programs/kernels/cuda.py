"""The CUDA dialect: compiled by NVRTC when a program runs, launched on torch's current stream."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from programs.kernels.batch import Launch
from programs.kernels.source import CUDA, THREADS, Source

# Rounding is that of the statements as they stand, whatever else is compiled with them; denormals are flushed, as on
# the CPU in training. Division and square root are exact by default.
OPTIONS = ("--fmad=false", "--ftz=true")

_kernels: dict[str, Any] = {}


def compiled(source: Source) -> Launch:
    """The source as a function of batches, for the current device; a source is compiled once in a process."""
    key = source.key(CUDA, *OPTIONS, str(torch.cuda.get_device_capability()))
    if key not in _kernels:
        _kernels[key] = torch.cuda._compile_kernel(source.text(CUDA), "run_phase", nvcc_options=list(OPTIONS))
    kernel = _kernels[key]

    def launch(batch: Tensor, phase: int, blocks: int) -> None:
        kernel(grid=(blocks, 1, 1), block=(THREADS, 1, 1), args=[batch, phase])

    return launch
