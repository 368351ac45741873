"""The CUDA dialect: compiled by NVRTC when a program runs, launched on torch's current stream."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.cuda._utils import _check_cuda, _get_gpu_runtime_library
from torch.utils import cpp_extension

from programs.kernels.batch import Launch
from programs.kernels.source import CUDA, THREADS, Source

# Rounding is that of the statements as they stand, whatever else is compiled with them; denormals are flushed, as on
# the CPU in training. Division and square root are exact by default.
OPTIONS = ("--fmad=false", "--ftz=true")

MOST_LOADED = 32  # sources; a search compiles thousands, and what is loaded takes memory of the GPU

_kernels: dict[str, Any] = {}  # those used last at the end


def compiled(source: Source) -> Launch:
    """Return the source as a function of batches, for the current device.

    A source is compiled once, unless many others have been since. What is launched must be one of the last 32.
    """
    key = source.key(CUDA, *OPTIONS, str(torch.cuda.get_device_capability()))
    kernel = _kernels.pop(key, None)
    if kernel is None:
        # torch looks for headers of CUDA, which this source does without, and raises where there are none.
        cpp_extension.CUDA_HOME = cpp_extension.CUDA_HOME or "/usr/local/cuda"
        kernel = torch.cuda._compile_kernel(source.text(CUDA), "run_phase", nvcc_options=list(OPTIONS))
    _kernels[key] = kernel
    if len(_kernels) > MOST_LOADED:
        _unload(_kernels.pop(next(iter(_kernels))))

    def launch(batch: Tensor, phase: int, blocks: int) -> None:
        kernel(grid=(blocks, 1, 1), block=(THREADS, 1, 1), args=[batch, phase])

    return launch


def _unload(kernel: Any) -> None:
    """Unload the module of a kernel; torch itself never does."""
    torch.cuda.synchronize()
    _check_cuda(_get_gpu_runtime_library().cuModuleUnload(kernel.module))
