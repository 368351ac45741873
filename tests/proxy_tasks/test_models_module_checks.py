"""What modules are refused for, and what is legal in torch and trains."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import orthogonal, spectral_norm, weight_norm

from programs.errors import InputError

from proxy_tasks.datasets import Dataset
from proxy_tasks.models import module_model
from proxy_tasks.models.chunks import gradients
from proxy_tasks.models.module import BREAK_EVEN

LABELS = torch.arange(12) % 2
X = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
DATA = Dataset(X, LABELS, X, LABELS, classes=2)


class Plain(nn.Module):
    """Two layers; others add to what it computes."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(3, 4), nn.Linear(4, 2)

    def more(self, h: Tensor) -> Tensor:
        return h

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.more(self.hidden(x)))  # type: ignore[no-any-return]


def with_extra(extra: Callable[[Any, Tensor], Tensor], **attributes: Any) -> Callable[[], nn.Module]:
    """Return what builds a module that computes something more, with more attributes."""
    kind = type("Changed", (Plain,), {"more": extra})

    def build() -> nn.Module:
        module = kind()
        for name, value in attributes.items():
            setattr(module, name, value() if callable(value) and not isinstance(value, nn.Module) else value)
        return module

    return build


class Layer(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randperm(2)


def counting(self: Any, h: Tensor) -> Tensor:
    self.calls += 1
    return h


def remembering(self: Any, h: Tensor) -> Tensor:
    self.kept["h"] = h.detach()
    return h


def averaging(self: Any, h: Tensor) -> Tensor:
    self.average.lerp_(h.detach().mean(0), 0.1)
    return h - self.average


def settled(self: Any, h: Tensor) -> Tensor:
    self.average.add_(0 * h.detach().mean(0))  # written with the value that it has
    return h - self.average


def clipping(self: Any, h: Tensor) -> Tensor:
    self.hidden.weight.data.mul_(0.99)
    return h


def recalling(self: Any, h: Tensor) -> Tensor:
    last = self.kept.get("h", h.detach())
    self.kept["h"] = h.detach()
    return h + last


def starting(self: Any, h: Tensor) -> Tensor:
    self.hidden_state = h.detach() if self.hidden_state is None else h.detach() + self.hidden_state
    return h + self.hidden_state


Extras = dict[str, tuple[Callable[[], nn.Module], str]]  # with what the remark says, where there is one
RANDOM: Extras = {
    "functional dropout": (with_extra(lambda _, h: functional.dropout(h, 0.3, True)), ""),
    "noise": (with_extra(lambda _, h: h + torch.randn_like(h)), ""),
    "gumbel": (with_extra(lambda _, h: functional.gumbel_softmax(h)), ""),
    "rrelu": (with_extra(lambda _, h: functional.rrelu(h, training=True)), ""),
    "rarely": (with_extra(lambda _, h: h if torch.rand(()) < 0.999 else 2 * h), "the module, Changed,: RuntimeError"),
    "numpy": (with_extra(lambda _, h: h * np.random.uniform()), "the module, Changed, draws from a generator"),
    "python": (with_extra(lambda _, h: h * random.random()), "draws from a generator"),
    "a layer": (lambda: nn.Sequential(nn.Linear(3, 2), Layer()), "Layer '1' draws from a generator"),
}
KEPT: Extras = {
    "counter": (with_extra(counting, calls=0), "the module, Changed, keeps 'calls' as an attribute"),
    "generator": (
        with_extra(lambda s, h: h + torch.randn(h.shape, generator=s.own), own=torch.Generator),
        "keeps 'own' as an attribute",
    ),
    "buffer": (lambda: _buffered(averaging), ""),
    "buffer that is written as it was": (lambda: _buffered(settled), ""),
    "container that nobody reads": (with_extra(remembering, kept=dict), ""),
    "spectral norm": (lambda: nn.Sequential(spectral_norm(nn.Linear(3, 2))), ""),
    "a cell": (lambda: Cell(nn.GRUCell(3, 4)), ""),
    "a cell of an LSTM": (lambda: Cell(nn.LSTMCell(3, 4)), ""),
}
REFUSED: Extras = {
    "weights": (with_extra(clipping), "Linear 'hidden' changes 'weight'"),
    "container": (with_extra(recalling, kept=dict), "changes 'kept' .* next loss depends on it; keep it as a tensor"),
    "state without a shape": (with_extra(starting, hidden_state=None), "changes 'hidden_state'"),
    "numpy generator": (
        with_extra(lambda s, h: h * s.own.uniform(), own=lambda: np.random.default_rng(0)),
        "changes 'own'",
    ),
}


class Cell(nn.Module):
    def __init__(self, cell: nn.RNNCellBase) -> None:
        super().__init__()
        self.cell, self.out = cell, nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.cell(x)
        return self.out(h[0] if isinstance(h, tuple) else h)  # type: ignore[no-any-return]


def _buffered(extra: Callable[[Any, Tensor], Tensor]) -> nn.Module:
    module = with_extra(extra)()
    module.register_buffer("average", torch.zeros(4))
    return module


@pytest.mark.parametrize("name", RANDOM | KEPT)
def test_what_leaves_the_replica_axis_is_said_with_its_layer(name: str) -> None:
    build, remark = (RANDOM | KEPT)[name]
    model = module_model("m", build, DATA)
    assert model.is_random is (name in RANDOM or "as an attribute" in model.remark), "what is counted may decide later"
    assert remark in model.remark and bool(remark) is bool(model.remark)
    assert "\n" not in model.remark


def test_what_vmap_computes_one_by_one_is_said() -> None:
    model = module_model("m", lambda: nn.Sequential(nn.Linear(3, 2), nn.Softmax(1), Renormed()), DATA)
    assert model.remark == "model 'm': torch computes renorm one replica at a time"


class Renormed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.renorm(x, 2, 0, 1.0)


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_tensor_can_hold_is_refused_where_it_matters(name: str) -> None:
    build, message = REFUSED[name]
    with pytest.raises(InputError, match=message) as caught:
        module_model("m", build, DATA)
    assert "\n" not in str(caught.value)


class InPlace(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.mul_(2))


class TupleOutput(Plain):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x), None


class Column(nn.Module):
    """One number a sample, as a column."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(x)  # type: ignore[no-any-return]


class ColumnLoss(Column):
    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        return functional.mse_loss(self(x), y)


class NotReduced(Plain):
    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        return functional.cross_entropy(self(x), y, reduction="none")


class AsNumber(Plain):
    def loss(self, x: Tensor, y: Tensor) -> float:
        return float(functional.cross_entropy(self(x), y))


class OneArgument(Plain):
    def loss(self, batch: Any) -> Tensor:
        return batch[0]  # type: ignore[no-any-return]


def dataset(y: Tensor, x: Tensor = X, classes: int = 0) -> Dataset:
    return Dataset(x, y, x, y, classes)


@pytest.mark.parametrize(
    ("build", "data", "message"),
    [
        (InPlace, DATA, "changes its samples in place"),
        (TupleOutput, DATA, "its output is tuple; return a tensor"),
        (Column, dataset(torch.rand(12)), r"outputs \[4, 1\] and targets \[4\]: the shapes must be the same"),
        (Column, dataset(LABELS), "outputs for 1 classes, but labels from 0 to 1"),
        (Plain, dataset(LABELS[:, None]), r"outputs \[4, 2\] and labels \[4, 1\]: expected outputs of \[4, 1, 'cl"),
        (Plain, dataset(LABELS + 5), "outputs for 2 classes, but labels from 5 to 6"),
        (Plain, dataset(LABELS - 1), "labels from -1 to 0"),
        (ColumnLoss, dataset(torch.rand(12)), "by broadcasting only"),
        (NotReduced, DATA, r"its loss is of shape \[4\]"),
        (AsNumber, DATA, "its loss is float; it must be a scalar"),
        (OneArgument, DATA, r"its loss\(x, y\) cannot be computed on the samples: TypeError"),
        (Plain, dataset(LABELS, torch.rand(12, 5)), "its output cannot be computed on the samples: RuntimeError"),
        (lambda: nn.Sequential(nn.LazyLinear(2)), DATA, "parameter '0.weight' has no shape yet"),
    ],
)  # fmt: skip
def test_losses_that_cannot_be_meant_are_refused(build: Callable[[], nn.Module], data: Dataset, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        module_model("m", build, data)
    assert "\n" not in str(caught.value)


def test_labels_that_torch_ignores_are_legal_where_classes_are_not_said() -> None:
    ignored = torch.where(torch.arange(12) == 5, -100, LABELS)
    assert module_model("m", Plain, dataset(ignored)).layout.total == 26


class Attribute(Plain):
    """Keeps a layer called loss, as people do who are used to other trainers."""

    def __init__(self) -> None:
        super().__init__()
        self.loss = nn.CrossEntropyLoss()


class Scalar(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.scale, self.unused = nn.Parameter(torch.tensor(2.0)), nn.Linear(7, 7)

    def more(self, h: Tensor) -> Tensor:
        return self.scale * h


class Frozen(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.hidden.weight.requires_grad_(False)
        self.empty = nn.Parameter(torch.zeros(0, 3))
        self.register_parameter("nothing", None)


class Read(nn.Module):
    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.read, self.out = kind(3, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.read(x)[0][:, -1])  # type: ignore[no-any-return]


LEGAL: dict[str, tuple[Callable[[], nn.Module], Dataset]] = {
    "an attribute called loss": (Attribute, DATA),
    "a scalar, and parameters that the loss does not use": (Scalar, DATA),
    "frozen and empty parameters": (Frozen, DATA),
    "weight norm": (lambda: nn.Sequential(weight_norm(nn.Linear(3, 2))), DATA),
    "orthogonal weights": (lambda: nn.Sequential(orthogonal(nn.Linear(3, 2))), DATA),
    "a recurrent network": (lambda: Read(nn.LSTM), dataset(LABELS, X[:, None].expand(12, 4, 3).clone())),
    "another": (lambda: Read(nn.GRU), dataset(LABELS, X[:, None].expand(12, 4, 3).clone())),
    "a list of parameters": (lambda: _Listed(), DATA),
}


class _Listed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ParameterList([nn.Parameter(torch.randn(3, 2)), nn.Parameter(torch.randn(2))])

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.parts[0] + self.parts[1]


@pytest.mark.parametrize("name", LEGAL)
@pytest.mark.parametrize("replicas", [1, BREAK_EVEN + 1])
def test_what_is_legal_in_torch_trains_as_there(name: str, replicas: int) -> None:
    build, data = LEGAL[name]
    model = module_model("m", build, data)
    rows = torch.stack([model.initial_row(0) * (1 + seed / 10) for seed in range(replicas)])
    parameters = [p.detach().requires_grad_() for p in model.parameters(rows)]
    losses = model.losses(parameters, data.train_x[None], data.train_y[None])
    found = gradients(losses, parameters)
    torch.manual_seed(0)
    module = build()
    own = {key: p for key, p in module.named_parameters() if p.requires_grad and p.numel()}
    for r in range(replicas):
        with torch.no_grad():
            for p, ours in zip(own.values(), parameters, strict=True):
                p.copy_(ours[r])
        loss = functional.cross_entropy(module(data.train_x), data.train_y)
        torch.testing.assert_close(losses[r], loss, rtol=1e-4, atol=1e-5)
        expected = torch.autograd.grad(loss, list(own.values()), allow_unused=True)
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(
                ours[r], torch.zeros_like(ours[r]) if theirs is None else theirs, rtol=1e-3, atol=1e-5
            )


def test_constants_are_part_of_what_a_training_starts_from() -> None:
    def build(value: float) -> Callable[[], nn.Module]:
        def module() -> nn.Module:
            made = Frozen()
            made.register_buffer("shift", torch.tensor(value))
            return made

        return module

    digests = [module_model("m", build(value), DATA).digest for value in (1.0, 1.0, 2.0)]
    assert digests[0] == digests[1] != digests[2]


class InAList(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(3, 2)
        self.weights = [self.out.weight]

    def forward(self, x: Tensor) -> Tensor:
        return self.out(x) + functional.linear(x, self.weights[0])


class InAClosure(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(3, 2)
        weight = self.out.weight
        self.more = lambda x: functional.linear(x, weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(x) + self.more(x)  # type: ignore[no-any-return]


class SecondName(nn.Module):
    def __init__(self, is_buffer: bool) -> None:
        super().__init__()
        self.norm, self.out = nn.BatchNorm1d(3), nn.Linear(3, 2)
        if is_buffer:
            self.register_buffer("mean", self.norm.running_mean)
        else:
            self.mean = self.norm.running_mean

    def forward(self, x: Tensor) -> Tensor:
        assert self.mean is not None
        return self.out(self.norm(x) - self.mean)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (InAList, "parameter 'out.weight' is read elsewhere than in its layer"),
        (InAClosure, "parameter 'out.weight' is read elsewhere than in its layer"),
        (lambda: SecondName(is_buffer=True), "'norm.running_mean' and 'mean' are one tensor|'mean' and 'norm.running"),
        (lambda: SecondName(is_buffer=False), "'norm.running_mean' and 'mean' are one tensor|'mean' and 'norm.running"),
    ],
)
def test_what_is_reached_by_a_second_name_is_refused(build: Callable[[], nn.Module], said: str) -> None:
    """A replica has weights and buffers of its own where layers keep them, and nowhere else."""
    with pytest.raises(InputError, match=said):
        module_model("mine", build, DATA)
