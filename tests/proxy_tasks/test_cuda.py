"""Training on a GPU, where there is one: the outcomes of the CPU within rounding, recordings, memory."""

from __future__ import annotations

import gc
from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
import torch

from programs import Program, parse, zoo

from proxy_tasks import Hurdle, Outcome, Replica, Resources, get_task, train
from proxy_tasks.cuda import GraphRecording
from proxy_tasks.devices import open_backend

from tests.support.trainings import OF_MATRICES, evolved

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: torch sees no CUDA device"),
    pytest.mark.filterwarnings("default"),  # compilers and TF32 have theirs
]

GPU = Resources(device="cuda")
TOLERANCE = 0.02  # of losses, after so few steps: sums are added in another order


def assert_alike(got: list[Outcome], expected: list[Outcome]) -> None:
    assert [o.status for o in got] == [o.status for o in expected]
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(torch.tensor(one.curve), torch.tensor(other.curve), rtol=TOLERANCE, atol=1e-3)
        if one.fitness is not None:
            assert one.fitness == pytest.approx(other.fitness, rel=TOLERANCE, abs=1e-3)


def programs() -> list[Program]:
    rng = Random(5)
    return [
        parse("update = w * -3.0"),
        *map(zoo.load, zoo.names()),
        OF_MATRICES,
        *(evolved(rng, 10) for _ in range(10)),
    ]


@pytest.mark.parametrize(
    "name", ["digits_mlp", "digits_autoencoder", "digits_cnn", "mnist1d_cnn", "markov_transformer", "noisy_quadratic"]
)
def test_outcomes_are_those_of_the_cpu_within_rounding(name: str) -> None:
    task, replicas = replace(get_task(name), steps=40), [Replica(p, seed) for p in programs() for seed in (0, 1)]
    got = train(task, replicas, resources=GPU)
    assert_alike(got, train(task, replicas))
    assert got[0].status == "diverged"
    assert got[1].device.startswith("cuda ")


def test_hurdles_and_cohorts_on_a_gpu() -> None:
    task, replicas = replace(get_task("digits_mlp"), steps=60), [Replica(p, 0) for p in programs()]
    losses = sorted(o.curve[5] for o in train(task, replicas) if len(o.curve) > 5)
    _, bound = max((b / a, (a * b) ** 0.5) for a, b in pairwise(losses[3:-3]))  # where they are farthest apart
    hurdles = [Hurdle(6, bound)]
    for rows in (None, 5):
        assert_alike(train(task, replicas, hurdles, Resources(rows, device="cuda")), train(task, replicas, hurdles))


def test_a_batch_trained_twice_has_the_same_outcomes() -> None:
    task, replicas = replace(get_task("digits_mlp"), steps=60), [Replica(p, 0) for p in programs()]
    first, second = ([o._replace(seconds=0) for o in train(task, replicas, resources=GPU)] for _ in range(2))
    assert first == second


@pytest.mark.parametrize("matmul", ["tf32", "bf16"])
def test_products_with_fewer_digits(matmul: str) -> None:
    task = replace(get_task("markov_transformer"), steps=40)
    replicas = [Replica(zoo.load("adamw"), seed) for seed in range(4)]
    exact, rough = (train(replace(task, matmul=kind), replicas, resources=GPU) for kind in ("float32", matmul))
    for one, other in zip(exact, rough, strict=True):
        assert one.fitness == pytest.approx(other.fitness, rel=0.02)


def test_a_step_is_replayed_from_its_recording() -> None:
    count = torch.zeros(1, device="cuda")
    runs = []
    repeat = GraphRecording(lambda: (runs.append(1), count.add_(1)))
    repeat(1)
    repeat(100)
    repeat(7)
    assert count.item() == 108
    assert len(runs) == 2, "once as it stands, once to be recorded"


def test_memory_that_runs_out_halves_the_replicas() -> None:
    """Most of the memory is taken by somebody who does not say so."""
    task, replicas = replace(get_task("markov_transformer"), steps=20), [Replica(zoo.load("adamw"), 0)] * 64
    gc.collect()
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info()
    most = torch.cuda.memory_reserved() + 300 * 2**20
    torch.cuda.set_per_process_memory_fraction(min(1.0, most / total))
    try:
        got = train(task, replicas, resources=Resources(memory_mib=free, device="cuda"))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert {o.status for o in got} == {"ok"}


def test_a_share_of_the_memory() -> None:
    whole, quarter = open_backend("cuda", 1.0).memory_mib(), open_backend("cuda", 0.25).memory_mib()
    assert 0 < quarter <= whole
    assert quarter <= 0.25 * torch.cuda.mem_get_info()[1] / 2**20
