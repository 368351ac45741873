"""What a search means besides its settings: tasks with their data and sources, anchors, versions.

It is stored with the settings of whatever goes on where it stopped (searches, funnels, proofs). It goes on only if all
of it is as it was; otherwise one history would hold outcomes that cannot be compared.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from programs.errors import InputError
from programs.fingerprint import FINGERPRINT_VERSION

from proxy_tasks import Task

from search.settings.settings import Settings
from search.settings.settings_file import load_settings, stored_settings
from search.settings.tasks import TaskChoice

VERSIONS = "versions"  # the key of the meaning among stored settings
_DIGEST = re.compile(r"[0-9a-f]{32,}")
_SHOWN = 8  # digits of a digest in messages


def meaning_of_tasks(tasks: Mapping[str, Task]) -> dict[str, Any]:
    """Return what tasks mean, as plain data.

    Args:
        tasks: by the names that settings give them.

    Raises:
        InputError: a task cannot be loaded.
    """
    meanings = {name: task.meaning for name, task in tasks.items()}
    return {"tasks": json.loads(json.dumps(meanings))}


def meaning_of_choices(choices: Iterable[TaskChoice]) -> dict[str, Any]:
    """Return what the tasks of settings mean, as plain data."""
    return meaning_of_tasks({choice.name: choice.task for choice in choices})


def meaning_of_search(settings: Settings) -> dict[str, Any]:
    """Return what the history of a search depends on besides its settings, as plain data."""
    scored = zip(settings.tasks, settings.task_seeds, strict=True)
    anchors = {choice.name: list(on.anchors) for choice, on in scored if on.anchors is not None}
    return meaning_of_choices(settings.tasks) | {
        "fingerprint": FINGERPRINT_VERSION if settings.dedup.fingerprint else None,
        "anchors": anchors or None,
    }


def settings_as_trained(search: str, stored: Mapping[str, Any], config: Path | None, fix: str) -> Settings:
    """Return the settings of a search, to judge its programs on its tasks, which must be what they were trained on.

    Args:
        search: its name.
        stored: its settings in the store.
        config: its YAML file, needed where a task of it is user-defined: nothing is loaded because a database names it.
        fix: what to do where its tasks have changed.

    Raises:
        InputError: there is no config and a task is user-defined, it is that of other tasks, or a task has changed;
            names what has.
    """
    settings = load_settings(config) if config is not None else stored_settings(dict(stored), search)
    if config is not None and stored["tasks"] != settings.model_dump(mode="json")["tasks"]:
        raise InputError(
            f"--config: its tasks are not those of search '{search}'; give the config that search was run with"
        )
    was, now = stored.get(VERSIONS) or {}, meaning_of_choices(settings.tasks)
    refuse_changes(f"search '{search}'", {VERSIONS: {key: was.get(key) for key in now}}, {VERSIONS: now}, fix)
    return settings


def refuse_changes(what: str, old: Mapping[str, Any], new: Mapping[str, Any], fix: str) -> None:
    """Refuse to go on with what was started with other settings, or where these meant something else.

    Args:
        what: goes on, and where it is.
        old: its settings, with what they meant under `VERSIONS`.
        new: the same as they are now.
        fix: what to do about it.

    Raises:
        InputError: names what has changed.
    """
    settings = _differences(_without_versions(old), _without_versions(new))
    changes = settings or _differences(old.get(VERSIONS), new.get(VERSIONS))
    if changes:
        kind = "settings" if settings else "code, data or versions"
        raise InputError(f"{what} was started with other {kind} ({'; '.join(changes)}); {fix}")


def _without_versions(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key != VERSIONS}


def _differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Return the places where two plain structures differ, as `key: old -> new`."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(old.keys() | new.keys())
        return [d for key in keys for d in _differences(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))]
    are_groups = all(isinstance(one, list) and all(isinstance(item, dict) for item in one) for one in (old, new))
    if are_groups and len(old) == len(new):
        return [d for n, pair in enumerate(zip(old, new, strict=True)) for d in _differences(*pair, f"{path}.{n}")]
    return [] if old == new else [f"{path}: {_shown(old)} -> {_shown(new)}"]


def _shown(value: Any) -> str:
    return value[:_SHOWN] if isinstance(value, str) and _DIGEST.fullmatch(value) else str(value)
