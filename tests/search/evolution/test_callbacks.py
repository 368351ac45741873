"""Callbacks and logs are told what a search commits, and cannot break it."""

from __future__ import annotations

import csv
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from programs.errors import InputError

from search.evolution.callbacks import Callback
from search.evolution.driver import Driver
from search.evolution.progress import Progress
from search.evolution.run_logs import open_logs
from search.settings.settings import Settings
from search.store import ProgramRow, Store, VerdictRow
from search.store.keys import Judgement

from tests.support.searches import PretendingEvaluator, history_of, opened, settings_of, uninterrupted

BIRTHS = 40
SETTINGS = settings_of(budget={"programs": BIRTHS})
VERDICT = VerdictRow(BIRTHS, Judgement.NOTHING, None, None, 0, 0, None, None, None, None, None)


class Noted(Callback):
    """Notes what it is told, and fails in one of the hooks if asked to."""

    def __init__(self, fails_in: str = "") -> None:
        self.told: list[tuple[str, Any]] = []
        self.fails_in = fails_in

    def on_start(self, settings: Settings, progress: Progress) -> None:
        self._note("on_start", (settings.name, progress.births))

    def on_commit(self, births: Sequence[ProgramRow], progress: Progress) -> None:
        assert progress.births == births[-1].birth + 1
        self._note("on_commit", [row.birth for row in births])

    def on_end(self, progress: Progress, verdict: VerdictRow | None) -> None:
        self._note("on_end", (progress.births, verdict))

    def _note(self, hook: str, what: Any) -> None:
        self.told.append((hook, what))
        if hook == self.fails_in:
            raise RuntimeError("tracker is down")


def run_with(store: Store, callbacks: Sequence[Callback], settings: Settings, stop_at: float = 1e9) -> None:
    driver: Driver

    def report(progress: Progress) -> None:
        if progress.births >= stop_at:
            driver.stop()

    driver = Driver(settings, store, PretendingEvaluator(), report, callbacks)
    driver.run()
    driver.callbacks.on_end(driver.progress, None if driver.stopping else VERDICT)


def test_callbacks_are_told_every_birth_once_over_all_runs(tmp_path: Path) -> None:
    first, second = Noted(), Noted()
    with opened(tmp_path / "results.db") as store:
        run_with(store, [first], SETTINGS, stop_at=16)
        run_with(store, [second], SETTINGS)
    (_, (ended, no_verdict)) = first.told[-1]
    assert first.told[0] == ("on_start", ("small", 0)) and no_verdict is None and 16 <= ended < BIRTHS
    assert second.told[0] == ("on_start", ("small", ended)) and second.told[-1] == ("on_end", (BIRTHS, VERDICT))
    births = [birth for hook, what in first.told + second.told if hook == "on_commit" for birth in what]
    assert births == list(range(BIRTHS))


@pytest.mark.parametrize("hook", ["on_start", "on_commit", "on_end"])
def test_a_search_goes_on_without_a_callback_that_fails(
    hook: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    failing, other = Noted(hook), Noted()
    with opened(tmp_path / "results.db") as store, caplog.at_level(logging.INFO, "optsearch.run"):
        run_with(store, [failing, other], SETTINGS)
        assert history_of(store) == uninterrupted(SETTINGS, tmp_path / "other.db")
    assert [told for told, _ in failing.told].count(hook) == 1 and failing.told[-1][0] == hook
    assert other.told[-1] == ("on_end", (BIRTHS, VERDICT))
    (warned,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert warned == f"Noted.{hook} failed and is not called again (RuntimeError: tracker is down)"
    assert "Traceback" in caplog.text


def logged(store: Store, name: str, stop_at: float = 1e9) -> None:
    settings = settings_of(log=[name], budget={"programs": BIRTHS})
    run_with(store, open_logs(settings, store), settings, stop_at)


def test_csv_stands_beside_the_database_and_goes_on(tmp_path: Path) -> None:
    with opened(tmp_path / "results.db") as store:
        logged(store, "csv", stop_at=16)
        logged(store, "csv")
        commits = store.select(ProgramRow)[-1].batch + 1
    with (tmp_path / "results.small.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    births = [int(row["births"]) for row in rows]
    assert len(rows) == commits and births == sorted(set(births)) and births[-1] == BIRTHS
    assert float(rows[-1]["best_fitness"]) < 0 and rows[-1]["over_adamw"] == ""


def test_tensorboard_has_the_curves(tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with opened(tmp_path / "results.db") as store:
        logged(store, "tensorboard")
    found = events.EventAccumulator(str(tmp_path / "results.tensorboard" / "small")).Reload()
    best = found.Scalars("best_fitness")
    assert best[-1].step == BIRTHS and best[-1].value < 0
    assert {"trained", "redundant_share"} <= set(found.Tags()["scalars"])
    assert found.Tensors("verdict/text_summary")[0].tensor_proto.string_val == [b"nothing"]


class Recorder:
    """A stand-in for a library: every call is noted with its arguments, and gives the same thing again."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.summary: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Callable[..., Recorder]:
        def call(*args: Any, **keywords: Any) -> Recorder:
            self.calls.append((name, args, keywords))
            return self

        return call

    def named(self, name: str) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        return [(args, keywords) for called, args, keywords in self.calls if called == name]


def test_wandb_is_told_through_its_documented_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = Recorder()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    with opened(tmp_path / "results.db") as store:
        logged(store, "wandb", stop_at=16)
        logged(store, "wandb")
    one, other = (keywords for _, keywords in wandb.named("init"))
    assert one == other and one["project"] == "optsearch" and one["name"] == "small" and one["resume"] == "allow"
    assert one["config"]["budget"]["programs"] == BIRTHS
    numbers, at = wandb.named("log")[-1]
    assert at == {"step": BIRTHS} and numbers[0]["best_fitness"] < 0 and "over_adamw" not in numbers[0]
    assert wandb.summary == {"verdict": "nothing"} and len(wandb.named("finish")) == 2


def test_mlflow_is_told_through_its_documented_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = Recorder()
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    with opened(tmp_path / "results.db") as store:
        logged(store, "mlflow")
    names = [name for name, _, _ in mlflow.calls]
    assert names[:3] == ["set_experiment", "start_run", "log_dict"] and names[-2:] == ["set_tag", "end_run"]
    assert mlflow.named("start_run") == [((), {"run_name": "small"})]
    assert mlflow.named("log_metrics")[-1][1] == {"step": BIRTHS}
    assert mlflow.named("set_tag") == [(("verdict", "nothing"), {})]


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_a_library_that_is_missing_is_named_before_anything_is_trained(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with opened(tmp_path / "results.db") as store, pytest.raises(InputError) as raised:
        open_logs(settings_of(log=[name]), store)
    assert str(raised.value) == f"log: {name} is not installed; pip install 'optsearch[{name}]'"


def test_a_library_without_a_part_of_its_own_is_no_missing_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wandb.py").write_text("import no_such_part\n")
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with opened(tmp_path / "results.db") as store, pytest.raises(ModuleNotFoundError, match="no_such_part"):
        open_logs(settings_of(log=["wandb"]), store)


def test_logs_are_no_part_of_the_history() -> None:
    assert settings_of(log=["csv", "csv"]).log == ("csv",)
    assert settings_of(log=["csv"]).history() == SETTINGS.history()
