"""Training many candidates at once against training them one after another.

    python scripts/bench_trainer.py [--replicas 32] [--steps 200] [--rounds 3]

The reference is the ordinary way: for each candidate an `nn.Module`, its loss, `backward()`, and the candidate exported
as a `torch.optim.Optimizer`. Both train the same candidates on the same minibatches with one thread, in turn, and the
ratio of the medians is printed with the difference between the validation losses of the two.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import torch
from torch import nn

from programs import Program, zoo
from programs.export import torch_source
from programs.mutation import mutate

from proxy_tasks import Outcome, Replica, Task, configure_process, get_task, train

SEED = 0


def candidates(number: int, task: Task) -> list[Program]:
    """Programs as a search meets them: a few mutations away from AdamW, and able to train."""
    rng, found = Random(1), [zoo.load("adamw")]
    while len(found) < number:
        child = found[int(rng.random() * len(found))]
        for _ in range(3):
            child, _ = mutate(child, rng)
        if train(replace(task, steps=40), [Replica(child, SEED)])[0].status == "ok":
            found.append(child)
    return found


def optimizer_class(program: Program) -> Callable[[Any], torch.optim.Optimizer]:
    """The program exported and loaded, as a user would have it."""
    namespace: dict[str, Any] = {}
    exec(compile(torch_source(program, "Found"), "<export>", "exec"), namespace)  # noqa: S102 - made by the exporter
    return namespace["Found"]


def train_ordinary(task: Task, program: Program) -> float:
    """One candidate in an ordinary torch loop; its validation loss."""
    data, model = task.load()
    weight1, bias1, weight2, bias2 = (p[0] for p in model.parameters(model.initial_row(SEED)[None]))
    net = nn.Sequential(nn.Linear(*weight1.shape), nn.ReLU(), nn.Linear(*weight2.shape))
    with torch.no_grad():
        for parameter, start in zip(net.parameters(), (weight1.T, bias1, weight2.T, bias2), strict=True):
            parameter.copy_(start)
    optimizer = optimizer_class(program)(net.parameters())
    peak = optimizer.param_groups[0]["lr"]
    criterion = nn.CrossEntropyLoss()
    for index, lr in zip(torch.from_numpy(task.minibatches(SEED)), task.schedule().tolist(), strict=True):
        optimizer.param_groups[0]["lr"] = peak * lr
        optimizer.zero_grad()
        criterion(net(data.train_x[index]), data.train_y[index]).backward()
        optimizer.step()
    with torch.no_grad():
        return float(criterion(net(data.valid_x), data.valid_y))


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = function()
    return time.perf_counter() - started, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicas", type=int, default=32)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    configure_process()
    task = replace(get_task("digits_mlp"), steps=options.steps)
    programs = candidates(options.replicas, task)
    batch, loop = [], []
    for _ in range(options.rounds):
        seconds, outcomes = timed(lambda: train(task, [Replica(program, SEED) for program in programs]))
        batch.append(seconds)
        seconds, losses = timed(lambda: [train_ordinary(task, program) for program in programs])
        loop.append(seconds)
    report(task, outcomes, losses, statistics.median(batch), statistics.median(loop))


def report(task: Task, outcomes: list[Outcome], losses: list[float], batch: float, loop: float) -> None:
    work = len(outcomes) * task.steps
    pairs = [(-o.fitness, loss) for o, loss in zip(outcomes, losses, strict=True) if o.fitness is not None]
    apart = [abs(a - b) / max(abs(b), 1e-9) for a, b in pairs]
    print(f"{task.name}, {len(outcomes)} candidates, {task.steps} steps of batch {task.batch_size}, one thread")
    print(f"one after another {work / loop:10,.0f} (replica x step)/s")
    print(f"all at once       {work / batch:10,.0f} (replica x step)/s   ratio {loop / batch:.2f}")
    print(f"validation losses differ by {statistics.median(apart):.1e} (median, relative) over {len(pairs)} candidates")


if __name__ == "__main__":
    main()
