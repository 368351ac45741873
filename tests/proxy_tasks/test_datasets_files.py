"""What images and texts from the disk have in common."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from proxy_tasks.datasets.files import part_of

from tests.support.data_files import refusal, refuse_network, write_parquet


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_network(monkeypatch)


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
