"""Programs as source code that people use without this project: for torch, and for JAX with optax."""

from programs.export.optax_source import optax_source
from programs.export.torch_source import torch_source
from programs.export.verify import export_torch, verify_torch

__all__ = ["export_torch", "optax_source", "torch_source", "verify_torch"]
