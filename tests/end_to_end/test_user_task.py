"""The page about user-defined tasks, followed word by word."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.forked import ForkServer
from tests.support.patience import OPTSEARCH, call

PAGE = (Path(__file__).parents[2] / "docs" / "user_task.md").read_text(encoding="utf-8")
LESS = ("--set", "budget.programs=40", "--set", "baselines=[adamw]")
SHORT = """
name: short
strategy: {population: 10}
budget: {programs: 60}
tasks:
  - name: spirals:task
    data: {noise: 0.1}
    model: {width: 12}
    seeds: 1
    steps: 20
baselines: [adamw]
evaluator: {kind: inline}
hurdles: off
store: sqlite:///short.db
"""


def block(kind: str) -> str:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, flags=re.DOTALL)[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two files of the page, and a config of less work."""
    path = tmp_path_factory.mktemp("own")
    (path / "spirals.py").write_text(block("python"), encoding="utf-8")
    (path / "spirals.yaml").write_text(block("yaml"), encoding="utf-8")
    (path / "short.yaml").write_text(SHORT, encoding="utf-8")
    return path


def test_the_page_works(server: ForkServer, folder: Path) -> None:
    """With Ray workers, which have to find the file too."""
    commands = [line.split()[1:] for line in block("sh").splitlines() if line.startswith("optsearch")]
    assert len(commands) == 2
    task = 'tasks=[{name: "spirals:task", steps: 20, seeds: {first: 1, most: 2}}]'
    searched = call(OPTSEARCH, *commands[0], *LESS, "--set", task, folder=folder)
    assert searched.code == 0, searched.err
    assert "40 programs" in searched.err and "verdict: " in searched.out and "of spirals" in searched.out
    evaluated = server.optsearch(folder, *commands[1], "--steps", "20", "--baselines", "adamw")
    assert evaluated.code == 0, evaluated.err
    assert "lion" in evaluated.out and "spirals" in evaluated.out and "metric" in evaluated.out


def test_programs_are_judged_on_the_task_of_their_search(server: ForkServer, folder: Path) -> None:
    """A database does not have the user's code loaded: a config does."""
    ran = server.optsearch(folder, "run", "short.yaml")
    assert ran.code == 0, ran.err
    for command in (
        ["verify", "--search", "short", "--pairs", "1"],
        ["eval", "1", "--baselines", "adamw", "--seeds", "2"],
        ["eval", "short:adamw", "--baselines", "adamw", "--seeds", "2"],
        ["simplify", "1", "--no-training"],
    ):
        refused = server.optsearch(folder, *command, "--store", "short.db")
        assert refused.code == 2
        assert "'spirals:task'" in refused.err and "--config" in refused.err
        done = server.optsearch(folder, *command, "--store", "short.db", "--config", "short.yaml")
        assert done.code == 0 or "share a key" in done.err, done.err
        if command[0] == "eval":
            assert "spirals: 20 steps of batch 64" in done.out
    (folder / "wider.yaml").write_text(SHORT.replace("width: 12", "width: 13"), encoding="utf-8")
    other = server.optsearch(folder, "eval", "1", "--store", "short.db", "--config", "wider.yaml")
    assert other.code == 2 and "not those of search 'short'" in other.err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("spirals:task", "spiral:task"), "cannot import 'spiral'"),
        (("spirals:task", "spirals:tsak"), "has no function 'tsak'"),
        (("spirals:task\n    data: {noise: 0.1}", "spirals:Net"), "must return a UserTask or a Task"),
        (("noise: 0.1", "nosie: 0.1"), "it takes noise"),
        (("width: 12", "height: 12"), "it takes width"),
        (("noise: 0.1}", "noise: 0.1}\n    anchors: [0.1, 0.2]"), "anchors"),
    ],
)
def test_mistakes_get_one_line_before_anything_starts(
    server: ForkServer, folder: Path, tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    config = folder / f"{tmp_path.name}.yaml"
    config.write_text(SHORT.replace(*change).replace("short.db", f"{tmp_path}/none.db"), encoding="utf-8")
    refused = server.optsearch(folder, "run", config.name)
    assert refused.code == 2
    assert message in refused.err and len(refused.err.splitlines()) == 1
    assert not (tmp_path / "none.db").exists()
