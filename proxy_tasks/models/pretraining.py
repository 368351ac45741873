"""Weights that fine-tuning starts from: trained once, and kept on the disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np
import torch
from torch import Tensor

from proxy_tasks.datasets.dataset import Dataset
from proxy_tasks.models.model import Model

SEED, STEPS, BATCH, LEARNING_RATE = 0, 200, 64, 3e-3
VERSION = 1  # increased with every change that alters what is computed below
GRID = 2.0**-12  # of the weights
_CHECKSUM = 32  # bytes at the end of a file


def pretrained(name: str, build: Callable[[Dataset], Model], data: Dataset) -> list[Tensor]:
    """Return the weights of a model, in the order of its leaves, after training on a data set by Adam.

    They are a function of the arguments alone, computed in double precision and rounded to a coarse grid, so that
    machines which round otherwise come to the same. A file of them that cannot be read, or is not whole, is written
    anew; where none can be written, the weights are computed by every process.

    Args:
        name: of the model with its arguments, as text.
        build: makes the model for a data set.
        data: what to train on, on the CPU.
    """
    model = build(data)
    file = _file(name, model, data)
    weights = _read(file, model.layout.total)
    if weights is None:
        weights = _trained(model, data)
        _write(file, weights)
    return [weight[0] for weight in model.parameters(weights[None])]


def _trained(model: Model, data: Dataset) -> Tensor:
    """Return the weights, [P]."""
    start = model.parameters(model.initial_row(SEED)[None].double())
    parameters = [p.detach().clone().requires_grad_() for p in start]
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE)
    rng = np.random.default_rng(SEED)
    for step in range(STEPS):
        index = torch.from_numpy(rng.integers(0, len(data.train_x), BATCH))
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 - step / STEPS)
        optimizer.zero_grad()
        with torch.enable_grad():
            loss = model.losses(parameters, data.train_x[index][None].double(), data.train_y[index][None]).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    flat = torch.cat([p.detach().flatten() for p in parameters])
    return ((flat / GRID).round() * GRID).float()


def _file(name: str, model: Model, data: Dataset) -> Path:
    """Return the file of these weights, which is named after all that they depend on."""
    recipe = (VERSION, SEED, STEPS, BATCH, LEARNING_RATE, GRID, torch.__version__)
    meaning = repr((name, model.leaves, data.digest, recipe))
    folder = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(folder) / "optsearch" / "pretrained" / sha256(meaning.encode()).hexdigest()


def _read(file: Path, total: int) -> Tensor | None:
    """Return the weights in a file, None unless it holds so many and is whole."""
    with suppress(OSError):
        data = file.read_bytes()
        values, checksum = data[:-_CHECKSUM], data[-_CHECKSUM:]
        if len(values) == 4 * total and sha256(values).digest() == checksum:
            return torch.from_numpy(np.frombuffer(values, "<f4").astype(np.float32))
    return None


def _write(file: Path, weights: Tensor) -> None:
    """Write weights so that other processes see all of them or nothing."""
    values = weights.numpy().astype("<f4").tobytes()
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=file.parent, delete=False) as opened:
            part = Path(opened.name)
            try:
                opened.write(values + sha256(values).digest())
                opened.flush()
                part.replace(file)
            finally:
                part.unlink(missing_ok=True)
