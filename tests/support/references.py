"""Ordinary modules that compute what the built-in models compute, written with torch's own layers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.func import jacrev, vmap

from proxy_tasks.datasets import Dataset, load_dataset
from proxy_tasks.datasets.masking import masked
from proxy_tasks.draws import Draws
from proxy_tasks.models import MODELS, Model
from proxy_tasks.named import args


class Block(nn.Module):
    """Pre-norm attention and MLP out of torch's fused attention, linear layers and layer norms with a gain."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(width, bias=False)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.norm_mlp = nn.LayerNorm(width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)
        self.heads = heads

    def forward(self, x: Tensor, causal: bool) -> Tensor:
        b, t, d = x.shape
        q, k, v = self.qkv(self.norm_attention(x)).view(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attended = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
        x = x + self.out(attended.transpose(1, 2).reshape(b, t, d))
        return x + self.down(torch.relu(self.up(self.norm_mlp(x))))  # type: ignore[no-any-return]


class Transformer(nn.Module):
    def __init__(
        self, vocabulary: int, tokens: int, layers: int = 2, width: int = 32, heads: int = 4, is_causal: bool = True
    ) -> None:
        super().__init__()
        self.is_causal = is_causal
        self.tokens = nn.Embedding(vocabulary + (not is_causal), width)  # one more stands for masked tokens
        self.positions = nn.Embedding(tokens, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width, bias=False)
        self.output = nn.Linear(width, vocabulary, bias=False)

    def encoded(self, x: Tensor) -> Tensor:
        h = self.tokens(x) + self.positions.weight
        for block in self.blocks:
            h = block(h, self.is_causal)
        return self.norm(h)  # type: ignore[no-any-return]

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        h = self.encoded(x)
        if self.is_causal:
            logits = self.output(h)[:, -y.shape[1] :]
            return nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten(0, 1))
        logits = self.output(h.gather(1, y[:, 0].unsqueeze(2).expand(-1, -1, h.shape[2])))
        return nn.functional.cross_entropy(logits.flatten(0, 1), y[:, 1].flatten())


class Gru(nn.Module):
    def __init__(self, vocabulary: int, width: int = 32, embedding: int = 16) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, embedding)
        self.gru = nn.GRU(embedding, width, batch_first=True)
        self.output = nn.Linear(width, vocabulary)

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        h, _ = self.gru(self.tokens(x))
        return nn.functional.cross_entropy(self.output(h).flatten(0, 1), y.flatten())


class Vit(nn.Module):
    def __init__(self, image: Sequence[int], classes: int, layers: int, width: int, heads: int, patch: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(image[0], width, patch, stride=patch, bias=False)
        self.positions = nn.Embedding(image[1] * image[2] // patch**2, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width, bias=False)
        self.output = nn.Linear(width, classes)

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        h = self.patches(x).flatten(2).transpose(1, 2) + self.positions.weight
        for block in self.blocks:
            h = block(h, False)
        return nn.functional.cross_entropy(self.output(self.norm(h).mean(1)), y)


class Cnn(nn.Module):
    def __init__(self, image: Sequence[int], channels: Sequence[int], classes: int) -> None:
        super().__init__()
        self.image, conv = tuple(image), nn.Conv1d if len(image) == 2 else nn.Conv2d
        places = math.prod(math.ceil(n / 2 ** len(channels)) for n in image[1:])
        pairs = pairwise([image[0], *channels])
        self.convolutions = nn.ModuleList(conv(a, b, 3, stride=2, padding=1) for a, b in pairs)
        self.output = nn.Linear(places * channels[-1], classes)

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        h = x.view(len(x), *self.image)
        for convolution in self.convolutions:
            h = torch.relu(convolution(h))
        return nn.functional.cross_entropy(self.output(h.movedim(1, -1).flatten(1)), y)


class Autoencoder(nn.Module):
    def __init__(self, pixels: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise([pixels, *hidden, pixels]))

    def loss(self, x: Tensor, _: Tensor) -> Tensor:
        h = x.flatten(1)
        for i, layer in enumerate(self.layers):
            h = layer(torch.relu(h) if i else h)
        return nn.functional.mse_loss(h, x.flatten(1))


class Mlp(nn.Module):
    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        h = x.flatten(1)
        for i, layer in enumerate(self.layers):
            h = layer(torch.relu(h) if i else h)
        return h

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        return nn.functional.mse_loss(self(x), y) if y.is_floating_point() else nn.functional.cross_entropy(self(x), y)


class Contrastive(Mlp):
    """The loss of SimCLR, written down view by view."""

    def __init__(self, widths: Sequence[int], temperature: float = 0.2) -> None:
        super().__init__(widths)
        self.temperature = temperature

    def loss(self, x: Tensor, _: Tensor) -> Tensor:
        first, second = (nn.functional.normalize(self(x[:, view]), dim=1) for view in (0, 1))
        views, others = torch.cat((first, second)), torch.cat((second, first))
        similar = (views @ views.T / self.temperature).exp()
        negatives = similar.sum(1) - similar.diagonal()
        return -((views * others).sum(1) / self.temperature - negatives.log()).mean()


class Lora(nn.Module):
    """An MLP whose hidden layers are frozen, with a low-rank update beside each."""

    def __init__(self, hidden: Sequence[Tensor], rank: int, classes: int) -> None:
        super().__init__()
        self.hidden = list(zip(hidden[::2], hidden[1::2], strict=True))  # [I, O], [O]
        self.updates = nn.ModuleList()
        for weight, _ in self.hidden:
            self.updates += [nn.Linear(len(weight), rank, bias=False), nn.Linear(rank, weight.shape[1], bias=False)]
        self.output = nn.Linear(hidden[-1].numel(), classes)

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        h, layers = x.flatten(1), iter(self.updates)
        for weight, bias in self.hidden:
            down, up = next(layers), next(layers)
            h = torch.relu(h @ weight + bias + up(down(h)))
        return nn.functional.cross_entropy(self.output(h), y)


class Subspace(nn.Module):
    """An MLP whose weights all follow from coordinates in a subspace of them."""

    def __init__(self, origin: Tensor, directions: Tensor, widths: Sequence[int]) -> None:
        super().__init__()
        self.origin, self.directions, self.widths = origin, directions, widths
        self.coordinates = nn.Parameter(torch.zeros(len(directions)))

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        weights, h = self.origin + self.coordinates @ self.directions, x.flatten(1)
        for i, (n_in, n_out) in enumerate(pairwise(self.widths)):
            weight, bias, weights = weights.split((n_in * n_out, n_out, len(weights) - (n_in + 1) * n_out))
            h = (torch.relu(h) if i else h) @ weight.view(n_in, n_out) + bias
        return nn.functional.cross_entropy(h, y)


class DeepFm(nn.Module):
    """The products of all pairs of vectors are those above the diagonal of one matrix."""

    def __init__(self, buckets: int, fields: int, width: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.weights = nn.Embedding(buckets, 1)
        self.vectors = nn.Embedding(buckets, width)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise([fields * width, *hidden, 1]))

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        v = self.vectors(x)
        h = v.flatten(1)
        for i, layer in enumerate(self.layers):
            h = layer(torch.relu(h) if i else h)
        pairs = torch.triu(v @ v.mT, 1).sum((1, 2))
        return nn.functional.binary_cross_entropy_with_logits(h[:, 0] + self.weights(x).sum((1, 2)) + pairs, y)


class Gcn(nn.Module):
    """Logits of all nodes, of which the loss takes some. The propagation may be a dense or a sparse matrix."""

    def __init__(self, features: Tensor, propagation: Tensor, hidden: int, classes: int) -> None:
        super().__init__()
        self.features, self.propagation = features, propagation
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise([features.shape[1], hidden, classes]))

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        first, second = self.layers
        h = torch.relu(self.propagation @ (self.features @ first.weight.T) + first.bias)
        logits = self.propagation @ (h @ second.weight.T) + second.bias
        return nn.functional.cross_entropy(logits[x], y)


class DeepLinear(nn.Module):
    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in pairwise(widths))

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return 0.5 * nn.functional.mse_loss(x, y, reduction="none").sum(1).mean()


class Pinn(nn.Module):
    """Derivatives in x by differentiating twice what was computed."""

    def __init__(self, hidden: Sequence[int], ends: Tensor, boundary: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise([1, *hidden, 1]))
        self.ends, self.boundary = ends, boundary

    def forward(self, x: Tensor) -> Tensor:
        for i, layer in enumerate(self.layers):
            x = layer(torch.tanh(x) if i else x)
        return x[..., 0]

    def curvature(self, x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(self(x).sum(), x, create_graph=True)
        (curvature,) = torch.autograd.grad(slope.sum(), x, create_graph=True)
        return curvature[:, 0]

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        return (self.curvature(x) + y).square().mean() + self.boundary * self(self.ends).square().mean()


class FunctionalPinn(Pinn):
    """The same by torch.func, in which autograd.grad cannot be called."""

    def curvature(self, x: Tensor) -> Tensor:
        return vmap(jacrev(jacrev(self)))(x)[:, 0, 0]  # type: ignore[no-any-return]


def weights_of(module: nn.Module, parameters: Sequence[Tensor]) -> dict[str, Tensor]:
    """Parameters of one replica, leaves of a model, under the names and in the arrangement of the module."""
    weights = {}
    for (name, p), ours in zip(module.named_parameters(), parameters, strict=True):
        layer = module.get_submodule(name.rpartition(".")[0])
        if isinstance(layer, nn.Embedding) or p.dim() == 1:
            weights[name] = ours
        elif "convolutions" in name:  # [taps * C, O] -> [O, C, taps ..]
            o, c, *taps = p.shape
            weights[name] = ours.reshape(*taps, c, o).movedim((-1, -2), (0, 1))
        else:
            weights[name] = ours.T.reshape(p.shape)
    return weights


def classification(*shape: int, classes: int = 10, samples: int = 64) -> Dataset:
    """Noise with labels."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(samples, *shape, generator=generator)
    y = torch.randint(0, classes, (samples,), generator=generator)
    return Dataset(x, y, x, y, classes=classes)


def regression() -> Dataset:
    """Noise with three numbers as targets."""
    x = torch.randn(64, 9, generator=torch.Generator().manual_seed(5))
    return Dataset(x[:, :6], x[:, 6:], x[:, :6], x[:, 6:])


def language(tokens: int, vocabulary: int, targets: int | None = None, soft: bool = False) -> Dataset:
    """Random tokens, with next tokens or probabilities for the last `targets` positions."""
    generator = torch.Generator().manual_seed(4)
    x = torch.randint(0, vocabulary, (64, tokens), generator=generator)
    y = torch.randint(0, vocabulary, (64, targets or tokens), generator=generator)
    if soft:
        y = torch.softmax(torch.randn(*y.shape, vocabulary, generator=generator), dim=-1)
    return Dataset(x, y, x, y, classes=vocabulary)


Case = tuple[Model, nn.Module, Dataset]


def _transformer(dataset: Dataset, **sizes: int) -> Case:
    module = Transformer(dataset.classes, dataset.train_x.shape[1], **sizes)
    return MODELS["transformer"](dataset, **sizes), module, dataset


def _cnn(dataset: Dataset, channels: Sequence[int], image: Sequence[int]) -> Case:
    return MODELS["cnn"](dataset, channels=channels, image=image), Cnn(image, channels, dataset.classes), dataset


def _vit(dataset: Dataset, **sizes: int) -> Case:
    module = Vit(dataset.train_x.shape[1:], dataset.classes, **sizes)
    return MODELS["vit"](dataset, **sizes), module, dataset


def _gru(dataset: Dataset, **sizes: int) -> Case:
    return MODELS["gru"](dataset, **sizes), Gru(dataset.classes, **sizes), dataset


def _masked(dataset: Dataset, **sizes: int) -> Case:
    module = Transformer(dataset.classes, dataset.train_x.shape[1], **sizes, is_causal=False)
    data = masked(dataset, share=0.2)
    return MODELS["masked_transformer"](data, **sizes), module, data


def _contrastive(dataset: Dataset) -> Case:
    def pairs(draws: Draws, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return torch.stack((x, x + draws.normal(x.shape)), dim=1), y

    data = dataset.transformed(pairs)
    return MODELS["contrastive"](data, hidden=(8, 5), temperature=0.5), Contrastive([6, 8, 5], 0.5), data


def _finetuned(name: str, **arguments: int) -> Case:
    data = replace(classification(6, classes=3), source=classification(6, classes=4))
    model, widths = MODELS[name](data, hidden=(9, 5), **arguments), [6, 9, 5, 3]
    modules: dict[str, Callable[[], nn.Module]] = {
        "finetuned": lambda: Mlp(widths),
        "lora": lambda: Lora(model.constants, arguments["rank"], classes=3),
        "subspace": lambda: Subspace(*model.constants, widths),
    }
    return model, modules[name](), data


def _dense(dataset: Dataset, name: str, module: nn.Module, hidden: Sequence[int]) -> Case:
    return MODELS[name](dataset, hidden=hidden), module, dataset


def dense_propagation(edges: Tensor, nodes: int) -> Tensor:
    """D^-1/2 (A + I) D^-1/2, edge by edge."""
    joined = [(i, i) for i in range(nodes)]
    for i, j in edges.T.tolist():
        joined += [(i, j), (j, i)]
    degrees = Counter(i for i, _ in joined)
    p = torch.zeros(nodes, nodes, dtype=torch.float64)
    for i, j in joined:
        p[i, j] = 1 / math.sqrt(degrees[i] * degrees[j])
    return p.float()


def _deepfm() -> Case:
    data = load_dataset("clicks", args(fields=4, categories=30, buckets=40, train=64, valid=9))
    return MODELS["deepfm"](data, width=3, hidden=(7,)), DeepFm(40, 4, 3, (7,)), data


def _gcn() -> Case:
    data = load_dataset("communities", args(nodes=100, communities=3, features=5, train=64))
    features, edges = data.shared
    module = Gcn(features, dense_propagation(edges, 100), 6, 3)
    return MODELS["gcn"](data, hidden=6), module, data


def _deep_linear() -> Case:
    data = load_dataset("linear", args(dimensions=6, train=64))
    return MODELS["deep_linear"](data, hidden=(9, 8)), DeepLinear([6, 9, 8, 6]), data


def _pinn(kind: type[Pinn], *hidden: int) -> Case:
    data = load_dataset("poisson", args(modes=2, train=64, valid=9))
    return MODELS["pinn"](data, hidden=hidden, boundary=3.0), kind(hidden, data.shared[0], 3.0), data


CASES: dict[str, Callable[[], Case]] = {
    "mlp": lambda: _dense(classification(64), "mlp", Mlp([64, 12, 5, 10]), (12, 5)),
    "autoencoder": lambda: _dense(classification(64), "autoencoder", Autoencoder(64, (20, 8, 20)), (20, 8, 20)),
    "cnn 1-D": lambda: _cnn(classification(1, 40), (8, 16, 32), (1, 40)),
    "cnn 1-D, odd": lambda: _cnn(classification(3, 13), (5, 7), (3, 13)),
    "cnn 2-D": lambda: _cnn(classification(64), (6, 10), (1, 8, 8)),
    "cnn 2-D, oblong": lambda: _cnn(classification(3, 7, 10), (4, 9, 5), (3, 7, 10)),
    "deepfm": _deepfm,
    "gcn": _gcn,
    "deep_linear": _deep_linear,
    "pinn": lambda: _pinn(Pinn, 8, 7),
    "pinn, one layer": lambda: _pinn(FunctionalPinn, 9),
    "pinn, three layers": lambda: _pinn(FunctionalPinn, 6, 5, 4),
    "contrastive": lambda: _contrastive(classification(6)),
    "finetuned": lambda: _finetuned("finetuned"),
    "gru": lambda: _gru(language(9, 17), width=32, embedding=5),
    "lora": lambda: _finetuned("lora", rank=3),
    "masked_transformer": lambda: _masked(language(16, 30), layers=2, width=12, heads=2),
    "mlp on numbers": lambda: _dense(regression(), "mlp", Mlp([6, 9, 3]), (9,)),
    "subspace": lambda: _finetuned("subspace", dimensions=7),
    "transformer": lambda: _transformer(language(16, 50)),
    "transformer, odd": lambda: _transformer(language(7, 13), layers=1, width=9, heads=3),
    "transformer, last positions": lambda: _transformer(language(8, 11, targets=5), layers=1, width=12, heads=2),
    "transformer, soft targets": lambda: _transformer(language(8, 11, 5, soft=True), layers=3, width=8, heads=1),
    "vit": lambda: _vit(classification(3, 16, 16), layers=2, width=24, heads=3, patch=4),
    "vit, oblong": lambda: _vit(classification(1, 6, 9), layers=1, width=10, heads=2, patch=3),
}
