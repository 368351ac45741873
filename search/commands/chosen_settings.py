"""The file of settings that a command is given, with what its options change, and the tasks that they name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from programs.errors import InputError

from proxy_tasks import Task, get_task

from search.results.export import NamedProgram
from search.results.results import Results
from search.settings.meaning import settings_as_trained
from search.settings.settings_file import SettingsFile, load_settings
from search.settings.yaml_text import shortened

DEFAULT_TASK = "digits_mlp"


def settings_file(
    path: Path, changes: Sequence[str] | None, name: str | None, store: str | None = None
) -> SettingsFile:
    """Return a file of settings with changes of `--set`, and with another name or store if one is given.

    Raises:
        InputError: it cannot be read, or a change does not fit it.
    """
    file = SettingsFile(path, changes or [])
    for setting, value in (("name", name), ("store", store)):
        if value is not None:
            file.change(setting, value, f"--{setting} {shortened(value)}")
    return file


def chosen_tasks(
    found: NamedProgram, results: Results | None, names: Sequence[str], config: Path | None, default: str
) -> list[Task]:
    """Return the tasks that a program is trained on: those named, or those of its search, or of a config.

    Args:
        found: the program.
        results: where it comes from, if it does from a store.
        names: of `--task`.
        config: of `--config`: of the program's search if it has one, otherwise of any.
        default: the task where nothing else says which.

    Raises:
        InputError: a task cannot be loaded, or is not what it was in the search.
    """
    if names and config is not None:
        raise InputError("--task and --config: both say what to train on; give one of them")
    if names:
        return [get_task(name) for name in dict.fromkeys(names)]
    if results is not None and found.search is not None:
        stored = results.search(found.search).settings
        settings = settings_as_trained(found.search, stored, config, "name what is to be trained on with --task")
    elif config is not None:
        settings = load_settings(config)
    else:
        return [get_task(default)]
    return [choice.task for choice in settings.tasks]


def chosen_task(
    found: NamedProgram, results: Results | None, name: str | None, config: Path | None, steps: int | None
) -> Task:
    """Return the one task that a program is trained on, as `chosen_tasks` does, for `steps` steps if they are given.

    Raises:
        InputError: the task cannot be loaded, or is not what it was in the search.
    """
    on, *_ = chosen_tasks(found, results, [name] if name else [], config, DEFAULT_TASK)
    return on if steps is None else replace(on, steps=steps)
