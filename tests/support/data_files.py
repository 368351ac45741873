"""Data sets from files, loaded or refused, and what images and texts have in common."""

from __future__ import annotations

import io
import logging.handlers
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from programs.errors import InputError

from proxy_tasks.datasets import load_dataset
from proxy_tasks.named import args


def refuse_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every use of the network an error."""

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


def pixels(seed: int, height: int = 4, width: int = 4) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def png(array: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "png")
    return file.getvalue()


def scaled(array: Any) -> bytes:
    return bytes((array.transpose(2, 0, 1).astype(np.float32) / np.float32(127.5) - np.float32(1)).tobytes())


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


def one_class(root: Path) -> Path:
    write_folder(root, ["ant"], 5)
    return root


def no_parquet(root: Path) -> Path:
    (root / "train.parquet").write_text("not so")
    return root
