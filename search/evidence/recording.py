"""Gradients as training meets them, to compare programs on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from programs.program import Program
from programs.run.reference import initial_state, numpy_step
from programs.simplify import Recording

from proxy_tasks import configured_process
from proxy_tasks.models import chunks

from search.evidence.scaled_tasks import ScaledTask

STEPS = 100  # at most


def record(program: Program, on: ScaledTask, seed: int) -> Recording:
    """Train with the NumPy reference in float64 at the task's scale and keep every gradient; stops when not finite."""
    task = replace(on.task, steps=min(on.task.steps, STEPS))
    data, model = task.load()
    rates, indices = task.learning_rates().astype(float), torch.from_numpy(task.minibatches(seed))
    step, state = numpy_step(program, model.layout, steps=task.steps), initial_state(program, model.layout)
    start = w = model.initial_row(seed).numpy()[: model.layout.total].astype(float)
    buffers, keys = model.initial_buffers([seed]), torch.from_numpy(task.keys(seed))
    factors = 1.0 if model.lr_multipliers is None else model.lr_multipliers.numpy()[: model.layout.total].astype(float)
    gradients: list[np.ndarray] = []
    with np.errstate(all="ignore"), configured_process():
        for rate, index, key in zip(rates, indices, keys[:-1], strict=True):
            row = torch.zeros(1, model.layout.width)
            row[0, : model.layout.total] = torch.from_numpy(w)
            parameters = [p.detach().requires_grad_() for p in model.parameters(row)]
            inputs = model.inputs(parameters, buffers, key[None])
            loss = model.losses(inputs, *data.minibatch(index[None], key[None])).sum()
            found = chunks.gradients(loss, parameters)
            gradients.append(torch.cat([g.flatten() for g in found]).numpy().astype(float))
            update, state = step(w, gradients[-1], state, float(rate))
            w = w - on.update_scale * task.update_scale * factors * update
            if not np.isfinite(w).all():
                break
    return Recording(model.layout, start, np.stack(gradients), rates[: len(gradients)], task.steps)
