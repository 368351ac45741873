"""Gradients that are kept are those that training meets, also where samples are drawn anew at every step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from programs import zoo

from proxy_tasks import TASKS, configured_process

from search.evidence.analysis.walk import walk
from search.evidence.recording import record
from search.evidence.scaled_tasks import ScaledTask

SEED = 3


def test_gradients_are_those_of_the_minibatches_that_the_keys_of_the_task_draw() -> None:
    task, program = replace(TASKS["digits_diffusion"], steps=1), zoo.load("sgd")
    data, model = task.load()
    index, keys = torch.from_numpy(task.minibatches(SEED)), torch.from_numpy(task.keys(SEED))
    parameters = [p.detach().requires_grad_() for p in model.parameters(model.initial_row(SEED)[None])]
    loss = model.losses(parameters, *data.minibatch(index, keys[:1])).sum()
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)]).numpy()
    recorded = record(program, ScaledTask(task, 1.0), SEED).gradients[0]
    with configured_process():
        (moment,) = walk(task, [program], SEED)
    np.testing.assert_allclose(recorded, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(moment.g[0], expected, rtol=1e-4, atol=1e-6)
