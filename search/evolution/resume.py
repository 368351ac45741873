"""Finding a search in the store, and whether it may go on with these settings.

A search goes on only if everything that its history depends on is as it was: the settings of `Settings.history`, and
the versions of what lies outside the settings.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from programs.errors import InputError
from programs.fingerprint import FINGERPRINT_VERSION
from programs.ops import user_definitions

from search.settings.settings import NOT_PART_OF_HISTORY, Settings
from search.store import Store


def find_search(settings: Settings, store: Store) -> int:
    """Return the id of the search in the store, new or old.

    Raises:
        InputError: the store holds a search of this name with another history.
    """
    found = store.find_search(settings.name)
    if found is None:
        return store.create_search(settings.name, stored(settings))
    changes = _differences(_history_of(found.settings), settings.history() | {"versions": versions(settings)})
    if changes:
        raise InputError(
            f"{store.location}: search '{settings.name}' was started with other settings ({'; '.join(changes)});"
            " set them back, or start a new search with --name"
        )
    return found.id


def stored(settings: Settings) -> dict[str, Any]:
    """Return settings as the store keeps them."""
    return settings.model_dump(mode="json") | {"versions": versions(settings)}


def versions(settings: Settings) -> dict[str, Any]:
    """Return what the history depends on besides the settings; recorded anchors, for one, may be measured again."""
    anchors = {on.task.name: list(on.anchors) for on in settings.task_seeds if on.anchors is not None}
    return {
        "fingerprint": FINGERPRINT_VERSION if settings.dedup.fingerprint else None,
        "anchors": anchors or None,
        "functions": user_definitions() or None,
    }


def _history_of(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the part of stored settings that decides the history; settings newer than these have their defaults."""
    kept = {key: value for key, value in settings.items() if key != "versions"}
    try:
        kept = Settings.model_validate(kept).history()
    except ValidationError:  # of another version: differences are shown as they are
        kept["evaluator"] = {k: v for k, v in settings.get("evaluator", {}).items() if k not in NOT_PART_OF_HISTORY}
        kept = {key: value for key, value in kept.items() if key not in ("name", "budget", "store")}
    return kept | {"versions": settings.get("versions")}


def _differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Return the places where two plain structures differ, as `key: old -> new`."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(old.keys() | new.keys())
        return [d for key in keys for d in _differences(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))]
    return [] if old == new else [f"{path}: {old} -> {new}"]
