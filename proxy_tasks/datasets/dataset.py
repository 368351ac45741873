"""The form of all data sets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256

import torch
from torch import Tensor


@dataclass(frozen=True)
class Dataset:
    """Samples on the first axis.

    `classes` is the number of labels that a classifier must tell apart, or of tokens in a vocabulary; 0 without labels.
    `floor` is the lowest validation loss that any model can reach, where it is known. `content` is what the digest
    covers where the samples are overlapping views of something smaller, such as windows of a text.
    """

    train_x: Tensor
    train_y: Tensor
    valid_x: Tensor
    valid_y: Tensor
    classes: int = 0
    floor: float = 0.0
    content: tuple[Tensor, ...] = ()

    def on(self, device: torch.device) -> Dataset:
        """Return the same samples on a device."""
        return replace(
            self,
            train_x=_moved(self.train_x, device),
            train_y=_moved(self.train_y, device),
            valid_x=_moved(self.valid_x, device),
            valid_y=_moved(self.valid_y, device),
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 over all values: equal digests mean equal data."""
        digest = sha256()
        names = () if self.content else ("train_x", "train_y", "valid_x", "valid_y")
        tensors = [(name, getattr(self, name)) for name in names] + [("content", value) for value in self.content]
        for name, value in tensors:
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(memoryview(value.contiguous().numpy()))
        digest.update(f"classes {self.classes}".encode())
        return digest.hexdigest()


def _moved(x: Tensor, device: torch.device) -> Tensor:
    """Return a copy on the device; overlapping windows stay views of one copy of their text."""
    held = x.untyped_storage().nbytes() // x.element_size()
    if held >= x.numel():
        return x.to(device)
    return x.as_strided((held,), (1,), 0).to(device).as_strided(x.shape, x.stride(), x.storage_offset())
