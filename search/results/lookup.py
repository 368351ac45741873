"""Searches by what people name, themselves or the tasks that they train on, and what views say of them."""

from __future__ import annotations

from typing import Any

from programs.errors import InputError

from search.store import Store


def require_search(store: Store, search: str | None) -> None:
    """Refuse the name of a search that is not there; None stands for all.

    Raises:
        InputError: so, with the names there are.
    """
    if search is not None and store.find_search(search) is None:
        raise InputError(f"{store.location}: no search '{search}'; there are: {_listed(_names(store))}")


def searches_on(store: Store, task: str, search: str | None) -> list[int]:
    """Ids of the searches that train on a task; of this one alone if it is given.

    Raises:
        InputError: there is none; says which tasks there are.
    """
    found = [known for name in _names(store) if search in (None, name) and (known := store.find_search(name))]
    tasks = {search_id: [choice["name"] for choice in settings.get("tasks", [])] for search_id, settings in found}
    ids = [search_id for search_id, names in tasks.items() if task in names]
    if not ids:
        who = "no search trains" if search is None else f"search '{search}' does not train"
        there = _listed([name for names in tasks.values() for name in names])
        raise InputError(f"{store.location}: --task {task}: {who} on it; there are: {there}")
    return ids


def rows_of(store: Store, view: str, search: str | None) -> list[dict[str, Any]]:
    """The rows of a view, of all searches or of one."""
    condition = "WHERE search = :search" if search is not None else ""
    return store.rows(f"SELECT * FROM {view} {condition}", search=search)  # noqa: S608 - views are named by us


def _names(store: Store) -> list[str]:
    return [row["name"] for row in store.rows("SELECT name FROM search ORDER BY id")]


def _listed(names: list[str]) -> str:
    return ", ".join(dict.fromkeys(names)) or "none yet"
