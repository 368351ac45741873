"""`optsearch compare`: strategies against each other, one figure, one table."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from programs import parse

from tests.support.forked import ForkServer

CONFIG = """\
name: fig
seed: 0
strategy: {population: 6, tournament: 3, start: adamw, repeats: 2}
budget: {evaluations: 16}
tasks: [{name: digits_mlp, steps: 20}]
evaluator: {kind: inline, batch: 8, lookahead: 1}
baselines: []
arms:
  evolution: {}
  tuning: {strategy: {kind: tune}, budget: {evaluations: 32}}
  random: {strategy: {kind: random}, budget: {evaluations: 32}, lengths_of: evolution}
"""


def rows(database: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(query).fetchall()


@pytest.fixture(scope="module")
def compared(server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a comparison, and what it said."""
    folder = tmp_path_factory.mktemp("compared")
    (folder / "fig.yaml").write_text(CONFIG)
    code, out, err = server.optsearch(folder, "compare", "fig.yaml", "-o", "fig.svg")
    assert code == 0, err
    return folder, out


def test_a_figure_and_a_table(compared: tuple[Path, str]) -> None:
    folder, out = compared
    assert "<svg" in (folder / "fig.svg").read_text()
    for arm in ("evolution", "tuning", "random"):
        assert re.search(rf"^ ?{arm} +2 +\d+ +\d+ +-\d\.\d+ \+- \d\.\d+ +-\d\.\d+ \+- \d\.\d+", out, re.MULTILINE)


def test_every_arm_is_a_search_of_its_own(compared: tuple[Path, str]) -> None:
    database = compared[0] / "results.db"
    assert rows(database, "SELECT name, state FROM search") == [
        ("fig-evolution", "finished"), ("fig-tuning", "finished"), ("fig-random", "finished"),
    ]  # fmt: skip
    trained = dict(rows(database, "SELECT search, SUM(trained) FROM v_progress GROUP BY search"))
    assert trained["fig-evolution"] >= 16 and trained["fig-tuning"] >= 32 and trained["fig-random"] >= 32


def test_random_programs_are_as_long_as_those_of_the_last_populations(compared: tuple[Path, str]) -> None:
    database = compared[0] / "results.db"
    query = "SELECT genome FROM program i JOIN search s ON s.id = i.search_id WHERE s.name = '{}' ORDER BY birth"
    evolved = [len(parse(genome)) for (genome,) in rows(database, query.format("fig-evolution"))]
    drawn = {len(parse(genome)) for (genome,) in rows(database, query.format("fig-random"))}
    assert drawn <= set(evolved[-12:])


def test_again_nothing_is_trained(server: ForkServer, compared: tuple[Path, str]) -> None:
    folder, said = compared
    before = rows(folder / "results.db", "SELECT COUNT(*) FROM training")
    code, out, _ = server.optsearch(folder, "compare", "fig.yaml", "-o", "again.png")
    assert code == 0 and rows(folder / "results.db", "SELECT COUNT(*) FROM training") == before
    assert said.split("best of each")[1].split("drawn")[0] == out.split("best of each")[1].split("drawn")[0]


def test_a_larger_budget_goes_on(server: ForkServer, compared: tuple[Path, str], tmp_path: Path) -> None:
    (tmp_path / "fig.yaml").write_text(CONFIG.replace("  random:", "  chance:").replace(", lengths_of: evolution", ""))
    for budget in ("8", "24"):
        args = ("compare", "fig.yaml", "--set", f"budget.evaluations={budget}", "-o", "f.png")
        assert server.optsearch(tmp_path, *args).code == 0
        births = rows(tmp_path / "results.db", "SELECT COUNT(*) FROM program WHERE search_id = 1")[0][0]
    query = "SELECT birth, key, fitness FROM program WHERE search_id = 1 ORDER BY birth"
    whole, part = (rows(folder / "results.db", query) for folder in (compared[0], tmp_path))
    assert births > len(whole) and part[: len(whole)] == whole


@pytest.mark.parametrize(
    ("config", "args", "said"),
    [
        (CONFIG.split("arms:")[0], (), "arms: expected what is to be compared"),
        (CONFIG.replace("lengths_of: evolution", "lengths_of: nobody"), (), "expected an arm above it, got 'nobody'"),
        (CONFIG.replace("kind: tune", "kind: tunes"), (), "fig.yaml:10: arms.tuning.strategy.kind: "),
        (CONFIG.replace("evaluations: 32}, len", "evaluations: 0}, len"), (), ":11: arms.random.budget.evaluations: "),
        (CONFIG, ("--set", "arms.random.seed=-1"), "--set arms.random.seed=-1: arms.random.seed: "),
        (CONFIG.replace("  tuning:", "  1e3:"), (), "fig.yaml:10: 1e3: the name of a setting must be a text"),
        (CONFIG, ("-o", "fig.gif"), "fig.gif: expected a name that ends in .png"),
        (CONFIG, ("--set", "budget.evaluations=none"), "budget.evaluations"),
    ],
)
def test_mistakes(server: ForkServer, tmp_path: Path, config: str, args: tuple[str, ...], said: str) -> None:
    (tmp_path / "fig.yaml").write_text(config)
    code, _, err = server.optsearch(tmp_path, "compare", "fig.yaml", *args)
    assert code == 2 and said in err and "Traceback" not in err
    assert [file.name for file in tmp_path.iterdir()] == ["fig.yaml"], "nothing is trained before that"
