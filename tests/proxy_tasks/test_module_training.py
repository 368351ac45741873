"""Trainings of modules that keep something, draw, or scale updates, against ordinary loops of torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from programs import parse
from programs.errors import InputError

from proxy_tasks import Hurdle, Outcome, Replica, Resources, Task, configured_process, train
from proxy_tasks.backend import Cpu
from proxy_tasks.datasets import Dataset
from proxy_tasks.draws import Draws
from proxy_tasks.models import module_model
from proxy_tasks.models.module import BREAK_EVEN
from proxy_tasks.torch_optimizers import TorchOptimizer, TorchReplica, train_torch_optimizer
from proxy_tasks.trainer import TrainingCohorts

from tests.support.devices import Emulated

SGD = parse("update = g * lr\nupdate = update * 0.5")
STEPS, BATCH = 20, 8


@pytest.fixture(scope="module", autouse=True)
def _as_in_a_worker() -> Iterator[None]:
    with configured_process():
        yield


# --- ordinary code ---------------------------------------------------------------------------------------------------


def hashed(key: int, number: int, size: int) -> np.ndarray:
    """SplitMix64 with NumPy, written apart from the product: 64 random bits for each element of a draw."""

    def mixed(z: Any) -> Any:
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))

    start = mixed(np.array([(key + number) % 2**64], np.uint64))
    found: np.ndarray = mixed(start + np.arange(size, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    return found


class Masks:
    """The masks of one step after another, in an ordinary loop."""

    def __init__(self) -> None:
        self.key, self.number = 0, 0

    def begin(self, key: int) -> None:
        self.key, self.number = int(key), 0

    def noise(self, shape: Any, p: float) -> Tensor:
        self.number += 1
        bits = hashed(self.key, self.number, int(np.prod(shape))).astype(np.int64)  # as signed numbers
        return torch.from_numpy(bits < (0.5 - p) * 2**64).view(*shape) / (1 - p)


MASKS = Masks()


class Masked(nn.Module):
    """Dropout with the masks of `MASKS`."""

    def __init__(self, p: float, of_features: bool = False) -> None:
        super().__init__()
        self.p, self.of_features = p, of_features

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        return x * MASKS.noise([*x.shape[:2], 1, 1] if self.of_features else x.shape, self.p)


def _attention(q: Tensor, k: Tensor, v: Tensor, _: None, dropout_p: float, __: bool) -> Tensor:
    weights = torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, -1)
    return (weights * MASKS.noise(weights.shape, dropout_p) if dropout_p else weights) @ v


def ordinary(task: Task, module: nn.Module, seed: int) -> float:
    """Train a module as people do, and return its validation loss."""
    data, _ = task.load()
    schedule, keys = task.learning_rates().tolist(), task.keys(seed)
    parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
    module.train()
    for step, index in enumerate(task.minibatches(seed)):
        MASKS.begin(keys[step])
        loss = functional.cross_entropy(module(data.train_x[index]), data.train_y[index])
        gradients = torch.autograd.grad(loss, list(parameters.values()))
        with torch.no_grad():
            for (name, p), g in zip(parameters.items(), gradients, strict=True):
                p.sub_(schedule[step] * 0.5 * FACTORS.get(name, 1.0) * g)
    with torch.no_grad():
        return float(functional.cross_entropy(module.eval()(data.valid_x), data.valid_y))


# --- modules ---------------------------------------------------------------------------------------------------------

FACTORS: dict[str, float] = {}


def images() -> Dataset:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(48, 1, 6, 6, generator=generator)
    y = (x.mean((1, 2, 3)) > 0).long()
    return Dataset(x[:32], y[:32], x[32:], y[32:], classes=2)


class Counting(nn.Module):
    """Keeps a number, a tensor and a generator as attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(36, 2)
        self.calls, self.mean = 0, torch.zeros(2)
        self.noise = torch.Generator().manual_seed(3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.out(x.flatten(1)) * (1 + 0.1 * self.calls)
        if self.training:
            self.calls += 1
            self.mean = 0.5 * self.mean + 0.5 * h.detach().mean(0)
            h = h + 0.1 * torch.randn(2, generator=self.noise)
        return h - self.mean  # type: ignore[no-any-return]


class Averaging(nn.Module):
    """Assigns a buffer, rather than write to it, and keeps what nobody reads."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(36, 2)
        self.register_buffer("mean", torch.zeros(2))
        self.last: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        h = self.out(x.flatten(1))
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * h.detach().mean(0)
        self.last = h
        return h - self.mean  # type: ignore[no-any-return]


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Flatten(), nn.Linear(36, 4), nn.Tanh())
        self.out, self.still = nn.Linear(4, 2), nn.Linear(2, 2)
        self.still.requires_grad_(False)
        self.lr_multipliers = {"inner.*.weight": 3.0, "*.bias": 0.25}

    def forward(self, x: Tensor) -> Tensor:
        return self.still(self.out(self.inner(x)))  # type: ignore[no-any-return]


class Read(nn.Module):
    """A recurrent network over rows of pixels."""

    def __init__(self, kind: Callable[..., nn.Module], **options: Any) -> None:
        super().__init__()
        self.read = kind(6, 5, batch_first=True, **options)
        self.out = nn.LazyLinear(2)
        self(torch.zeros(1, 1, 6, 6))

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.read(x[:, 0])[0][:, -1])  # type: ignore[no-any-return]


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.2, batch_first=True)
        self.out = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.layer(x[:, 0]).mean(1))  # type: ignore[no-any-return]


def conv(drop: type[nn.Module] = nn.Dropout, drop2d: Callable[..., nn.Module] = nn.Dropout2d) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), drop2d(0.25), nn.Flatten(), nn.Linear(64, 6),
        nn.BatchNorm1d(6, momentum=0.3), nn.ReLU(), drop(0.5), nn.Linear(6, 2),
    )  # fmt: skip


def normed() -> nn.Module:
    return nn.Sequential(nn.Flatten(), spectral_norm(nn.Linear(36, 4)), nn.Tanh(), nn.Linear(4, 2))


def cumulative() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 3), nn.BatchNorm1d(3, momentum=None), nn.Linear(3, 2))


NETS: dict[str, Callable[[], nn.Module]] = {
    "conv": conv,
    "spectral norm": normed,
    "cumulative": cumulative,
    "counting": Counting,
    "averaging": Averaging,
    "scaled": Scaled,
    "lstm": lambda: Read(nn.LSTM),
    "deep lstm": lambda: Read(nn.LSTM, num_layers=2, bidirectional=True),
    "gru": lambda: Read(nn.GRU),
    "rnn": lambda: Read(nn.RNN, nonlinearity="relu", bias=False),
    "attention": Attending,
}
IN_A_LOOP = {"cumulative", "counting"}


def net(_: Dataset, kind: str) -> nn.Module:
    return (NETS | MORE | LATE)[kind]()


def task_of(kind: str) -> Task:
    module = "test_module_training"
    return Task(kind, f"{module}:images", f"{module}:net", model_args=(("kind", kind),), steps=STEPS, batch_size=BATCH)


def reference_of(kind: str, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    if kind == "conv":
        return conv(Masked, partial(Masked, of_features=True))
    module = NETS[kind]()
    if isinstance(module, Scaled):  # what is frozen is that of seed 0
        torch.manual_seed(0)
        module.still = Scaled().still
    if isinstance(module, Attending):
        for name in ("dropout", "dropout1", "dropout2"):
            setattr(module.layer, name, Masked(0.2))
    return module


@pytest.mark.parametrize("kind", NETS)
def test_a_training_is_that_of_an_ordinary_loop(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, what is kept, and the validation loss, of replicas that train one after another and together."""
    task = task_of(kind)
    _, model = task.load()
    assert bool(model.remark) is (kind in IN_A_LOOP)
    module = reference_of(kind, 1)
    if kind == "scaled":
        monkeypatch.setitem(FACTORS, "inner.1.weight", 3.0)
        monkeypatch.setitem(FACTORS, "inner.1.bias", 0.25)
        monkeypatch.setitem(FACTORS, "out.bias", 0.25)
    with monkeypatch.context() as patch:
        if kind == "attention":
            patch.setattr(functional, "scaled_dot_product_attention", _attention)
        expected = ordinary(task, module, 1)
    weights = torch.cat([p.detach().flatten() for p in module.parameters() if p.requires_grad])
    kept = dict(module.named_buffers())
    for seeds in ([1], [1] * BREAK_EVEN, [*range(BREAK_EVEN)]):
        training = TrainingCohorts(task, [Replica(SGD, seed) for seed in seeds], [], Cpu())
        cohort = training._start(range(len(seeds)))
        cohort.advance(0, 20)
        row = cohort.numbers.index(seeds.index(1))
        torch.testing.assert_close(cohort.rows.w[row, : len(weights)], weights, rtol=1e-3, atol=1e-5)
        found = [b[row] for b in cohort.kept.buffers]
        for value in kept.values():
            alike = (f.to(value.dtype) for f in found if f.shape == value.shape)
            assert any(torch.allclose(f, value, rtol=1e-3, atol=1e-4) for f in alike)
        cohort.validate()
        outcome = training.outcomes[seeds.index(1)]
        assert outcome is not None and outcome.fitness == pytest.approx(-expected, rel=1e-4)


def test_optimizers_of_torch_train_the_same_modules() -> None:
    """With state, masks and factors of updates."""
    for kind in ("conv", "scaled"):
        replica = TorchReplica(TorchOptimizer("torch_adamw", 0.01, 0.0), 1)
        first, second = (train_torch_optimizer(task_of(kind), replica) for _ in range(2))
        assert first.status == "ok" and first.fitness == second.fitness


# --- laws ------------------------------------------------------------------------------------------------------------


def small() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 3), nn.BatchNorm1d(3), nn.Dropout(0.3), nn.Linear(3, 2))


class Noisy(nn.Module):
    """Draws in all the ways that a replica axis takes, and two that it does not."""

    def __init__(self, is_foreign: bool) -> None:
        super().__init__()
        self.out, self.is_foreign = nn.Linear(36, 2), is_foreign

    def forward(self, x: Tensor) -> Tensor:
        h = functional.gumbel_softmax(self.out(x.flatten(1))) + 0.1 * torch.randn(2)
        if self.is_foreign:
            h = h * (1 + 0.1 * np.random.uniform()) + 0.1 * torch.randperm(2)
        return functional.dropout(h, 0.1) + torch.rand_like(h)


MORE: dict[str, Callable[[], nn.Module]] = {
    "small": small, "noisy": lambda: Noisy(False), "foreign": lambda: Noisy(True),
    "dropped lstm": lambda: Read(nn.LSTM, num_layers=2, dropout=0.4),
}  # fmt: skip
RATES = [parse(f"update = g * lr\nupdate = update * {rate}") for rate in (0.05, 0.5, -3.0)]
CROWD = [Replica(program, seed) for program in RATES for seed in range(4)]


def assert_same(one: Outcome, other: Outcome) -> None:
    assert (one.status, one.steps) == (other.status, other.steps)
    assert one.curve == pytest.approx(other.curve, rel=1e-2, abs=1e-4)
    assert (one.fitness or 0.0) == pytest.approx(other.fitness or 0.0, rel=1e-3, abs=1e-4)


@lru_cache
def alone(member: int, hurdles: tuple[Hurdle, ...]) -> Outcome:
    return train(task_of("small"), [CROWD[member]], hurdles)[0]


@settings(max_examples=5, deadline=None, derandomize=True)
@given(
    st.lists(st.sampled_from(range(len(CROWD))), min_size=1, max_size=12, unique=True),
    st.integers(1, 12),
    st.booleans(),
)
def test_an_outcome_does_not_depend_on_company_rows_or_regrouping(
    members: list[int], rows: int, has_hurdle: bool
) -> None:
    hurdles = (Hurdle(5, 0.9), Hurdle(12, 0.8)) if has_hurdle else ()
    together = train(task_of("small"), [CROWD[i] for i in members], hurdles, Resources(rows=rows))
    for i, outcome in zip(members, together, strict=True):
        assert_same(outcome, alone(i, hurdles))


@pytest.mark.parametrize("kind", MORE)
def test_random_modules_train_the_same_again_alone_and_together(kind: str) -> None:
    task = task_of(kind)
    assert bool(task.load()[1].remark) is (kind == "foreign")
    replicas = [Replica(SGD, seed) for seed in range(BREAK_EVEN)]
    torch.manual_seed(5)
    first = train(task, replicas)
    assert torch.initial_seed() == 5
    torch.manual_seed(6)
    np.random.seed(1)
    second = train(task, replicas)
    assert [o.fitness for o in first] == [o.fitness for o in second]
    assert_same(first[3], train(task, replicas[3:4])[0])
    assert len({o.fitness for o in first}) == len(replicas)


class Late(nn.Module):
    """Draws, or changes what it keeps, from its sixth step on."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what, self.step, self.out = what, 0, nn.Linear(36, 2)
        self.register_buffer("mean", torch.zeros(36))

    def forward(self, x: Tensor) -> Any:
        x = x.flatten(1)
        self.step += self.training
        if self.training and self.step > 5:
            if self.what == "noise":
                x = x + torch.randn_like(x)
            elif self.what == "foreign":
                x = x + torch.distributions.Normal(0.0, 1.0).sample(x.shape)
            elif self.what == "mean":
                self.mean.mul_(0.9).add_(0.1 * x.detach().mean(0))
        if self.what == "dropout":
            x = functional.dropout(x, 0.5 * min(1.0, self.step / 10), self.training)
        return self.out(x - self.mean)


LATE: dict[str, Callable[[], nn.Module]] = {
    what: partial(Late, what) for what in ("noise", "foreign", "dropout", "mean")
}


@pytest.mark.parametrize("kind", ["noise", "foreign", "dropout"])
def test_what_draws_late_draws_from_the_seed(kind: str) -> None:
    replicas = [Replica(SGD, seed) for seed in range(2)]
    found = []
    for seed in range(2):
        torch.manual_seed(seed)
        found.append([one.fitness for one in train(task_of(kind), replicas)])
    assert found[0] == found[1] and found[0][0] != found[0][1]
    assert train(task_of(kind), replicas[1:])[0].fitness == found[0][1]


def test_what_changes_late_in_all_replicas_at_once_is_refused() -> None:
    message = "model 'test_module_training:net': 'mean' changed in training, though not in the first step"
    with pytest.raises(InputError, match=message):
        train(task_of("mean"), [Replica(SGD, 0)])
    with pytest.raises(InputError, match=message):
        train_torch_optimizer(task_of("mean"), TorchReplica(TorchOptimizer("torch_adamw", 0.01, 0.0), 1))


@pytest.mark.parametrize("kind", ["small", "scaled", "counting"])
def test_a_recorded_step_trains_the_same(kind: str) -> None:
    """State, keys and factors of updates are at fixed addresses; what reads values is not recorded."""
    replicas = [replica for replica in CROWD if replica.program is not RATES[-1]] * 2
    recorded = TrainingCohorts(task_of(kind), replicas, [], Emulated()).run(len(replicas))
    for one, other in zip(recorded, train(task_of(kind), replicas), strict=True):
        assert_same(one, other)


# --- random numbers --------------------------------------------------------------------------------------------------


def test_numbers_follow_from_key_draw_and_place_and_are_independent() -> None:
    keys = torch.from_numpy(Task("t", "digits", "mlp").keys(0)[:40])
    rows = []
    for key in keys:
        draws = Draws(key)
        rows += [draws.chosen((50, 40), 0.3).flatten().float() for _ in range(2)]
        expected = hashed(int(key), 2, 2000).astype(np.int64) < (0.3 - 0.5) * 2**64
        assert torch.equal(rows[-1].bool(), torch.from_numpy(expected))
    masks = torch.stack(rows)
    assert float(masks.mean()) == pytest.approx(0.3, abs=0.005)
    assert float(torch.corrcoef(masks).fill_diagonal_(0).abs().max()) < 0.12, "80 masks of 2000: 5 standard errors"
    draws = Draws(keys[0])
    normal, uniform, exponential = (f((20000,)) for f in (draws.normal, draws.uniform, draws.exponential))
    assert (float(normal.mean()), float(normal.std())) == pytest.approx((0, 1), abs=0.03)
    assert (float(uniform.mean()), float(uniform.var())) == pytest.approx((1 / 2, 1 / 12), abs=0.01)
    assert float(exponential.mean()) == pytest.approx(1, abs=0.03) and float(exponential.min()) > 0


# --- losses that modules return --------------------------------------------------------------------------------------


@dataclass
class Outputs:
    loss: Tensor | None
    logits: Tensor


class Hugging(nn.Module):
    """In the style of the models of Hugging Face."""

    def __init__(self, form: Callable[..., Any] = Outputs) -> None:
        super().__init__()
        self.embedding, self.out, self.form = nn.Embedding(9, 4), nn.Linear(4, 9), form

    def forward(
        self, input_ids: Tensor | None = None, inputs_embeds: Tensor | None = None, labels: Tensor | None = None
    ) -> Any:
        h = self.embedding(input_ids) if inputs_embeds is None else inputs_embeds
        logits = self.out(h)
        loss = None if labels is None else functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        return self.form(loss=loss, logits=logits)


TOKENS = torch.randint(0, 9, (12, 5), generator=torch.Generator().manual_seed(0))
FORMS: dict[str, Callable[..., Any]] = {
    "object": Outputs, "dictionary": dict, "tuple": lambda loss, logits: (loss, logits),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("is_embedded", [False, True])
def test_a_module_that_takes_labels_gives_its_loss_itself(form: str, is_embedded: bool) -> None:
    x = torch.randn(12, 5, 4) if is_embedded else TOKENS
    model = module_model("m", lambda: Hugging(FORMS[form]), Dataset(x, TOKENS, x, TOKENS))
    torch.manual_seed(0)
    module = Hugging()
    expected = module(**{"inputs_embeds" if is_embedded else "input_ids": x}, labels=TOKENS).loss
    for number in (1, BREAK_EVEN):
        rows = torch.stack([model.initial_row(0)] * number)
        torch.testing.assert_close(model.losses(model.parameters(rows), x[None], TOKENS[None])[0], expected)


def test_a_module_that_takes_labels_and_returns_no_loss_gets_one_line() -> None:
    def without(loss: Tensor, logits: Tensor) -> dict[str, Tensor]:
        return {"logits": logits}

    with pytest.raises(InputError, match=r"its loss is NoneType; it must be a scalar"):
        module_model("m", lambda: Hugging(without), Dataset(TOKENS, TOKENS, TOKENS, TOKENS))


# --- factors of updates ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"nothing": 2.0}, "'nothing' fits no parameter that is trained"),
        ({"still.*": 2.0}, "'still.*' fits no parameter that is trained"),
        ({"out.bias": -1.0}, "'out.bias' is -1.0"),
        ([1.0], "lr_multipliers is list; give a dictionary"),
    ],
)
def test_factors_that_cannot_be_meant_are_refused(said: Any, message: str) -> None:
    def build() -> nn.Module:
        module = Scaled()
        module.lr_multipliers = said
        return module

    with pytest.raises(InputError, match=message) as caught:
        module_model("m", build, images())
    assert "\n" not in str(caught.value)
