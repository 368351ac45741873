"""Gradients that are kept are those that training meets, also where samples are drawn anew at every step."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from programs import parse, zoo

from proxy_tasks import TASKS, Replica, configured_process, get_task, train
from proxy_tasks.trainer import validation_losses

from search.evidence.analysis.walk import trained, training_losses, walk
from search.evidence.recording import record
from search.evidence.scaled_tasks import ScaledTask

SEED = 3
FILE = """
import torch
from torch import nn
from proxy_tasks import UserTask

def of(*layers):
    def model():
        module = nn.Sequential(nn.Linear(3, 8), *layers, nn.Tanh(), nn.Linear(8, 2))
        module.lr_multipliers = {"0.*": 0.01}
        return module

    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0).long()
    return UserTask("own", model=model, train=(x[:30], y[:30]), valid=(x[30:], y[30:]), loss=nn.CrossEntropyLoss(),
                    steps=20, batch_size=8)

def plain():
    return of()

def normalized():
    return of(nn.BatchNorm1d(8), nn.Dropout(0.5))
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Name of a module with tasks whose first layer has a hundredth of the learning rate."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "recorded_tasks.py").write_text(FILE, encoding="utf-8")
    sys.path.append(str(folder))
    yield "recorded_tasks"
    sys.path.remove(str(folder))


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


def test_factors_on_learning_rates_are_those_of_the_trainer(own: str) -> None:
    task, program = get_task(f"{own}:plain"), parse("update = g * lr")
    data, model = task.load()
    with configured_process():
        (outcome,) = train(task, [Replica(program, SEED)])
        (w,) = trained(task, [program], SEED)
        row = model.initial_row(SEED)[None].clone()
        row[0, : len(w)] = torch.from_numpy(w).float()
        (loss,) = validation_losses(data, model.validation, model.parameters(row))
    assert outcome.fitness == pytest.approx(-loss, rel=1e-5)
    assert float(abs(w - model.initial_row(SEED)[: len(w)].numpy())[:32].max()) < 0.05, "the first layer hardly moves"


def test_modules_that_draw_and_keep_are_seen_as_they_train(own: str) -> None:
    """The two ways to see gradients have nothing in common but the model."""
    task, program = get_task(f"{own}:normalized"), parse("m = interp(g, m, 0.5)\nupdate = m * lr")
    recorded = record(program, ScaledTask(task, 1.0), SEED).gradients
    with configured_process():
        seen = [(m.g[0], m.w[0]) for m in walk(task, [program], SEED)]
        losses = training_losses(task, np.stack([seen[-1][1]] * 2))
    np.testing.assert_allclose([g for g, _ in seen], recorded, rtol=1e-3, atol=1e-5)
    assert np.isfinite(losses).all() and losses[0] == losses[1]
