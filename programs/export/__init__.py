"""Programs as source that people use without this project."""

from programs.export.torch_source import torch_source
from programs.export.verify import export_torch

__all__ = ["export_torch", "torch_source"]
