"""Finding a search in the store, and whether it may go on with these settings."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from search.settings.meaning import VERSIONS, meaning_of_choices, meaning_of_search, refuse_changes
from search.settings.settings import NOT_PART_OF_HISTORY, Settings
from search.store import ProgramRow, ProposalRow, Store

_WATCHED = "meta_validation"


def find_search(settings: Settings, store: Store) -> int:
    """Return the id of the search in the store, new or old.

    Raises:
        InputError: it is in the store with another history.
    """
    known = known_search(settings, store)
    return store.create_search(settings.name, stored(settings)) if known is None else known


def known_search(settings: Settings, store: Store) -> int | None:
    """Return the id of the search if it is in the store.

    Raises:
        InputError: it is there with another history: other settings, of those of `Settings.history`, or the same where
            they meant something else.
    """
    found = store.find_search(settings.name)
    if found is None:
        return None
    if _is_empty(store, found.id):
        return found.id
    now = stored(settings)
    new = settings.history() | {VERSIONS: now[VERSIONS]}
    old = _history_of(found.settings)
    if found.settings.get(_WATCHED) != now[_WATCHED]:  # may be changed from run to run, but not under its name
        for history in (old, new):
            history[VERSIONS] = {k: v for k, v in (history[VERSIONS] or {}).items() if k != _WATCHED}
    refuse_changes(
        f"{store.location}: search '{settings.name}'", old, new, "set them back, or start a new search with --name"
    )
    return found.id


def _is_empty(store: Store, search_id: int) -> bool:
    """Return whether a search has no history that another could be mixed with, as after a first batch that failed."""
    kinds = (ProgramRow, ProposalRow)
    has_rows = any(store.first(kind, "search_id = :id", id=search_id) is not None for kind in kinds)
    return not has_rows and not store.baselines(search_id)


def stored(settings: Settings) -> dict[str, Any]:
    """Return settings as the store keeps them, with what they mean."""
    watched = settings.meta_validation
    meaning = meaning_of_search(settings)
    if watched is not None:
        meaning[_WATCHED] = meaning_of_choices(watched.tasks)["tasks"]
    return settings.model_dump(mode="json") | {VERSIONS: meaning}


def _history_of(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the part of stored settings that decides the history; settings newer than these have their defaults."""
    kept = {key: value for key, value in settings.items() if key != VERSIONS}
    try:
        kept = Settings.model_validate(kept).history()
    except ValidationError:  # of another version: differences are shown as they are
        kept["evaluator"] = {k: v for k, v in settings.get("evaluator", {}).items() if k not in NOT_PART_OF_HISTORY}
        kept = {key: value for key, value in kept.items() if key not in ("name", "budget", "store")}
    return kept | {VERSIONS: settings.get(VERSIONS)}
