"""The paper's candidates trained all at once on a GPU, against the same candidates one after another.

    python -m scripts.bench.gpu [--device cuda] [--matmul tf32] [--programs 64] [--replicas N] [--steps 400]

The tasks are `paper_vision` and `paper_language` with random images and tokens of the same sizes; candidates are a few
mutations away from AdamW. The reference is an ordinary loop of torch on the same device: an `nn.Module`, `backward()`,
and the candidate exported as a `torch.optim.Optimizer`, with the data on the device. The time of a step is the
difference of two trainings of different lengths; what both have in common is the start: compiling, recording,
validation.

Bandwidth and products are compared with a plain copy and a plain product of large matrices in the same run. It can be
tried out on a CPU: `--device cpu --programs 4 --replicas 4 --steps 4`.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from programs import Program
from programs.kernels.source import Source
from programs.run.sharing import Skeletons

from proxy_tasks import Replica, Resources, Task, configure_process, get_task, train
from proxy_tasks.backend import Backend
from proxy_tasks.datasets import Dataset
from proxy_tasks.datasets.windows import language_dataset
from proxy_tasks.devices import open_backend
from proxy_tasks.runtime import precision
from proxy_tasks.trainer import TrainingCohorts, replicas_within

from search.evidence.step_time import exported_class

from scripts.bench.trainer import able_to_train
from tests.support.references import Transformer, Vit

SEED = 0
CLASSES = 1000
SEARCH = 25_000  # trainings of the paper's search, which reports 20,000 to 30,000 programs
SIZES = {"cuda": (2**28, 8192), "cpu": (2**22, 1024)}  # numbers of the plain copy, rows of the plain product


def images(size: int = 64, samples: int = 12_800) -> Dataset:
    """Return noise of the shape of images."""
    x, y = torch.randn(samples, 3, size, size), torch.randint(CLASSES, (samples,))
    return Dataset(x, y, x[:512], y[:512], classes=CLASSES)


def tokens(vocabulary: int = 3000, context: int = 32, length: int = 500_000) -> Dataset:
    """Return noise of the shape of a text."""
    text = torch.randint(vocabulary, (length,))
    return language_dataset("tokens", text, text[: 512 + context], context, vocabulary)


class Case(NamedTuple):
    """A task of the paper on noise, and an ordinary module for it."""

    task: Task
    module: Callable[[], nn.Module]


def cases(matmul: str) -> dict[str, Case]:
    vision, language = (
        replace(get_task(name), dataset=f"scripts.bench.gpu:{data}", dataset_args=(), matmul=matmul, loss_bound=1e30)
        for name, data in (("paper_vision", "images"), ("paper_language", "tokens"))
    )
    return {
        "paper_vision": Case(vision, lambda: Vit((3, 64, 64), CLASSES, 3, 96, 3, 16)),
        "paper_language": Case(language, lambda: Transformer(3000, 32, 2, 128, 2)),
    }


def finished(device: torch.device) -> float:
    """Return the time when the device has done everything that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def seconds(device: torch.device, function: Callable[[], object]) -> float:
    started = finished(device)
    function()
    return finished(device) - started


def repeated(device: torch.device, function: Callable[[], object], times: int) -> float:
    """Return the seconds of one call, after a first one that is not counted."""
    function()
    return seconds(device, lambda: [function() for _ in range(times)]) / times


class Together(NamedTuple):
    """Seconds of a step of all replicas, of the first start (which compiles), and of another one."""

    step: float
    first_start: float
    start: float


def together(task: Task, replicas: list[Replica], resources: Resources, steps: int) -> Together:
    device = open_backend(resources.device).device

    def timed(number: int) -> float:
        return seconds(device, lambda: train(replace(task, steps=number), replicas, resources=resources))

    few, many = max(steps // 4, 1), max(steps // 4, 1) + steps
    first = timed(few)
    short, long = timed(few), timed(many)
    step = (long - short) / steps
    return Together(step, first - few * step, short - few * step)


def alone(task: Task, program: Program, module: nn.Module, device: torch.device, steps: int) -> float:
    """Return the seconds of a step of one candidate in an ordinary loop."""
    data, _ = task.load(device)
    module = module.to(device)
    optimizer = exported_class(program)(module.parameters())
    peak = optimizer.param_groups[0]["lr"]
    minibatches = torch.from_numpy(task.minibatches(SEED)[: steps + 5]).to(device)
    rates = iter(task.learning_rates().tolist())

    def step(index: Tensor) -> None:
        optimizer.param_groups[0]["lr"] = peak * next(rates)
        optimizer.zero_grad()
        with precision(task.matmul, device):
            module.loss(data.train_x[index], data.train_y[index]).backward()  # type: ignore[operator]
        optimizer.step()

    for index in minibatches[:5]:
        step(index)
    return seconds(device, lambda: [step(index) for index in minibatches[5:]]) / steps


class Parts(NamedTuple):
    """Parts of a step of all replicas: seconds of the update rules, bytes that they move, operations of the model."""

    rules: float
    bytes: float
    operations: float


def parts(task: Task, replicas: list[Replica], backend: Backend, steps: int) -> Parts:
    training = TrainingCohorts(replace(task, steps=20), replicas, [], backend)
    cohort = training._start(range(len(replicas)))
    repeat = backend.repeated(lambda: cohort.rules.step(training.schedule[:1], cohort.now))
    rules = repeated(backend.device, lambda: repeat(steps), 2) / steps
    source = Source(Skeletons([replica.program for replica in replicas]))
    moved = sum(source.accesses) * training.model.layout.total * 4
    index = training.minibatches[0, 0][None]
    x, y = training.dataset.train_x[index], training.dataset.train_y[index]
    some = [p[:2].detach().requires_grad_() for p in cohort.parameters]
    with FlopCounterMode(display=False) as counter:
        torch.autograd.grad(training.model.losses(some, x, y).sum(), some)
    return Parts(rules, moved, counter.get_total_flops() / len(some[0]) * len(replicas))


def copy_rate(device: torch.device) -> float:
    """Return how many bytes/s a plain copy reads and writes."""
    x = torch.ones(SIZES[device.type][0], device=device)
    y = torch.empty_like(x)
    return 2 * x.nbytes / repeated(device, lambda: y.copy_(x), 10)


def product_rate(device: torch.device, matmul: str) -> float:
    """Return how many operations/s a plain product of matrices takes."""
    rows = SIZES[device.type][1]
    x = torch.ones(rows, rows, device=device)
    with precision(matmul, device):
        return 2 * rows**3 / repeated(device, lambda: x @ x, 10)


def measured(name: str, case: Case, options: argparse.Namespace) -> dict[str, str]:
    """Return a column of the table."""
    backend = open_backend(options.device)
    programs = able_to_train(options.programs)
    number = options.replicas or min(options.most, replicas_within(backend.memory_mib(), case.task))
    resources = Resources(number, memory_mib=1e9, device=options.device)  # `number` fits
    replicas = [Replica(programs[i % len(programs)], SEED) for i in range(number)]
    all_of = together(case.task, replicas, resources, options.steps)
    of_step = parts(case.task, replicas, backend, options.steps)
    each_alone = [alone(case.task, p, case.module(), backend.device, options.steps) for p in programs[: options.alone]]
    one_alone = sum(each_alone) / len(each_alone)
    each = all_of.step / number
    amortised = each * case.task.steps + all_of.start / number
    copied, product = copy_rate(backend.device), product_rate(backend.device, options.matmul)
    return {
        "": name,
        "candidates at once, of different programs": f"{number}, {len(set(programs))}",
        "a step of all": f"{1e3 * all_of.step:.3g} ms",
        "steps of a training": f"{case.task.steps:,}",
        "one candidate, start of its batch included": f"{amortised:.3g} s",
        "the same in an ordinary loop": f"{one_alone * case.task.steps:.3g} s",
        "**times as fast**": f"**{one_alone / each:.1f}**",
        "update rules, of a step": f"{of_step.rules / all_of.step:.0%}",
        "update rules, GB/s; plain copy; share": (
            f"{of_step.bytes / of_step.rules / 1e9:.0f}; {copied / 1e9:.0f};"
            f" {of_step.bytes / of_step.rules / copied:.0%}"
        ),
        "model, TFLOP/s; plain product; share": (
            f"{of_step.operations / all_of.step / 1e12:.3g}; {product / 1e12:.3g};"
            f" {of_step.operations / all_of.step / product:.0%}"
        ),
        "start of the first batch; of another": f"{all_of.first_start:.1f} s; {all_of.start:.1f} s",
        f"{SEARCH:,} trainings": f"{SEARCH * amortised / 3600:.3g} h",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--matmul", default="tf32", choices=["float32", "tf32", "bf16"])
    parser.add_argument("--programs", type=int, default=64, help="different programs in a batch")
    parser.add_argument("--replicas", type=int, help="trained at once; without it as many as fit")
    parser.add_argument("--most", type=int, default=1024, help="trained at once at most")
    parser.add_argument("--steps", type=int, default=400, help="steps that are timed")
    parser.add_argument("--alone", type=int, default=4, help="candidates timed one after another")
    parser.add_argument("--tasks", nargs="+", default=["paper_vision", "paper_language"])
    options = parser.parse_args()
    configure_process()
    of_task = cases(options.matmul)
    columns = [measured(name, of_task[name], options) for name in options.tasks]
    device = open_backend(options.device).name
    print(
        f"{date.today()}, {device}, torch {torch.__version__}, Python {platform.python_version()}, {options.matmul}\n"
    )
    for number, row in enumerate(columns[0]):
        print(f"| {row} | {' | '.join(column[row] for column in columns)} |")
        if number == 0:
            print("|---" * (len(columns) + 1) + "|")


if __name__ == "__main__":
    main()
