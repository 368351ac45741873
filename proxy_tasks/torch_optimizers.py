"""Optimizers of torch that cannot be written in the language, trained as programs are.

They are trained one replica at a time, with the initial weights, minibatches, schedule, bound and curve that programs
get. The learning rates of all parameter groups follow the task's schedule.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.optim import AdamW, Muon, Optimizer

from programs.errors import InputError

from proxy_tasks.backend import Backend
from proxy_tasks.devices import open_backend
from proxy_tasks.models.chunks import gradients
from proxy_tasks.outcome import (
    CURVE_POINTS,
    Outcome,
    TorchOptimizer,
    TorchReplica,
    checkpoint,
    diverged_outcome,
    validated,
)
from proxy_tasks.runtime import precision
from proxy_tasks.task import Task
from proxy_tasks.trainer import gradient_norms, validation_losses

EMBEDDINGS = ("token", "position", "embed", "patch")  # parts of the names of leaves that embed inputs


class Weight(NamedTuple):
    """A leaf of the model. Kernels, with three axes or more, are matrices here, with a row for each channel."""

    name: str
    value: Tensor


def _as_matrix(value: Tensor) -> Tensor:
    """Return a weight as optimizers get it, with at most two axes."""
    return (value.flatten(1) if value.ndim > 2 else value).requires_grad_()


Optimizers = Callable[[Sequence[Weight]], list[Optimizer]]


def train_torch_optimizer(task: Task, replica: TorchReplica, device: str = "cpu") -> Outcome:
    """Train one replica with the optimizer that it names."""
    name, learning_rate, weight_decay = replica.program
    return train_with(
        task, replica.seed, lambda weights: TORCH_OPTIMIZERS[name](weights, learning_rate, weight_decay), device
    )


def train_with(task: Task, seed: int, optimizers: Optimizers, device: str = "cpu") -> Outcome:
    """Train one replica with the optimizers that `optimizers` makes; each weight belongs to one of them.

    Raises:
        InputError: the device is missing, the model changes after its first step what replicas have in common, or the
            task keeps states in less memory, which is for programs.
    """
    if task.states != "float32":
        raise InputError(f"task '{task.name}': states in {task.states} are for programs, not for optimizers of torch")
    started = time.perf_counter()
    backend = open_backend(device)
    training = _OptimizerTraining(task, seed, optimizers, backend)
    with training.model.unchanged(task.model):
        outcome = training.run()
    return outcome._replace(curve=training.curve, seconds=time.perf_counter() - started, device=backend.name)


class _OptimizerTraining:
    def __init__(self, task: Task, seed: int, optimizers: Optimizers, backend: Backend) -> None:
        self.task = task
        self.dataset, self.model = task.load(backend.device)
        self.curve: list[float] = []
        row = self.model.initial_row(seed).to(backend.device)
        start = [p[0].clone() for p in self.model.parameters(row[None])]
        self.values = [_as_matrix(p) for p in start]
        self.buffers = [b.to(backend.device) for b in self.model.initial_buffers([seed])]
        self.keys = torch.from_numpy(task.keys(seed)).to(backend.device)  # [steps + 1]
        self.shapes = [(1, *leaf.shape) for leaf in self.model.leaves]
        self.factors = [leaf.lr_multiplier for leaf in self.model.leaves]
        names = [leaf.name for leaf in self.model.leaves]
        self.optimizers = optimizers([Weight(n, p) for n, p in zip(names, self.values, strict=True)])
        self.groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
        self.peaks = [group["lr"] * task.update_scale for group in self.groups]
        self.schedule = task.learning_rates().tolist()
        self.indices = torch.from_numpy(task.minibatches(seed)).to(backend.device)
        self.averaging = task.averaging().tolist()
        self.average = [p.detach().clone() for p in self.values] if task.average else []
        self.norms: list[Tensor] = []

    def run(self) -> Outcome:
        """Return the outcome without its curve."""
        steps, bound = self.task.steps, self.task.loss_bound
        for point in range(1, CURVE_POINTS + 1):
            first, last = checkpoint(point - 1, steps), checkpoint(point, steps)
            if first == last:
                continue
            loss = self._segment(first, last)
            diverged = diverged_outcome(loss, bound, last)
            if diverged is not None:
                return diverged
            self.curve.append(loss)
        inputs = self._inputs(steps, self.average or self.values)
        (loss,) = validation_losses(self.dataset, self.model.validation, inputs)
        measure = self.model.measure(self.task.fitness)
        metric = None if measure is None else validation_losses(self.dataset, measure, inputs)[0]
        return validated(self.task, loss, metric, torch.cat(self.norms).tolist() if self.norms else None)

    def _inputs(self, step: int, values: Sequence[Tensor]) -> list[Tensor]:
        """Return what the losses of a step are computed from besides the minibatch."""
        parameters = [p.view(shape) for p, shape in zip(values, self.shapes, strict=True)]
        return self.model.inputs(parameters, self.buffers, self.keys[step : step + 1])

    def _segment(self, start: int, stop: int) -> float:
        total = torch.zeros((), device=self.indices.device)
        for step in range(start, stop):
            for group, peak in zip(self.groups, self.peaks, strict=True):
                group["lr"] = peak * self.schedule[step]
            x, y = self.dataset.minibatch(self.indices[step][None], self.keys[step : step + 1])
            with precision(self.task.matmul, x.device):
                (loss,) = self.model.losses(self._inputs(step, self.values), x, y)
                found = gradients(loss, self.values)
            for p, gradient in zip(self.values, found, strict=True):
                p.grad = gradient
            if self.task.gradient_norm is not None:
                self.norms.append(gradient_norms(self.task, torch.cat([g.flatten() for g in found])[None]))
            self._update()
            for mean, p in zip(self.average, self.values, strict=bool(self.average)):
                mean.lerp_(p.detach(), self.averaging[step])
            total += loss.detach()
        return float(total / (stop - start))

    def _update(self) -> None:
        """Have all optimizers take their step, and scale it where the model says so."""
        scaled = [(p, p.detach().clone(), f) for p, f in zip(self.values, self.factors, strict=True) if f != 1]
        for optimizer in self.optimizers:
            optimizer.step()
        for p, before, factor in scaled:
            p.detach().copy_(torch.lerp(before, p.detach(), factor))


def state_per_weight(task: Task, chosen: TorchOptimizer) -> float:
    """Return how many numbers the optimizer keeps for each weight of the task's model, without counters of steps."""
    weights = [Weight(leaf.name, _as_matrix(torch.ones(leaf.shape))) for leaf in task.load()[1].leaves]
    kept = 0
    for optimizer in TORCH_OPTIMIZERS[chosen.name](weights, chosen.learning_rate, chosen.weight_decay):
        for group in optimizer.param_groups:
            for p in group["params"]:
                p.grad = torch.ones_like(p)
        optimizer.step()
        states = [value for state in optimizer.state.values() for value in state.values()]
        kept += sum(value.numel() for value in states if isinstance(value, Tensor) and value.ndim > 0)
    return kept / sum(weight.value.numel() for weight in weights)


def hidden_matrices(weights: Sequence[Weight]) -> list[Tensor]:
    """Return the weights that Muon is meant for: matrices, except embeddings (by their names) and the last matrix.

    The last matrix is the output layer. Kernels of convolutions count, with the axes of a patch flattened.
    """
    matrices = [weight for weight in weights if weight.value.ndim == 2][:-1]
    return [weight.value for weight in matrices if not any(part in weight.name.lower() for part in EMBEDDINGS)]


def muon(weights: Sequence[Weight], learning_rate: float, weight_decay: float) -> list[Optimizer]:
    """Return torch.optim.Muon for the hidden matrices, torch.optim.AdamW with its defaults for all other weights.

    Muon's rate is adjusted so that its updates are about as large as AdamW's (`match_rms_adamw`, arXiv 2502.16982): one
    learning rate and one weight decay, decoupled in both, serve all weights.
    """
    hidden = hidden_matrices(weights)
    chosen = set(map(id, hidden))
    others = [weight.value for weight in weights if id(weight.value) not in chosen]
    made: list[Optimizer] = []
    if hidden:
        made.append(Muon(hidden, lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"))
    if others:
        made.append(AdamW(others, lr=learning_rate, weight_decay=weight_decay))
    return made


def torch_adamw(weights: Sequence[Weight], learning_rate: float, weight_decay: float) -> list[Optimizer]:
    """Return torch.optim.AdamW with its defaults; unlike the zoo's it corrects the bias of its averages."""
    return [AdamW([weight.value for weight in weights], lr=learning_rate, weight_decay=weight_decay)]


TORCH_OPTIMIZERS: dict[str, Callable[[Sequence[Weight], float, float], list[Optimizer]]] = {
    "torch_muon": muon,
    "torch_adamw": torch_adamw,
}
