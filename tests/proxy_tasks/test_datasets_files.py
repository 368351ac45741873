"""Images and texts from the disk: what is read, how it is split, and one line for everything that is wrong."""

from __future__ import annotations

import io
import json
import logging.handlers
import os
import socket
import subprocess
import sys
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
from tokenizers import Tokenizer

from programs.errors import InputError

from proxy_tasks.datasets import load_dataset
from proxy_tasks.datasets.files import part_of
from proxy_tasks.datasets.tokens import _learn
from proxy_tasks.named import args

WORDS = ["the", "rule", "moves", "weights", "along", "gradients", "and", "decays", "them", "a", "little"]


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("something reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def load(name: str, path: Path, **arguments: Any) -> Any:
    return load_dataset.__wrapped__(name, args(path=str(path), **arguments))


def refusal(name: str, path: Any, capfd: pytest.CaptureFixture[str], **arguments: Any) -> str:
    """The message with which the data set refuses: one line, and nothing else printed or logged."""
    logged = logging.handlers.BufferingHandler(1_000)
    logging.getLogger("datasets").addHandler(logged)
    with pytest.raises(InputError) as caught:
        load_dataset.__wrapped__(name, args(path=path if isinstance(path, int) else str(path), **arguments))
    logging.getLogger("datasets").removeHandler(logged)
    message = str(caught.value)
    assert logged.buffer == []
    assert "\n" not in message and message.startswith(f"data set {name}")
    assert "".join(capfd.readouterr()) == ""
    return message


# --- images ----------------------------------------------------------------------------------------------------------


def pixels(seed: int, height: int = 4, width: int = 4) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def png(array: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "png")
    return file.getvalue()


def write_folder(root: Path, classes: Sequence[str], count: int, seed: int = 0) -> dict[bytes, str]:
    """`count` images for each class; their values, as the data set should hold them, with their classes."""
    written = {}
    for c, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for i in range(count):
            array = pixels(seed + 1_000 * c + i)
            (root / name / f"{i}.png").write_bytes(png(array))
            written[scaled(array)] = name
    return written


def write_parquet(
    file: Path, labels: Sequence[Any], seed: int = 0, columns: tuple[str, str] = ("image", "label")
) -> Any:
    """Images in the form of the hub: a column of records with the bytes."""
    file.parent.mkdir(parents=True, exist_ok=True)
    arrays = [pixels(seed + i) for i in range(len(labels))]
    records = [{"bytes": png(array), "path": None} for array in arrays]
    pq.write_table(pa.table({columns[0]: records, columns[1]: list(labels)}), file)
    return {scaled(array): label for array, label in zip(arrays, labels, strict=True)}


def scaled(array: Any) -> bytes:
    return bytes((array.transpose(2, 0, 1).astype(np.float32) / np.float32(127.5) - np.float32(1)).tobytes())


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


def one_class(root: Path) -> Path:
    write_folder(root, ["ant"], 5)
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


def no_parquet(root: Path) -> Path:
    (root / "train.parquet").write_text("not so")
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
    (lambda root: root / "nowhere", {}, "there is nothing at"),
    (lambda _: "", {}, "'path' is ''; give a file or a folder"),
    (lambda _: 7, {}, "'path' is 7; give a file or a folder"),
    (lambda root: root, {}, "is no parquet file and no folder with parquet files or images"),
    (text_only, {}, "is no parquet file and no folder with parquet files or images"),
    (lambda root: text_only(root) / "notes.txt", {}, "notes.txt' is no parquet file and no folder"),
    (broken_image, {"valid": 2}, "bee/1.png' is no image that can be read"),
    (no_image, {"valid": 2}, "ant/2.png' is no image that can be read"),
    (one_class, {"valid": 2}, "has only the class 'ant'"),
    (loose_image, {"valid": 2}, "loose.png' is in no folder of a class"),
    (loose_in_train, {"valid": 2}, "loose.png' is in no folder of a class"),
    (only_valid, {}, "all is named for validation"),
    (stranger, {}, "has the class 'cow' in validation, but not in the training images"),
    (one_class, {"valid": 5}, "has 5 images and none for validation; set 'valid' to fewer"),
    (no_parquet, {}, "train.parquet' cannot be read as .parquet file"),
    (empty_parquet, {}, "train.parquet' cannot be read as .parquet file"),
    (other_columns, {}, "has no column 'image'; it has picture, kind"),
    (other_columns, {"image": "picture"}, "has no column 'label'; it has picture, kind"),
    (text_for_image, {"valid": 1}, "row 1 holds no encoded image; name the column of images with 'image'"),
    (bad_bytes, {"valid": 1}, "row 2 is no image that can be read"),
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


# --- texts -----------------------------------------------------------------------------------------------------------


def lines(count: int, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, size=rng.integers(3, 9))) for _ in range(count)]


def write_text(file: Path, texts: Sequence[str]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".txt":
        file.write_text("\n".join(texts) + "\n", encoding="utf-8")
    elif file.suffix == ".jsonl":
        file.write_text("".join(json.dumps({"n": i, "text": t}) + "\n" for i, t in enumerate(texts)), encoding="utf-8")
    else:
        pq.write_table(pa.table({"n": range(len(texts)), "text": texts}), file)
    return file


SMALL: dict[str, Any] = {"vocabulary": 280, "context": 8, "valid": 20}


def documents_of(tokens: torch.Tensor, tokenizer: Tokenizer, end: int) -> list[str]:
    """The documents of a stream, by the table of bytes that byte-level vocabularies are written in."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    byte_of = {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}
    documents, current = [], b""
    for token in tokens.tolist():
        if token == end:
            documents.append(current.decode())
            current = b""
        else:
            current += bytes(byte_of[c] for c in tokenizer.id_to_token(token))
    assert current == b""
    return documents


@pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".parquet"])
def test_stream_holds_every_document_and_the_last_ones_are_for_validation(suffix: str, tmp_path: Path) -> None:
    texts = [*lines(200), "naïve – 数字 <end> \t x", *lines(20, seed=1)]
    data = load("tokens", write_text(tmp_path / f"corpus{suffix}", texts), **SMALL)
    tokenizer = _learn(texts[:-20], 279)
    assert documents_of(data.content[0], tokenizer, 279) == texts[:-20]
    held_out = torch.cat([data.valid_x.flatten(), data.valid_y[-1, -1:]])
    whole = [token for text in texts[-20:] for token in (*tokenizer.encode(text).ids, 279)]
    assert held_out.tolist() == whole[: len(held_out)] and len(whole) - len(held_out) < 8
    assert data.classes == 280 and int(data.content[0].max()) == 279
    assert data.train_x.shape == (len(data.content[0]) - 8, 8) and data.train_x.dtype == torch.int64


def test_all_kinds_of_files_give_the_same_data(tmp_path: Path) -> None:
    texts = lines(200)
    files = [write_text(tmp_path / f"corpus{suffix}", texts) for suffix in (".txt", ".jsonl", ".parquet")]
    assert len({load("tokens", file, **SMALL).digest for file in files}) == 1


def test_folder_with_files_for_training_and_validation(tmp_path: Path) -> None:
    texts, held_out = lines(200), lines(30, seed=1)
    write_text(tmp_path / "train-1.jsonl", texts[:90])
    write_text(tmp_path / "train-2.jsonl", texts[90:])
    write_text(tmp_path / "valid" / "all.jsonl", held_out)
    write_text(tmp_path / "notes.txt", ["no part of the corpus"])
    data = load("tokens", tmp_path, **SMALL)
    one = load("tokens", write_text(tmp_path / "one" / "corpus.jsonl", texts + held_out[:20]), **SMALL)
    assert data.digest == one.digest


def test_empty_documents_are_left_out(tmp_path: Path) -> None:
    texts = lines(100)
    gaps = [line for text in texts for line in (text, "", "   ")]
    dense, sparse = (write_text(tmp_path / f"{n}.txt", t) for n, t in (("dense", texts), ("sparse", gaps)))
    assert load("tokens", dense, **SMALL).digest == load("tokens", sparse, **SMALL).digest


def test_share_of_documents_learns_from_these_alone(tmp_path: Path) -> None:
    file = write_text(tmp_path / "corpus.txt", lines(1_000))
    whole, part = (load("tokens", file, **SMALL, share=share) for share in (1.0, 0.25))
    assert len(part.content[0]) == pytest.approx(len(whole.content[0]) / 4, rel=0.2)
    assert load("tokens", file, **SMALL, share=0.25).digest == part.digest


@pytest.mark.parametrize("name", ["with space [1] {x} *", ".hidden", "__cache__", "ü"])
def test_paths_are_taken_as_they_are(name: str, tmp_path: Path) -> None:
    file = write_text(tmp_path / name / "corpus.txt", lines(100))
    assert len(load("tokens", file, **SMALL).train_x) > 100


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    file = write_text(tmp_path / "corpus.jsonl", lines(100))
    code = (
        "from proxy_tasks.datasets.tokens import *; import sys; print(load_tokens(sys.argv[1], 280, 8, 1, 20).digest)"
    )
    digests = []
    for threads in ("1", "4"):
        home = tmp_path / threads
        environment = {**os.environ, "HOME": str(home), "RAYON_NUM_THREADS": threads}
        environment.pop("HF_HOME", None)
        done = subprocess.run(
            [sys.executable, "-c", code, str(file)], env=environment, capture_output=True, text=True, check=True
        )
        assert done.stderr == "" and not home.exists()
        digests.append(done.stdout.strip())
    assert set(digests) == {load("tokens", file, **SMALL).digest}


def broken_json(root: Path) -> Path:
    file = write_text(root / "corpus.jsonl", lines(50))
    file.write_text(file.read_text() + '{"text": "cut of')
    return file


def latin(root: Path) -> Path:
    (root / "corpus.txt").write_bytes("naïve\n".encode("latin-1") * 50)
    return root


def numbers(root: Path) -> Path:
    pq.write_table(pa.table({"text": [1, 2, 3]}), root / "corpus.parquet")
    return root


def half_empty(root: Path) -> Path:
    pq.write_table(pa.table({"text": ["a", None, "b"]}), root / "corpus.parquet")
    return root


TEXT_ERRORS: list[tuple[Callable[[Path], Any], dict[str, Any], str]] = [
    (lambda root: root / "nowhere", {}, "there is nothing at"),
    (lambda _: 7, {}, "'path' is 7; give a file or a folder"),
    (lambda root: root, {}, "is no .parquet, .jsonl, .txt file, and no folder with one"),
    (one_class, {}, "is no .parquet, .jsonl, .txt file, and no folder with one"),
    (lambda root: write_text(root / "corpus.txt", [""]), {}, "has 0 documents and none for validation"),
    (lambda root: write_text(root / "corpus.txt", lines(20)), {}, "has 20 documents and none for validation"),
    (lambda root: write_text(root / "valid.txt", lines(20)).parent, {}, "all is named for validation"),
    (lambda root: write_text(root / "corpus.txt", lines(90)), {"vocabulary": 256}, "'vocabulary' is 256"),
    (lambda root: write_text(root / "corpus.txt", lines(90)), {"vocabulary": "3K"}, "'vocabulary' is '3K'"),
    (lambda root: write_text(root / "corpus.txt", lines(90)), {"vocabulary": 9_000}, "lower 'vocabulary' to that"),
    (lambda root: write_text(root / "corpus.txt", lines(90)), {"context": 0}, "'context' is 0"),
    (lambda root: write_text(root / "corpus.txt", lines(90)), {"context": 9_000}, "training text has"),
    (lambda root: write_text(root / "corpus.txt", lines(90)), {"context": 200, "valid": 1}, "validation text has"),
    (lambda root: write_text(root / "corpus.txt", lines(90)), {"share": 0}, "'share' is 0"),
    (lambda root: write_text(root / "corpus.txt", lines(90)), {"valid": 0.1}, "'valid' is 0.1"),
    (
        lambda root: write_text(root / "corpus.jsonl", lines(9)),
        {"column": "body"},
        "row 1 has no 'body'; it has n, text",
    ),
    (lambda root: write_text(root / "a.parquet", lines(9)), {"column": "body"}, "has no column 'body'; it has n, text"),
    (lambda root: write_text(root / "corpus.jsonl", lines(9)), {"column": "n"}, "row 1: 'n' is no text"),
    (broken_json, {}, "corpus.jsonl' cannot be read as .jsonl file"),
    (latin, {}, "corpus.txt' cannot be read as .txt file"),
    (no_parquet, {}, "train.parquet' cannot be read as .parquet file"),
    (numbers, {}, "row 1: 'text' is no text"),
    (half_empty, {}, "row 2: 'text' is no text"),
]


@pytest.mark.parametrize(("prepare", "arguments", "message"), TEXT_ERRORS)
def test_what_is_wrong_with_texts_is_said_in_one_line(
    prepare: Callable[[Path], Any],
    arguments: dict[str, Any],
    message: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = prepare(tmp_path)
    assert message in refusal("tokens", path, capfd, **(SMALL | arguments))


# --- both ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "package"), [("images", "PIL.Image"), ("images", "pyarrow.parquet"),
                                               ("tokens", "tokenizers"), ("tokens", "datasets")])  # fmt: skip
def test_missing_extra_is_named_with_its_command(
    name: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write_parquet(tmp_path / "a.parquet", [0, 1, 0])
    monkeypatch.setitem(sys.modules, package, None)
    message = refusal(name, tmp_path, capfd)
    assert message == f"data set {name} needs the package '{package}': pip install 'optsearch[data]'"


def test_names_of_parts() -> None:
    said = {name: part_of(name) for name in
            ("train", "train-00000-of-00002.parquet", "Training", "val", "valid_1.txt", "validation", "test.jsonl",
             "trainer.txt", "valley", "tests", "corpus", "1", "")}  # fmt: skip
    assert said == {
        "train": "train", "train-00000-of-00002.parquet": "train", "Training": "train", "val": "valid",
        "valid_1.txt": "valid", "validation": "valid", "test.jsonl": "test", "trainer.txt": "", "valley": "",
        "tests": "", "corpus": "", "1": "", "": "",
    }  # fmt: skip
