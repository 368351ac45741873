"""The C dialect: compiled with the machine's compiler, run on one core. It is how kernels are checked without a GPU."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from programs.kernels.batch import Launch
from programs.kernels.source import C, Source

# Products are not fused into sums, so that the rounding is that of NumPy on every machine.
COMMAND = ("cc", "-O2", "-shared", "-fPIC", "-ffp-contract=off")


def compiled(source: Source, folder: Path, order: Callable[[int], Sequence[int]] = range) -> Launch:
    """Return the source as a function of batches.

    Args:
        source: what to compile.
        folder: where compiled sources are kept, and found again.
        order: of the blocks 0 .. n - 1, by n.
    """
    library = folder / f"{source.key(C, *COMMAND)}.so"
    if not library.exists():
        made = library.with_suffix(f".{os.getpid()}")
        text = source.text(C).encode()
        subprocess.run([*COMMAND, "-x", "c", "-", "-o", made, "-lm"], input=text, check=True)  # noqa: S603 - made here
        made.replace(library)
    run_phase = ctypes.CDLL(str(library)).run_phase

    def launch(batch: Tensor, phase: int, blocks: int) -> None:
        numbers = np.array(order(blocks), np.intc)
        run_phase(ctypes.c_void_p(batch.data_ptr()), phase, numbers.ctypes.data_as(ctypes.c_void_p), blocks)

    return launch
