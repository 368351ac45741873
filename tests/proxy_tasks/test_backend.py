"""What training on a GPU rests on, as far as it shows without one: see `devices`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

from programs import parse, zoo
from programs.errors import InputError
from programs.run.sharing import Skeletons

from proxy_tasks import Hurdle, Outcome, Replica, Resources, Task, configured_process, cuda, get_task, train, trainer
from proxy_tasks.backend import Backend, Cpu
from proxy_tasks.cuda import compiled_losses, configure_torch, shared_out
from proxy_tasks.datasets import Dataset
from proxy_tasks.devices import open_backend
from proxy_tasks.models import Leaf, Model
from proxy_tasks.models.losses import less_one_at
from proxy_tasks.models.mlp import mlp
from proxy_tasks.named import args
from proxy_tasks.outcome import TorchOptimizer, TorchReplica
from proxy_tasks.torch_optimizers import train_torch_optimizer
from proxy_tasks.trainer import TrainingCohorts

from tests.support.devices import Emulated
from tests.support.patience import call
from tests.support.trainings import OF_MATRICES, evolved, short_task

TASKS = (
    "digits_mlp", "digits_autoencoder", "digits_cnn", "mnist1d_cnn", "markov_transformer", "noisy_quadratic",
    "clicks_deepfm", "communities_gcn", "poisson_pinn",
    "digits_diffusion", "digits_contrastive", "stdlib_masked", "digits_lora", "digits_subspace",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _as_in_a_worker() -> Iterator[None]:
    with configured_process():
        yield


def on(backend: Backend, task: Task, replicas: list[Replica], hurdles: list[Hurdle], most: int) -> list[Outcome]:
    return TrainingCohorts(task, replicas, hurdles, backend).run(most)


# --- the way of a GPU gives what the way of a CPU gives ------------------------------------------------------------


def relatives(number: int) -> list[Replica]:
    """Some that train well, some that diverge, of several seeds."""
    rng = Random(5)
    wild = [parse("update = w * -3.0"), parse("x = log(0.0)\nx = x - x\nupdate = w * x")]
    return [Replica(p, rng.randrange(3)) for p in [*wild, *(evolved(rng, 20) for _ in range(number - 2))]]


def assert_alike(got: list[Outcome], expected: list[Outcome]) -> None:
    """Up to rounding: kernels add up in another order."""
    assert [o.status for o in got] == [o.status for o in expected]
    assert [o.reason for o in got] == [o.reason for o in expected]
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(torch.tensor(one.curve), torch.tensor(other.curve), rtol=0.02, atol=1e-3)
        if one.fitness is not None:
            assert one.fitness == pytest.approx(other.fitness, rel=0.02, abs=1e-3)


@pytest.mark.parametrize("most", [40, 13])
def test_recorded_steps_and_fused_rules_give_the_same_outcomes(most: int) -> None:
    """With hurdles that drop some, moves that bring those left together, and several cohorts that become fewer."""
    task, replicas = short_task(60), relatives(40)
    full = on(Cpu(), task, replicas, [], 40)
    middle = sorted(o.curve[5] for o in full if len(o.curve) > 5)
    hurdles = [Hurdle(6, middle[len(middle) * 2 // 3] * 1.0001), Hurdle(12, middle[len(middle) // 3] * 1.0001)]
    backend = Emulated()
    got = on(backend, task, replicas, hurdles, most)
    assert_alike(got, on(Cpu(), task, replicas, hurdles, most))
    assert {o.status for o in got} == {"ok", "diverged", "dropped"}
    assert backend.moves < 10 * -(-40 // most), "a recording for every replica that is out"


def test_sources_compiled_apart_give_what_one_gives() -> None:
    """To the last bit, whatever shares a source with what; also where no row of a source is left."""
    task, replicas = short_task(40), relatives(30)
    hurdles = [Hurdle(5, 2.0)]
    whole, parts = (on(Emulated(length), task, replicas, hurdles, 30) for length in (10**9, 6_000))
    assert whole == parts
    sources = shared_out(Skeletons([replica.program for replica in replicas]), 6_000)
    assert len(sources) > 3
    assert sorted(i for _, programs in sources for i in programs) == list(range(30))


@pytest.mark.parametrize("task", ["digits_cnn", "markov_transformer_short", "noisy_quadratic"])
def test_they_do_on_other_tasks(task: str) -> None:
    programs = [*map(zoo.load, ("adamw", "lion", "sgd_momentum")), OF_MATRICES]
    replicas = [Replica(program, seed) for program in programs for seed in (0, 1)]
    short = replace(get_task(task), steps=25)
    assert_alike(on(Emulated(), short, replicas, [], 8), on(Cpu(), short, replicas, [], 8))


def test_rows_that_are_out_are_left_alone() -> None:
    """Carried along, but neither moved nor able to disturb: the others have the outcomes that they have alone."""
    task, adamw = short_task(60), Replica(zoo.load("adamw"), 0)
    company = [Replica(parse("update = w * -3.0"), 0), *[adamw] * 9]
    backend = Emulated()
    first, *others = on(backend, task, company, [], 10)
    assert backend.moves == 1, "one of ten is not worth a move"
    assert first.status == "diverged"
    (alone,) = on(Emulated(), task, [adamw], [], 1)
    assert others == [alone] * 9


# --- nothing but tensors of the device, and no look at them --------------------------------------------------------


def test_a_step_stays_on_the_device_and_never_waits() -> None:
    """In a process of its own: autograd takes devices that are there before its first use only."""
    checks = Path(__file__).parents[1] / "support" / "pretended_device.py"
    done = call(sys.executable, "-m", "pytest", "-n0", "-q", "--show-capture=no", checks)
    assert done.code == 0, done.out[-5000:]


# --- gradients compiled once ---------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, of what torch does
@pytest.mark.parametrize("task", TASKS)
def test_a_model_is_compiled_once_for_any_number_of_replicas(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole, without a break in the graph, and with the same losses and gradients. The compiler of torch that fuses
    operations is left out here."""
    counter, compile_ = CompileCounterWithBackend("aot_eager"), torch.compile
    monkeypatch.setattr(torch, "compile", lambda f: compile_(f, backend=counter, fullgraph=True))
    chosen = get_task(task)
    if chosen.model == "transformer":  # one layer: compiling takes half a minute for each
        chosen = replace(chosen, model_args=args(layers=1, width=32, heads=4))
    data, model = chosen.load()
    losses = compiled_losses(replace(model))
    for replicas in (4, 6, 9):
        rows = torch.stack([model.initial_row(seed) for seed in range(replicas)])
        parameters = [p.requires_grad_() for p in model.parameters(rows)]
        index = torch.stack([torch.arange(seed, seed + 16) for seed in range(replicas)])
        x, y = data.minibatch(index, torch.arange(replicas))
        got, expected = losses(parameters, x, y), model.losses(parameters, x, y)
        torch.testing.assert_close(got, expected)
        for one, other in zip(
            torch.autograd.grad(got.sum(), parameters), torch.autograd.grad(expected.sum(), parameters), strict=True
        ):
            torch.testing.assert_close(one, other)
    assert counter.frame_count == 1


@pytest.fixture
def as_on_a_gpu() -> Iterator[None]:
    """torch's settings of the process, for a while."""
    limits = {"recompile_limit": 8, "accumulated_recompile_limit": 256, "automatic_dynamic_shapes": True}
    with torch._dynamo.config.patch(limits):
        configure_torch()
        yield
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = True  # type: ignore[attr-defined]


@pytest.mark.usefixtures("as_on_a_gpu")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_many_models_of_one_kind_are_compiled_each_with_its_own_widths(monkeypatch: pytest.MonkeyPatch) -> None:
    """To torch they are one function, which it would compile no more than eight times."""
    counter, compile_ = CompileCounterWithBackend("aot_eager"), torch.compile
    monkeypatch.setattr(torch, "compile", lambda f: compile_(f, backend=counter, fullgraph=True))
    data, _ = get_task("digits_mlp").load()
    x, y = data.train_x[None, :16], data.train_y[None, :16]
    for hidden in range(8, 20):
        model = mlp(data, (hidden,))
        losses = compiled_losses(model)
        for replicas in (3, 5):
            losses(model.parameters(torch.stack([model.initial_row(seed) for seed in range(replicas)])), x, y)
    assert counter.frame_count == 12


def test_cross_entropy_has_the_same_gradient_on_every_device() -> None:
    labels = torch.randint(7, (3, 1, 5))
    p = torch.rand(3, 7, 5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tensor, "is_cpu", False)
        elsewhere = less_one_at(p.clone(), labels, 1)
    assert torch.equal(elsewhere, less_one_at(p.clone(), labels, 1))


def test_a_missing_compiler_is_said_before_programs_are_blamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(InputError, match=r"with a C compiler and Python's headers, and they are missing here"):
        cuda._check_compiler()


# --- precision of products -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["digits_mlp", "digits_cnn", "markov_transformer_short"])
def test_products_in_bf16_change_outcomes_a_little(task: str) -> None:
    replicas = [Replica(zoo.load("adamw"), seed) for seed in (0, 1)]
    short = replace(get_task(task), steps=30)
    exact, rough = (train(replace(short, matmul=kind), replicas) for kind in ("float32", "bf16"))
    for one, other in zip(exact, rough, strict=True):
        assert one.fitness != other.fitness
        assert one.fitness == pytest.approx(other.fitness, rel=0.01)


def test_attention_computes_its_gradients_as_its_values_wherever_they_are_asked_for() -> None:
    """On a GPU the backward pass runs in a thread of its own, outside of the context of the forward pass."""
    data, model = get_task("markov_transformer").load()
    gradients = []
    for is_inside in (True, False):
        parameters = [p.requires_grad_() for p in model.parameters(torch.stack([model.initial_row(s) for s in (0, 1)]))]
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
            losses = model.losses(parameters, data.train_x[None, :8], data.train_y[None, :8])
            inside = torch.autograd.grad(losses.sum(), parameters) if is_inside else None
        gradients.append(inside or torch.autograd.grad(losses.sum(), parameters))
    for one, other in zip(*gradients, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=0.05, atol=1e-4)


def test_native_optimizers_take_the_precision_of_the_task() -> None:
    task, replica = short_task(20), TorchReplica(TorchOptimizer("torch_adamw", 0.01, 0.1), 0)
    exact, rough = (train_torch_optimizer(replace(task, matmul=kind), replica).fitness for kind in ("float32", "bf16"))
    assert exact != rough
    assert exact == pytest.approx(rough, rel=0.01)


def test_tf32_changes_nothing_on_a_cpu() -> None:
    task, replicas = short_task(20), [Replica(zoo.load("adamw"), 0)]
    exact, other = (train(replace(task, matmul=kind), replicas)[0].fitness for kind in ("float32", "tf32"))
    assert exact == other
    assert torch.get_float32_matmul_precision() == "highest"


# --- memory --------------------------------------------------------------------------------------------------------

tried: list[int] = []
ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory."),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
]


def hungry(_dataset: Dataset, most: int) -> Model:
    """Says what a GPU says when memory runs out."""

    def losses(params: list[Tensor], x: Tensor, _: Tensor) -> Tensor:
        tried.append(len(params[0]))
        if len(params[0]) > most:
            raise ERRORS[most % len(ERRORS)]
        return params[0].square().sum(1) + x.flatten(1).mean() * 0

    return Model((Leaf("w", (7,), std=1.0),), losses)


def hungry_task(most: int) -> Task:
    return Task("hungry", "digits", "test_backend:hungry", model_args=(("most", most),), steps=20, batch_size=4)


@pytest.mark.parametrize("most", [1, 5, 11])
def test_out_of_memory_halves_the_replicas_and_goes_on(most: int) -> None:
    replicas = [Replica(zoo.load("adamw"), seed) for seed in range(23)]
    tried.clear()
    got = train(hungry_task(most), replicas)
    too_many = [n for n in tried if n > most]
    assert too_many == {1: [23, 7, 4, 2], 5: [23, 7], 11: [23]}[most], "23, then parts of at most 11, 5, 2"
    expected = train(hungry_task(1000), replicas)
    assert [o._replace(seconds=0) for o in got] == [o._replace(seconds=0) for o in expected]


def test_out_of_memory_with_one_replica_is_an_error() -> None:
    with pytest.raises(torch.OutOfMemoryError, match="out of memory"):
        train(hungry_task(0), [Replica(zoo.load("adamw"), seed) for seed in range(3)])


def test_how_many_are_trained_at_once_follows_from_the_memory_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    task = short_task(20)
    monkeypatch.setattr(Cpu, "memory_mib", lambda _self: 5.5 * 2048 / trainer.replicas_within(2048, task))
    sizes: list[int] = []
    run = TrainingCohorts.run
    monkeypatch.setattr(TrainingCohorts, "run", lambda self, most: (sizes.append(most), run(self, most))[1])
    replicas = [Replica(zoo.load("adamw"), 0)] * 9
    train(task, replicas)
    train(task, replicas, resources=Resources(memory_mib=2048))
    assert sizes == [5, 9]


def test_the_table_of_a_gpu_can_be_had_of_a_cpu() -> None:
    """`scripts/bench/gpu.py`, tried out as it says, with its columns filled."""
    options = "--device cpu --matmul float32 --tasks paper_vision --programs 2 --replicas 2 --steps 2 --alone 1"
    done = call(sys.executable, "-m", "scripts.bench.gpu", *options.split(), folder=Path(__file__).parents[2])
    assert done.code == 0, done.err
    rows = dict(line[2:-2].split(" | ") for line in done.out.splitlines() if line.startswith("| "))
    assert rows["steps of a training"] == "30,000"
    assert float(rows["**times as fast**"].strip("*")) > 0
    assert len(rows) == 12


# --- devices that are not there ------------------------------------------------------------------------------------


def test_unknown_devices_are_refused() -> None:
    with pytest.raises(InputError, match="device 'tpu' is unknown; train on cpu or cuda"):
        open_backend("tpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_said_in_one_line() -> None:
    with pytest.raises(InputError, match=r"^device cuda: torch .* sees no GPU here; install .*, or train on .* cpu$"):
        train(short_task(), [Replica(zoo.load("adamw"), 0)], resources=Resources(device="cuda"))


def test_an_outcome_tells_its_device() -> None:
    assert train(short_task(20), [Replica(zoo.load("adamw"), 0)])[0].device == "cpu"
