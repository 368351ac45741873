"""User-defined functions by name: names that are none, and files that are not Python."""

from __future__ import annotations

from pathlib import Path

import pytest

from programs.errors import InputError

from proxy_tasks.named import find

SOURCE = "def task():\n    return 1\n"


@pytest.mark.parametrize("name", [":task", "mine:", "..mine:task", "mine.:task", "a\0b:task", "mine:a:b", "x/y:task"])
def test_names_that_are_none_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="expected module:function, such as mine:task"):
        find(name, {}, "task")


@pytest.mark.parametrize(
    ("module", "data"),
    [
        ("of_powershell", SOURCE.encode("utf-16")),
        ("without_mark", SOURCE.encode("utf-16-le")),
        ("padded", SOURCE.encode() + b"\0" * 9),
        ("unfinished", b"def task(:\n"),
    ],
)
def test_files_that_are_not_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, data: bytes) -> None:
    (tmp_path / f"{module}.py").write_bytes(data)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=rf"'{module}' is not Python \(.+\); mend it, and save it as UTF-8") as refused:
        find(f"{module}:task", {}, "task")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "line", ["sys.exit()", "raise SystemExit(3)", "__import__('argparse').ArgumentParser().error('no')"]
)
def test_files_that_end_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    (tmp_path / "training.py").write_text(f"import sys\n{line}\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="'training' ends the program when it is imported; put what it runs under `if"):
        find("training:task", {}, "task")


@pytest.mark.parametrize(("module", "end"), [("marked", "\n"), ("windows", "\r\n"), ("mac", "\r")])
def test_files_as_editors_save_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, end: str) -> None:
    (tmp_path / f"{module}.py").write_bytes(SOURCE.replace("\n", end).encode("utf-8-sig"))
    monkeypatch.syspath_prepend(tmp_path)
    assert find(f"{module}:task", {}, "task")() == 1


def test_a_module_that_is_missing_has_no_place_in_python_itself() -> None:
    with pytest.raises(
        InputError, match=r"cannot import 'nomod' \(ModuleNotFoundError: No module named 'nomod'\); put its"
    ):
        find("nomod:task", {}, "task")
