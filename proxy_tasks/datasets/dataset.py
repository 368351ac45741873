"""The form of all data sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256

import torch
from torch import Tensor

from programs.errors import InputError

from proxy_tasks.checks import real, whole
from proxy_tasks.draws import Draws

PARTS = ("train_x", "train_y", "valid_x", "valid_y")
SAMPLES = (torch.float32, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)
LABELS = (torch.float32, torch.int64)
VALIDATION_KEY = 0  # what the draws of validation samples follow from

Transform = Callable[[Draws, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Makes of samples `[B, ...]` and their targets `[B, ...]` what is trained on, at random."""


@dataclass(frozen=True)
class Dataset:
    """Samples on the first axis.

    `classes` is the number of labels that a classifier must tell apart, or of tokens in a vocabulary; 0 without labels.
    `floor` is the lowest validation loss that any model can reach, where it is known. `content` is what the digest
    covers where the samples are overlapping views of something smaller, such as windows of a text. `shared` is what
    all samples have in common and models may look into, such as the graph whose nodes the samples are.

    `transform` is applied to every minibatch of training samples, with random numbers that follow from seed and step;
    what it gives is shaped like the validation samples, which are not transformed any more. `source` is what a model
    that is fine-tuned on these samples is trained on before.
    """

    train_x: Tensor
    train_y: Tensor
    valid_x: Tensor
    valid_y: Tensor
    classes: int = 0
    floor: float = 0.0
    content: tuple[Tensor, ...] = ()
    shared: tuple[Tensor, ...] = ()
    transform: Transform | None = None
    source: Dataset | None = None

    def transformed(self, transform: Transform) -> Dataset:
        """Return the same samples with a transform: validation samples are transformed here, once and for all."""
        x, y = transform(Draws(torch.tensor(VALIDATION_KEY)), self.valid_x, self.valid_y)
        content = (*self.content, x, y) if self.content else ()
        return replace(self, valid_x=x, valid_y=y, content=content, transform=transform)

    def minibatch(self, index: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Return samples and targets of a step.

        Args:
            index: of the training samples, `[1 or R, B]`.
            keys: of the step, int64, `[1 or R]`; see `Task.keys`.

        Returns:
            `[1 or R, B, ...]` each.
        """
        x, y = self.train_x[index], self.train_y[index]
        transform = self.transform
        if transform is None:
            return x, y
        # Of the same key a model may draw as well: the draws here are others.
        of_replicas = torch.vmap(lambda key, x, y: transform(Draws(key), x, y))
        return of_replicas(keys.bitwise_not(), x, y)

    def check(self, what: str) -> None:
        """Check that a model can be trained on these samples.

        Args:
            what: the data set, for messages.

        Raises:
            InputError: types, shapes, lengths or values are not as they must be; names the tensor.
        """
        for name in PARTS:
            _check_tensor(f"{what}: {name}", getattr(self, name), LABELS if name.endswith("_y") else SAMPLES)
        for number, value in enumerate(self.shared):
            _check_tensor(f"{what}: shared[{number}]", value, SAMPLES)
        for part in ("train", "valid"):
            x, y = len(getattr(self, f"{part}_x")), len(getattr(self, f"{part}_y"))
            if x != y:
                raise InputError(f"{what}: {part}_x has {x} samples, {part}_y {y}; give as many of both")
        for kind in ("x", "y"):
            train, valid = getattr(self, f"train_{kind}"), getattr(self, f"valid_{kind}")
            if (train.shape[1:], train.dtype) != (valid.shape[1:], valid.dtype):
                raise InputError(
                    f"{what}: a sample of train_{kind} is {list(train.shape[1:])}, {train.dtype}, one of valid_{kind}"
                    f" {list(valid.shape[1:])}, {valid.dtype}; make them alike"
                )
        whole(what, "classes", self.classes, 0)
        real(what, "floor", self.floor, -1e30, 1e30)
        for name in ("train_y", "valid_y") if self.classes else ():
            labels = getattr(self, name)
            if not labels.is_floating_point() and not 0 <= int(labels.min()) <= int(labels.max()) < self.classes:
                raise InputError(
                    f"{what}: {name} has labels from {int(labels.min())} to {int(labels.max())}, and 'classes' is"
                    f" {self.classes}; labels are 0 to {self.classes - 1}"
                )

    def on(self, device: torch.device) -> Dataset:
        """Return the same samples on a device."""
        return replace(
            self,
            train_x=_moved(self.train_x, device),
            train_y=_moved(self.train_y, device),
            valid_x=_moved(self.valid_x, device),
            valid_y=_moved(self.valid_y, device),
            shared=tuple(value.to(device) for value in self.shared),
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 over all values: equal digests mean equal data."""
        digest = sha256()
        names = () if self.content else PARTS
        tensors = [(name, getattr(self, name)) for name in names] + [("content", value) for value in self.content]
        for name, value in [*tensors, *(("shared", value) for value in self.shared)]:
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(memoryview(value.contiguous().numpy()))
        digest.update(f"classes {self.classes}".encode())
        if self.source is not None:
            digest.update(f"source {self.source.digest}".encode())
        return digest.hexdigest()


def _check_tensor(what: str, value: object, dtypes: Sequence[torch.dtype]) -> None:
    """Raise InputError unless `value` is a tensor of samples of one of these types, with numbers that are finite."""
    if not isinstance(value, Tensor):
        from_numpy = ", such as torch.from_numpy(...)" if type(value).__module__ == "numpy" else ""
        raise InputError(f"{what} is {type(value).__name__}; give a torch.Tensor{from_numpy}")
    if value.requires_grad:
        raise InputError(f"{what} requires a gradient; give it detached: .detach()")
    if value.device.type != "cpu" or value.layout != torch.strided:
        raise InputError(f"{what} is on {value.device}, {value.layout}; give a dense tensor on the CPU")
    if value.dtype not in dtypes:
        fix = "float32: .float()" if value.is_floating_point() else "int64: .long()"
        raise InputError(f"{what} is {str(value.dtype).removeprefix('torch.')}; give {fix}")
    if not value.numel():
        raise InputError(f"{what} is empty, of shape {list(value.shape)}; give samples on the first axis")
    if value.dim() == 0:
        raise InputError(f"{what} is a single number; give samples on the first axis")
    if value.is_floating_point() and not bool(value.isfinite().all()):
        raise InputError(f"{what} has values that are not finite; leave these samples out, or mend them")


def _moved(x: Tensor, device: torch.device) -> Tensor:
    """Return a copy on the device; overlapping windows stay views of one copy of their text."""
    held = x.untyped_storage().nbytes() // x.element_size()
    if held >= x.numel():
        return x.to(device)
    return x.as_strided((held,), (1,), 0).to(device).as_strided(x.shape, x.stride(), x.storage_offset())
