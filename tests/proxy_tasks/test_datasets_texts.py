"""Texts from the disk: what is read, how it is split, and one line for everything that is wrong."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tokenizers import Tokenizer

from programs.errors import InputError

from proxy_tasks.datasets.files import read_rows
from proxy_tasks.datasets.tokens import _learn

from tests.support.data_files import load, no_parquet, one_class, refusal, refuse_network
from tests.support.patience import call

WORDS = ["the", "rule", "moves", "weights", "along", "gradients", "and", "decays", "them", "a", "little"]


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_network(monkeypatch)


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


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("suffix", [".txt", ".jsonl"])
def test_texts_as_editors_and_shells_save_them(suffix: str, end: str, encoding: str, tmp_path: Path) -> None:
    """A mark before the first document is no part of it."""
    texts = ["naïve – 数字", *lines(3)]
    file = write_text(tmp_path / f"corpus{suffix}", texts)
    text = file.read_text(encoding="utf-8").replace("\n", end)
    file.write_bytes(text.encode(encoding))
    if suffix == ".jsonl" and encoding != "utf-8-sig":
        with pytest.raises(InputError, match=rf"corpus.jsonl' is in {encoding.upper()}; save it as UTF-8"):
            list(read_rows(file, ("text",), "data set tokens"))
    else:
        assert [row["text"] for row in read_rows(file, ("text",), "data set tokens")] == texts


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
        done = call(sys.executable, "-c", code, file, environment=environment)
        assert (done.code, done.err) == (0, "") and not home.exists()
        digests.append(done.out.strip())
    assert set(digests) == {load("tokens", file, **SMALL).digest}


def broken_json(root: Path) -> Path:
    file = write_text(root / "corpus.jsonl", lines(50))
    file.write_text(file.read_text() + '{"text": "cut of')
    return file


def latin(root: Path) -> Path:
    (root / "corpus.txt").write_bytes("naïve\n".encode("latin-1") * 50)
    return root


def unmarked(root: Path) -> Path:
    (root / "corpus.txt").write_bytes("plain\n".encode("utf-16-le") * 50)
    return root


def padded(root: Path) -> Path:
    (root / "corpus.txt").write_bytes(b"plain\n" * 50 + b"\0" * 4096)
    return root


def numbers(root: Path) -> Path:
    pq.write_table(pa.table({"text": [1, 2, 3]}), root / "corpus.parquet")
    return root


def half_empty(root: Path) -> Path:
    pq.write_table(pa.table({"text": ["a", None, "b"]}), root / "corpus.parquet")
    return root


TEXT_ERRORS: list[tuple[Callable[[Path], Any], dict[str, Any], str]] = [
    (lambda root: root / "nowhere", {}, "nothing exists at"),
    (lambda _: 7, {}, "'path' is 7; give a file or a folder"),
    (lambda root: root, {}, "is neither a .parquet, .jsonl, .txt file nor a folder with one"),
    (one_class, {}, "is neither a .parquet, .jsonl, .txt file nor a folder with one"),
    (lambda root: write_text(root / "corpus.txt", [""]), {}, "has 0 documents and none for validation"),
    (lambda root: write_text(root / "corpus.txt", lines(20)), {}, "has 20 documents and none for validation"),
    (lambda root: write_text(root / "valid.txt", lines(20)).parent, {}, "all files are named for validation"),
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
    (lambda root: write_text(root / "corpus.jsonl", lines(9)), {"column": "n"}, "row 1: 'n' is not text"),
    (broken_json, {}, "corpus.jsonl' cannot be read as .jsonl file"),
    (latin, {}, "corpus.txt' cannot be read as .txt file"),
    (latin, {}, "save it as UTF-8"),
    (unmarked, {}, "(null characters, as in UTF-16 without a byte order mark); save it as UTF-8"),
    (padded, {}, "row 51 has null characters"),
    (no_parquet, {}, "train.parquet' cannot be read as .parquet file"),
    (numbers, {}, "row 1: 'text' is not text"),
    (half_empty, {}, "row 2: 'text' is not text"),
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
