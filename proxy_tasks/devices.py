"""The back end for each kind of device."""

from __future__ import annotations

import torch

from programs.errors import InputError

from proxy_tasks.backend import Backend, Cpu


def open_backend(device: str = "cpu", share: float = 1.0) -> Backend:
    """Return the back end for `cpu` or `cuda`.

    Args:
        device: the kind of device; the first that this process sees.
        share: of the memory of a GPU, for this process.

    Raises:
        InputError: the device is missing or unknown.
    """
    if device == "cpu":
        return Cpu()
    if device != "cuda":
        raise InputError(f"device '{device}' is unknown; train on cpu or cuda")
    if not torch.cuda.is_available():
        raise InputError(
            f"device cuda: torch {torch.__version__} sees no GPU here; install a torch built for CUDA on a machine that"
            " has one, or train on the device cpu"
        )
    from proxy_tasks.cuda import Cuda  # imported here: it is of use only with a GPU

    return Cuda(share)
