"""What runs found, for Python: programs and views of a database as typed entries, without SQL."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, TypeVar

from search.commands.leaderboard import Wanted, find_programs
from search.commands.lineage import line_of
from search.results.entries import (
    BaselineEntry,
    FailureEntry,
    FunnelEntry,
    LeaderboardEntry,
    LineageEntry,
    MetaValidationEntry,
    NoiseEntry,
    PaceEntry,
    ProgramEntry,
    ProgressEntry,
    ProofEntry,
    SearchEntry,
    SimplificationEntry,
    TrainingEntry,
)
from search.results.export import class_name_of, exported
from search.results.lookup import require_search, rows_of
from search.results.programs import Resolved
from search.store import Store
from search.store.encoding import foreign_data_error, from_json
from search.store.store import MOST_KEYS
from search.store.validation import checked_curve, checked_settings

Entry = TypeVar("Entry", bound=tuple[Any, ...])


class Results:
    """An open database of results, as `open_store` and `run` give it.

    What takes the name of a search is about all searches without it. Lists are in the order of their views; pandas
    makes a table of them as they are, `pandas.DataFrame(entries)`. Use it in a `with` block, or `close` it.

    Raises:
        InputError: from every method, where a search or a program is not there, or the database holds what optsearch
            cannot have written.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def __enter__(self) -> Results:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Results({self.location!r})"

    @property
    def location(self) -> str:
        """The path of the database, or its URL without the password."""
        return self._store.location

    def close(self) -> None:
        """Let the database go."""
        self._store.close()

    # --- searches ------------------------------------------------------------------------------------------------

    def searches(self) -> list[SearchEntry]:
        """Every search: its settings, how far it is, what it found."""
        return self._view("v_searches", SearchEntry)

    def progress(self, search: str | None = None) -> list[ProgressEntry]:
        """How a search went, batch by batch."""
        return self._view("v_progress", ProgressEntry, search)

    def pace(self, search: str | None = None) -> list[PaceEntry]:
        """When the trainings of each batch were written, and how long they took."""
        return self._view("v_pace", PaceEntry, search)

    def failures(self, search: str | None = None) -> list[FailureEntry]:
        """What failed and why, counted."""
        return self._view("v_failures", FailureEntry, search)

    def baselines(self, search: str | None = None) -> list[BaselineEntry]:
        """The tuned baselines."""
        return self._view("v_baselines", BaselineEntry, search)

    def meta_validation(self, search: str | None = None) -> list[MetaValidationEntry]:
        """How the best fared, as a search went on, on tasks that it never sees."""
        return self._view("v_meta_validation", MetaValidationEntry, search)

    # --- programs ------------------------------------------------------------------------------------------------

    def leaderboard(
        self,
        search: str | None = None,
        limit: int | None = 20,
        *,
        task: str | None = None,
        states: int | None = None,
        statements: int | None = None,
        pareto: bool = False,
    ) -> list[LeaderboardEntry]:
        """The distinct programs that trained well, best first.

        Args:
            search: that found them.
            limit: how many; None for all.
            task: only of searches that train on it.
            states: state slots at most.
            statements: live statements at most.
            pareto: only programs that no other beats in fitness, live statements and state slots together.
        """
        wanted = Wanted(search, task, states=states, statements=statements, pareto=pareto)
        return [self._entry(LeaderboardEntry, row) for row in find_programs(self._store, wanted, limit)]

    def program(self, program_id: int) -> ProgramEntry:
        """One program by its ID."""
        return self._entry(ProgramEntry, self._store.program(program_id))

    def lineage(self, program_id: int) -> list[LineageEntry]:
        """From the start program to this one, every birth beside its parent."""
        row = self._store.program(program_id)
        ids = [ancestor["id"] for ancestor in line_of(self._store, row["search_id"], row["birth"])]
        found: list[LineageEntry] = []
        for start in range(0, len(ids), MOST_KEYS):
            numbers = ", ".join(map(str, ids[start : start + MOST_KEYS]))
            query = f"SELECT * FROM v_lineage WHERE id IN ({numbers}) ORDER BY id"  # noqa: S608 - numbers
            found += [self._entry(LineageEntry, ancestor) for ancestor in self._store.rows(query)]
        return found

    def trainings(self, of: LeaderboardEntry | ProgramEntry | BaselineEntry) -> list[TrainingEntry]:
        """Every training of a program or a tuned baseline, on whatever task and seed, with its loss curve."""
        rows = self._store.rows("SELECT * FROM v_trainings WHERE key = :key", key=of.key)
        return [self._entry(TrainingEntry, row) for row in rows]

    def simplification(self, program_id: int) -> list[SimplificationEntry]:
        """The steps of `optsearch simplify`, if it was asked to simplify this program."""
        rows = self._store.rows("SELECT * FROM v_simplification WHERE id = :id", id=program_id)
        return [self._entry(SimplificationEntry, row) for row in rows]

    def export(self, program_id: int, to: str = "torch", name: str | None = None) -> str:
        """The source of a program as a self-contained optimizer, as `optsearch export` writes it.

        Args:
            program_id: its ID.
            to: `torch`, `optax`, or `dsl` for the program's own text.
            name: of the class; `Program` and the ID without it.
        """
        row = self._store.program(program_id)
        found = Resolved(f"program {program_id}", self._entry(ProgramEntry, row).program, program_id)
        return exported(found, to, name or class_name_of(found.name), row)

    # --- evidence ------------------------------------------------------------------------------------------------

    def funnel(self, funnel: str | None = None) -> list[FunnelEntry]:
        """Results of funnels, stage by stage; of one, if its name is given."""
        return [entry for entry in self._view("v_funnel", FunnelEntry) if funnel in (None, entry.funnel)]

    def proof(self, finalist: int | None = None) -> list[ProofEntry]:
        """Finalists against tuned baselines on the locked tasks; one finalist, if its ID is given."""
        return [entry for entry in self._view("v_proof", ProofEntry) if finalist in (None, entry.finalist)]

    def noise(self) -> list[NoiseEntry]:
        """How much one training of a task says, where it was measured."""
        return self._view("v_noise", NoiseEntry)

    # --- entries -------------------------------------------------------------------------------------------------

    def _view(self, view: str, kind: type[Entry], search: str | None = None) -> list[Entry]:
        require_search(self._store, search)
        return [self._entry(kind, row) for row in rows_of(self._store, view, search)]

    def _entry(self, kind: type[Entry], row: Mapping[str, Any]) -> Entry:
        return kind(*(self._value(name, row[name]) for name in kind._fields))  # type: ignore[attr-defined]

    def _value(self, name: str, value: Any) -> Any:
        """What a column stands for, where databases have no type for it."""
        if name in ("passed", "accepted"):
            return bool(value)
        if name not in ("settings", "curve", "evidence"):
            return value
        try:
            found = from_json(value)
        except ValueError:
            raise foreign_data_error(self.location, f"no JSON as {name}") from None
        if name == "curve":
            return checked_curve(found, self.location)
        if name == "settings":
            return checked_settings(found, self.location)
        if type(found) is not dict:
            raise foreign_data_error(self.location, f"a {type(found).__name__} as {name}")
        return found
