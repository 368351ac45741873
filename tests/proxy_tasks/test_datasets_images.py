"""Images from the disk: what is read, how it is split, and one line for everything that is wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from programs.errors import InputError

from tests.support.data_files import (
    load,
    no_parquet,
    one_class,
    pixels,
    png,
    refusal,
    refuse_network,
    scaled,
    write_folder,
    write_parquet,
)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_network(monkeypatch)


def held(x: torch.Tensor, y: torch.Tensor, names: Sequence[Any]) -> dict[bytes, Any]:
    return {image.numpy().tobytes(): names[label] for image, label in zip(x, y.tolist(), strict=True)}


def test_folder_with_train_and_valid(tmp_path: Path) -> None:
    train = write_folder(tmp_path / "train", ["cat", "ant", "bee"], 5)
    valid = write_folder(tmp_path / "valid", ["cat", "ant", "bee"], 2, seed=100)
    data = load("images", tmp_path, size=4)
    assert data.train_x.shape == (15, 3, 4, 4) and data.valid_x.shape == (6, 3, 4, 4) and data.classes == 3
    assert data.train_x.is_contiguous()
    assert held(data.train_x, data.train_y, ["ant", "bee", "cat"]) == train
    assert held(data.valid_x, data.valid_y, ["ant", "bee", "cat"]) == valid


def test_folder_without_validation_is_split_always_the_same_way(tmp_path: Path) -> None:
    written = write_folder(tmp_path, ["ant", "bee"], 20)
    data = load("images", tmp_path, size=4, valid=10)
    train, valid = (held(x, y, ["ant", "bee"]) for x, y in
                    ((data.train_x, data.train_y), (data.valid_x, data.valid_y)))  # fmt: skip
    assert len(train) == 30 and len(valid) == 10
    assert train | valid == written
    assert 0 < sum(name == "ant" for name in valid.values()) < 10
    assert load("images", tmp_path, size=4, valid=10).digest == data.digest


def test_share_takes_some_of_the_training_images_and_leaves_validation_alone(tmp_path: Path) -> None:
    write_folder(tmp_path, ["ant", "bee"], 20)
    whole, part = (load("images", tmp_path, size=4, valid=10, share=share) for share in (1.0, 0.5))
    assert len(part.train_x) == 15
    assert held(part.train_x, part.train_y, [0, 1]).items() <= held(whole.train_x, whole.train_y, [0, 1]).items()
    assert torch.equal(part.valid_x, whole.valid_x)


@pytest.mark.parametrize(("train", "valid"), [("train-00000-of-00001", "validation-00000-of-00001"), ("train", "test")])
def test_parquet_files_of_the_hub(train: str, valid: str, tmp_path: Path) -> None:
    written = write_parquet(tmp_path / "plain_text" / f"{train}.parquet", [0, 1, 2, 1], columns=("img", "fine"))
    held_out = write_parquet(tmp_path / "plain_text" / f"{valid}.parquet", [2, 0], seed=50, columns=("img", "fine"))
    data = load("images", tmp_path, size=4, image="img", label="fine")
    assert held(data.train_x, data.train_y, [0, 1, 2]) == written
    assert held(data.valid_x, data.valid_y, [0, 1, 2]) == held_out


def test_parquet_written_by_the_package_with_its_own_types(tmp_path: Path) -> None:
    arrays = [pixels(i) for i in range(6)]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    records = {"image": [{"bytes": png(a), "path": None} for a in arrays], "label": [0, 1] * 3}
    table = datasets.Dataset.from_dict(records, features=features).with_format("arrow")[:]
    schema = pa.schema(table.schema, metadata=features.arrow_schema.metadata)
    pq.write_table(table.cast(schema), tmp_path / "one.parquet")
    data = load("images", tmp_path / "one.parquet", size=4, valid=2)
    everything = held(torch.cat([data.train_x, data.valid_x]), torch.cat([data.train_y, data.valid_y]), [0, 1])
    assert everything == {scaled(a): i % 2 for i, a in enumerate(arrays)}


def test_folder_and_parquet_with_names_as_labels_give_the_same_data(tmp_path: Path) -> None:
    write_folder(tmp_path / "folder", ["ant", "bee"], 6)
    files = sorted((tmp_path / "folder").rglob("*.png"))
    table = {"image": [f.read_bytes() for f in files], "label": [f.parent.name for f in files]}
    pq.write_table(pa.table(table), tmp_path / "all.parquet")
    from_folder = load("images", tmp_path / "folder", size=4, valid=4)
    assert load("images", tmp_path / "all.parquet", size=4, valid=4).digest == from_folder.digest


def test_images_are_squeezed_by_averaging(tmp_path: Path) -> None:
    for name, seed in (("ant", 0), ("bee", 1)):
        for i in range(2):
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / f"{i}.png").write_bytes(png(pixels(seed, 8, 16)))
    data = load("images", tmp_path, size=4, valid=2)
    blocks = pixels(0, 8, 16).reshape(4, 2, 4, 4, 3).mean((1, 3)).transpose(2, 0, 1) / 127.5 - 1
    ant = torch.cat([data.train_x, data.valid_x])[int(data.train_y[0] != 0) :][0]
    np.testing.assert_allclose(ant.numpy(), blocks, atol=1.01 / 127.5)


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32])
def test_images_of_more_than_8_bits_are_refused(tmp_path: Path, kind: type) -> None:
    """Their shades beyond 255 would be cut off."""
    for name in ("ant", "bee"):
        (tmp_path / name).mkdir()
        for i in range(2):
            Image.fromarray(np.arange(64).reshape(8, 8).astype(kind)).save(tmp_path / name / f"{i}.tiff")
    with pytest.raises(InputError, match=r"has more than 8 bits for a pixel; save it with 8"):
        load("images", tmp_path, size=8, valid=2)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_images_of_any_mode_get_three_channels(mode: str, tmp_path: Path) -> None:
    write_folder(tmp_path, ["ant", "bee"], 3)
    image = Image.fromarray(pixels(0)).convert(mode)
    image.save(tmp_path / "ant" / "0.png", **({"transparency": b"\x00\x80"} if mode == "P" else {}))
    assert load("images", tmp_path, size=4, valid=2).train_x.shape == (4, 3, 4, 4)


def broken_image(root: Path) -> Path:
    write_folder(root, ["ant", "bee"], 3)
    file = root / "bee" / "1.png"
    file.write_bytes(file.read_bytes()[:40])
    return root


def no_image(root: Path) -> Path:
    write_folder(root, ["ant", "bee"], 3)
    (root / "ant" / "2.png").write_text("a note")
    return root


def loose_image(root: Path) -> Path:
    write_folder(root, ["ant", "bee"], 2)
    (root / "loose.png").write_bytes(png(pixels(0)))
    return root


def loose_in_train(root: Path) -> Path:
    write_folder(root / "train", ["ant", "bee"], 2)
    (root / "train" / "loose.png").write_bytes(png(pixels(0)))
    return root


def text_only(root: Path) -> Path:
    (root / "notes.txt").write_text("no image")
    return root


def only_valid(root: Path) -> Path:
    write_folder(root / "valid", ["ant", "bee"], 2)
    return root


def stranger(root: Path) -> Path:
    write_folder(root / "train", ["ant", "bee"], 2)
    write_folder(root / "valid", ["ant", "cow"], 2, seed=50)
    return root


def empty_parquet(root: Path) -> Path:
    (root / "train.parquet").touch()
    return root


def other_columns(root: Path) -> Path:
    write_parquet(root / "train.parquet", [0, 1, 0], columns=("picture", "kind"))
    return root


def text_for_image(root: Path) -> Path:
    pq.write_table(pa.table({"image": ["a", "b", "c"], "label": [0, 1, 0]}), root / "train.parquet")
    return root


def bad_bytes(root: Path) -> Path:
    pq.write_table(pa.table({"image": [png(pixels(0)), b"x", b"y"], "label": [0, 1, 0]}), root / "train.parquet")
    return root


def broken_labels(root: Path) -> Path:
    write_parquet(root / "train.parquet", [0.5, 1.5, 2.5])
    return root


def hidden_labels(root: Path) -> Path:
    write_parquet(root / "train.parquet", [0, 1, 0])
    write_parquet(root / "test.parquet", [-1, -1], seed=9)
    return root


def two_kinds_of_labels(root: Path) -> Path:
    write_parquet(root / "train.parquet", [0, 1, 0])
    write_parquet(root / "test.parquet", ["0", "1"], seed=9)
    return root


IMAGE_ERRORS: list[tuple[Callable[[Path], Any], dict[str, Any], str]] = [
    (lambda root: root / "nowhere", {}, "nothing exists at"),
    (lambda _: "", {}, "'path' is ''; give a file or a folder"),
    (lambda _: 7, {}, "'path' is 7; give a file or a folder"),
    (lambda root: root, {}, "is neither a parquet file nor a folder with parquet files or images"),
    (text_only, {}, "is neither a parquet file nor a folder with parquet files or images"),
    (lambda root: text_only(root) / "notes.txt", {}, "notes.txt' is neither a parquet file nor a folder"),
    (broken_image, {"valid": 2}, "bee/1.png' is not an image that can be read"),
    (no_image, {"valid": 2}, "ant/2.png' is not an image that can be read"),
    (one_class, {"valid": 2}, "has only the class 'ant'"),
    (loose_image, {"valid": 2}, "loose.png' is in no folder of a class"),
    (loose_in_train, {"valid": 2}, "loose.png' is in no folder of a class"),
    (only_valid, {}, "all files are named for validation"),
    (stranger, {}, "has the class 'cow' in validation, but not in the training images"),
    (one_class, {"valid": 5}, "has 5 images and none for validation; set 'valid' to fewer"),
    (no_parquet, {}, "train.parquet' cannot be read as .parquet file"),
    (empty_parquet, {}, "train.parquet' cannot be read as .parquet file"),
    (other_columns, {}, "has no column 'image'; it has picture, kind"),
    (other_columns, {"image": "picture"}, "has no column 'label'; it has picture, kind"),
    (text_for_image, {"valid": 1}, "row 1 holds no encoded image; name the column of images with 'image'"),
    (bad_bytes, {"valid": 1}, "row 2 is not an image that can be read"),
    (broken_labels, {"valid": 1}, "row 1 has the label 0.5; name the column of class numbers with 'label'"),
    (hidden_labels, {}, "has the class -1 in validation, but not in the training images"),
    (two_kinds_of_labels, {}, "has numbers as labels and names as well"),
    (one_class, {"size": 0}, "'size' is 0"),
    (one_class, {"size": "64x64"}, "'size' is '64x64'"),
    (one_class, {"share": 0.0}, "'share' is 0.0"),
    (one_class, {"share": 1.5}, "'share' is 1.5"),
    (one_class, {"valid": 0}, "'valid' is 0"),
]


@pytest.mark.parametrize(("prepare", "arguments", "message"), IMAGE_ERRORS)
def test_what_is_wrong_with_images_is_said_in_one_line(
    prepare: Callable[[Path], Any],
    arguments: dict[str, Any],
    message: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = prepare(tmp_path)
    assert message in refusal("images", path, capfd, **({"size": 4} | arguments))
