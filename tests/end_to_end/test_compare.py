"""`optsearch compare`: strategies against each other, one figure, tables."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from programs import parse

from search.commands.compare import compare
from search.evolution.driver import Driver
from search.training.service import TrainingService

from tests.support.forked import ForkServer

CONFIG = """\
name: fig
seed: 0
strategy: {kind: paper, population: 6, tournament: 3, start: adamw, repeats: 2}
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
        assert re.search(rf"^ ?{arm} +2 +\d+ +\d+ +0\.00\d+ +-\d\.\d+ +-\d\.\d+ +[+-]\d\.\d+ ", out, re.MULTILINE)


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
    assert (
        said.split("digits_mlp: best of each")[1].split("drawn")[0]
        == out.split("digits_mlp: best of each")[1].split("drawn")[0]
    )
    assert "2 populations, " in said and "2 populations, " not in out, "no search is entered again"


def test_a_larger_budget_goes_on(server: ForkServer, compared: tuple[Path, str], tmp_path: Path) -> None:
    (tmp_path / "fig.yaml").write_text(CONFIG.replace("  random:", "  chance:").replace(", lengths_of: evolution", ""))
    for budget in ("8", "24"):
        args = ("compare", "fig.yaml", "--set", f"budget.evaluations={budget}", "-o", "f.png")
        assert server.optsearch(tmp_path, *args).code == 0
        births = rows(tmp_path / "results.db", "SELECT COUNT(*) FROM program WHERE search_id = 1")[0][0]
    query = "SELECT birth, key, fitness FROM program WHERE search_id = 1 ORDER BY birth"
    whole, part = rows(compared[0] / "results.db", query), rows(tmp_path / "results.db", query)
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
        (CONFIG, ("-o", "no/fig.png"), "no/fig.png: no folder no; make it, or name another file with -o"),
        (CONFIG, ("--set", "budget.evaluations=none"), "budget.evaluations"),
    ],
)
def test_mistakes(server: ForkServer, tmp_path: Path, config: str, args: tuple[str, ...], said: str) -> None:
    (tmp_path / "fig.yaml").write_text(config)
    code, _, err = server.optsearch(tmp_path, "compare", "fig.yaml", *args)
    assert code == 2 and said in err and "Traceback" not in err
    assert [file.name for file in tmp_path.iterdir()] == ["fig.yaml"], "nothing is trained before that"


# --- each task by itself ----------------------------------------------------------------------------------------------

EACH = """\
name: two
strategy: {start: adamw, start_tuned: true, repeats: 2, population: 6}
budget: {replica_steps: 400}
each:
  - {name: digits_mlp, steps: 5, seeds: {first: 1, most: 4}}
  - {name: digits_autoencoder, steps: 5, seeds: {first: 1, most: 4}}
evaluator: {kind: inline, batch: 8, lookahead: 2}
baselines: [adamw, sgd_momentum]
arms:
  evolution: {}
  paper: {strategy: {kind: paper}, seeds: 2, budget: {replica_steps: 800}}
"""
SEARCHES = [
    "two-evolution-digits_mlp", "two-paper-digits_mlp", "two-evolution-digits_autoencoder",
    "two-paper-digits_autoencoder",
]  # fmt: skip
BIRTHS = """
    SELECT s.name, i.birth, i.key, i.fitness, i.replica_steps FROM program i JOIN search s ON s.id = i.search_id
    ORDER BY s.name, i.birth
"""


def compared_on_each(folder: Path, **options: Any) -> bool:
    """Run the comparison in a folder, in this process; the figure is `two.svg`."""
    folder.mkdir(exist_ok=True)
    (folder / "two.yaml").write_text(EACH)
    store = [f"store=sqlite:///{folder / 'results.db'}"]
    return compare(folder / "two.yaml", store, folder / "two.svg", **options)


@pytest.fixture(scope="module")
def on_each(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a comparison that nothing has disturbed."""
    folder = tmp_path_factory.mktemp("each")
    assert compared_on_each(folder)
    return folder


def told(capsys: pytest.CaptureFixture[str], folder: Path, **options: Any) -> dict[str, list[dict[str, Any]]]:
    """What the comparison says as JSON."""
    capsys.readouterr()
    assert compared_on_each(folder, as_json=True, **options)
    document = json.loads(capsys.readouterr().out)
    assert document["command"] == "compare"
    tables: dict[str, list[dict[str, Any]]] = document["tables"]
    return tables


def test_all_arms_run_on_a_task_before_the_next(on_each: Path) -> None:
    assert rows(on_each / "results.db", "SELECT name, state FROM search ORDER BY id") == [
        (name, "finished") for name in SEARCHES
    ]


def test_json_says_what_the_database_holds(on_each: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainings = rows(on_each / "results.db", "SELECT COUNT(*) FROM training")
    tables = told(capsys, on_each)
    assert rows(on_each / "results.db", "SELECT COUNT(*) FROM training") == trainings, "nothing is trained for it"
    assert [arm["search"] for arm in tables["arms"]] == SEARCHES
    assert list(tables["arms"][0])[:3] == ["search", "task", "arm"]
    for arm in tables["arms"]:
        query = f"""
            SELECT COUNT(*), SUM(replica_steps),
                   COUNT(DISTINCT CASE WHEN status <> 'rejected' THEN (birth % 2) || key END)
            FROM program i JOIN search s ON s.id = i.search_id WHERE s.name = '{arm["search"]}'
        """
        births, steps, programs = rows(on_each / "results.db", query)[0]
        assert (arm["births"], arm["replica_steps"], arm["programs"]) == (births, steps, programs / 2)
        assert steps >= (400 if arm["arm"] == "evolution" else 800), "budgets end between batches"
    ends = [one for one in tables["populations"] if one["mark"] is None]
    assert len(ends) == 8 and all(one["fresh"] is not None for one in ends)
    assert [one["arm"] for one in tables["overall"]] == ["evolution", "paper"]
    zs = [arm["z"] for arm in tables["arms"] if arm["arm"] == "paper"]
    assert tables["overall"][1]["z"] == pytest.approx(sum(zs) / 2**0.5)


def test_the_best_of_a_population_and_adamw_are_what_the_database_has_on_fresh_seeds(
    on_each: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checked = 0
    for one in told(capsys, on_each)["populations"]:
        search = f"two-{one['arm']}-{one['task']}"
        where = f"s.name = '{search}' AND t.task = '{one['task']}' AND t.seed >= 1000"
        query = "SELECT AVG(t.fitness), COUNT(t.fitness) FROM training t JOIN {} ON i.key = t.key JOIN search s ON"
        query += " s.id = i.search_id WHERE {}"
        adamw = rows(on_each / "results.db", query.format("baseline i", f"{where} AND i.name = 'adamw'"))[0]
        assert adamw == (pytest.approx(one["adamw"]), 16)
        best = rows(on_each / "results.db", query.format("program i", f"{where} AND i.birth = {one['birth']}"))[0]
        if one["failed"] == 0:
            assert best == (pytest.approx(one["fresh"]), 16)
            checked += 1
    assert checked


def test_an_arm_on_a_task_may_go_first_and_the_tables_show_what_is_there(
    on_each: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = told(capsys, tmp_path, arms="paper", on="digits_autoencoder")
    assert [(one["arm"], one["task"], one["ahead"]) for one in tables["arms"]] == [
        ("paper", "digits_autoencoder", None)
    ]
    assert "<svg" in (tmp_path / "two.svg").read_text()
    assert compared_on_each(tmp_path, arms="evolution")
    out = capsys.readouterr().out
    assert "digits_mlp: not run to the end yet: paper" in out and "digits_autoencoder: not run" not in out
    assert told(capsys, tmp_path) == told(capsys, on_each)
    assert rows(tmp_path / "results.db", BIRTHS) == rows(on_each / "results.db", BIRTHS)


@pytest.fixture
def stops(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, int], None]]:
    """Has a method stop whoever calls it so many times, once."""

    def after(name: str, calls: int) -> None:
        kind = Driver if hasattr(Driver, name) else TrainingService
        method, left = getattr(kind, name), [calls]

        def counted(self: Any, *args: Any, **more: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt
            return method(self, *args, **more)

        monkeypatch.setattr(kind, name, counted)

    return after


@pytest.mark.parametrize(("method", "calls"), [("advance", 3), ("advance", 60), ("train", 3), ("train", 6)])
def test_a_comparison_that_was_killed_goes_on(
    on_each: Path, tmp_path: Path, stops: Callable[[str, int], None], capsys: pytest.CaptureFixture[str], method: str,
    calls: int,
) -> None:  # fmt: skip
    stops(method, calls)
    with pytest.raises(KeyboardInterrupt):
        compared_on_each(tmp_path)
    assert rows(tmp_path / "results.db", BIRTHS) != rows(on_each / "results.db", BIRTHS) or method == "train"
    assert told(capsys, tmp_path) == told(capsys, on_each)
    assert rows(tmp_path / "results.db", BIRTHS) == rows(on_each / "results.db", BIRTHS)


def test_an_arm_that_has_ended_costs_nothing(on_each: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Driver, "start", lambda _: pytest.fail("no search is entered"))
    monkeypatch.setattr(TrainingService, "poll", lambda _: pytest.fail("nothing is trained"))
    assert compared_on_each(on_each)


def test_an_arm_that_takes_lengths_from_another_waits_for_it(server: ForkServer, tmp_path: Path) -> None:
    (tmp_path / "fig.yaml").write_text(CONFIG)
    code, _, err = server.optsearch(tmp_path, "compare", "fig.yaml", "--arms", "random")
    assert code == 2 and "fig.yaml:11: arms.random.lengths_of: search 'fig-evolution' has not ended; run arm" in err
