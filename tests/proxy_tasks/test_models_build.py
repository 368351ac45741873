"""Shapes, initial weights and messages of the built-in models."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from programs.errors import InputError

from proxy_tasks.datasets import Dataset, load_dataset
from proxy_tasks.models import Model, build_model
from proxy_tasks.named import args

from tests.support.references import classification, language


def leaves_of(model: Model, seed: int = 0) -> dict[str, torch.Tensor]:
    parameters = model.parameters(model.initial_row(seed)[None])
    return {leaf.name: p[0] for leaf, p in zip(model.leaves, parameters, strict=True)}


def test_cnn_starts_as_he_says() -> None:
    leaves = leaves_of(build_model("cnn", classification(3, 8, 8), args(channels=(64, 128))))
    assert leaves["kernel1"].shape == (27, 64) and leaves["kernel2"].shape == (576, 128)
    assert leaves["output"].shape == (2 * 2 * 128, 10)
    for name, fan_in in (("kernel1", 27), ("kernel2", 576), ("output", 512)):
        assert float(leaves[name].std()) == pytest.approx(math.sqrt(2 / fan_in), rel=0.05)
    assert not any(leaves[name].any() for name in ("bias1", "bias2", "bias"))


def test_transformer_starts_small_with_gains_of_one() -> None:
    leaves = leaves_of(build_model("transformer", language(32, 200), args(width=64)))
    assert float(leaves["tokens"].std()) == pytest.approx(0.02, rel=0.05)
    assert float(leaves["qkv1"].std()) == pytest.approx(64**-0.5, rel=0.05)
    assert float(leaves["down2"].std()) == pytest.approx(256**-0.5 / 2, rel=0.05)
    assert all(bool((p == 1).all()) for name, p in leaves.items() if name.startswith("norm"))


@pytest.mark.parametrize(("model", "dataset"), [("transformer", language(16, 40)), ("vit", classification(3, 16, 16))])
def test_an_untrained_classifier_knows_nothing(model: str, dataset: Dataset) -> None:
    built = build_model(model, dataset, args(patch=4) if model == "vit" else ())
    rows = built.initial_row(0)[None]
    loss = built.losses(built.parameters(rows), dataset.train_x[None], dataset.train_y[None])
    assert float(loss) == pytest.approx(math.log(dataset.classes), abs=1.0)


def test_the_vision_transformer_of_the_paper_fits_its_images() -> None:
    model = build_model("vit", classification(3, 64, 64, classes=1000, samples=1))
    leaves = leaves_of(model)
    assert leaves["positions"].shape == (16, 96) and leaves["patches"].shape == (3 * 16 * 16, 96)
    assert sum(leaf.name.startswith("qkv") for leaf in model.leaves) == 3


def test_the_transformer_looks_only_back() -> None:
    dataset = language(8, 20, targets=8)
    model = build_model("transformer", dataset)
    parameters = [p.detach().requires_grad_() for p in model.parameters(model.initial_row(0)[None])]
    first = replace(dataset, train_y=dataset.train_y)
    x, y = first.train_x[None, :1].clone(), first.train_y[None, :1]
    targets = torch.zeros(1, 1, 8, 20)
    targets[..., :4, :] = torch.nn.functional.one_hot(y[..., :4], 20)  # what comes after position 4 counts for nothing
    before = model.losses(parameters, x, targets)
    x[..., 4:] = (x[..., 4:] + 1) % 20
    assert torch.equal(before, model.losses(parameters, x, targets))
    x[..., 3] = (x[..., 3] + 1) % 20
    assert not torch.equal(before, model.losses(parameters, x, targets))


def test_labels_and_certain_probabilities_are_the_same_targets() -> None:
    dataset = language(8, 20)
    model = build_model("transformer", dataset)
    parameters = model.parameters(torch.stack([model.initial_row(seed) for seed in range(2)]))
    x, y = dataset.train_x[None], dataset.train_y[None]
    certain = torch.nn.functional.one_hot(y, 20).float()
    torch.testing.assert_close(model.losses(parameters, x, y), model.losses(parameters, x, certain))


IMAGES, TOKENS = classification(3, 8, 8), language(8, 20)
UNLABELLED = replace(IMAGES, classes=0)
CLICKS = load_dataset("clicks", args(train=9, valid=9))
NODES = load_dataset("communities", args(nodes=20, degree=2, train=9))
POINTS = load_dataset("poisson")


@pytest.mark.parametrize(
    ("name", "dataset", "arguments", "message"),
    [
        ("cnn", classification(64), {}, r"model_args: \{image: \[C, H, W\]\}"),
        ("cnn", classification(64), {"image": (1, 8, 9)}, "samples of shape"),
        ("cnn", UNLABELLED, {}, "labelled"),
        ("cnn", IMAGES, {"channels": ()}, "channels"),
        ("cnn", IMAGES, {"channels": (8, 0)}, "channels"),
        ("cnn", IMAGES, {"filters": 3}, "it takes channels, image"),
        ("vit", IMAGES, {"patch": 3}, "3x3"),
        ("vit", IMAGES, {"patch": 0}, "patch"),
        ("vit", IMAGES, {"patch": 4, "heads": 5}, "multiple"),
        ("vit", classification(64), {}, "images"),
        ("transformer", IMAGES, {}, "tokens"),
        ("transformer", TOKENS, {"heads": 5}, "multiple"),
        ("transformer", TOKENS, {"layers": 0}, "layers"),
        ("transformer", TOKENS, {"width": "32"}, "width"),
        ("autoencoder", IMAGES, {"hidden": (8, -1)}, "hidden"),
        ("autoencoder", IMAGES, {"hidden": 8}, "hidden"),
        ("autoencoder", TOKENS, {}, "numeric"),
        ("deepfm", IMAGES, {}, "no buckets"),
        ("deepfm", TOKENS, {}, "no buckets"),
        ("deepfm", CLICKS, {"width": 0}, "width"),
        ("deepfm", CLICKS, {"hidden": 8}, "hidden"),
        ("transformer", CLICKS, {}, "tokens"),
        ("gcn", IMAGES, {}, "no labelled nodes"),
        ("gcn", NODES, {"hidden": (8, 8)}, "hidden"),
        ("mlp", NODES, {}, "no numeric samples"),
        ("deep_linear", TOKENS, {}, "no vectors"),
        ("deep_linear", IMAGES, {}, "no vectors"),
        ("pinn", IMAGES, {}, "no points"),
        ("pinn", POINTS, {"hidden": ()}, "hidden"),
        ("pinn", POINTS, {"boundary": -1.0}, "boundary"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(
    name: str, dataset: Dataset, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        build_model(name, dataset, args(**arguments))
    assert "\n" not in str(caught.value)
