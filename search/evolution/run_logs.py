"""The setting `log`: how a search goes, written for programs that people follow runs with."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from hashlib import blake2b
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from programs.errors import InputError

from search.evolution.callbacks import Callback
from search.evolution.progress import Progress
from search.settings.settings import Settings
from search.store import ProgramRow, Store, VerdictRow

PROJECT = "optsearch"  # of the trackers that sort runs by projects


def numbers_of(progress: Progress) -> dict[str, float | None]:
    """Return what is written after every commit, by name; None where it is not known."""
    return {
        "trained": progress.trained,
        "best_fitness": progress.best_fitness,
        "over_adamw": progress.over_adamw,
        "births_per_second": progress.rate,
        "cache_hit_share": progress.cache_hit_share,
        "redundant_share": progress.redundant_share,
    }


def known_numbers(progress: Progress) -> dict[str, float]:
    """Return those of the numbers that are known."""
    return {name: number for name, number in numbers_of(progress).items() if number is not None}


def open_logs(settings: Settings, store: Store) -> list[Callback]:
    """Return what the setting `log` names, for a run of this search.

    Raises:
        InputError: a library is not installed, or a file cannot be written.
    """
    return [_KINDS[name](settings, store) for name in settings.log]


def path_beside(store: Store, ending: str) -> Path:
    """Return a path beside a database, such as `results.ENDING`; in this folder for one in memory or on a server."""
    return Path(f"memory.{ending}") if store.is_in_memory else store.log_path.with_suffix(f".{ending}")


class _Csv(Callback):
    """A row for each commit in `results.SEARCH.csv`; a run that goes on adds to it."""

    def __init__(self, settings: Settings, store: Store) -> None:
        path = path_beside(store, f"{settings.name}.csv")
        try:
            self._file = path.open("a", newline="", encoding="utf-8")
        except OSError as error:
            raise InputError(f"log: {path} cannot be written ({error.strerror}); let this user write it") from None
        self._writer = csv.writer(self._file, lineterminator="\n")
        if not self._file.tell():
            self._writer.writerow(["births", *numbers_of(Progress())])

    def on_commit(self, births: Sequence[ProgramRow], progress: Progress) -> None:  # noqa: ARG002
        self._writer.writerow([progress.births, *numbers_of(progress).values()])
        self._file.flush()

    def on_end(self, progress: Progress, verdict: VerdictRow | None) -> None:  # noqa: ARG002
        self._file.close()


class _TensorBoard(Callback):
    """Curves over births in the folder `results.tensorboard`, one run for each search."""

    def __init__(self, settings: Settings, store: Store) -> None:
        _library("tensorboard")
        writer = import_module("torch.utils.tensorboard").SummaryWriter
        self._writer = writer(str(path_beside(store, "tensorboard") / settings.name))

    def on_start(self, settings: Settings, progress: Progress) -> None:
        self._writer.add_text("settings", f"```json\n{settings.model_dump_json(indent=1)}\n```", progress.births)

    def on_commit(self, births: Sequence[ProgramRow], progress: Progress) -> None:  # noqa: ARG002
        for name, number in known_numbers(progress).items():
            self._writer.add_scalar(name, number, progress.births)
        self._writer.flush()

    def on_end(self, progress: Progress, verdict: VerdictRow | None) -> None:
        if verdict is not None:
            self._writer.add_text("verdict", verdict.judgement, progress.births)
        self._writer.close()


class _Wandb(Callback):
    """A run of the project `optsearch` in Weights & Biases, which goes on when the search does."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._wandb = _library("wandb")
        self._id = blake2b(f"{Path(store.location).absolute()} {settings.name}".encode(), digest_size=8).hexdigest()
        self._run: Any = None

    def on_start(self, settings: Settings, progress: Progress) -> None:  # noqa: ARG002
        self._run = self._wandb.init(
            project=PROJECT, name=settings.name, id=self._id, resume="allow", config=settings.model_dump(mode="json")
        )

    def on_commit(self, births: Sequence[ProgramRow], progress: Progress) -> None:  # noqa: ARG002
        self._run.log(known_numbers(progress), step=progress.births)

    def on_end(self, progress: Progress, verdict: VerdictRow | None) -> None:  # noqa: ARG002
        if self._run is not None:  # it is None where the run was stopped before births began
            self._run.summary["verdict"] = "stopped" if verdict is None else verdict.judgement
            self._run.finish()


class _Mlflow(Callback):
    """A run of the experiment `optsearch` in MLflow; a search that goes on is another run of the same name."""

    def __init__(self, settings: Settings, store: Store) -> None:  # noqa: ARG002
        self._mlflow = _library("mlflow")
        self._is_open = False

    def on_start(self, settings: Settings, progress: Progress) -> None:  # noqa: ARG002
        self._mlflow.set_experiment(PROJECT)
        self._mlflow.start_run(run_name=settings.name)
        self._is_open = True
        self._mlflow.log_dict(settings.model_dump(mode="json"), "settings.json")

    def on_commit(self, births: Sequence[ProgramRow], progress: Progress) -> None:  # noqa: ARG002
        self._mlflow.log_metrics(known_numbers(progress), step=progress.births)

    def on_end(self, progress: Progress, verdict: VerdictRow | None) -> None:  # noqa: ARG002
        if self._is_open:
            self._mlflow.set_tag("verdict", "stopped" if verdict is None else verdict.judgement)
            self._mlflow.end_run()


def _library(name: str) -> ModuleType:
    """Import a library that is an extra.

    Raises:
        InputError: it is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise InputError(f"log: {name} is not installed; pip install 'optsearch[{name}]'") from None


_KINDS: dict[str, Callable[[Settings, Store], Callback]] = {
    "csv": _Csv, "mlflow": _Mlflow, "tensorboard": _TensorBoard, "wandb": _Wandb,
}  # fmt: skip
