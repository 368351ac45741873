"""The SQL views, each beside the class of its rows: the public face of a database.

They are made anew at every upgrade. What is summed or divided is cast, so that every kind of database gives the same
numbers; order is by numbers, or by id where it would be by name, since databases order texts differently.
"""

from __future__ import annotations

from typing import Annotated, Any

from sqlalchemy import String

from programs.program import Program, parse

from proxy_tasks.outcome import Status

from search.settings.baselines import PLAIN_ADAMW, TORCH_ADAMW
from search.settings.seeds import FRESH_SEED
from search.store.keys import REJECTED, TRAINED, Answer, SearchState, sql_list
from search.store.rows import Name, Row, columns, columns_of, view
from search.store.tables import (
    BaselineRow,
    ProgramColumns,
    ProposalRow,
    TrainingRow,
)

_TRAINED, _REJECTED = sql_list(TRAINED), sql_list(REJECTED)


def with_search(kind: type[Row]) -> str:
    """Return the rows of a table that belong to searches, in order, with the names of these."""
    return f"""
        SELECT s.name AS search, {columns(kind, "r")}
        FROM {kind.relation} r JOIN search s ON s.id = r.search_id
        ORDER BY r.id
    """


KNOWN = ("status", "fitness", "reason", "trainings", "standard_error")
"""The columns of a birth that are, of a raced program, as its last race left them."""


def _raced(born: str) -> str:
    """Return the join of births with the last race of each: `raced_i` for births `i`."""
    return f"""LEFT JOIN (
                SELECT search_id, key, MAX(id) AS id FROM program
                WHERE answered_by = '{Answer.REEVALUATION}' GROUP BY search_id, key
            ) AS last_{born} ON last_{born}.search_id = {born}.search_id AND last_{born}.key = {born}.key
            LEFT JOIN program raced_{born} ON raced_{born}.id = last_{born}.id"""


def _known(born: str, column: str) -> str:
    """Return what is known by now of births that are joined with their races."""
    return f"CASE WHEN raced_{born}.id IS NULL THEN {born}.{column} ELSE raced_{born}.{column} END"


@columns_of
class _OfSearch(ProgramColumns):
    """A birth with its search and its ID."""

    search: Name
    """The search that drew it."""
    id: int
    """What commands call it."""

    @property
    def program(self) -> Program:
        """The program itself.

        Raises:
            InputError: the text in the database is no program.
        """
        return parse(self.genome, f"program {self.id}")


@view(
    "v_programs",
    f"""
        SELECT s.name AS search, i.id, {columns(ProgramColumns, "i")}
        FROM program i JOIN search s ON s.id = i.search_id
        ORDER BY i.id
    """,
)
class ProgramEntry(_OfSearch):
    """Every birth of every search."""


@view(
    "v_leaderboard",
    f"""
        SELECT {", ".join(_OfSearch.kinds)},
               fitness - COALESCE(standard_error, 0) AS lower_bound,
               fitness - adamw AS over_adamw,
               fitness - (SELECT MAX(b.fitness) FROM baseline b WHERE b.search_id = scored.search_id)
                   AS over_best_baseline
        FROM (
            SELECT s.id AS search_id, s.name AS search, COALESCE(a.fitness, plain.fitness) AS adamw, i.id,
                   {columns(ProgramColumns, "i", KNOWN)},
                   {", ".join(f"{_known('i', name)} AS {name}" for name in KNOWN)}
            FROM program i
            JOIN search s ON s.id = i.search_id
            LEFT JOIN baseline a ON a.search_id = s.id AND a.name = '{TORCH_ADAMW}'
            LEFT JOIN baseline plain ON plain.search_id = s.id AND plain.name = '{PLAIN_ADAMW}'
            {_raced("i")}
            WHERE i.answered_by = '{Answer.TRAINING}' AND i.fitness IS NOT NULL
        ) AS scored
        WHERE fitness IS NOT NULL
        ORDER BY lower_bound DESC, id
    """,
)
class LeaderboardEntry(_OfSearch):
    """The distinct programs of each search that trained well, best first: one row for each key, its first birth. Of a
    program that was raced, the fitness is the one on all its seeds, if none failed."""

    lower_bound: float
    """The fitness less its standard error where that is known: the order of this view."""
    over_adamw: float | None
    """The fitness minus that of tuned AdamW: torch's, or the paper's where that alone is among the baselines."""
    over_best_baseline: float | None
    """The fitness minus that of the best tuned baseline."""

    @property
    def score(self) -> float:
        """The fitness, which every program of this view has."""
        assert self.fitness is not None
        return self.fitness


@view(
    "v_progress",
    f"""
        WITH known AS (
            SELECT search_id, batch, fitness - COALESCE(standard_error, 0) AS lower_bound,
                   LEAD(batch) OVER (PARTITION BY search_id, key ORDER BY birth) AS until
            FROM program WHERE answered_by IN ({_TRAINED})
        ), lasting AS (
            SELECT search_id, batch, MAX(MAX(CASE WHEN until IS NULL THEN lower_bound END))
                       OVER (PARTITION BY search_id ORDER BY batch) AS best
            FROM known GROUP BY search_id, batch
        ), raced AS (
            SELECT b.search_id, b.batch, MAX(k.lower_bound) AS best
            FROM known k
            JOIN lasting l ON l.search_id = k.search_id AND l.batch = k.batch
            JOIN (SELECT DISTINCT search_id, batch FROM program) AS b
                ON b.search_id = k.search_id AND b.batch >= k.batch AND b.batch < k.until
            WHERE k.until IS NOT NULL AND (l.best IS NULL OR k.lower_bound > l.best)
            GROUP BY b.search_id, b.batch
        )
        SELECT search, batch, births, trained, raced, by_hash, by_fingerprint, in_flight, rejected, redundant_share,
               CAST(SUM(births) OVER so_far AS BIGINT) AS births_so_far,
               CAST(SUM(trained) OVER so_far AS BIGINT) AS trained_so_far,
               CAST(SUM(raced) OVER so_far AS BIGINT) AS raced_so_far,
               CAST(SUM(by_hash) OVER so_far AS BIGINT) AS by_hash_so_far,
               CAST(SUM(by_fingerprint) OVER so_far AS BIGINT) AS by_fingerprint_so_far,
               CAST(SUM(in_flight) OVER so_far AS BIGINT) AS in_flight_so_far,
               CAST(SUM(rejected) OVER so_far AS BIGINT) AS rejected_so_far,
               CASE WHEN raced_best IS NULL OR MAX(lasting_best) OVER so_far >= raced_best
                    THEN MAX(lasting_best) OVER so_far ELSE raced_best END AS best_so_far
        FROM (
            SELECT s.id AS search_id, s.name AS search, i.batch,
                   COUNT(*) AS births,
                   SUM(CASE WHEN i.answered_by IN ({_TRAINED}) THEN 1 ELSE 0 END) AS trained,
                   SUM(CASE WHEN i.answered_by = '{Answer.REEVALUATION}' THEN 1 ELSE 0 END) AS raced,
                   SUM(CASE WHEN i.answered_by = '{Answer.HASH}' THEN 1 ELSE 0 END) AS by_hash,
                   SUM(CASE WHEN i.answered_by = '{Answer.FINGERPRINT}' THEN 1 ELSE 0 END) AS by_fingerprint,
                   SUM(CASE WHEN i.answered_by = '{Answer.IN_FLIGHT}' THEN 1 ELSE 0 END) AS in_flight,
                   SUM(CASE WHEN i.answered_by IN ({_REJECTED}) THEN 1 ELSE 0 END) AS rejected,
                   1 - CAST(SUM(i.live_statements) AS DOUBLE PRECISION) / SUM(i.statements) AS redundant_share,
                   MAX(raced.best) AS raced_best, MAX(lasting.best) AS lasting_best
            FROM program i
            JOIN search s ON s.id = i.search_id
            LEFT JOIN raced ON raced.search_id = i.search_id AND raced.batch = i.batch
            LEFT JOIN lasting ON lasting.search_id = i.search_id AND lasting.batch = i.batch
            GROUP BY s.id, s.name, i.batch
        ) AS batches
        WINDOW so_far AS (PARTITION BY search_id ORDER BY batch)
        ORDER BY search_id, batch
    """,
)
class ProgressEntry(Row):
    """How each search went, batch by batch: births by what answered them, within the batch and so far."""

    search: Name
    """The search."""
    batch: int
    """The number of the batch, from 0."""
    births: int
    """The programs drawn in it."""
    trained: int
    """Those that were trained."""
    raced: int
    """Those of them that were known and were trained on further seeds."""
    by_hash: int
    """Those answered by a program with the same dataflow."""
    by_fingerprint: int
    """Those answered by a program that moves weights alike."""
    in_flight: int
    """Those answered by a twin that was being trained."""
    rejected: int
    """Those not worth training: their updates are zero, not finite, or independent of the gradient."""
    redundant_share: float
    """The share of their statements without effect, 0 to 1."""
    births_so_far: int
    """The births of this batch and those before it."""
    trained_so_far: int
    """Those of them that were trained."""
    raced_so_far: int
    """Those of these that were known and were trained on further seeds."""
    by_hash_so_far: int
    """Those of them answered by their dataflow."""
    by_fingerprint_so_far: int
    """Those of them answered by their fingerprint."""
    in_flight_so_far: int
    """Those of them answered by a twin in training."""
    rejected_so_far: int
    """Those of them that were rejected."""
    best_so_far: float | None
    """The lower bound (fitness less its standard error where that is known) of the program that led then, as far as was
    known then: it falls where a leader turns out to have been lucky."""


@view(
    "v_failures",
    f"""
        SELECT s.name AS search, i.status, i.reason, COUNT(*) AS programs, MIN(i.id) AS example_id
        FROM program i JOIN search s ON s.id = i.search_id
        WHERE i.status <> '{Status.OK}' AND i.answered_by IN ({_TRAINED}, {_REJECTED})
        GROUP BY s.id, s.name, i.status, i.reason
        ORDER BY s.id, COUNT(*) DESC, MIN(i.id)
    """,
)
class FailureEntry(Row):
    """What failed and why, counted over programs trained or rejected; answers from the cache repeat a failure."""

    search: Name
    """The search."""
    status: Annotated[str, Status]
    """diverged, dropped, rejected, timeout, error or lost."""
    reason: str | None
    """The reason in words."""
    programs: int
    """The number of programs to which it happened, of those trained or rejected."""
    example_id: int
    """The ID of one of them."""


@view(
    "v_proposals",
    f"""
        SELECT s.name AS search, {columns(ProposalRow, "p")}, CAST(p.created AS TEXT) AS answered
        FROM proposal p JOIN search s ON s.id = p.search_id
        ORDER BY p.search_id, p.birth, p.number
    """,
)
class ProposalEntry(ProposalRow):
    """What was answered from outside, text by text, and why some of it was not used. The programs that were born of it
    have the mutation `outside`."""

    search: Name
    """The search."""
    answered: str
    """When it was answered, in UTC."""


@view(
    "v_lineage",
    f"""
        SELECT s.name AS search, i.id, {columns(ProgramColumns, "i", KNOWN)},
               {", ".join(f"{_known('i', name)} AS {name}" for name in KNOWN)},
               p.id AS parent_id, {_known("p", "fitness")} AS parent_fitness,
               {_known("i", "fitness")} - {_known("p", "fitness")} AS gain,
               CASE WHEN p.id IS NULL THEN NULL WHEN i.dataflow_hash = p.dataflow_hash THEN 0 ELSE 1 END AS changed
        FROM program i
        JOIN search s ON s.id = i.search_id
        LEFT JOIN program p ON p.search_id = i.search_id AND p.birth = i.parent_birth
        {_raced("i")}
        {_raced("p")}
        WHERE i.answered_by <> '{Answer.REEVALUATION}'
        ORDER BY i.id
    """,
)
class LineageEntry(_OfSearch):
    """Every program beside its parent, both with what is known of them by now. Races are no programs of their own."""

    parent_id: int | None
    """The ID of the parent; none of the start program."""
    parent_fitness: float | None
    """The fitness of the parent."""
    gain: float | None
    """The fitness minus that of the parent."""
    changed: bool | None
    """Whether it computes something else than its parent."""


@view(
    "v_searches",
    f"""
        SELECT s.name AS search, s.state, CAST(s.created AS TEXT) AS started, CAST(s.updated AS TEXT) AS last_written,
               s.seconds, COUNT(i.id) AS births,
               CAST(COALESCE(SUM(CASE WHEN i.answered_by IN ({_TRAINED}) THEN 1 ELSE 0 END), 0)
                    AS BIGINT) AS trained,
               CAST(COALESCE(SUM(CASE WHEN i.answered_by = '{Answer.REEVALUATION}' THEN 1 ELSE 0 END), 0)
                    AS BIGINT) AS raced,
               CAST(COALESCE(SUM(i.replica_steps), 0) AS BIGINT) AS replica_steps,
               CAST(COALESCE(1 - CAST(SUM(i.live_statements) AS DOUBLE PRECISION) / SUM(i.statements), 0)
                    AS DOUBLE PRECISION) AS redundant_share,
               (SELECT l.fitness FROM v_leaderboard l WHERE l.search = s.name ORDER BY l.lower_bound DESC, l.id LIMIT 1)
                    AS best,
               CAST(s.settings AS TEXT) AS settings
        FROM search s LEFT JOIN program i ON i.search_id = s.id
        GROUP BY s.id
        ORDER BY s.id
    """,
)
class SearchEntry(Row):
    """Every search: its settings, how far it is, and what it found."""

    search: Name
    """The name of the search."""
    state: Annotated[str, SearchState]
    """running, interrupted or finished."""
    started: str
    """When its first run began, in UTC."""
    last_written: str
    """When something was last written for it, in UTC."""
    seconds: float
    """The time spent in all its runs."""
    births: int
    """The programs drawn."""
    trained: int
    """Those that were trained."""
    raced: int
    """Those of them that were known and were trained on further seeds."""
    replica_steps: int
    """The training steps of all of them."""
    redundant_share: float
    """The share of their statements without effect, 0 to 1."""
    best: float | None
    """The fitness of the program that leads: the one with the highest lower bound."""
    settings: dict[str, Any]
    """The settings as it was run, and the versions that its history depends on."""


@view(
    "v_baselines",
    with_search(BaselineRow),
)
class BaselineEntry(BaselineRow):
    """The tuned baselines of each search."""

    search: Name
    """The search."""


@view(
    "v_trainings",
    f"""
        SELECT t.id, {columns(TrainingRow, "t")}, CAST(t.created AS TEXT) AS written
        FROM training t
        ORDER BY t.id
    """,
)
class TrainingEntry(TrainingRow):
    """Every training there has been, of whatever search; curves as JSON, times in UTC."""

    id: int
    """The number of the training."""
    written: str
    """When it ended, in UTC."""


@view(
    "v_pace",
    f"""
        SELECT s.name AS search, i.batch, COUNT(*) AS trainings, SUM(e.seconds) AS seconds,
               CAST(MIN(e.created) AS TEXT) AS began, CAST(MAX(e.created) AS TEXT) AS ended
        FROM program i
        JOIN search s ON s.id = i.search_id
        JOIN training e ON e.key = i.key AND e.seed < {FRESH_SEED} AND e.created BETWEEN s.created AND s.updated
        WHERE i.answered_by IN ({_TRAINED})
        GROUP BY s.id, s.name, i.batch
        ORDER BY s.id, i.batch
    """,
)
class PaceEntry(Row):
    """When the trainings of each batch were written (UTC), and how long workers took for them. What was trained before
    the search began, after it ended, or on the fresh seeds from 1000 on, was not trained by it."""

    search: Name
    """The search."""
    batch: int
    """The number of the batch, from 0."""
    trainings: int
    """The number of its trainings."""
    seconds: float
    """The time that workers took for them."""
    began: str
    """When the first of them was written, in UTC."""
    ended: str
    """When the last of them was written, in UTC."""


@view(
    "v_workers",
    f"""
        SELECT s.name AS search, e.host, e.pid, e.device, COUNT(*) AS trainings, SUM(e.seconds) AS seconds,
               CAST(MIN(e.created) AS TEXT) AS began, CAST(MAX(e.created) AS TEXT) AS ended
        FROM training e
        JOIN search s ON e.created BETWEEN s.created AND s.updated
        WHERE e.seed < {FRESH_SEED} AND e.pid IS NOT NULL
              AND e.key IN (SELECT i.key FROM program i WHERE i.search_id = s.id AND i.answered_by IN ({_TRAINED}))
        GROUP BY s.id, s.name, e.host, e.pid, e.device
        ORDER BY s.id, MIN(e.id)
    """,
)
class WorkerEntry(Row):
    """The workers that trained the programs of each search: processes, where they ran, and what they did."""

    search: Name
    """The search."""
    host: Annotated[str, String(100)]
    """The machine."""
    pid: int
    """The process there."""
    device: Annotated[str, String(50)]
    """What it trained on."""
    trainings: int
    """The number of its trainings."""
    seconds: float
    """The time that it took for them."""
    began: str
    """When the first of them was written, in UTC."""
    ended: str
    """When the last of them was written, in UTC."""
