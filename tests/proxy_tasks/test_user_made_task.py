"""A task of what people have: modules, samples in many forms, losses and metrics; mistakes get one line."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from programs import zoo
from programs.errors import InputError

from proxy_tasks import Replica, Task, UserTask, get_task, train
from proxy_tasks.datasets import check_repeatable
from proxy_tasks.datasets.samples import samples_of
from proxy_tasks.models import user_model
from proxy_tasks.named import args
from proxy_tasks.outcome import TorchOptimizer, TorchReplica
from proxy_tasks.preflight import check_task
from proxy_tasks.torch_optimizers import train_torch_optimizer

X = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
Y = torch.arange(12) % 2


# --- samples ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        (X, Y),
        [X, Y],
        (X.double().numpy(), Y.int().numpy()),
        (X.tolist(), Y.tolist()),
        (X, Y.to(torch.uint8)),
        TensorDataset(X, Y),
        [(x, int(y)) for x, y in zip(X, Y, strict=True)],
        [(x.numpy(), y.numpy()) for x, y in zip(X, Y, strict=True)],
        DataLoader(TensorDataset(X, Y), batch_size=5),
        DataLoader(TensorDataset(X, Y), batch_size=5, shuffle=True, drop_last=True),
        DataLoader(TensorDataset(X, Y), batch_size=None),
        DataLoader(TensorDataset(X, Y), batch_sampler=BatchSampler(RandomSampler(Y.tolist()), 5, drop_last=False)),
        DataLoader(
            [{"a": x, "b": y} for x, y in zip(X, Y, strict=True)], collate_fn=lambda some: (
                torch.stack([s["a"] for s in some]), torch.stack([s["b"] for s in some])
            )
        ),
    ],
)  # fmt: skip
def test_samples_in_any_form_are_the_same_two_tensors(given: Any) -> None:
    x, y = samples_of("train", given)
    assert torch.equal(x, X) and torch.equal(y, Y) and (x.dtype, y.dtype) == (torch.float32, torch.int64)


def test_whole_numbers_stay_inputs_and_fractions_stay_targets() -> None:
    x, y = samples_of("train", (X.abs().to(torch.uint8), X.double()))
    assert (x.dtype, y.dtype) == (torch.uint8, torch.float32)


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (X, "train is a Tensor; give a pair"),
        (X.numpy(), "train is a ndarray; give a pair"),
        ((X, Y, Y), "train is a tuple of 3; give a pair"),
        ({"x": X, "y": Y}, "train is a dict; give a pair"),
        ("digits", "train is a str; give a pair"),
        (samples_of, "train is the function samples_of; give a pair .*, not the function that makes it"),
        (TensorDataset, "train is the class TensorDataset; "),
        (Endless(), "Endless has no length; give a map-style data set, or list"),
        (iter([]), "has no length"),
        ([], "train is empty"),
        (TensorDataset(X), "sample 0 is a tuple of 1; give a pair"),
        ([{"ids": X[0], "labels": 1}], r"is a dict of 'ids', 'labels'; give pairs \(x, y\)$"),
        (
            [{"labels": 1, "input_ids": X[0], "mask": X[0]}],
            r"give pairs \(x, y\), such as \[\(s\['input_ids'\], s\['labels'\]\) for s in \.\.\.\], .* such as 'mask'$",
        ),
        ([{}], "sample 0 is an empty dict; give pairs"),
        (((X, X), Y), "train: x is a tuple of 2 tensors; models have one input"),
        (DataLoader(TensorDataset(X, Y), sampler=SubsetRandomSampler([1])), r"has a SubsetRandomSampler, .*Subset\("),
        (
            DataLoader(TensorDataset(X, Y), batch_sampler=BatchSampler(WeightedRandomSampler([1.0] * 12, 9), 4, False)),
            "has a WeightedRandomSampler, which is not used",
        ),
        (DataLoader(TensorDataset(X, Y), batch_sampler=[[0, 1], [2]]), "has a list, which is not used"),
        ([(X[0], 0), (X[0, :2], 1)], r"sample 1 is \[2\], the first \[3\]; make all of one shape"),
        ([("words", 0)], "sample 0: x is a str of <U5; give numbers"),
        (([[1.0], [1.0, 2.0]], [0, 1]), "x is a list of object; give numbers, samples of one shape"),
        ([(X[0], {"label": 0})], "sample 0: y is a dict; give a tensor"),
        (DataLoader(Endless()), "Endless has no length"),
    ],
)  # fmt: skip
def test_what_are_no_samples_is_said_in_one_line(given: Any, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        samples_of("train", given)
    assert "\n" not in str(caught.value)


# --- tasks ------------------------------------------------------------------------------------------------------------


def net(width: int = 4) -> nn.Module:
    return nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 2))


def accuracy(output: Tensor, y: Tensor) -> Tensor:
    return (output.argmax(-1) == y).float().mean()


def made(**changes: Any) -> UserTask:
    whole = {"model": net, "train": (X, Y), "valid": (X[:6], Y[:6]), "loss": nn.CrossEntropyLoss()} | changes
    return UserTask("mine", **whole)


def model_of(given: UserTask, **arguments: Any) -> Any:
    given.data.check("data")
    return user_model("mine:task", given, given.data, args(**arguments))


class Net(nn.Module):
    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.layers = net(width)

    def forward(self, x: Tensor) -> Any:
        return self.layers(x)


def by_classes(dataset: Any, width: int = 4) -> nn.Module:
    return nn.Sequential(nn.Linear(3, width), nn.Linear(width, dataset.classes))


@pytest.mark.parametrize("model", [net, Net, by_classes])
def test_a_class_or_a_function_makes_modules_with_arguments(model: Callable[..., nn.Module]) -> None:
    built = model_of(made(model=model), width=5)
    assert built.layout.total == 3 * 5 + 5 + 5 * 2 + 2
    assert not torch.equal(built.initial_row(0), built.initial_row(1))


def test_trainings_start_from_the_weights_of_a_module_that_is_given() -> None:
    module = net()
    built = model_of(made(model=module))
    weights = torch.cat([p.detach().flatten() for p in module.parameters()])
    for seed in (0, 1):
        assert torch.equal(built.initial_row(seed)[: len(weights)], weights)
    with pytest.raises(InputError, match="is a module, which takes no arguments"):
        model_of(made(model=module), width=5)


class Padded(nn.Module):
    """Sums embeddings; row 0 is that of the padding."""

    def __init__(self, rows: int = 5, **options: Any) -> None:
        super().__init__()
        self.embed = nn.Embedding(rows, 4, padding_idx=0, **options)
        self.out = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Any:
        return self.out(self.embed(x).sum(1))


IDS = torch.tensor([[i % 5, (i // 2) % 5, 0] for i in range(12)])


def test_the_loss_is_that_which_is_given() -> None:
    module = net()
    built = model_of(made(model=module, loss=lambda output, y: 3 * functional.cross_entropy(output, y)))
    with torch.no_grad():
        losses = built.losses(built.parameters(built.initial_row(0)[None]), X[None], Y[None])
        assert float(losses) == pytest.approx(3 * float(functional.cross_entropy(module(X), Y)), rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"loss": nn.CrossEntropyLoss}, r"loss is the class CrossEntropyLoss; make one: loss=CrossEntropyLoss\(\)"),
        ({"metric": "accuracy"}, "metric is str; give a function"),
        ({"model": "mlp"}, "model is str; give the class"),
        ({"model": lambda: 3}, "model of 'mine:task' is int; it must be an nn.Module"),
        ({"model": lambda: 1 / 0}, "model of 'mine:task' raised ZeroDivisionError"),
        ({"train": (X, Y[:-1])}, "train_x has 12 samples, train_y 11; give as many of both"),
        ({"train": (X, Y[:, None])}, r"targets \[.*, 1\] of int64: .*; give .* without the last axis: y.squeeze\(-1\)"),
        ({"train": (X, Y[:, None]), "loss": None}, r"give targets without the last axis: y.squeeze\(-1\)"),
        ({"train": (X, Y.float())}, r"outputs \[.*\] of float32 and targets \[\d\] of float32: .*give y.long\(\)"),
        ({"train": (X, functional.one_hot(Y))}, r"targets are one-hot: give numbers of classes, y.argmax\(-1\)"),
        ({"train": (X, functional.one_hot(Y).float()), "loss": None}, "targets are one-hot"),
        ({"train": (X, functional.one_hot(Y)), "loss": nn.BCEWithLogitsLoss()}, "one-hot|y.float"),
        ({"train": (X, Y + 1)}, "targets are 1 to 2, classes count from 0"),
        ({"model": lambda: net().double()}, "parameter '0.weight' is torch.float64; parameters must be float32"),
        ({"train": (IDS, Y), "model": lambda: Padded(rows=3)}, "they are 0 to 4: an embedding needs as many rows"),
        (
            {"train": (X, Y), "model": lambda: nn.Linear(3, 1), "loss": nn.BCEWithLogitsLoss()},
            r"for one output of each sample give targets of its shape: y.float\(\).unsqueeze\(-1\)",
        ),
        (
            {"train": (X[:, None].expand(-1, 5, -1), Y[:, None].expand(-1, 5))},
            r"got \[\d+, 5\]; classes are on the last axis: without loss the cross-entropy is over that one",
        ),
        ({"valid": (X, Y - 1)}, "targets are -1 to 0, classes count from 0"),
        ({"train": ((255 * X.abs()).to(torch.uint8), Y)}, r"for images give numbers of 0 to 1: x.float\(\) / 255"),
        ({"train": (X[:, :2], Y)}, r"cannot be computed of inputs \[\d, 2\] of float32: RuntimeError"),
        ({"loss": nn.CrossEntropyLoss(reduction="sum")}, "the loss of 'mine:task' is a sum over the samples; give"),
        ({"loss": nn.CrossEntropyLoss(reduction="none")}, "its loss is of shape .*it must be a scalar"),
        ({"metric": lambda output, _: output}, r"metric of 'mine:task' is .*; it must be a number"),
        ({"metric": lambda _: 0}, "the metric of 'mine:task' cannot be computed"),
    ],
)  # fmt: skip
def test_mistakes_are_said_in_one_line(changes: dict[str, Any], said: str) -> None:
    part = changes.get("train") or changes.get("valid")
    if part is not None:  # the other part is of the same kind
        changes = {"train": part, "valid": part} | changes
    with pytest.raises(InputError, match=said) as caught:
        model_of(made(**changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("by_frequency", [False, True])
def test_the_row_of_the_padding_stays_in_all_replicas(by_frequency: bool) -> None:
    """Of 9 replicas, each with a minibatch of its own, vmap would keep that of the first alone."""
    built = model_of(made(model=lambda: Padded(scale_grad_by_freq=by_frequency), train=(IDS, Y), valid=(IDS, Y)))
    parameters = [p.requires_grad_() for p in built.parameters(torch.stack([built.initial_row(0)] * 9))]
    index = torch.stack([torch.arange(12).roll(r) for r in range(9)])
    losses = built.losses(parameters, IDS[index], Y[index])
    of_embedding, *others = torch.autograd.grad(losses.sum(), parameters)
    assert not bool(of_embedding[:, 0].any()) and bool(of_embedding[:, 1:].any(2).all())
    assert all(torch.allclose(g, g[:1], rtol=1e-4, atol=1e-6) for g in (of_embedding, *others)), "the same samples"
    assert built.remark == ""


def hooked() -> nn.Module:
    module = net()
    module[0].weight.register_hook(lambda gradient: gradient * 0)  # type: ignore[union-attr, operator]
    return module


class Checkpointed(Net):
    def forward(self, x: Tensor) -> Any:
        return checkpoint(self.layers, x.clone().requires_grad_(), use_reentrant=True)


class CheckpointedLate(Net):
    def forward(self, x: Tensor) -> Any:
        return checkpoint(self.layers[1:], self.layers[0](x), use_reentrant=True)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": hooked}, r"parameter '0.weight' has a hook, .* freeze it"),
        ({"model": hooked()}, r"parameter '0.weight' has a hook, .* freeze it"),
        (
            {"model": Checkpointed},
            "it checkpoints, and trainings would not take",
        ),
        ({"model": CheckpointedLate}, "it checkpoints, .* leave checkpoints out"),
        ({"model": lambda: torch.jit.script(net())}, r"is compiled, .* give the module as it was before"),
        ({"model": lambda: Padded(sparse=True), "train": (IDS, Y), "valid": (IDS, Y)}, "is sparse; give sparse=False"),
        ({"train": (X.to(torch.cfloat), Y)}, r"train: x is a tensor of complex numbers; give torch.view_as_real\(x\)"),
    ],
)
def test_what_would_train_otherwise_than_in_torch_is_refused(changes: dict[str, Any], said: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about its own checkpoints and scripts
        with pytest.raises(InputError, match=said) as caught:
            model_of(made(**changes))
    assert "\n" not in str(caught.value)


class Labelled(Net):
    def forward(self, x: Tensor, labels: Tensor) -> Any:
        logits = self.layers(x)
        return functional.cross_entropy(logits, labels), logits


class OfHub(Net):
    """As those of Hugging Face: whole numbers or embeddings."""

    def forward(self, input_ids: Any = None, inputs_embeds: Any = None, labels: Any = None) -> Any:
        assert input_ids is None
        logits = self.layers(inputs_embeds)
        return {"logits": logits, "loss": None if labels is None else functional.cross_entropy(logits, labels)}


def normed() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is the older of two
        return nn.Sequential(nn.utils.weight_norm(nn.Linear(3, 4)), nn.Linear(4, 2))


class Pretrained(Net):
    """Has gradients left of a training before, those of a head that is used no more among them."""

    def __init__(self) -> None:
        super().__init__()
        self.aux = nn.Linear(3, 2)
        (self.layers(X).sum() + self.aux(X).sum()).backward()


class Once(torch.autograd.Function):
    """A backward pass that can be taken once, as that of reversible layers."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.factor = 2.0
        return x * 2.0

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        factor = ctx.factor
        del ctx.factor
        return gradient * factor  # type: ignore[no-any-return]


class Reversible(Net):
    def forward(self, x: Tensor) -> Any:
        return Once.apply(self.layers(x))  # type: ignore[no-untyped-call]


def frozen_with_hook() -> nn.Module:
    module = hooked()
    module[0].requires_grad_(False)  # type: ignore[index]
    return module


class OfBits(Net):
    def forward(self, x: Tensor) -> Any:
        return self.layers(x.float())


@pytest.mark.parametrize(
    "changes",
    [
        {"model": Labelled, "loss": None},
        {"model": OfHub, "loss": None},
        {"model": OfHub, "loss": None, "metric": lambda output, y: accuracy(output["logits"], y)},
        {"model": normed},
        {"model": Pretrained},
        {"model": Reversible},
        {"model": frozen_with_hook},
        {"model": OfBits, "train": (X > 0, Y), "valid": (X > 0, Y)},
    ],
)
def test_what_trains_in_torch_trains_here(changes: dict[str, Any]) -> None:
    built = model_of(made(**changes))
    inputs = built.inputs(
        built.parameters(built.initial_row(0)[None]), built.initial_buffers([0]), torch.zeros(1).long()
    )
    x, y = made(**changes).data.train_x, made(**changes).data.train_y
    assert 0 < float(built.losses(inputs, x[None], y[None])) < 5


def test_what_fits_no_replica_axis_once_minibatches_differ_is_said() -> None:
    loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0]), label_smoothing=0.1)
    built = model_of(made(loss=loss))
    assert "is trained one replica at a time" in built.remark
    rows = torch.stack([built.initial_row(seed) for seed in range(9)])
    index = torch.stack([torch.arange(12).roll(r)[:4] for r in range(9)])
    assert built.losses(built.parameters(rows), X[index], Y[index]).shape == (9,)


class InPlace(Net):
    """Adds weights of its own to what all replicas see, which takes no replica axis unless each sees its own."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor) -> Any:
        if self.training:
            x = x.clone()
            x += self.shift
        return self.layers(x)


def test_what_fits_no_replica_axis_once_minibatches_are_shared_is_said() -> None:
    built = model_of(made(model=InPlace))
    assert "is trained one replica at a time" in built.remark
    rows = torch.stack([built.initial_row(seed) for seed in range(9)])
    for x, y in ((X[None], Y[None]), (torch.stack([X] * 9), torch.stack([Y] * 9))):
        assert built.losses(built.parameters(rows), x, y).shape == (9,)


@pytest.mark.parametrize("part", ["dataset", "model"])
def test_functions_where_a_task_has_names_are_pointed_to_user_tasks(part: str) -> None:
    names: dict[str, Any] = {"dataset": "digits", "model": "mlp"} | {part: net}
    with pytest.raises(InputError, match=f"task 'mine': {part} is function; a Task has names, .* return a UserTask"):
        Task("mine", **names)


def test_a_metric_is_tried_beside_a_loss_of_the_module() -> None:
    class WithLoss(Net):
        def loss(self, x: Tensor, y: Tensor) -> Tensor:
            return functional.cross_entropy(self(x), y)

    assert model_of(made(model=WithLoss, loss=None, metric=accuracy)).metrics is not None
    with pytest.raises(InputError, match="the metric of 'mine:task' cannot be computed"):
        model_of(made(model=WithLoss, loss=None, metric=lambda _: 0))


# --- by name ----------------------------------------------------------------------------------------------------------

FILE = """
import torch
from torch import nn
from proxy_tasks import UserTask

calls = []

def accuracy(output, y):
    return (output.argmax(-1) == y).float().mean()

def task(seed=0, drawn=False, smoothing=0.0):
    calls.append(seed)
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(len(calls) if drawn else seed))
    y = (x[:, 0] > 0).long()
    return UserTask("mine", model=lambda width=4: nn.Sequential(nn.Linear(3, width), nn.Linear(width, 2)),
                    train=(x[:30], y[:30]), valid=(x[30:], y[30:]),
                    loss=nn.CrossEntropyLoss(label_smoothing=smoothing), metric=accuracy, steps=20, batch_size=8)

def plain():
    return task()

def normalized():
    x = 3 + torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 3).long()
    layers = lambda: nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))
    return UserTask("normalized", model=layers, train=(x[:30], y[:30]), valid=(x[30:], y[30:]),
                    loss=nn.CrossEntropyLoss(), metric=nn.CrossEntropyLoss(), steps=20, batch_size=8)
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A module with tasks."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "user_task_of_tests.py").write_text(FILE, encoding="utf-8")
    sys.path.append(str(folder))
    import user_task_of_tests

    yield user_task_of_tests
    sys.path.remove(str(folder))


NAME = "user_task_of_tests:task"


def task_of(**data: Any) -> Task:
    return get_task(NAME, args(**data))


def test_a_function_is_called_once_for_each_of_its_arguments(file: Any) -> None:
    task = task_of(seed=7)
    check_task(task)
    task.load()
    assert task.fingerprint == get_task(NAME, args(seed=7)).fingerprint
    assert file.calls.count(7) == 2  # once to use it, once to see whether it repeats itself
    assert (task.name, task.steps, task.batch_size) == ("mine", 20, 8)
    assert Path(file.__file__).stem in task.meaning["source"]


def test_everything_that_a_task_follows_from_is_in_its_fingerprint(file: Any) -> None:
    tasks = [task_of(), task_of(seed=1), task_of(smoothing=0.1), get_task(NAME, (), args(width=5))]
    assert len({task.fingerprint for task in tasks}) == len(tasks)


def test_other_data_at_each_call_are_refused(file: Any) -> None:
    task = task_of(drawn=True)
    with pytest.raises(InputError, match="returns other samples when it is called again; seed its random numbers"):
        check_repeatable(task.dataset, task.dataset_args)


@pytest.mark.parametrize(
    ("name", "said"), [(NAME, "it takes seed, drawn, smoothing"), ("user_task_of_tests:plain", "it takes none")]
)
def test_unknown_arguments_are_refused(file: Any, name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        get_task(name, args(noise=1))


def test_outcomes_have_the_metric(file: Any) -> None:
    task = task_of()
    (outcome,) = train(task, [Replica(zoo.load("adamw"), 0)])
    data, model = task.load()
    assert model.metrics is not None and outcome.metric is not None
    assert outcome.metric * len(data.valid_x) == pytest.approx(round(outcome.metric * len(data.valid_x)), abs=1e-4)
    rows = torch.stack([model.initial_row(seed) for seed in (0, 1)])
    found = model.metrics(model.parameters(rows), data.valid_x[None], data.valid_y[None])
    for row, one in zip(rows, found, strict=True):
        module = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
        nn.utils.vector_to_parameters(row[: model.layout.total], module.parameters())
        assert float(one) == pytest.approx(float(accuracy(module(data.valid_x), data.valid_y)))


def test_the_metric_is_of_the_same_evaluation_as_the_loss(file: Any) -> None:
    """With the statistics that each replica has gathered, and without dropout: the loss as a metric is the loss."""
    task = get_task("user_task_of_tests:normalized")
    outcomes = train(task, [Replica(zoo.load("adamw"), seed) for seed in range(9)])
    outcomes.append(train_torch_optimizer(task, TorchReplica(TorchOptimizer("torch_adamw", 0.01, 0.0), 0)))
    assert len({outcome.metric for outcome in outcomes}) == len(outcomes)
    for outcome in outcomes:
        assert outcome.fitness is not None and outcome.metric == pytest.approx(-outcome.fitness, rel=1e-4)


def test_losses_of_replicas_together_are_those_alone(file: Any) -> None:
    data, model = task_of().load()
    rows = torch.stack([model.initial_row(seed) for seed in range(9)])
    x, y = data.train_x[None, :8], data.train_y[None, :8]
    together = model.losses(model.parameters(rows), x, y)
    alone = torch.cat([model.losses(model.parameters(row[None]), x, y) for row in rows])
    assert np.allclose(together.detach(), alone.detach(), rtol=1e-5)
