"""Modules of users as replicas against an ordinary loop over the same modules: the table of docs/user_task.md.

    python -m scripts.bench.modules [--rounds 5] [--replicas 64] [--modules MLP GRU]

The reference is ordinary code with one thread: a module, `zero_grad`, its loss, `backward()`, for one candidate after
another. Both work on the same minibatch, in turn. The last column is how many times as fast all candidates together
are, from the medians.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from proxy_tasks import configure_process
from proxy_tasks.datasets import Dataset
from proxy_tasks.models import Model, module_model
from proxy_tasks.models.chunks import gradients
from proxy_tasks.models.objective import Objective

from scripts.bench.models import seconds
from tests.support.references import classification, language


class Read(nn.Module):
    """A recurrent network with an output for the last step."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.read, self.out = kind(8, 32, batch_first=True), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.read(x)[0][:, -1])  # type: ignore[no-any-return]


class Encoder(nn.Module):
    """A small Transformer of torch's layers, with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(64, 32)
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.1, batch_first=True)
        self.layers, self.out = nn.TransformerEncoder(layer, 2), nn.Linear(32, 64)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.layers(self.embedding(x)))  # type: ignore[no-any-return]


class Hugging(Encoder):
    """The same as those of Hugging Face are called."""

    def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> Any:
        logits = super().forward(input_ids)
        loss = None if labels is None else functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        return {"loss": loss, "logits": logits}


class Counting(nn.Sequential):
    """A counter in Python, which no replica axis has."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__(*layers)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x) * (1 + 1 / self.calls)  # type: ignore[no-any-return]


def mlp() -> list[nn.Module]:
    return [nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)]


def conv() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1),
        nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3), nn.Linear(256, 10),
    )  # fmt: skip


CASES: dict[str, tuple[Callable[[], nn.Module], Dataset, int]] = {
    "MLP": (lambda: nn.Sequential(*mlp()), classification(64, samples=128), 128),
    "ConvNet with BatchNorm and Dropout": (conv, classification(1, 8, 8, samples=64), 64),
    "GRU": (lambda: Read(nn.GRU), classification(16, 8, samples=32), 32),
    "LSTM": (lambda: Read(nn.LSTM), classification(16, 8, samples=32), 32),
    "Transformer with dropout": (Encoder, language(16, 64), 32),
    "in the style of Hugging Face": (Hugging, language(16, 64), 32),
    "MLP with a counter in Python": (lambda: Counting(*mlp()), classification(64, samples=128), 128),
}


def one_by_one(objective: Objective, x: Tensor, y: Tensor) -> Callable[[], object]:
    def step() -> None:
        objective.zero_grad()
        objective(x[0], y[0]).backward()

    return step


def all_at_once(model: Model, replicas: int, x: Tensor, y: Tensor) -> Callable[[], object]:
    rows = torch.stack([model.initial_row(0)] * replicas)
    parameters = [p.detach().requires_grad_() for p in model.parameters(rows)]
    inputs = model.inputs(parameters, model.initial_buffers([0] * replicas), torch.zeros(1, dtype=torch.int64))
    return lambda: gradients(model.losses(inputs, x, y), parameters)


def measure(name: str, replicas: int, rounds: int) -> None:
    build, data, batch = CASES[name]
    model, x, y = module_model(name, build, data), data.train_x[None, :batch], data.train_y[None, :batch]
    loop, together = one_by_one(Objective(build()), x, y), all_at_once(model, replicas, x, y)
    seconds(loop, 3), seconds(together, 1)
    pairs = [(seconds(loop, 10), seconds(together, 1) / replicas) for _ in range(rounds)]
    alone, each = (statistics.median(times) for times in zip(*pairs, strict=True))
    where = "one at a time" if model.remark else "replica axis"
    print(f"| {name} | {where} | {1000 * alone:.2f} | {1000 * each:.2f} | {alone / each:.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--replicas", type=int, default=64)
    parser.add_argument("--modules", nargs="+", choices=list(CASES), default=list(CASES))
    options = parser.parse_args()
    configure_process()
    print(f"| module | where | loop, ms a step | {options.replicas} candidates, ms a step each | times as fast |")
    print("|---|---|---|---|---|")
    for name in options.modules:
        measure(name, options.replicas, options.rounds)


if __name__ == "__main__":
    main()
