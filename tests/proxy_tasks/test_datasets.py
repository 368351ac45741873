"""The data sets that need no files: fixed content, splits, windows, arguments, and no trace in global random state."""

from __future__ import annotations

import json
import random
import sys
import sysconfig
from dataclasses import replace
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from programs.errors import InputError

from proxy_tasks.datasets import DATASETS, Dataset, load_dataset, stdlib
from proxy_tasks.datasets.windows import language_dataset, windows
from proxy_tasks.models import MODELS, Model, build_model
from proxy_tasks.named import args

GENERATED = [
    "clicks", "communities", "digits", "linear", "markov", "masked_stdlib", "mnist1d", "noisy_digits", "paired_digits",
    "poisson", "pydoc", "quadratic", "stdlib", "transfer_digits",
]  # fmt: skip
NUMBERED = {"clicks", "communities", "markov", "masked_stdlib", "pydoc", "stdlib"}  # samples are whole numbers

# Data of another release of a package, or of another generator, are other data: then these may be changed.
DIGESTS = {
    "digits": "f0912a76058a2692552aeb3b55d955c5f0421cc71a2a84778ce560a2e423771b",
    "markov": "b3b5f5c0871e3e111510810bedcc58b5fb0a0649be35d23263d65521159560ee",
    "quadratic": "33698420c1315aa99178837d157af802b1b9ebadd3c08f8797c1e60ec48d9347",
}


def rows_of(x: Tensor) -> set[bytes]:
    return {row.numpy().tobytes() for row in x.contiguous()}


# --- all of them -----------------------------------------------------------------------------------------------------


def test_every_data_set_is_generated_or_read_from_files() -> None:
    assert {*GENERATED, "changed", "images", "tokens"} == DATASETS.keys()


@pytest.mark.parametrize("name", DIGESTS)
def test_digest_is_the_recorded_one(name: str) -> None:
    assert load_dataset(name).digest == DIGESTS[name]


@pytest.mark.parametrize("name", GENERATED)
def test_data_are_the_same_each_time_and_leave_global_random_state_alone(name: str) -> None:
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    before = random.getstate(), str(np.random.get_state()), torch.get_rng_state()
    made = DATASETS[name]()
    assert random.getstate() == before[0]
    assert str(np.random.get_state()) == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])
    assert made.digest == load_dataset(name).digest


@pytest.mark.parametrize("name", GENERATED)
def test_kinds_of_values_are_what_models_expect(name: str) -> None:
    data = load_dataset(name)
    some = len(data.train_x) if data.transform is None else min(len(data.train_x), 1000)
    (train_x,), (train_y,) = data.minibatch(torch.arange(some)[None], torch.zeros(1).long())
    for x, y in ((train_x, train_y), (data.valid_x, data.valid_y)):
        assert len(x) == len(y) > 0
        assert x.dtype == (torch.int64 if name in NUMBERED else torch.float32)
        assert y.dtype == (torch.int64 if not y.is_floating_point() else torch.float32)
        assert y.is_floating_point() or 0 <= int(y.min()) <= int(y.max()) < max(data.classes, 1)
        assert x.isfinite().all()
    assert train_x.shape[1:] == data.valid_x.shape[1:]
    assert train_y.shape[1:] == data.valid_y.shape[1:] or name == "markov"


@pytest.mark.parametrize("name", ["digits", "mnist1d", "transfer_digits"])
def test_no_validation_sample_is_trained_on(name: str) -> None:
    data = load_dataset(name)
    train, valid = rows_of(data.train_x), rows_of(data.valid_x)
    assert len(train) == len(data.train_x) and len(valid) == len(data.valid_x)
    assert not train & valid


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("digits", {"train": 1797}, "'train' is 1797"),
    ("digits", {"train": 0}, "'train' is 0"),
    ("mnist1d", {"train": 14_000}, "'train' is 14000"),
    ("mnist1d", {"train": 4e3}, "'train' is 4000.0"),
    ("pydoc", {"context": 0}, "'context' is 0"),
    ("pydoc", {"context": True}, "'context' is True"),
    ("pydoc", {"context": 65_536}, "validation text has .* a context of 65536 needs at least 65537"),
    ("changed", {"dataset": "digits", "label_noise": 1.5}, "'label_noise' is 1.5"),
    ("changed", {"dataset": "digits", "imbalance": 0.5}, "'imbalance' is 0.5"),
    ("changed", {"dataset": "digits", "imbalance": 1e4}, "lower 'imbalance'"),
    ("changed", {"dataset": "mnist1d", "label_noise": "some"}, "'label_noise' is 'some'"),
    ("clicks", {"fields": 1}, "'fields' is 1"),
    ("clicks", {"exponent": -1}, "'exponent' is -1"),
    ("clicks", {"train": 10**9}, "1,000,010,000 samples of 10 fields are too many"),
    ("communities", {"communities": 1}, "'communities' is 1"),
    ("communities", {"train": 1_000}, "'train' is 1000"),
    ("communities", {"within": 1.1}, "'within' is 1.1"),
    ("communities", {"degree": 500}, "lower 'degree' or raise 'nodes'"),
    ("linear", {"train": 32}, "'train' is 32"),
    ("linear", {"power": -1}, "'power' is -1"),
    ("poisson", {"modes": 0}, "'modes' is 0"),
    ("poisson", {"valid": 2.5}, "'valid' is 2.5"),
    ("noisy_digits", {"train": 0}, "'train' is 0"),
    ("paired_digits", {"train": 1797}, "'train' is 1797"),
    ("transfer_digits", {"train": 896}, "'train' is 896"),
    ("stdlib", {"context": 0}, "'context' is 0"),
    ("masked_stdlib", {"share": 0}, "'share' is 0"),
    ("masked_stdlib", {"share": 1.5}, "'share' is 1.5"),
    ("quadratic", {"dimensions": 0}, "'dimensions' is 0"),
    ("quadratic", {"train": "many"}, "'train' is 'many'"),
    ("quadratic", {"noise": -0.5}, "'noise' is -0.5"),
    ("quadratic", {"noise": float("nan")}, "'noise' is nan"),
    ("quadratic", {"seed": -1}, "'seed' is -1"),
]


@pytest.mark.parametrize(("name", "arguments", "message"), BAD)
def test_bad_argument_is_named_in_one_line(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"data set {name}: .*{message}") as caught:
        load_dataset(name, args(**arguments))
    assert "\n" not in str(caught.value)


# --- MNIST-1D --------------------------------------------------------------------------------------------------------


def test_mnist1d_has_4000_and_10000_signals_of_ten_classes() -> None:
    data = load_dataset("mnist1d")
    assert data.train_x.shape == (4_000, 1, 40) and data.valid_x.shape == (10_000, 1, 40)
    assert data.classes == 10
    y = torch.cat([data.train_y, data.valid_y])
    assert torch.bincount(y).tolist() == [1_400] * 10
    x = torch.cat([data.train_x, data.valid_x]).double()
    assert float(x.mean()) == pytest.approx(0, abs=1e-6) and float(x.std()) == pytest.approx(1, abs=1e-4)


def test_mnist1d_values_are_the_recorded_ones() -> None:
    # Filters may round differently on another processor: values with a tolerance instead of a digest.
    data = load_dataset("mnist1d")
    assert data.train_y[:12].tolist() == [7, 5, 2, 8, 9, 0, 4, 3, 4, 7, 1, 3]
    np.testing.assert_allclose(data.train_x[0, 0, :4].numpy(), [1.12047, 0.5909, 0.07405, 0.16128], rtol=1e-4)


# --- pydoc -----------------------------------------------------------------------------------------------------------


def test_pydoc_is_the_text_of_all_topics_but_for_rare_characters() -> None:
    train, valid_x, _ = load_dataset("pydoc").content
    tokens = torch.cat([train, valid_x.flatten()]).tolist()
    text = "\n".join(topics[name] for name in sorted(topics))[: len(tokens)]
    meaning: dict[int, set[str]] = {}
    for token, character in zip(tokens, text, strict=True):
        meaning.setdefault(token, set()).add(character)
    rare = meaning.pop(0)
    assert all(len(characters) == 1 for characters in meaning.values())
    assert all(text[: len(train)].count(character) < 10 for character in rare)
    assert all(text[: len(train)].count(character) >= 10 for (character,) in meaning.values())
    assert max(tokens) == load_dataset("pydoc").classes - 1 and len(meaning) > 60


def test_pydoc_validates_on_the_last_tenth() -> None:
    data = load_dataset("pydoc")
    train, valid_x, _ = data.content
    total = sum(len(topics[name]) + 1 for name in topics) - 1
    assert len(train) == total - total // 10
    assert 0 <= total // 10 - valid_x.numel() <= 33


# --- the standard library --------------------------------------------------------------------------------------------


def test_stdlib_is_whole_modules_in_a_row_without_the_help_texts() -> None:
    text, folder = stdlib._text("data set stdlib"), Path(json.__file__).parents[1]
    sources = [file.read_text("utf-8") for file in folder.glob("*.py") if file.stem in sys.stdlib_module_names]
    inside = [source for source in sources if source and source in text]
    assert len(text) == 500_000
    assert sum(map(len, inside)) > 400_000, "all but the last module is there as it is"
    assert topics["assert"] not in text
    assert len(load_dataset("stdlib").content[0]) == 450_000


def test_without_sources_of_the_library_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    (tmp_path / "json.py").write_text("not much\n")
    with pytest.raises(InputError, match="has 9 characters of sources, 500,000 are needed; install") as caught:
        stdlib.load_stdlib()
    assert "\n" not in str(caught.value)


def test_digest_tells_masked_text_from_text_and_shares_apart() -> None:
    digests = {load_dataset(name).digest for name in ("stdlib", "masked_stdlib")}
    assert load_dataset("masked_stdlib", args(share=0.5)).digest not in digests and len(digests) == 2


def test_transfer_digits_are_two_halves_of_the_classes() -> None:
    data, every = load_dataset("transfer_digits"), load_dataset("digits")
    source = data.source
    assert source is not None and data.classes == source.classes == 5
    images = [rows_of(x) for x in (data.train_x, data.valid_x, source.train_x, source.valid_x)]
    assert sum(map(len, images)) == 1797 and set().union(*images) == rows_of(torch.cat((every.train_x, every.valid_x)))
    labels = {x.numpy().tobytes(): int(y) for x, y in zip(every.train_x, every.train_y, strict=True)}
    for part, first in ((data, 5), (source, 0)):
        known = [(labels.get(x.numpy().tobytes()), int(y)) for x, y in zip(part.train_x, part.train_y, strict=True)]
        assert all(label in (None, first + y) for label, y in known) and any(label is not None for label, _ in known)
    assert replace(data, source=None).digest != data.digest


def test_digest_tells_contexts_apart() -> None:
    digests = {load_dataset("pydoc", args(context=context)).digest for context in (16, 32, 64)}
    assert len(digests) == 3


# --- windows ---------------------------------------------------------------------------------------------------------


@given(length=st.integers(3, 60), context=st.integers(1, 12), stride=st.integers(1, 12))
def test_windows_are_all_those_with_a_next_token(length: int, context: int, stride: int) -> None:
    if length <= context:
        return
    text = list(range(100, 100 + length))
    x, y = windows(torch.tensor(text), context, stride)
    starts = [s for s in range(0, length, stride) if s + context < length]
    assert x.tolist() == [text[s : s + context] for s in starts]
    assert y.tolist() == [text[s + 1 : s + context + 1] for s in starts]


def test_training_windows_take_no_memory_and_validation_windows_do_not_overlap() -> None:
    tokens = torch.arange(100)
    data = language_dataset("text", tokens, tokens + 100, 8, 200)
    assert data.train_x.shape == (92, 8) and data.valid_x.shape == (12, 8)
    assert data.train_x.data_ptr() == tokens.data_ptr() and data.train_x.stride() == (1, 1)
    assert data.train_y.data_ptr() == tokens[1:].data_ptr()
    assert data.valid_x.flatten().tolist() == list(range(100, 196))
    assert data.valid_y.flatten().tolist() == list(range(101, 197))


@pytest.mark.parametrize(("train", "valid", "which"), [(8, 9, "training"), (9, 8, "validation"), (0, 9, "training")])
def test_text_too_short_for_a_window_is_named(train: int, valid: int, which: str) -> None:
    language_dataset("text", torch.arange(9), torch.arange(9), 8, 9)
    with pytest.raises(InputError, match=f"text: the {which} text has"):
        language_dataset("text", torch.arange(train), torch.arange(valid), 8, 9)


@pytest.mark.parametrize("part", [0, 1])
def test_digest_covers_every_token(part: int) -> None:
    texts = [torch.arange(40), torch.arange(40)]
    digests = []
    for change in (None, 0, 17, 39):
        changed = [text.clone() for text in texts]
        if change is not None:
            changed[part][change] = 99
        digests.append(language_dataset("text", *changed, 3, 100).digest)  # type: ignore[call-arg, arg-type]
    assert len(set(digests)) == 4


# --- the noisy quadratic ---------------------------------------------------------------------------------------------


def quadratic_model(data: Dataset, power: float = 1.0) -> Model:
    return build_model("quadratic", data, args(power=power))


def test_quadratic_samples_are_noise_around_the_optimum() -> None:
    data = load_dataset("quadratic", args(dimensions=50, train=5_000, noise=0.5))
    assert data.train_x.shape == (5_000, 50)
    optimum = data.valid_x
    assert optimum.shape == (1, 50)
    assert (data.train_x.double().mean(0) - optimum).abs().max() < 1e-7
    assert float((data.train_x - optimum).std()) == pytest.approx(0.5, rel=0.01)


def test_quadratic_optimum_is_as_far_from_zero_as_the_start() -> None:
    """So that no weight decay finds it."""
    assert float(load_dataset("quadratic", args(dimensions=1_000)).valid_x.std()) == pytest.approx(1, rel=0.05)


def test_quadratic_seeds_give_other_points() -> None:
    assert load_dataset("quadratic", args(seed=1)).digest != load_dataset("quadratic").digest


@pytest.mark.parametrize("shared", [True, False], ids=["one minibatch", "minibatch each"])
@pytest.mark.parametrize("power", [0.0, 1.0, 1.5])
def test_quadratic_losses_and_gradients_are_those_of_the_definition(shared: bool, power: float) -> None:
    data = load_dataset("quadratic", args(dimensions=6, train=64))
    model = quadratic_model(data, power)
    w = torch.randn(3, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
    x = data.train_x[:30].view(3, 10, 6)[: 1 if shared else 3]
    losses = model.losses([w], x, torch.zeros(x.shape[:2], dtype=torch.int64))
    (gradient,) = torch.autograd.grad(losses.sum(), [w])
    for r in range(3):
        sample = x[0 if shared else r].double().numpy()
        h = np.array([(i + 1.0) ** -power for i in range(6)])
        weights = w[r].detach().double().numpy()
        expected = np.mean([sum(0.5 * h * (weights - point) ** 2) for point in sample])
        assert float(losses[r].detach()) == pytest.approx(expected, rel=1e-5)
        np.testing.assert_allclose(gradient[r].numpy(), h * (weights - sample.mean(0)), rtol=1e-4, atol=1e-6)


def test_quadratic_validation_is_the_excess_over_the_optimum_on_all_samples() -> None:
    data = load_dataset("quadratic", args(dimensions=8, train=100))
    model = quadratic_model(data)

    def mean_loss(w: Tensor, x: Tensor) -> float:
        return float(model.losses([w[None]], x[None], torch.zeros(1, len(x)))[0])

    w = torch.linspace(-1, 1, 8)
    optimum = data.valid_x[0]
    excess = mean_loss(w, data.train_x) - mean_loss(optimum, data.train_x)
    assert mean_loss(w, data.valid_x) == pytest.approx(excess, rel=1e-5)
    assert mean_loss(optimum, data.valid_x) == 0 == data.floor


def test_quadratic_replica_is_the_same_in_any_batch() -> None:
    data = load_dataset("quadratic")
    model = quadratic_model(data)
    w = torch.randn(37, 100, generator=torch.Generator().manual_seed(0))
    x, y = data.train_x[None, :32], data.train_y[None, :32]
    together = model.losses([w], x, y)
    assert all(torch.equal(model.losses([w[i : i + 1]], x, y)[0], together[i]) for i in range(37))
    assert model.leaves[0].shape == (100,)
    assert float(model.initial_row(0)[:100].std()) == pytest.approx(1, abs=0.25)


@pytest.mark.parametrize("power", [-1, 11, "steep", None, True])
def test_quadratic_power_out_of_range_is_named(power: Any) -> None:
    with pytest.raises(InputError, match="model quadratic: 'power' is"):
        MODELS["quadratic"](load_dataset("quadratic"), power=power)
