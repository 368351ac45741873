"""Losses and gradients of many replicas at once against an ordinary module, one after another.

    python -m scripts.bench.models [--rounds 5] [--replicas 1 16 64] [--models cnn transformer]

The reference is ordinary code: a module of torch's layers, `zero_grad`, its loss, `backward()`. Both work on the same
minibatch with one thread, in turn. The table shows (replica x step)/s from the medians, and their ratio. "user's CNN"
and "user's MLP" are the reference modules themselves, trained as replicas through vmap.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from proxy_tasks import configure_process
from proxy_tasks.datasets import Dataset
from proxy_tasks.models import MODELS, Model, module_model

from tests.support.references import Autoencoder, Cnn, Mlp, Transformer, Vit, classification, language


class Case(NamedTuple):
    """A model, the same model as a module with a method `loss(x, y)`, data for both, and the size of a minibatch."""

    model: Model
    module: nn.Module
    data: Dataset
    batch: int


def dense(kind: str) -> Case:
    data = classification(64, samples=128)
    if kind == "autoencoder":
        return Case(MODELS[kind](data), Autoencoder(64, (32, 8, 32)), data, 128)
    model = MODELS["mlp"](data) if kind == "mlp" else module_model(kind, lambda: Mlp([64, 32, 10]), data)
    return Case(model, Mlp([64, 32, 10]), data, 128)


def convolutional(image: tuple[int, ...], user: bool = False) -> Case:
    data, channels = classification(*image, samples=128), (8, 16, 32)
    model = (
        module_model("user", lambda: Cnn(image, channels, 10), data) if user else MODELS["cnn"](data, channels=channels)
    )
    return Case(model, Cnn(image, channels, 10), data, 128)


def transformer() -> Case:
    data = language(32, 96)
    return Case(MODELS["transformer"](data), Transformer(96, 32), data, 32)


def vit() -> Case:
    data = classification(3, 64, 64, samples=64)
    return Case(MODELS["vit"](data), Vit((3, 64, 64), 10, layers=3, width=96, heads=3, patch=16), data, 64)


CASES: dict[str, Callable[[], Case]] = {
    "mlp": lambda: dense("mlp"),
    "autoencoder": lambda: dense("autoencoder"),
    "cnn": lambda: convolutional((1, 40)),
    "cnn on images": lambda: convolutional((1, 8, 8)),
    "transformer": transformer,
    "vit": vit,
    "user's MLP": lambda: dense("user"),
    "user's CNN": lambda: convolutional((1, 40), user=True),
}


def one_by_one(case: Case, x: Tensor, y: Tensor) -> Callable[[], object]:
    def step() -> None:
        case.module.zero_grad()
        case.module.loss(x[0], y[0]).backward()  # type: ignore[operator]

    return step


def all_at_once(case: Case, replicas: int, x: Tensor, y: Tensor) -> Callable[[], object]:
    rows = torch.stack([case.model.initial_row(seed) for seed in range(replicas)])
    parameters = [p.detach().requires_grad_() for p in case.model.parameters(rows)]
    return lambda: torch.autograd.grad(case.model.losses_in_chunks(parameters, x, y).sum(), parameters)


def seconds(step: Callable[[], object], times: int) -> float:
    """Return the processor time of this thread, which other work on the machine disturbs less than wall time."""
    started = time.thread_time()
    for _ in range(times):
        step()
    return (time.thread_time() - started) / times


def measure(name: str, replicas: int, rounds: int) -> None:
    case = CASES[name]()
    x, y = case.data.train_x[None, : case.batch], case.data.train_y[None, : case.batch]
    loop, batch = one_by_one(case, x, y), all_at_once(case, replicas, x, y)
    seconds(loop, 5), seconds(batch, 2)
    pairs = [(seconds(loop, 20), seconds(batch, max(2, 40 // replicas)) / replicas) for _ in range(rounds)]
    alone, together = (statistics.median(times) for times in zip(*pairs, strict=True))
    print(f"{name:15s} {replicas:4d} {1 / alone:14,.0f} {1 / together:14,.0f} {alone / together:8.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--models", nargs="+", choices=list(CASES), default=list(CASES))
    options = parser.parse_args()
    configure_process()
    print(f"{'model':15s} {'R':>4s} {'one by one':>14s} {'all at once':>14s} {'ratio':>8s}")
    for name in options.models:
        for replicas in options.replicas:
            measure(name, replicas, options.rounds)


if __name__ == "__main__":
    main()
