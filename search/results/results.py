"""What runs have found: the only reader of programs, views and evidence, for commands, reports and Python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from programs.errors import InputError
from programs.hashing import dataflow_hash
from programs.program import Program, parse

from proxy_tasks.outcome import Status

from search.results.export import NamedProgram, export_source
from search.results.notebook import frame_of, html_of, plot_of
from search.results.pareto import pareto_front, wants_small
from search.results.queries import (
    AncestorId,
    AskedOutside,
    Births,
    Child,
    DistinctPrograms,
    Duplicates,
    FailedPrograms,
    LastProgram,
    ProgramWithKey,
    SearchName,
    Size,
)
from search.results.text import listed
from search.results.trained_tasks import schedule_of, searches_on, steps_of, tasks_of
from search.settings.baselines import is_program
from search.store import Store, open_store
from search.store.encoding import ForeignDataError
from search.store.evidence_views import (
    DataSheetEntry,
    FunnelEntry,
    MetaValidationEntry,
    NoiseEntry,
    OpeningEntry,
    ProofEntry,
    ProxyEntry,
    SimplificationEntry,
    VerdictEntry,
)
from search.store.keys import REJECTED, TRAINED, Answer, sql_list
from search.store.lease import Holder, is_held
from search.store.proofs import find_opening
from search.store.rows import RowType
from search.store.store import StoredSearch
from search.store.views import (
    KNOWN,
    BaselineEntry,
    FailureEntry,
    LeaderboardEntry,
    LineageEntry,
    PaceEntry,
    ProgramEntry,
    ProgressEntry,
    ProposalEntry,
    SearchEntry,
    TrainingEntry,
    WorkerEntry,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_LARGEST_ID = 2**63 - 1


class SearchDriver(NamedTuple):
    """The run that drives a search, if there is one; `silent` counts the seconds since the last heartbeat."""

    holder: str | None
    is_driven: bool
    silent: float | None


class Results:
    """An open database of results, as `open_store` and `run` give it.

    Methods that take the name of a search are about all searches without it. Lists are in the order of their views;
    pandas makes a table of them as they are, `pandas.DataFrame(entries)`. Notebooks show the leaderboard. Use it in a
    `with` block, or `close` it.

    Raises:
        InputError: where the search or the program that a method returns something of is not there, or the database
            holds what optsearch cannot have written. Lists and counts of what is not there are empty and 0.
    """

    def __init__(self, store: Store) -> None:
        self.store = store

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
        return self.store.location

    def close(self) -> None:
        """Close the database."""
        self.store.close()

    # --- searches ----------------------------------------------------------------------------------------------------

    def searches(self) -> list[SearchEntry]:
        """Return every search: its settings, how far it is, what it found."""
        return self.store.select(SearchEntry)

    def names(self) -> list[str]:
        """Return the names of all searches."""
        return [row.search for row in self.store.select(SearchName)]

    def require(self, search: str | None) -> None:
        """Refuse the name of a search that is not there; None stands for all."""
        if search is not None and self.store.first(SearchName, "search = :search", search=search) is None:
            raise InputError(f"{self.location}: no search '{search}'; there are: {listed(self.names())}")

    def search(self, name: str) -> SearchEntry:
        """Return one search."""
        self.require(name)
        return self.store.select(SearchEntry, "search = :search", search=name)[0]

    def drivers(self) -> dict[str, SearchDriver]:
        """Return who drives each search, by its name."""
        now = self.store.clock()
        drivers = {}
        for row in self.store.select(Holder):
            silent = None if row.heartbeat is None else now - row.heartbeat
            is_driven = silent is not None and is_held(row, silent)
            drivers[row.name] = SearchDriver(row.holder if is_driven else None, is_driven, silent)
        return drivers

    def progress(self, search: str | None = None) -> list[ProgressEntry]:
        """Return how a search went, batch by batch."""
        return self._of_search(ProgressEntry, search)

    def pace(self, search: str | None = None) -> list[PaceEntry]:
        """Return when the trainings of each batch were written, and how long they took."""
        return self._of_search(PaceEntry, search)

    def workers(self, search: str | None = None) -> list[WorkerEntry]:
        """Return the workers that trained the programs of a search or of all, in the order of their first trainings."""
        return self._of_search(WorkerEntry, search)

    def failures(self, search: str | None = None, limit: int | None = None) -> list[FailureEntry]:
        """Return what failed and why, counted."""
        return self._of_search(FailureEntry, search, limit)

    def failed_programs(self, search: str) -> list[FailedPrograms]:
        """Return how many programs of a search failed, by status."""
        return self.store.select(FailedPrograms, search=search)

    def proposals(self, search: str | None = None) -> list[ProposalEntry]:
        """Return what was answered from outside, text by text."""
        return self._of_search(ProposalEntry, search)

    def asked_outside(self) -> list[AskedOutside]:
        """Return what came of asking for programs from outside, for each search that has asked."""
        return self.store.select(AskedOutside)

    def baselines(self, search: str | None = None) -> list[BaselineEntry]:
        """Return the tuned baselines."""
        return self._of_search(BaselineEntry, search)

    def meta_validation(self, search: str | None = None) -> list[MetaValidationEntry]:
        """Return how the best program fared, as a search went on, on tasks that it never sees."""
        return self._of_search(MetaValidationEntry, search)

    def verdicts(self, search: str | None = None) -> list[VerdictEntry]:
        """Return whether searches have found something better than their best baselines, of those that have ended."""
        return self._of_search(VerdictEntry, search)

    # --- programs ----------------------------------------------------------------------------------------------------

    def leaderboard(
        self,
        search: str | None = None,
        limit: int | None = 20,
        *,
        task: str | None = None,
        states: float | None = None,
        statements: int | None = None,
        pareto: bool | None = None,
    ) -> list[LeaderboardEntry]:
        """Return the distinct programs that trained well, best first: by fitness less its standard error.

        Args:
            search: the search that found them.
            limit: how many; None for all.
            task: only of searches that train on it.
            states: state slots at most; those that are kept by rows or columns count as their shares of the weights.
            statements: live statements at most.
            pareto: whether only programs that no other beats in fitness less its standard error, live statements and
                state slots together; if not given, where sizes are among the objectives of the search.
        """
        if pareto is None:
            pareto = self.wants_small(search)
        rows = self._programs(LeaderboardEntry, None if pareto else limit, search, task, states, statements)
        return pareto_front(rows)[:limit] if pareto else rows

    def failed(
        self,
        status: str,
        search: str | None = None,
        limit: int | None = 20,
        *,
        task: str | None = None,
        states: float | None = None,
        statements: int | None = None,
    ) -> list[ProgramEntry]:
        """Return the programs that ended with a status other than ok, latest first.

        Births answered by what is known of another program are not listed again. Arguments are those of `leaderboard`.
        """
        return self._programs(
            ProgramEntry, limit, search, task, states, statements, "status = :status AND answered_by IN"
            f" ({sql_list((*TRAINED, *REJECTED))})", "id DESC", status=status,
        )  # fmt: skip

    def _programs(
        self,
        kind: type[RowType],
        limit: int | None,
        search: str | None,
        task: str | None,
        states: float | None,
        statements: int | None,
        condition: str = "",
        order: str = "",
        **parameters: str,
    ) -> list[RowType]:
        self.require(search)
        conditions = {
            "search = :search": search,
            "state_slots <= :states": states,
            "live_statements <= :statements": statements,
            "search IN :searches": None if task is None else searches_on(task, self.searches(), search, self.location),
        }
        values = {"search": search, "states": states, "statements": statements}
        given: dict[str, Any] = {name: value for name, value in values.items() if value is not None}
        if task is not None:
            given["searches"] = conditions["search IN :searches"]
        where = " AND ".join(filter(None, [condition, *(c for c, value in conditions.items() if value is not None)]))
        return self.store.select(kind, where, order=order, limit=limit, **given, **parameters)

    def wants_small(self, search: str | None) -> bool:
        """Return whether sizes are among the objectives of a search, or of the only one if it is not named."""
        of_searches = {row.name: row.settings for row in self.store.select(StoredSearch)}
        named = [of_searches[search]] if search in of_searches else list(of_searches.values())
        return len(named) == 1 and wants_small(named[0])

    def best(self, search: str) -> LeaderboardEntry | None:
        """Return the best program of a search, None if nothing trained well."""
        return next(iter(self.leaderboard(search, 1, pareto=False)), None)

    def leader(self, program_id: int) -> LeaderboardEntry | None:
        """Return the place of a program in the leaderboard, None if it has none."""
        return self.store.first(LeaderboardEntry, "id = :id", id=program_id)

    def distinct_programs(self, search: str) -> int:
        """Return how many distinct programs of a search trained well."""
        return self.store.select(DistinctPrograms, search=search)[0].programs

    def births(self, search: str) -> int:
        """Return how many programs of a search were born."""
        return self.store.select(Births, search=search)[0].births

    def sizes(self, search: str) -> list[Size]:
        """Return the best program for each number of live statements and state slots."""
        return self.store.select(Size, search=search)

    def program(self, program_id: int) -> ProgramEntry:
        """Return one program by its ID, with what is known of it by now: of one that was raced, on all its seeds."""
        found = None
        if 0 < program_id <= _LARGEST_ID:
            found = self.store.first(ProgramEntry, "id = :id", id=program_id)
        if found is None:
            last = self.store.select(LastProgram)[0].id or 0
            raise InputError(
                f"{self.location}: no program {program_id}; IDs go from 1 to {last}, `optsearch leaderboard` lists the"
                " best"
            )
        raced = self.store.first(
            ProgramEntry, "search = :search AND key = :key AND answered_by = :race", order="id DESC",
            search=found.search, key=found.key, race=str(Answer.REEVALUATION),
        )  # fmt: skip
        return found if raced is None else replace(found, **{name: getattr(raced, name) for name in KNOWN})

    def tuned_baseline(self, search: str, name: str) -> NamedProgram:
        """Return a baseline of a search as it was tuned.

        Raises:
            InputError: there is no such search, it has no such baseline, or that is no program of the language.
        """
        rows = {row.name: row for row in self.baselines(search)}
        if name not in rows:
            raise InputError(f"{self.location}: search '{search}' has no baseline {name}; it has {listed(list(rows))}")
        if not is_program(name):
            raise InputError(f"{search}:{name}: is torch's own optimizer and no program of the language")
        program = parse(rows[name].genome, f"{name} of search '{search}'")
        return NamedProgram(f"{search}:{name}", program, search=search, schedule=schedule_of(self.search(search)))

    def races(self, program: ProgramEntry) -> list[ProgramEntry]:
        """Return the births that trained a program of a search on further seeds, in order."""
        return self.store.select(
            ProgramEntry, "search = :search AND key = :key AND answered_by = :race", search=program.search,
            key=program.key, race=str(Answer.REEVALUATION),
        )  # fmt: skip

    def lineage(self, program_id: int, limit: int | None = None) -> list[LineageEntry]:
        """Return the line from the start program to this one, every birth beside its parent.

        Races are no generations: the line of one is that of the program that was raced.

        Args:
            program_id: the ID of the last of them.
            limit: how many at most, counted from the last; None for all.
        """
        self.program(program_id)
        ids = [ancestor.id for ancestor in self.store.select(AncestorId, limit=limit, id=program_id)]
        rows = sorted(self.store.select(LineageEntry, "id IN :ids", ids=ids), key=lambda row: -row.birth)
        if not rows:
            raise ForeignDataError(self.location, f"a race, {program_id}, of a program that is not there")
        line = rows[:1]
        for later, row in pairwise(rows):
            if row.birth != later.parent_birth:
                break
            line.append(row)
        return line[::-1]

    def children(self, search: str, births: Sequence[int]) -> list[Child]:
        """Return the births whose parents are these."""
        return self.store.select(Child, "parent_birth IN :births", search=search, births=list(births))

    def duplicates(self, program: ProgramEntry) -> list[Duplicates]:
        """Return the other births of its search with the key of a program, by what answered them, without its races."""
        return self.store.select(Duplicates, key=program.key, id=program.id)

    def with_key(self, search: str, key: str, limit: int) -> list[int]:
        """Return the IDs of the first births of a search with a key, races not among them."""
        return [row.id for row in self.store.select(ProgramWithKey, limit=limit, search=search, key=key)]

    def first_trained(self, search: str, key: str) -> ProgramEntry | None:
        """Return the first program of a search with a key that was trained."""
        where = "search = :search AND key = :key AND answered_by = :training"
        return self.store.first(ProgramEntry, where, search=search, key=key, training=str(Answer.TRAINING))

    def trainings(
        self,
        of: ProgramEntry | LeaderboardEntry | BaselineEntry,
        status: Status | None = None,
        limit: int | None = None,
        seed: int | None = None,
    ) -> list[TrainingEntry]:
        """Return the trainings of a program or a tuned baseline, on all tasks, with their loss curves.

        Args:
            of: the program or the baseline.
            status: only those that ended like this; None for all.
            limit: how many; None for all.
            seed: only those with this seed; None for all.
        """
        where = "key = :key" + " AND status = :status" * (status is not None) + " AND seed = :seed" * (seed is not None)
        return self.store.select(TrainingEntry, where, limit=limit, key=of.key, status=status, seed=seed)

    def simplification(self, program_id: int, limit: int | None = None) -> list[SimplificationEntry]:
        """Return the steps of `optsearch simplify`, if it was asked to simplify this program."""
        return self.store.select(SimplificationEntry, "id = :id", limit=limit, id=program_id)

    def export(self, program_id: int, to: str = "torch", name: str | None = None) -> str:
        """Return the source of a program as a self-contained optimizer, as `optsearch export` writes it.

        Args:
            program_id: its ID.
            to: `torch`, `optax`, or `dsl` for the program's own text.
            name: of the class; `Program` and the ID without it.
        """
        found = self.named_program(program_id)
        return export_source(found, to, name, self.data_sheet(found.program))

    def data_sheet(self, program: Program) -> DataSheetEntry | None:
        """Return the last data sheet of a program that `optsearch analyze` has made, of whatever task."""
        return self.store.first(DataSheetEntry, "dataflow_hash = :hash", hash=dataflow_hash(program))

    def data_sheets(self, limit: int | None = None) -> list[DataSheetEntry]:
        """Return the data sheets of all programs, the last first."""
        return self.store.select(DataSheetEntry, limit=limit)

    def named_program(self, program_id: int) -> NamedProgram:
        """Return a program by its ID, with what an export says about it."""
        entry = self.program(program_id)
        program = parse(entry.genome, f"program {program_id} in {self.location}")
        search = self.search(entry.search)
        return NamedProgram(
            f"program {program_id}", program, entry, tuple(tasks_of(search)), steps_of(search), entry.search,
            schedule_of(search),
        )  # fmt: skip

    # --- evidence ----------------------------------------------------------------------------------------------------

    def funnel(self, funnel: str | None = None) -> list[FunnelEntry]:
        """Return the results of funnels, stage by stage; of one, if its name is given."""
        where = "" if funnel is None else "funnel = :funnel"
        return self.store.select(FunnelEntry, where, funnel=funnel)

    def funnels_of(self, *, search: str | None = None, program_id: int | None = None) -> list[FunnelEntry]:
        """Return the results of funnels that a search or a program went through."""
        where = "search = :search" if search is not None else "program_id = :id"
        return self.store.select(FunnelEntry, where, search=search, id=program_id)

    def proof(self, finalist: int | None = None) -> list[ProofEntry]:
        """Return finalists against tuned baselines on the locked tasks; one finalist, if its ID is given."""
        return self.store.select(ProofEntry, "" if finalist is None else "finalist = :id", id=finalist)

    def last_proof(self, search: str) -> list[ProofEntry]:
        """Return the last proof of a program that a search has found, an empty list if there is none."""
        return self.store.select(
            ProofEntry, "finalist = (SELECT p.finalist FROM v_proof p WHERE EXISTS (SELECT 1 FROM v_programs i"
            " WHERE i.id = p.finalist AND i.search = :search) ORDER BY p.opened DESC LIMIT 1)", search=search,
        )  # fmt: skip

    def opening(self, dataflow_hash: str) -> OpeningEntry | None:
        """Return for whom the locked tasks were opened, of programs that compute this."""
        return find_opening(self.store, dataflow_hash)

    def last_opening(self, search: str) -> OpeningEntry | None:
        """Return the last opening of the locked tasks for a program of a search, None if there is none."""
        found = self.store.select(OpeningEntry, "search = :search", order="id DESC", limit=1, search=search)
        return found[0] if found else None

    def noise(self) -> list[NoiseEntry]:
        """Return how much one training of a task says, where it was measured."""
        return self.store.select(NoiseEntry)

    def proxies(self, search: str | None = None) -> list[ProxyEntry]:
        """Return how programs fared on proxy tasks, tuned alike on each, as `optsearch proxies` has measured it."""
        return self._of_search(ProxyEntry, search)

    # --- in a notebook -----------------------------------------------------------------------------------------------

    def to_frame(self, search: str | None = None, limit: int | None = None) -> pd.DataFrame:
        """Return the leaderboard as a data frame of pandas; all of it without a limit."""
        return frame_of(LeaderboardEntry, self.leaderboard(search, limit))

    def plot(self, search: str | None = None, ax: Axes | None = None) -> Axes:
        """Draw the best fitness over births with matplotlib, tuned baselines as broken lines; return the axes."""
        return plot_of(self.progress(search), self.baselines(search), ax)

    def _repr_html_(self) -> str:
        return html_of(f"{self.location}: the best of {', '.join(self.names()) or 'no search yet'}", self.leaderboard())

    # --- what several methods need -----------------------------------------------------------------------------------

    def _of_search(self, kind: type[RowType], search: str | None, limit: int | None = None) -> list[RowType]:
        self.require(search)
        return self.store.select(kind, "" if search is None else "search = :search", limit=limit, search=search)


def open_results(location: str, create: bool = False) -> Results:
    """Open a database of results.

    Args:
        location: a URL or the path of a SQLite file.
        create: make the database, or upgrade it, if need be; it will be written.

    Raises:
        InputError: it is missing, foreign, damaged, of another version, or cannot be opened.
    """
    return Results(open_store(location, create=create))
