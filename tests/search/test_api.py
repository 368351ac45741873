"""Searches and results for Python: the same engine as the commands', typed entries, no SQL, nothing printed."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, nullcontext, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import torch
import yaml

from programs import hashing, parse, user_functions
from programs.liveness import live_functions
from programs.ops import OPS

import search
from search import Callback, InputError, Progress, Results, Settings, api, open_store, run
from search.store import ProgramRow
from search.store import open_store as open_database
from search.store.rows import VIEWS
from search.store.tables import SelectionRow, SimplificationRow

from tests.support.patience import OPTSEARCH, PATIENCE, call
from tests.support.searches import rows_of_query

BIRTHS = 60


def settings_in(folder: Path, **changes: Any) -> dict[str, Any]:
    return {
        "name": "tiny",
        "seed": 3,
        "strategy": {"population": 10, "tournament": 3, "start": "sgd_momentum"},
        "budget": {"programs": BIRTHS},
        "tasks": [{"name": "digits_mlp", "steps": 20, "seeds": 1}],
        "evaluator": {"kind": "inline", "batch": 4, "lookahead": 2},
        "baselines": [],
        "store": f"sqlite:///{folder / 'results.db'}",
    } | changes


def history(path: Path) -> list[dict[str, Any]]:
    """What a search has committed, without clock and IDs."""
    with closing(open_database(str(path))) as store:
        return rows_of_query(
            store,
            "SELECT birth, batch, parent_birth, mutation, genome, key, answered_by, status, fitness"
            " FROM program ORDER BY birth",
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("api")


@pytest.fixture(scope="module")
def finished(folder: Path) -> Iterator[search.Result]:
    """A search with a tuned baseline."""
    result = run(settings_in(folder, baselines=["adamw"]))
    yield result
    result.results.close()


# --- running ---------------------------------------------------------------------------------------------------------


def test_importing_the_package_loads_neither_torch_nor_ray() -> None:
    code = "import search, sys; assert not {'torch', 'ray', 'sqlalchemy', 'numpy'} & set(sys.modules); search.run"
    assert call(sys.executable, "-c", code).code == 0
    with pytest.raises(AttributeError, match="no attribute 'walk'"):
        search.walk  # noqa: B018 - its absence is what is tested
    assert set(search.__all__) == {name for name in search.__all__ if getattr(search, name)}


def test_a_run_is_that_of_the_command(finished: search.Result, folder: Path, tmp_path: Path) -> None:
    """The same history, bit by bit, as `optsearch run` on a file of the same settings."""
    config = tmp_path / "tiny.yaml"
    config.write_text(str(settings_in(tmp_path, baselines=["adamw"])))  # YAML reads what Python prints
    assert call(OPTSEARCH, "run", config).code == 0
    assert history(folder / "results.db") == history(tmp_path / "results.db")
    assert finished.finished and finished.search == "tiny"
    assert finished.progress.births == BIRTHS == len(history(folder / "results.db"))


def test_settings_as_dictionary_file_and_object_are_the_same(tmp_path: Path) -> None:
    data = settings_in(tmp_path, budget={"programs": 8})
    (tmp_path / "tiny.yaml").write_text(str(data))
    given = [data, tmp_path / "tiny.yaml", str(tmp_path / "tiny.yaml"), Settings.model_validate(data)]
    histories = []
    for number, settings in enumerate(given):
        place = f"sqlite:///{tmp_path / f'{number}.db'}"
        with run(settings, {"store": place, "budget.programs": 12, "tasks.0.steps": 10}).results as results:
            assert results.location == str(tmp_path / f"{number}.db")
        histories.append(history(tmp_path / f"{number}.db"))
    assert histories.count(histories[0]) == len(given) and len(histories[0]) == 12
    assert data == settings_in(tmp_path, budget={"programs": 8}), "what is given is not changed"


def interrupted(_driver: object) -> None:
    raise KeyboardInterrupt


def test_a_run_ends_with_a_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_in(tmp_path, baselines=["adamw"])
    with run(settings).results as results:
        (found,) = results.verdicts()
    assert found.births == BIRTHS and found.baseline == "adamw" and found.seeds in (8, 16, 32, 64)
    stopped = run(settings, {"budget.programs": BIRTHS + 8}, callbacks=[StoppedAtOnce()])
    with stopped.results as results:
        assert not stopped.finished and stopped.verdict is None and results.verdicts() == [found]
    with monkeypatch.context() as patch:
        patch.setattr("search.api.judge_search", interrupted)
        result = run(settings, {"budget.programs": BIRTHS + 8})
        with result.results:
            assert not result.finished and result.progress.births == BIRTHS + 8, "the search itself has ended"
    result = run(settings, {"budget.programs": BIRTHS + 8})
    with result.results:
        assert result.verdict is not None and result.verdict.births == BIRTHS + 8


class Told(Callback):
    """Calls a function after every commit."""

    def __init__(self, function: Callable[[Progress], None]) -> None:
        self._function = function

    def on_commit(self, births: Sequence[ProgramRow], progress: Progress) -> None:
        self._function(progress)


class StoppedAtOnce(Callback):
    def on_start(self, settings: Settings, progress: Progress) -> None:
        _stop(progress)


def _stop(_: Progress) -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_nothing_is_printed_unless_asked_for(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    births: list[int] = []
    settings = settings_in(tmp_path, evaluator={"kind": "inline", "batch": 4, "lookahead": 2, "workers": 3})
    run(settings, callbacks=[Told(lambda progress: births.append(progress.births))]).results.close()
    assert capfd.readouterr() == ("", ""), "not even the warning about idle workers"
    assert births == sorted(births) and births[-1] == BIRTHS and len(births) > 5
    assert "workers will idle" in (tmp_path / "results.log").read_text()
    run(settings, {"budget.programs": BIRTHS + 20}, show=True).results.close()
    out, err = capfd.readouterr()
    assert out == "" and f"{BIRTHS + 20} programs" in err


def test_an_interruption_drains_and_the_same_call_goes_on(tmp_path: Path) -> None:
    seen: list[int] = []

    def interrupt(progress: Progress) -> None:
        seen.append(progress.births)
        if len(seen) == 3:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with run(settings_in(tmp_path), callbacks=[Told(interrupt)]).results as results:
        (entry,) = results.searches()
    assert entry.state == "interrupted" and 0 < entry.births < BIRTHS
    assert signal.getsignal(signal.SIGINT) is before
    result = run(settings_in(tmp_path))
    result.results.close()
    assert result.finished
    run(settings_in(tmp_path, store=f"sqlite:///{tmp_path / 'whole.db'}")).results.close()
    assert history(tmp_path / "results.db") == history(tmp_path / "whole.db")


def test_the_second_interruption_stops_at_once(tmp_path: Path) -> None:
    def interrupt(_: Progress) -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(settings_in(tmp_path), callbacks=[Told(interrupt)])
    with run(settings_in(tmp_path)).results as results:
        assert results.searches()[0].state == "finished"


def test_a_run_in_a_thread_that_gets_no_signals(tmp_path: Path) -> None:
    found: list[search.Result] = []
    thread = threading.Thread(target=lambda: found.append(run(settings_in(tmp_path))))
    thread.start()
    thread.join(PATIENCE)
    assert found[0].finished
    found[0].results.close()


def test_a_search_in_memory() -> None:
    with run(settings_in(Path(), store="sqlite://")).results as results:
        assert results.searches()[0].births == BIRTHS


def test_a_search_without_any_program_has_no_best(tmp_path: Path) -> None:
    result = run(settings_in(tmp_path), callbacks=[StoppedAtOnce()])
    with result.results:
        assert not result.finished and result.progress.births == 0
        assert result.best is None and result.leaderboard() == []


@pytest.fixture
def forget(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Has this process know no function of the user's, as a new one does."""
    monkeypatch.setattr(hashing, "_TAGS", hashing._Tags())

    def forget() -> None:
        for name in user_functions.user_definitions():
            del OPS[name]
        hashing._TAGS.clear()

    yield forget
    forget()


SOFTSIGN = "def softsign(x):\n    return x / (1 + abs(x))\n"


def config_in(folder: Path, **changes: Any) -> Path:
    """A file of settings beside a file of functions, to which its path is relative."""
    settings = settings_in(folder, language={"set": "paper", "functions": "mine.py"}, budget={"programs": 40}) | changes
    settings["strategy"] = {"kind": "random", "lengths": [40]}  # so that nearly all functions are drawn
    (folder / "mine.yaml").write_text(yaml.safe_dump(settings))
    return folder / "mine.yaml"


def test_a_search_with_functions_of_the_users(tmp_path: Path, forget: Callable[[], None]) -> None:
    """Its database is enough to read and export its programs; with other functions it is not continued."""
    file, config = tmp_path / "mine.py", config_in(tmp_path)
    file.write_text(SOFTSIGN)
    run(config).results.close()
    forget()
    file.unlink()
    with open_store(tmp_path / "results.db") as results:
        rows = rows_of_query(results.store, "SELECT id FROM program WHERE genome LIKE '%softsign%'")
        named = [results.named_program(row["id"]) for row in rows]
        called = [found.entry.id for found in named if found.entry and "softsign" in live_functions(found.program)]
        texts = []
        for program_id in called:
            with suppress(InputError):  # a random program may amplify rounding, and is not exported
                texts.append(results.export(program_id))
        assert texts and all("softsign(x) is x / (1.0 + torch.abs(x)" in " ".join(text.split()) for text in texts)
        assert results.export(called[0], "dsl").startswith(f"{SOFTSIGN}\n\ndef train(")
    for other, said in (
        (SOFTSIGN.replace("return", "return  "), ""),
        (SOFTSIGN.replace("1 +", "2 +"), r"search 'tiny': softsign is 'x / \(1 .*' there and 'x / \(2 .*' here; "),
        (SOFTSIGN.replace("softsign", "mine"), r"was started with other settings \(language.functions.mine: None -> d"),
    ):
        forget()
        file.write_text(other)
        with pytest.raises(InputError, match=said) if said else nullcontext():
            run(config).results.close()


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ({"functions": "other.py"}, r"mine.yaml:\d+: language.functions: .*other.py: cannot be read \(No such file"),
        (
            {"functions": "bad.py"},
            r"mine.yaml:\d+: language.functions: .*bad.py: line 1: abs is a function of the language",
        ),
        ({"functions": 3}, r"language.functions: .*got 3"),
        ({"set": "papers"}, r"language.set: no language and no set of functions is called 'papers'"),
        ({"sets": "paper"}, r"language.sets: unknown setting; known here: set, functions"),
    ],
)
def test_mistakes_about_functions_get_one_line(tmp_path: Path, language: dict[str, Any], said: str) -> None:
    (tmp_path / "bad.py").write_text("def abs(x): return x * 2")
    with pytest.raises(InputError, match=said):
        run(config_in(tmp_path, language=language))
    assert not list(tmp_path.glob("*.db"))


@pytest.mark.parametrize(
    ("changes", "is_tuned"),
    [
        ({"seed": 3}, True),
        ({"strategy.kind": "random"}, False),
        ({"baselines": []}, False),
        ({"strategy.start": "nesterov"}, False),
    ],
)
def test_what_follows_from_other_settings_follows_from_changes_of_them(
    tmp_path: Path, changes: dict[str, Any], is_tuned: bool
) -> None:
    whole = {"name": "a", "tasks": "digits_mlp", "budget": {"programs": 5}, "baselines": ["adamw"]}
    given = Settings.model_validate(whole)
    assert given.strategy.start_tuned
    found = api._chosen(given, changes)
    assert found.strategy.start_tuned is is_tuned
    assert found.history() == api._chosen(whole, changes).history()


def test_what_was_given_does_not_change_with_others() -> None:
    whole = {"name": "a", "tasks": "digits_mlp", "budget": {"programs": 5}, "strategy": {"start_tuned": True}}
    for settings in (whole, Settings.model_validate(whole)):
        with pytest.raises(InputError, match="start_tuned needs 'nesterov' among the baselines"):
            api._chosen(settings, {"strategy.start": "nesterov"})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"budget.hours": 3}, "settings: budget.hours: unknown setting; known here: programs"),
        ({"tasks.3.steps": 3}, "changes: tasks.3.steps: the settings have no key"),
        ({"": 3}, "changes: : expected a key such as budget.programs"),
        ({"seed": -1}, "settings: seed: Input should be greater than or equal to 0, got -1"),
        ({"tasks.0.name": "nowhere:task"}, "cannot import 'nowhere'"),
        ({"store": "mongodb://here"}, "mongodb"),
    ],
)
def test_mistakes_are_said_in_one_line(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as refused:
        run(settings_in(tmp_path), changes)
    assert said in str(refused.value) and "\n" not in str(refused.value)
    with pytest.raises(InputError, match="no such database"):
        open_store(tmp_path / "results.db")


# --- results ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def results(finished: search.Result, folder: Path) -> Iterator[Results]:
    with open_store(folder / "results.db") as opened:
        yield opened


def test_every_view_has_entries_with_its_columns(finished: search.Result, folder: Path) -> None:
    with closing(open_database(str(folder / "results.db"))) as store, store.reading() as connection:
        views = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'view'").scalars()
        assert set(views) == VIEWS.keys()
        for view, kind in VIEWS.items():
            columns = list(connection.exec_driver_sql(f"SELECT * FROM {view} LIMIT 0").keys())
            assert sorted(columns) == sorted(kind.kinds), view


def test_what_the_store_checks_of_a_column_is_what_entries_say_of_it() -> None:
    """A column that may be empty in the database may be None here, and the other way round; numbers are numbers."""
    types = {int: {int}, float: {float, int}, str: {str}, bool: {bool}}
    for kind in VIEWS.values():
        hints = get_type_hints(kind)
        assert hints.keys() >= kind.kinds.keys()
        for name, accepted in kind.kinds.items():
            parts = set(get_args(hints[name])) or {hints[name]}
            (base,) = parts - {type(None)} if type(None) in parts else {hints[name]}
            if base in types:
                assert types[base] | (parts & {type(None)}) == set(accepted.types), (kind, name)


def test_the_leaderboard_is_that_of_the_view(finished: search.Result, results: Results, folder: Path) -> None:
    with closing(open_database(str(folder / "results.db"))) as store:
        rows = rows_of_query(store, "SELECT * FROM v_leaderboard")
    entries = results.leaderboard(limit=None)
    assert [entry.as_columns() for entry in entries] == rows
    assert finished.leaderboard(3) == entries[:3] and finished.best == entries[0]
    assert results.leaderboard("tiny", 2) == entries[:2] == results.leaderboard(task="digits_mlp", limit=2)
    assert all(entry.state_slots == 0 for entry in results.leaderboard(states=0, limit=None))
    assert all(entry.live_statements <= 5 for entry in results.leaderboard(statements=5, limit=None))
    front = results.leaderboard(pareto=True, limit=None)
    assert front[0].fitness == entries[0].fitness and len(front) < len(entries)


def test_a_program_with_its_line_and_its_trainings(results: Results) -> None:
    best = results.leaderboard(limit=1)[0]
    entry = results.program(best.id)
    assert entry.program == best.program == parse(best.genome) and entry.key == best.key
    line = results.lineage(best.id)
    assert line[0].parent_id is None and line[0].mutation == "start" and line[-1].id == best.id
    assert all(child.parent_birth == parent.birth for parent, child in pairwise(line))
    assert line[-1].program == best.program
    (training,) = [training for training in results.trainings(best) if training.seed == 0]
    assert training.fitness == best.fitness and len(training.curve) == 20 and training.task == "digits_mlp"
    (baseline,) = results.baselines("tiny")
    (known,) = [training for training in results.trainings(baseline) if training.seed == 0]
    assert known.fitness == baseline.fitness
    assert baseline.name == "adamw" and baseline.trials == 28
    assert best.fitness - baseline.fitness == best.over_adamw


def test_what_went_on(results: Results) -> None:
    progress = results.progress("tiny")
    assert sum(batch.births for batch in progress) == BIRTHS == progress[-1].births_so_far
    assert progress[-1].best_so_far == results.leaderboard(limit=1)[0].fitness
    assert sum(batch.trainings for batch in results.pace()) > 0
    assert all(failure.status != "ok" and failure.programs > 0 for failure in results.failures())
    assert results.searches()[0].settings["budget"]["programs"] == BIRTHS
    assert results.meta_validation() == results.funnel() == results.proof() == results.noise() == []
    assert results.simplification(1) == []


def test_an_exported_program_is_an_optimizer(results: Results) -> None:
    best = results.leaderboard(limit=1)[0]
    namespace: dict[str, Any] = {}
    exec(results.export(best.id, name="Found"), namespace)  # noqa: S102 - what people do with the file
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = namespace["Found"]([weight])
    weight.square().sum().backward()
    optimizer.step()
    assert not torch.equal(weight, torch.ones(3))
    assert f"class Program{best.id}" in results.export(best.id)
    assert "def train(w, g, m, v, lr):" in results.export(best.id, "dsl")
    with pytest.raises(InputError, match="unknown target"):
        results.export(best.id, "tensorflow")


def test_what_is_not_there_is_said_in_one_line(results: Results) -> None:
    for ask in (lambda: results.progress("other"), lambda: results.leaderboard("other"), lambda: results.program(0)):
        with pytest.raises(InputError, match=r"^[^\n]*no (search|program)[^\n]*$"):
            ask()


def test_results_of_a_funnel_and_of_simplification(tmp_path: Path) -> None:
    """Truth values, and evidence as it was written."""
    run(settings_in(tmp_path)).results.close()
    with closing(open_database(str(tmp_path / "results.db"))) as store:
        steps = [
            SimplificationRow(number, "dead", "update = g", "update = g", {"change": "x"}, accepted)
            for number, accepted in enumerate([True, False])
        ]
        store.set_simplification(1, steps)
        store.set_selection([_selected("program 1", True), _selected("adamw", False)])
    with open_store(tmp_path / "results.db") as results:
        assert [step.accepted is True for step in results.simplification(1)] == [True, False]
        assert results.simplification(1)[0].evidence == {"change": "x"}
        assert [entry.passed is True for entry in results.funnel("f")] == [True, False] and len(results.funnel()) == 2
        assert results.funnel("other") == []


def _selected(competitor: str, passed: bool) -> SelectionRow:
    return SelectionRow(
        funnel="f", search="tiny", stage=1, stages=1, task="digits_mlp", task_fingerprint="0" * 32,
        competitor=competitor, program_id=None, passed=passed, z=None, p=None, ahead=None, ahead_error=None,
        baseline="adamw", fitness=-0.5, standard_error=0.1, seeds=8, trials=28, learning_rate=0.1, weight_decay=0.01,
        genome="update = g",
    )  # fmt: skip


USER_TASK = """
import torch
from torch import nn
from proxy_tasks import UserTask

def task():
    x = torch.arange(60.0).reshape(30, 2) / 60
    y = torch.arange(30) % 2
    return UserTask("own", model=lambda: nn.Linear(2, 2), train=(x, y), valid=(x, y), loss=nn.CrossEntropyLoss(),
                    metric=lambda output, y: (output.argmax(-1) == y).float().mean(), steps=20, batch_size=8)
"""


def test_a_function_stands_for_a_task_and_trainings_keep_its_metric(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_task_of_api.py").write_text(USER_TASK, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    import own_task_of_api

    chosen = settings_in(tmp_path, tasks=[{"name": own_task_of_api.task, "seeds": 1}], budget={"programs": 4})
    result = run(chosen)
    with closing(result.results):
        assert result.finished and result.best is not None
        trainings = rows_of_query(result.results.store, "SELECT task, status, metric FROM v_trainings")
    assert trainings and {row["task"] for row in trainings} == {"own"}
    assert all((row["status"] == "ok") is (row["metric"] is not None) for row in trainings)
    assert all(0 <= row["metric"] <= 1 for row in trainings if row["status"] == "ok")
