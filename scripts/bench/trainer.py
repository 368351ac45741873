"""Training many candidates at once against training them one after another, on both sides with all cores.

    python -m scripts.bench.trainer [TASK ...] [--program adamw] [--replicas 64] [--processes 2] [--rounds 3]

The reference is the ordinary way: for each candidate an `nn.Module` of torch's layers, its loss, `backward()`, and the
candidate exported as a `torch.optim.Optimizer`. Every process, with one thread, trains the same candidates for the same
steps both ways, in turn, while the others do the same. The table shows (replica x step)/s of all processes together,
from the medians, their ratio, and the share that update rules have in the time of training all at once. "user's MLP"
and "user's CNN" are the reference modules themselves, trained as replicas through vmap.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, cast

import torch
from torch import nn

from programs import Program
from programs.run.batched import UpdateRules

from proxy_tasks import Replica, Task, configure_process, get_task, train, trainer
from proxy_tasks.draws import Draws
from proxy_tasks.outcome import Status

from search.evidence.step_time import exported_class

from scripts.bench.candidates import near
from tests.support.references import (
    Cnn,
    Contrastive,
    DeepFm,
    DeepLinear,
    Gcn,
    Gru,
    Lora,
    Mlp,
    Pinn,
    Subspace,
    Transformer,
    dense_propagation,
)

SEED = 0
CANDIDATES_ALONE = 8  # of the candidates, those that are timed one after another


def users_mlp(_dataset: Any) -> nn.Module:
    return Mlp([64, 32, 10])


def users_cnn(_dataset: Any) -> nn.Module:
    return Cnn((1, 40), (8, 16, 32), 10)


def ordinary_gcn() -> nn.Module:
    """The graph as a sparse matrix, which takes half the time of a dense one for a single model."""
    data, _ = get_task("communities_gcn").load()
    features, edges = data.shared
    return Gcn(features, dense_propagation(edges, len(features)).to_sparse_coo(), 32, data.classes)


def ordinary_pinn() -> nn.Module:
    data, _ = get_task("poisson_pinn").load()
    return Pinn((16, 16), data.shared[0], 1.0)


class Case(NamedTuple):
    """A task, the number of steps that are timed, and an ordinary module for it."""

    task: Task
    steps: int
    module: Callable[[], nn.Module]


def cases() -> dict[str, Case]:
    mlp, cnn = get_task("digits_mlp"), get_task("mnist1d_cnn")
    lora, subspace = (get_task(name) for name in ("digits_lora", "digits_subspace"))
    vocabulary = get_task("stdlib_gru").load()[0].classes
    of_user = "scripts.bench.trainer:users_{}".format
    return {
        "digits_mlp": Case(mlp, 100, lambda: users_mlp(None)),
        "mnist1d_cnn": Case(cnn, 40, lambda: users_cnn(None)),
        "pydoc_transformer": Case(get_task("pydoc_transformer"), 10, lambda: Transformer(99, 32)),
        "deep_linear": Case(get_task("deep_linear"), 100, lambda: DeepLinear([32, 32, 32, 32])),
        "clicks_deepfm": Case(get_task("clicks_deepfm"), 40, lambda: DeepFm(1_000, 10, 4, (32,))),
        "communities_gcn": Case(get_task("communities_gcn"), 20, ordinary_gcn),
        "poisson_pinn": Case(get_task("poisson_pinn"), 40, ordinary_pinn),
        "digits_label_noise": Case(get_task("digits_label_noise"), 100, lambda: users_mlp(None)),
        "digits_long_tail": Case(get_task("digits_long_tail"), 100, lambda: users_mlp(None)),
        "digits_diffusion": Case(get_task("digits_diffusion"), 100, lambda: Mlp([66, 128, 64])),
        "digits_contrastive": Case(get_task("digits_contrastive"), 40, lambda: Contrastive([64, 32, 32, 16])),
        "stdlib_masked": Case(
            get_task("stdlib_masked"), 10, lambda: Transformer(vocabulary, 32, width=24, heads=3, is_causal=False)
        ),
        "stdlib_gru": Case(get_task("stdlib_gru"), 20, lambda: Gru(vocabulary)),
        "digits_finetune": Case(get_task("digits_finetune"), 100, lambda: Mlp([64, 64, 64, 5])),
        "digits_lora": Case(lora, 100, lambda: Lora(lora.load()[1].constants, 4, 5)),
        "digits_subspace": Case(subspace, 100, lambda: Subspace(*subspace.load()[1].constants, widths=[64, 64, 64, 5])),
        "user's MLP": Case(replace(mlp, model=of_user("mlp"), model_args=()), 100, lambda: users_mlp(None)),
        "user's CNN": Case(replace(cnn, model=of_user("cnn"), model_args=()), 40, lambda: users_cnn(None)),
    }


def able_to_train(number: int, name: str = "adamw") -> list[Program]:
    """Return programs as a search meets them: a few mutations from one of the zoo, and trained well on few steps."""
    task = replace(get_task("digits_mlp"), steps=40)
    return near(name, number, lambda program: train(task, [Replica(program, SEED)])[0].status == Status.OK)


class OrdinaryDraws:
    """Draws from the generator of torch, as ordinary code does."""

    def bits(self, shape: Sequence[int]) -> torch.Tensor:
        return torch.randint(-(2**63), 2**63 - 1, tuple(shape))

    def uniform(self, shape: Sequence[int]) -> torch.Tensor:
        return torch.rand(*shape)

    def normal(self, shape: Sequence[int]) -> torch.Tensor:
        return torch.randn(*shape)


def train_ordinary(task: Task, optimizer: torch.optim.Optimizer, module: nn.Module) -> None:
    """Train one candidate in an ordinary torch loop."""
    data, _ = task.load()
    peak = optimizer.param_groups[0]["lr"]
    for index, lr in zip(torch.from_numpy(task.minibatches(SEED)), task.learning_rates().tolist(), strict=True):
        optimizer.param_groups[0]["lr"] = peak * lr
        optimizer.zero_grad()
        x, y = data.train_x[index], data.train_y[index]
        if data.transform is not None:
            x, y = data.transform(cast("Draws", OrdinaryDraws()), x, y)
        module.loss(x, y).backward()  # type: ignore[operator]
        optimizer.step()


class Rates(NamedTuple):
    """(replica x step)/s one after another and all at once, and the share of the update rules in the latter."""

    alone: float
    together: float
    rules: float


def measure(name: str, program: str, number: int, rounds: int) -> Rates:
    """Train both ways in turn, in this process; validation is left out on both sides."""
    configure_process()
    case = cases()[name]
    task = replace(case.task, steps=case.steps)
    programs = able_to_train(number, program)
    classes = [exported_class(program) for program in programs[:CANDIDATES_ALONE]]
    trainer.validation_losses = lambda _dataset, _model, parameters: [0.0] * len(parameters[0])
    rules = [0.0]
    timed_rules(rules)
    alone, together, shares = [], [], []
    for _ in range(rounds + 1):
        rules[0] = 0.0
        together.append(seconds(lambda: train(task, [Replica(program, SEED) for program in programs])))
        shares.append(rules[0] / together[-1])
        modules = [case.module() for _ in classes]
        optimizers = [made(module.parameters()) for made, module in zip(classes, modules, strict=True)]
        pairs = list(zip(optimizers, modules, strict=True))
        alone.append(seconds(lambda pairs=pairs: [train_ordinary(task, *pair) for pair in pairs]))
    few, many = len(classes) * task.steps, number * task.steps
    # The first round warms up.
    return Rates(
        few / statistics.median(alone[1:]), many / statistics.median(together[1:]), statistics.median(shares[1:])
    )


def timed_rules(total: list[float]) -> None:
    """Add the time that update rules take to the only item of `total` from now on."""
    step = UpdateRules.step

    def timed(self: UpdateRules, lr: torch.Tensor, taken: torch.Tensor) -> None:
        total[0] += seconds(lambda: step(self, lr, taken))

    UpdateRules.step = timed  # type: ignore[method-assign]


def seconds(function: Callable[[], Any]) -> float:
    """Return the processor time of a call, which other work on the machine disturbs less than wall time."""
    started = time.process_time()
    function()
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", metavar="TASK", default=list(cases()))
    parser.add_argument("--program", default="adamw", help="of the zoo; the candidates are near it")
    parser.add_argument("--replicas", type=int, default=64)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{options.replicas} candidates near {options.program}, {options.processes} processes of one thread each")
    print("| task | one after another | all at once | ratio | update rules |\n|---|---|---|---|---|")
    with multiprocessing.get_context("spawn").Pool(options.processes, maxtasksperchild=1) as pool:
        for name in options.tasks:
            work = [(name, options.program, options.replicas, options.rounds)] * options.processes
            rates = pool.starmap(measure, work, chunksize=1)
            alone, together = sum(r.alone for r in rates), sum(r.together for r in rates)
            rules = statistics.fmean(r.rules for r in rates)
            print(f"| {name} | {alone:,.0f} | {together:,.0f} | {together / alone:.1f} | {rules:.0%} |", flush=True)


if __name__ == "__main__":
    main()
