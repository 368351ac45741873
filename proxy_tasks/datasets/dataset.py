"""What every data set looks like to the trainer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

from torch import Tensor


@dataclass(frozen=True)
class Dataset:
    """Samples on the first axis.

    `classes` is the number of labels that a classifier must tell apart, or of tokens in a vocabulary; 0 without labels.
    `floor` is the lowest validation loss that any model can reach, where theory tells it. `content` is what the digest
    covers where the samples are overlapping views of something smaller, such as windows of a text.
    """

    train_x: Tensor
    train_y: Tensor
    valid_x: Tensor
    valid_y: Tensor
    classes: int = 0
    floor: float = 0.0
    content: tuple[Tensor, ...] = ()

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
