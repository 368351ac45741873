"""A comparison of strategies: which finds the better programs for its compute, as in figure 2 of the Lion paper.

The settings are those of a search, with `arms`: a name for each, and what is different in it. Every arm is a search of
its own in the same store, `NAME-ARM`, with several populations side by side as its repeats; they share what has been
trained, so that no program costs twice. With `each` in place of `tasks`, an arm runs one search for each of these tasks
by itself, `NAME-ARM-TASK`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar, get_args

from pydantic import BaseModel

from programs.errors import InputError

from search.settings.settings import SearchTaskChoices, Settings, Strategy
from search.settings.settings_file import SettingsFile
from search.settings.tasks import Seeds, as_choices
from search.settings.yaml_text import shortened
from search.store import Store
from search.store.keys import SearchState
from search.store.store import StoredSearch
from search.store.tables import ProgramRow, SearchRow

LENGTHS_OF = "lengths_of"  # of an arm of random programs: the arm whose last members give the lengths of its programs
SEEDS = "seeds"  # of an arm: those of all its tasks, instead of what the tasks say
_KINDS_WITHOUT_RACES = {*get_args(Strategy.model_fields["kind"].annotation)} - {"evolution"}
_OF_ALL = ("name", "store", "tasks", "aggregate", "each", "arms")  # what arms have in common


Named = TypeVar("Named", "Arm", "Contest")


class _Each(BaseModel):
    each: SearchTaskChoices


class _SeedsOfArm(BaseModel):
    seeds: Seeds


class Contest(NamedTuple):
    """Tasks on which every arm runs one search: what they are called, and as the file has them."""

    name: str
    tasks: Sequence[Mapping[str, Any]]


class Arm(NamedTuple):
    """An arm before it has run: its name, what is different in its settings, where its lengths and seeds come from."""

    name: str
    changes: Mapping[str, Any]
    lengths_of: str | None = None
    seeds: Any = None


class Comparison:
    """What a file compares.

    Args:
        file: of settings, with arms.

    Attributes:
        base: the settings that all arms share, on the tasks of the first contest.
        arms: in the order of the file; the others are compared with the first.
        contests: one for all `tasks`, or one for each of `each`.

    Raises:
        InputError: something in the file is wrong, as far as it can be known before any arm has run.
    """

    def __init__(self, file: SettingsFile) -> None:
        self._file = file
        self._data = {key: value for key, value in file.data.items() if key not in ("arms", "each")}
        self.has_each = "each" in file.data
        self.arms = self._read_arms()
        self.contests = self._read_contests()
        self.base = file.read(Settings, self._data | {"tasks": self.contests[0].tasks})
        for arm in self.arms:
            for contest in self.contests:
                self.settings(arm, contest)

    def settings(self, arm: Arm, contest: Contest, store: Store | None = None) -> Settings:
        """Return the settings of a search; without a store, as far as they are known before any arm has run.

        Raises:
            InputError: they make no sense.
        """
        tasks = [dict(task) | ({} if arm.seeds is None else {SEEDS: arm.seeds}) for task in contest.tasks]
        merged = _merged(self._data, arm.changes) | {"name": self.search_of(arm, contest), "tasks": tasks}
        if arm.lengths_of is not None and store is not None:
            merged = _merged(merged, {"strategy": {"lengths": self._lengths(arm, contest, store)}})
        strategy = merged.get("strategy")
        kind = strategy.get("kind") if isinstance(strategy, Mapping) else None
        raced = next((task for task in tasks if isinstance(task.get(SEEDS), Mapping)), None)
        if raced is not None and kind in _KINDS_WITHOUT_RACES:
            raise InputError(
                f"{self._file.where('arms', arm.name)}: '{raced['name']}' has seeds to race programs on, which kind:"
                f" {kind} does not do; give the arm a number of its own, such as seeds: 2"
            )
        return self._file.read(Settings, merged, ("arms", arm.name))

    def search_of(self, arm: Arm, contest: Contest) -> str:
        """Return the name of a search."""
        of_task = f"-{contest.name.replace(':', '.')}" if self.has_each else ""
        return f"{self._data.get('name')}-{arm.name}{of_task}"

    def chosen_arms(self, names: str | None) -> list[Arm]:
        """Return the arms of these names, which have commas between them, in the order of the file; all for None.

        Raises:
            InputError: there is none of such a name.
        """
        return _chosen(names, self.arms, "arm")

    def chosen_contests(self, names: str | None) -> list[Contest]:
        """Return the contests on these tasks, in the same way.

        Raises:
            InputError: there is none on such a task.
        """
        return _chosen(names, self.contests, "task")

    # --- reading -----------------------------------------------------------------------------------------------------

    def _read_arms(self) -> list[Arm]:
        found = self._file.data.get("arms")
        if not isinstance(found, dict) or not found or not all(isinstance(changes, dict) for changes in found.values()):
            raise InputError(
                f"{self._file.path}: arms: expected what is to be compared, such as 'random: {{strategy: ...}}'"
            )
        arms: list[Arm] = []
        for name, changes in found.items():
            for key in changes:
                if key in _OF_ALL:
                    raise InputError(f"{self._file.where('arms', name, key)}: all arms have the same; leave it out")
                if key not in (SEEDS, LENGTHS_OF, *Settings.model_fields):
                    known = ", ".join((SEEDS, LENGTHS_OF, *(k for k in Settings.model_fields if k not in _OF_ALL)))
                    raise InputError(f"{self._file.where('arms', name, key)}: unknown setting; known here: {known}")
            other = changes.get(LENGTHS_OF)
            if other is not None and other not in [arm.name for arm in arms]:
                place = self._file.where("arms", name, LENGTHS_OF)
                raise InputError(f"{place}: expected an arm above it, got {other!r}")
            if SEEDS in changes:
                self._file.read(_SeedsOfArm, {SEEDS: changes[SEEDS]}, ("arms", name))
            own = {key: value for key, value in changes.items() if key not in (SEEDS, LENGTHS_OF)}
            arms.append(Arm(name, own, other, changes.get(SEEDS)))
        return arms

    def _read_contests(self) -> list[Contest]:
        if self.has_each == ("tasks" in self._data):
            both = "both are here; leave one out" if self.has_each else "neither is here"
            raise InputError(
                f"{self._file.path}: expected tasks, for searches on all of them together, or each, for a search on"
                f" each; {both}"
            )
        if self.has_each:
            each = as_choices(self._file.data["each"])
            choices = self._file.read(_Each, {"each": each}).each
            return [Contest(choice.name, [task]) for choice, task in zip(choices, each, strict=True)]
        choices = self._file.read(Settings, self._data).tasks
        return [Contest(" and ".join(choice.name for choice in choices), as_choices(self._data["tasks"]))]

    # --- arms that follow others -------------------------------------------------------------------------------------

    def _lengths(self, arm: Arm, contest: Contest, store: Store) -> list[int]:
        """Return the statement counts of the programs that are in the populations of another arm at its end."""
        assert arm.lengths_of is not None
        other = self.search_of(next(one for one in self.arms if one.name == arm.lengths_of), contest)
        found = store.find_search(other)
        if found is None or not is_finished(store, other):
            raise InputError(
                f"{self._file.where('arms', arm.name, LENGTHS_OF)}: search '{other}' has not ended; run arm"
                f" '{arm.lengths_of}' too"
            )
        return _last_lengths(store, found)


def is_finished(store: Store, search: str, settings: Settings | None = None) -> bool:
    """Return whether a search has come to its end, with the budget of these settings if any are given."""
    row = store.first(SearchRow, "name = :name", name=search)
    if row is None or row.state != SearchState.FINISHED:
        return False
    return settings is None or row.settings.get("budget") == settings.budget.model_dump(mode="json")


def _last_lengths(store: Store, search: StoredSearch) -> list[int]:
    strategy = search.settings["strategy"]
    members = strategy["population"] * strategy["repeats"]
    rows = store.select(ProgramRow, "search_id = :id", order="birth DESC", limit=members, id=search.id)
    return sorted(row.statements for row in rows)


def _merged(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(settings)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def _chosen(names: str | None, known: Sequence[Named], what: str) -> list[Named]:
    wanted = [one.name for one in known] if names is None else [name.strip() for name in names.split(",")]
    for name in wanted:
        if name not in [one.name for one in known]:
            there = ", ".join(one.name for one in known)
            raise InputError(f"no {what} of this comparison is called '{shortened(name)}'; there are {there}")
    return [one for one in known if one.name in wanted]
