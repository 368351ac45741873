"""A user's own module as a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from programs.errors import InputError

from proxy_tasks import configured_process
from proxy_tasks.datasets import Dataset
from proxy_tasks.models import Leaf, Model, build_model, module_model
from proxy_tasks.models.module import BREAK_EVEN
from proxy_tasks.named import args

from tests.support.references import classification, language


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    with configured_process():
        yield


class Recurrent(nn.Module):
    """Outputs for every token, and a constant buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 6)
        self.output = nn.Linear(6, 20)
        self.register_buffer("decay", torch.tensor(0.5))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.cumsum(self.embedding(x) * self.decay, dim=1)
        return self.output(h)  # type: ignore[no-any-return]


class OwnLoss(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(64))

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        return (x @ self.w - y).abs().mean()


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))


def regression() -> Dataset:
    data = classification(64)
    return Dataset(data.train_x, data.train_x[:, :3], data.valid_x, data.valid_x[:, :3])


def conv() -> nn.Module:
    return nn.Sequential(nn.Conv1d(1, 4, 3), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(4 * 38, 10))


Case = tuple[Callable[[], nn.Module], Dataset, Callable[[nn.Module, Tensor, Tensor], Tensor]]


def entropy(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    logits = module(x)
    return nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), y.reshape(-1))


CASES: dict[str, Case] = {
    "labels": (mlp, classification(64), entropy),
    "convolutions": (conv, classification(1, 40), entropy),
    "tokens": (Recurrent, language(8, 20), entropy),
    "numbers": (lambda: nn.Linear(64, 3), regression(), lambda m, x, y: ((m(x) - y) ** 2).mean()),
    "loss of its own": (OwnLoss, classification(64), lambda m, x, y: m.loss(x, y)),  # type: ignore[operator]
}


def losses_and_gradients(model: Model, rows: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, list[Tensor]]:
    parameters = [p.detach().requires_grad_() for p in model.parameters(rows)]
    losses = model.losses(parameters, x, y)
    return losses.detach(), list(torch.autograd.grad(losses.sum(), parameters))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("replicas", [1, 3, BREAK_EVEN - 1, BREAK_EVEN, BREAK_EVEN + 2])
@pytest.mark.parametrize("shared", [True, False], ids=["one minibatch", "minibatch each"])
def test_losses_and_gradients_are_those_of_the_module(name: str, replicas: int, shared: bool) -> None:
    build, data, loss_of = CASES[name]
    model = module_model(name, build, data)
    rows = torch.stack([model.initial_row(seed) for seed in range(replicas)])
    index = torch.randint(0, 64, (1 if shared else replicas, 6), generator=torch.Generator().manual_seed(1))
    x, y = data.train_x[index], data.train_y[index]
    losses, gradients = losses_and_gradients(model, rows, x, y)
    for r in range(replicas):
        module = build()
        names = [key for key, _ in module.named_parameters()]
        own = dict(zip(names, (p[r] for p in model.parameters(rows)), strict=True))
        module.load_state_dict(own, strict=False)
        loss = loss_of(module, x[0 if shared else r], y[0 if shared else r])
        loss.backward()  # type: ignore[no-untyped-call]
        torch.testing.assert_close(losses[r], loss.detach(), rtol=1e-5, atol=1e-6)
        for p, g in zip(module.parameters(), gradients, strict=True):
            torch.testing.assert_close(g[r], p.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("replicas", [3, BREAK_EVEN + 2])
@pytest.mark.parametrize("value", [torch.inf, torch.nan])
def test_a_diverged_neighbour_changes_nothing(replicas: int, value: float) -> None:
    model, data = module_model("mlp", mlp, classification(64)), classification(64)
    rows = torch.stack([model.initial_row(seed) for seed in range(replicas)])
    x, y = data.train_x[None], data.train_y[None]
    losses, gradients = losses_and_gradients(model, rows, x, y)
    rows[1] = value
    after, gradients_after = losses_and_gradients(model, rows, x, y)
    others = [r for r in range(replicas) if r != 1]
    assert not after[1].isfinite() and torch.equal(losses[others], after[others])
    assert all(torch.equal(a[others], b[others]) for a, b in zip(gradients, gradients_after, strict=True))


def test_initial_weights_are_the_modules_own_under_the_seed_and_global_randomness_stays() -> None:
    model = module_model("mlp", mlp, classification(64))
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    row = model.initial_row(5)
    assert torch.equal(torch.rand(3), expected)
    torch.manual_seed(5)
    own = torch.cat([p.detach().flatten() for p in mlp().parameters()])
    assert torch.equal(row[: model.layout.total], own)
    assert not torch.equal(row, model.initial_row(6))


@pytest.fixture
def user_file(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("user_file")
    module.as_module = lambda _, width=4: nn.Linear(64, width)  # type: ignore[attr-defined]
    module.as_model = lambda _: Model((Leaf("w", (64,)),), lambda params, *_: params[0].sum(1))  # type: ignore[attr-defined]
    module.as_nothing = lambda _: None  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, "user_file", module)
    return module


@pytest.mark.usefixtures("user_file")
def test_a_function_of_the_user_gives_a_module_or_a_model() -> None:
    data = classification(64)
    assert build_model("user_file:as_module", data, args(width=10)).layout.total == 650
    assert build_model("user_file:as_model", data).layout.total == 64
    with pytest.raises(InputError, match=r"returned NoneType; it must return a Model or an nn\.Module"):
        build_model("user_file:as_nothing", data)
    with pytest.raises(InputError, match="it takes width"):
        build_model("user_file:as_module", data, args(depth=10))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (nn.Identity, "no parameters"),
        (lambda: nn.Linear(2, 2, dtype=torch.float64), "torch.float64"),
        (lambda: nn.Linear(2, 2, dtype=torch.complex64), "torch.complex64"),
        (lambda: nn.ParameterList([nn.Parameter(torch.zeros(0, 3))]), "no parameters"),
    ],
)
def test_what_cannot_be_trained_so_is_refused_in_one_line(build: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        module_model("user:module", build, classification(64))
    assert "\n" not in str(caught.value)


class Tied(nn.Module):
    """One matrix in two places, and under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(6, 6), nn.Linear(6, 6)
        self.other.weight = self.one.weight

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        return nn.functional.cross_entropy(self.other(torch.tanh(self.one(x))), y)


@pytest.mark.parametrize("replicas", [1, 9], ids=["one at a time", "vmap"])
def test_tied_parameters_stay_tied(replicas: int) -> None:
    tied_data = (torch.randn(8, 6), torch.randint(0, 6, (8,))) * 2
    model = module_model("tied", Tied, Dataset(*tied_data))
    rows = torch.stack([model.initial_row(seed) for seed in range(replicas)])
    parameters = [p.detach().requires_grad_() for p in model.parameters(rows)]
    assert len(parameters) == 3
    x, y = torch.randn(1, 5, 6), torch.randint(0, 6, (1, 5))
    losses = model.losses(parameters, x, y)
    gradients = torch.autograd.grad(losses.sum(), parameters)
    for r in range(replicas):
        module = Tied()
        with torch.no_grad():
            for p, ours in zip(module.parameters(), parameters, strict=True):
                p.copy_(ours[r])
        loss = module.loss(x[0], y[0])
        torch.testing.assert_close(losses[r], loss, rtol=1e-5, atol=1e-6)
        for ours, theirs in zip(gradients, torch.autograd.grad(loss, list(module.parameters())), strict=True):
            torch.testing.assert_close(ours[r], theirs, rtol=1e-4, atol=1e-6)
