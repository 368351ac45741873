"""The judge's problems: models and data of its own, on which nothing of the search was ever trained or tuned."""

from __future__ import annotations

import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

CHARACTERS = 1_500_000  # of source text; the last tenth validates
CONTEXT = 64


@dataclass(frozen=True)
class Problem:
    """What to train on.

    Attributes:
        steps: of a training.
        module: makes the model; it gives logits [..., classes].
        batch: gives inputs and targets for training, drawn with a generator.
        validation: inputs and targets, in pieces.
    """

    name: str
    steps: int
    module: Callable[[], nn.Module]
    batch: Callable[[torch.Generator], tuple[Tensor, Tensor]]
    validation: list[tuple[Tensor, Tensor]]


def loss_of(module: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy, in nats."""
    return functional.cross_entropy(module(inputs).flatten(0, -2), targets.flatten())


@torch.no_grad()
def validation_loss(module: nn.Module, problem: Problem) -> float:
    """Return the loss on the validation data, as the module is when it is used."""
    module.eval()
    losses = [loss_of(module, inputs, targets).item() for inputs, targets in problem.validation]
    return sum(losses) / len(losses)


class Block(nn.Module):
    """A block of a Transformer that normalizes before attention and before the MLP."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, time, width] to the same shape."""
        batch, time, width = x.shape
        parts = self.qkv(self.before_attention(x)).view(batch, time, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(x.shape)
        x = x + self.out(mixed)
        return x + self.mlp(self.before_mlp(x))


class GPT(nn.Module):
    """A small GPT over bytes."""

    def __init__(self, width: int = 64, layers: int = 3, heads: int = 4, vocabulary: int = 128) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(CONTEXT, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
        for embedding in (self.tokens, self.places):
            nn.init.normal_(embedding.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens [batch, time] to logits [batch, time, vocabulary]."""
        x = self.tokens(tokens) + self.places.weight[: tokens.shape[1]]
        return self.head(self.norm(self.blocks(x)))


class Residual(nn.Module):
    """Two convolutions with batch normalization beside the identity, or a 1 x 1 convolution where shapes change."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU(),
            nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after),
        )  # fmt: skip
        same = stride == 1 and before == after
        self.beside = nn.Identity() if same else nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, before, height, width] to [batch, after, height / stride, width / stride]."""
        return functional.relu(self.path(x) + self.beside(x))


def resnet() -> nn.Module:
    """Return a small ResNet for images [1, 16, 16] of ten classes."""
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, 1, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU(),
        Residual(12, 12, 1), Residual(12, 24, 2), Residual(24, 48, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 10),
    )  # fmt: skip


def sources() -> Tensor:
    """Return the beginning of the sources of Python's standard library as ASCII bytes, file after file by name."""
    taken, size = [], 0
    for path in _source_files():
        text = path.read_bytes().decode("utf-8", "replace").encode("ascii", "replace")
        taken.append(text)
        size += len(text)
        if size >= CHARACTERS:
            break
    return torch.frombuffer(bytearray(b"".join(taken)[:CHARACTERS]), dtype=torch.uint8).long()


def _source_files() -> Iterator[Path]:
    yield from sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))


def gpt_on_sources(steps: int = 400, batch: int = 24) -> Problem:
    """Return a small GPT on the sources of Python's standard library, by bytes."""
    text = sources()
    cut = len(text) * 9 // 10

    def windows(part: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
        places = starts[:, None] + torch.arange(CONTEXT + 1)
        taken = part[places]
        return taken[:, :-1], taken[:, 1:]

    def draw(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return windows(text[:cut], torch.randint(cut - CONTEXT, (batch,), generator=generator))

    held = text[cut:]
    starts = torch.arange(0, len(held) - CONTEXT, max(CONTEXT, len(held) // 512))
    validation = [windows(held, part) for part in starts.split(128)]
    return Problem("gpt_stdlib", steps, GPT, draw, validation)


def resnet_on_digits(steps: int = 400, batch: int = 48) -> Problem:
    """Return a small ResNet on handwritten digits, enlarged to 16 x 16, moved at random by up to two pixels."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    images = functional.interpolate(images, size=(16, 16), mode="bilinear", align_corners=False)
    labels = torch.tensor(digits.target)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(2026))
    train, held = order[:900], order[900:]
    padded = functional.pad(images[train], (2, 2, 2, 2))

    def draw(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        chosen = torch.randint(len(train), (batch,), generator=generator)
        down, right = torch.randint(5, (2,), generator=generator).tolist()  # the batch moves together
        return padded[chosen, :, down : down + 16, right : right + 16], labels[train][chosen]

    validation = [(images[part], labels[part]) for part in held.split(300)]
    return Problem("resnet_digits", steps, resnet, draw, validation)


PROBLEMS = {"gpt_stdlib": gpt_on_sources, "resnet_digits": resnet_on_digits}
