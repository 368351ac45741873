"""The page about user-defined tasks, followed word by word."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.forked import ForkServer
from tests.support.patience import OPTSEARCH, call

PAGE = (Path(__file__).parents[2] / "docs" / "user_task.md").read_text(encoding="utf-8")


def block(kind: str) -> str:
    (found,) = re.findall(rf"```{kind}\n(.*?)```", PAGE, flags=re.DOTALL)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two files of the page."""
    path = tmp_path_factory.mktemp("own")
    (path / "spirals.py").write_text(block("python"), encoding="utf-8")
    (path / "spirals.yaml").write_text(block("yaml"), encoding="utf-8")
    return path


def test_the_page_works(server: ForkServer, folder: Path) -> None:
    """With Ray workers, which have to find the file too."""
    commands = [line.split()[1:] for line in block("sh").splitlines() if line.startswith("optsearch")]
    assert len(commands) == 2
    searched = call(OPTSEARCH, *commands[0], folder=folder)
    assert searched.code == 0, searched.err
    assert "300 programs" in searched.err and "verdict: " in searched.out
    evaluated = server.optsearch(folder, *commands[1])
    assert evaluated.code == 0, evaluated.err
    assert "lion" in evaluated.out and "spirals" in evaluated.out


def test_a_database_does_not_have_the_users_code_loaded(server: ForkServer, folder: Path, tmp_path: Path) -> None:
    inline = ["--set", "evaluator.kind=inline", "--set", "budget.programs=60", "--set", "hurdles=off"]
    store = f"sqlite:///{tmp_path / 'other.db'}"
    assert server.optsearch(folder, "run", "spirals.yaml", *inline, "--set", f"store={store}").code == 0
    verify = ["verify", "--search", "spirals", "--store", str(tmp_path / "other.db"), "--pairs", "1"]
    refused = server.optsearch(folder, *verify)
    assert refused.code == 2
    assert "'spirals:task'" in refused.err and "--config" in refused.err
    with_config = server.optsearch(folder, *verify, "--config", "spirals.yaml")
    assert with_config.code == 0 or "share a key" in with_config.err
    (folder / "wider.yaml").write_text(block("yaml").replace("width: 12", "width: 13"), encoding="utf-8")
    other = server.optsearch(folder, *verify, "--config", "wider.yaml")
    assert other.code == 2 and "not those of search 'spirals'" in other.err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("spirals:task", "spiral:task"), "cannot import 'spiral'"),
        (("spirals:task", "spirals:tsak"), "has no function 'tsak'"),
        (("spirals:task", "spirals:points"), "must return a Task"),
        (("noise: 0.1", "nosie: 0.1"), "it takes number, noise"),
        (("width: 12", "height: 12"), "it takes width"),
        (("noise: 0.1}", "noise: 0.1}\n    anchors: [0.1, 0.2]"), "anchors"),
    ],
)
def test_mistakes_get_one_line_before_anything_starts(
    server: ForkServer, folder: Path, tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    config = folder / f"{tmp_path.name}.yaml"
    config.write_text(block("yaml").replace(*change).replace("spirals.db", f"{tmp_path}/none.db"), encoding="utf-8")
    refused = server.optsearch(folder, "run", config.name)
    assert refused.code == 2
    assert message in refused.err and len(refused.err.splitlines()) == 1
    assert not (tmp_path / "none.db").exists()
