"""Whether a database is whole and agrees with itself: the file, every row, and programs with what is said of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property, lru_cache, partial
from itertools import islice
from typing import Any, NamedTuple

from programs import zoo
from programs.errors import InputError
from programs.hashing import dataflow_hash
from programs.kinds import TREE
from programs.liveness import live_statements, state_kinds
from programs.program import parse

from proxy_tasks.outcome import Status

from search.results.queries import Contradiction, HalfRejected, OtherKey, Untrained
from search.store import tables
from search.store.examination import broken_references, count, faults_of_structure, rows_of
from search.store.keys import Answer
from search.store.rows import Row
from search.store.store import Store, StoredSearch, hurdle_losses_of, table_of

MOST_ALIKE = 20  # findings of one kind that are told one by one
KINDS: tuple[type[Row], ...] = (
    tables.SearchRow, tables.TrainingRow, tables.BaselineRow, tables.MetaValidationRow, tables.ProposalRow,
    tables.SelectionRow, tables.OpeningRow, tables.ProofRow, tables.NoiseRow, tables.SimplificationRow,
    tables.ExportRow, tables.VerdictRow, tables.DataSheetRow,
)  # fmt: skip
"""The tables of which each row is read by itself; programs are read search by search."""
ALL: tuple[type[Row], ...] = (*KINDS, tables.ProgramRow)

Tell = Callable[[str, int, int], None]
"""Told what is looked at, how many rows have been, and how many there are."""


class Examination:
    """Everything that can be asked of a database.

    Args:
        store: the database.
        tell: told how far it is.

    Attributes:
        counts: the rows of each table.
    """

    def __init__(self, store: Store, tell: Tell) -> None:
        self.store = store
        self.counts = {kind.relation: 0 for kind in ALL}
        self._tell = tell
        self._done = 0

    def findings(self) -> Iterator[str]:
        """Yield what is wrong, a line for each.

        Raises:
            StoreError: the database cannot be reached any more.
        """
        tick = partial(self._tell, "pages and indexes", 0, 1)
        yield from self._told("the file", faults_of_structure(self.store, tick))
        for kind in ALL:
            yield from self._told(kind.relation, self._broken_references(kind))
        for kind in KINDS:
            yield from self._told(kind.relation, self._faults_of_rows(kind))
        for search in self._searches:
            for ask in (self._faults_of_births, self._contradictions):
                yield from self._told(f"search '{search.name}'", ask(search))

    def _told(self, what: str, found: Iterator[str]) -> Iterator[str]:
        """Yield the first findings, and how many more there are; one that ends the search for others is the last."""
        try:
            yield from islice(found, MOST_ALIKE)
            more = sum(1 for _ in found)
        except InputError as error:
            yield f"{what} cannot be read to its end: {getattr(error, 'what', error)}"
            return
        if more:
            yield f"{what}: {more} more like these"

    def _broken_references(self, kind: type[Row]) -> Iterator[str]:
        self.counts[kind.relation] = count(self.store, table_of(kind))
        yield from broken_references(self.store, table_of(kind))

    def _advance(self, what: str) -> None:
        self._done += 1
        if self._done % 100 == 0:
            self._tell(what, self._done, sum(self.counts.values()))

    # --- rows --------------------------------------------------------------------------------------------------------

    def _faults_of_rows(self, kind: type[Row]) -> Iterator[str]:
        for number, row in rows_of(self.store, kind):
            self._advance(kind.relation)
            for fault in [row] if isinstance(row, str) else self._faults_of_texts(row):
                yield f"{kind.relation} {number}: {fault}"

    @cached_property
    def _searches(self) -> list[StoredSearch]:
        """Return the searches; none where they cannot be read, which their rows have told."""
        try:
            return self.store.select(StoredSearch)
        except InputError:
            return []

    def _faults_of_births(self, search: StoredSearch) -> Iterator[str]:
        """Yield what is wrong with the births of a search: numbers, batches, programs, and what is said of them."""
        losses = hurdle_losses_of(search.settings)
        expected, batch = 0, 0
        of_search = table_of(tables.ProgramRow).c.search_id == search.id
        for number, row in rows_of(self.store, tables.ProgramRow, "birth", of_search):
            self._advance("program")
            if isinstance(row, str):
                yield f"program {number}: {row}"
                expected += 1
                continue
            if row.birth != expected:
                yield f"program {number}: birth {row.birth} of search '{search.name}' follows birth {expected - 1}"
            if row.batch < batch:
                yield f"program {number}: batch {row.batch} follows batch {batch}"
            if None not in (losses, row.hurdle_losses) and len(row.hurdle_losses or ()) != losses:
                yield f"program {number}: {len(row.hurdle_losses or ())} losses at hurdles, expected {losses}"
            expected, batch = row.birth + 1, max(batch, row.batch)
            yield from (f"program {number}: {fault}" for fault in self._faults_of_program(row))

    def _contradictions(self, search: StoredSearch) -> Iterator[str]:
        """Yield what rows of a search say against each other."""
        for kind, said in _CONTRADICTIONS.items():
            words: dict[str, Any] = {str(word): str(word) for word in (*Answer, Status.REJECTED)}
            for row in self.store.select(kind, search=search.id, **words):
                yield f"program {row.id}: {said}"

    # --- programs ----------------------------------------------------------------------------------------------------

    def _faults_of_program(self, row: tables.ProgramRow) -> Iterator[str]:
        """Yield what is wrong with the text of a birth, and with what the row says of it."""
        try:
            of_text = _examined(row.genome)
        except InputError as error:
            yield str(error)
            return
        for name in ("dataflow_hash", "statements", "live_statements"):
            said, found = getattr(row, name), getattr(of_text, name)
            if found != said:
                yield f"its {name} is {said}, that of its text {found}"
        if not of_text.states.count(TREE) <= row.state_slots <= len(of_text.states):  # rows and columns are shares
            yield f"its state_slots is {row.state_slots:g}, that of its text {len(of_text.states)}"

    def _faults_of_texts(self, row: Row) -> Iterator[str]:
        """Yield what is wrong with the programs in a row of another table."""
        values = row.as_columns()
        texts = [values[name] for name in ("before", "after") if name in values]
        name = values.get("competitor", values.get("name"))
        if "genome" in values and (name in zoo.all_names() or values.get("program_id") is not None):
            texts.append(values["genome"])  # else that of an optimizer of torch, or of one whose name is not kept
        for genome in texts:
            try:
                _examined(genome)
            except InputError as error:
                yield str(error)


_CONTRADICTIONS: dict[type[Contradiction], str] = {
    Untrained: "was trained, but there is no training with its key",
    OtherKey: "others with its dataflow have another key",
    HalfRejected: "was rejected, and yet has another status",
}


class _OfText(NamedTuple):
    """What the text of a program tells, by the columns that keep it, and the kinds of the states in use."""

    dataflow_hash: str
    statements: int
    live_statements: int
    states: list[int]


@lru_cache(10_000)
def _examined(genome: str) -> _OfText:
    """Return what the text of a program tells.

    Raises:
        InputError: it is none, or not as programs are written.
    """
    program = parse(genome, "its text")
    if str(program) != genome:
        raise InputError("its text is not as programs are written")
    return _OfText(dataflow_hash(program), len(program), len(live_statements(program)), state_kinds(program))
