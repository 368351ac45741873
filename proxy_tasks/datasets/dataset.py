"""What every data set looks like to the trainer."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from hashlib import sha256

from torch import Tensor


@dataclass(frozen=True)
class Dataset:
    """Samples on the first axis. `classes` is the number of labels that a classifier must tell apart."""

    train_x: Tensor
    train_y: Tensor
    valid_x: Tensor
    valid_y: Tensor
    classes: int

    @cached_property
    def digest(self) -> str:
        """SHA-256 over all values: equal digests mean equal data."""
        digest = sha256()
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                digest.update(f"{field.name} {value.dtype} {tuple(value.shape)}".encode())
                digest.update(value.contiguous().numpy().tobytes())
            else:
                digest.update(f"{field.name} {value}".encode())
        return digest.hexdigest()
