"""The built-in tasks: their variants, what they are known to reach, and batches on each of them."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from programs import InputError, parse, zoo
from programs.hyperparameters import with_decay, with_learning_rate

from proxy_tasks import SUITE, TASKS, Hurdle, Replica, Task, args, configured_process, get_task, train
from proxy_tasks.references import reference

from tests.support.trainings import train_all, train_each

SIGMAS = 5  # that a training may lie from what is recorded
# Base tasks and short variants that `python -m scripts.record.references TASK` has not been run for yet.
NOT_RECORDED = {"stdlib_masked", "stdlib_transformer", "stdlib_transformer_short"}
FRESH = 2000  # a seed that nothing was tuned or recorded on


@pytest.fixture(autouse=True)
def _as_in_a_worker() -> Iterator[None]:
    with configured_process():
        yield


def tiny(name: str, steps: int = 20) -> Task:
    """A task for a few steps of few samples, validated on few."""
    task = TASKS[name]
    return replace(task, steps=steps, batch_size=8)


# --- variants ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SUITE)
def test_variants_change_what_they_say(name: str) -> None:
    base = TASKS[name]
    short, long, large, wide = (TASKS[f"{name}_{v}"] for v in ("short", "long", "large_batch", "wide"))
    assert (short.steps, long.steps) == (base.steps // 4, base.steps * 4)
    assert large.batch_size == 8 * base.batch_size
    assert large.steps * large.batch_size == pytest.approx(base.steps * base.batch_size, rel=0.02)
    assert 7 < wide.load()[1].layout.total / base.load()[1].layout.total < 13
    for variant in (short, long, wide):
        assert variant.batch_size == base.batch_size
    for variant in (short, long, large):
        assert replace(variant, name=name, steps=base.steps, batch_size=base.batch_size) == base
    assert len({task.fingerprint for task in (base, short, long, large, wide)}) == 5


def test_the_tasks_of_the_paper_are_as_in_the_paper() -> None:
    """Section 5 of the facts: sizes, steps, batch; the data is the user's."""
    vision, language = TASKS["paper_vision"], TASKS["paper_language"]
    assert (vision.steps, vision.batch_size, language.steps, language.batch_size) == (30_000, 64, 20_000, 64)
    assert dict(vision.model_args) == {"layers": 3, "width": 96, "heads": 3, "patch": 16}
    assert dict(vision.dataset_args) == {"size": 64, "share": 0.1}
    assert dict(language.model_args) == {"layers": 2, "width": 128, "heads": 2}
    assert dict(language.dataset_args) == {"vocabulary": 3000, "context": 32}
    for task in (vision, language):
        with pytest.raises(InputError, match="path"):
            task.load()


# --- references ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in SUITE if name not in NOT_RECORDED])
def test_tuned_adamw_reaches_what_is_recorded(name: str) -> None:
    """On a seed that nothing was tuned on."""
    if name.startswith(("pydoc", "stdlib")) and sys.version_info[:2] != (3, 11):
        pytest.skip("the text is another in this version of Python")
    known = reference(TASKS[name])
    assert known is not None
    tuned = known.optimizers["adamw"]
    program = with_decay(with_learning_rate(zoo.load("adamw"), tuned.learning_rate), tuned.weight_decay)
    (outcome,) = train(TASKS[name], [Replica(program, FRESH)])
    assert outcome.fitness is not None
    assert abs(-outcome.fitness - tuned.loss) < SIGMAS * tuned.sigma * math.sqrt(1 + 1 / tuned.seeds)
    assert tuned.sigma < 0.5 * tuned.loss, "the comparison is only worth something where the noise is small"


def test_references_are_of_the_built_in_tasks_alone() -> None:
    task = TASKS["digits_mlp"]
    known = reference(task)
    assert known is not None and known.baseline == known.optimizers["adamw"].loss
    assert known.best is not None and known.best < known.baseline
    assert reference(replace(task, steps=7)) is None
    assert reference(replace(task, name="mine")) is None


@pytest.mark.parametrize("name", [*SUITE, *(f"{name}_short" for name in SUITE)])
def test_base_tasks_and_their_short_variants_have_references(name: str) -> None:
    known = reference(TASKS[name])
    if name in NOT_RECORDED:
        assert known is None, "take it from NOT_RECORDED"
        return
    assert known is not None
    assert set(known.optimizers) == {"adamw", "lion", "sgd_momentum"}
    assert known.best is None or known.best < known.baseline


def test_the_markov_chain_is_learned_up_to_its_entropy_and_never_beyond() -> None:
    """Trained long, the loss comes within 5 % of the entropy rate; on no seed and at no time is it below the floor."""
    task = replace(TASKS["markov_transformer"], steps=2400, batch_size=64)
    floor = task.load()[0].floor
    program = with_decay(with_learning_rate(zoo.load("adamw"), 1e-2), 0.0)
    (outcome,) = train(task, [Replica(program, 0)])
    assert outcome.fitness is not None
    assert floor < -outcome.fitness < 1.05 * floor


# --- batches -------------------------------------------------------------------------------------------------------

# All of the paper's language, and those that say everything that the extended one has.
KNOWN = (
    "adabelief", "adamw", "lion", "nadamw", "nesterov", "raw_lion", "rmsprop", "sgd", "sgd_momentum", "signum",
    "adafactor", "muon", "normuon", "torch_adamw",
)  # fmt: skip


@pytest.mark.parametrize("name", SUITE)
def test_known_optimizers_in_one_batch_equal_one_by_one_on_every_task(name: str) -> None:
    """Beside replicas that diverge at once, later, or are dropped: rows are compacted, and the others feel nothing."""
    task = tiny(name)
    bad = [
        parse(text) for text in ("update = w * -3.0", "update = w * -0.6", "x = log(0.0)\nx = x - x\nupdate = w * x")
    ]
    programs = [zoo.load(name) for name in KNOWN] + bad
    replicas = [Replica(program, seed) for program in programs for seed in (0, 1)]
    together = train_all(task, replicas)
    assert {outcome.status for outcome in together} == {"ok", "diverged"}
    assert together == train_each(task, replicas)
    losses = sorted(outcome.curve[4] for outcome in together if len(outcome.curve) > 4)
    hurdle = Hurdle(5, losses[len(losses) // 2])
    hurdled = [o._replace(seconds=0.0) for o in train(task, replicas, [hurdle])]
    assert "dropped" in {outcome.status for outcome in hurdled}
    passed = [(a, b) for a, b in zip(hurdled, together, strict=True) if a.status != "dropped"]
    assert all(a == b for a, b in passed)


def test_a_users_module_in_a_batch_equals_one_by_one_within_tolerance() -> None:
    """vmap rounds differently with the number of replicas."""
    task = replace(tiny("digits_mlp"), model="test_suite:users_net", model_args=())
    replicas = [Replica(zoo.load(name), seed) for name in KNOWN for seed in (0, 1)]
    together, alone = train_all(task, replicas), train_each(task, replicas)
    for a, b in zip(together, alone, strict=True):
        assert a.status == b.status
        assert a.fitness == (None if b.fitness is None else pytest.approx(b.fitness, rel=1e-3))


def users_net(_dataset: object) -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(64, 16), torch.nn.Tanh(), torch.nn.Linear(16, 10))


# --- mistakes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (replace(TASKS["digits_mlp"], dataset="digit"), "unknown data set 'digit'"),
        (replace(TASKS["digits_mlp"], model="mpl"), "unknown model 'mpl'"),
        (replace(TASKS["digits_mlp"], model_args=args(width=3)), "it takes hidden"),
        (replace(TASKS["digits_mlp"], dataset_args=args(test=3)), "it takes train"),
        (replace(TASKS["digits_mlp"], model="transformer", model_args=()), "tokens"),
        (replace(TASKS["pydoc_transformer"], model="cnn", model_args=()), "cnn"),
        (replace(TASKS["pydoc_transformer"], model="mlp", model_args=()), "mlp"),
        (replace(TASKS["digits_mlp"], model_args=args(hidden=(0,))), "hidden"),
        (replace(TASKS["digits_mlp"], model="contrastive"), "no pairs of views"),
        (replace(TASKS["digits_mlp"], model="finetuned"), "no source to pretrain on"),
        (replace(TASKS["digits_diffusion"], model="cnn", model_args=()), "cnn"),
        (replace(TASKS["digits_diffusion"], model="vit", model_args=()), "vit"),
        (replace(TASKS["stdlib_masked"], model="transformer"), "tokens that are not masked"),
        (replace(TASKS["stdlib_masked"], model="gru", model_args=()), "tokens that are not masked"),
        (replace(TASKS["stdlib_gru"], model="masked_transformer"), "masked tokens, such as masked_stdlib"),
        (replace(TASKS["stdlib_gru"], model_args=args(width=33)), "'width' is 33; give a multiple of 32"),
        (replace(TASKS["stdlib_gru"], model_args=args(embedding=0)), "'embedding' is 0"),
        (replace(TASKS["digits_contrastive"], model_args=args(temperature=0)), "'temperature' is 0"),
        (replace(TASKS["digits_lora"], model_args=args(rank=0)), "'rank' is 0"),
        (replace(TASKS["digits_subspace"], model_args=args(dimensions="few")), "'dimensions' is 'few'"),
        (replace(TASKS["digits_finetune"], model_args=args(network="vit")), "unknown model finetuned: network 'vit'"),
        (replace(TASKS["digits_finetune"], model_args=args(width=3)), "it takes hidden"),
        (replace(TASKS["noisy_quadratic"], model="mlp", model_args=()), "mlp"),
        (replace(TASKS["digits_label_noise"], dataset_args=args(dataset="digits", label_noise=-1)), "label_noise"),
        (replace(TASKS["communities_gcn"], model_args=args(layers=3)), "it takes hidden"),
    ],
)
def test_what_does_not_fit_gets_one_line(task: Task, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        task.load()
    assert "\n" not in str(caught.value)


def test_an_unknown_task_is_named_with_one_of_a_like_name() -> None:
    with pytest.raises(InputError, match=r"unknown task 'digits_mpl'.* such as digits_mlp"):
        get_task("digits_mpl")
