"""What is asked of the tables and views beyond their rows: each query beside the class of what it finds."""

from __future__ import annotations

from typing import Annotated

from proxy_tasks.outcome import Status

from search.store.keys import Answer
from search.store.rows import Name, Row, columns_of, query


@query(
    """
    SELECT answered_by, COUNT(*) AS programs, MIN(id) AS example_id FROM program
    WHERE key = :key AND id <> :id AND answered_by <> 'reevaluation'
        AND search_id = (SELECT search_id FROM program WHERE id = :id)
    GROUP BY answered_by ORDER BY COUNT(*) DESC, MIN(id)
    """
)
class Duplicates(Row):
    """Other births of its search with the key of a program, by what answered them; races are no other programs."""

    answered_by: Annotated[str, Answer]
    """What answered them."""
    programs: int
    """Their number."""
    example_id: int
    """The first of them."""


@query(
    """
    SELECT live_statements, state_slots, fitness, standard_error, trainings, lower_bound, programs
    FROM (
        SELECT live_statements, state_slots, fitness, standard_error, trainings, lower_bound,
               COUNT(*) OVER (PARTITION BY live_statements, state_slots) AS programs,
               ROW_NUMBER() OVER (PARTITION BY live_statements, state_slots ORDER BY lower_bound DESC, id) AS place
        FROM v_leaderboard WHERE search = :search
    ) AS ranked
    WHERE place = 1 ORDER BY state_slots, live_statements
    """
)
class Size(Row):
    """The best of the programs of one size: the one with the highest lower bound."""

    live_statements: int
    """Their live statements."""
    state_slots: float
    """Their state slots."""
    fitness: float
    """The fitness of the best."""
    standard_error: float | None
    """The standard error of that."""
    trainings: int
    """The number of trainings that it rests on."""
    lower_bound: float
    """The fitness of the best less its standard error."""
    programs: int
    """How many programs are of this size."""


@query(
    """
    SELECT status, CAST(SUM(programs) AS BIGINT) AS programs FROM v_failures WHERE search = :search
    GROUP BY status ORDER BY SUM(programs) DESC, status
    """
)
class FailedPrograms(Row):
    """How many programs of a search failed in one way."""

    status: Annotated[str, Status]
    """The way."""
    programs: int
    """Their number."""


@query("SELECT COUNT(*) AS programs FROM v_leaderboard WHERE search = :search")
class DistinctPrograms(Row):
    """How many distinct programs of a search trained well."""

    programs: int
    """Their number."""


@query("SELECT COUNT(*) AS births FROM program p JOIN search s ON s.id = p.search_id WHERE s.name = :search")
class Births(Row):
    """How many programs of a search were born."""

    births: int
    """Their number."""


@query("SELECT birth, parent_birth, fitness, gain FROM v_lineage WHERE search = :search")
class Child(Row):
    """A birth beside its parent, without its text: there may be very many."""

    birth: int
    """The number of the birth."""
    parent_birth: int | None
    """The birth that was mutated."""
    fitness: float | None
    """The fitness, if it is ok."""
    gain: float | None
    """The fitness minus that of the parent."""


# A parent was born before its child, so no data can make this endless; the limit holds whatever an index says. The line
# of a race is that of the program which was raced.
@query(
    """
    WITH RECURSIVE line AS (
        SELECT id, search_id, birth, parent_birth, answered_by FROM program WHERE id = :id
        UNION ALL
        SELECT i.id, i.search_id, i.birth, i.parent_birth, i.answered_by
        FROM line JOIN program i ON i.search_id = line.search_id AND i.birth = line.parent_birth
        WHERE i.birth < line.birth
    )
    SELECT id FROM line WHERE answered_by <> 'reevaluation' LIMIT 1000000
    """
)
class AncestorId(Row):
    """A program on the line of ancestors of another."""

    id: int
    """Its ID."""


@query("SELECT MAX(id) AS id FROM program")
class LastProgram(Row):
    """The program drawn last."""

    id: int | None
    """Its ID."""


@query("SELECT name AS search FROM search ORDER BY id")
class SearchName(Row):
    """The name of a search."""

    search: Name
    """The name."""


@query(
    """
    SELECT id FROM program WHERE key = :key AND answered_by <> 'reevaluation'
        AND search_id = (SELECT id FROM search WHERE name = :search)
    ORDER BY id
    """
)
class ProgramWithKey(Row):
    """A program of a search with a key."""

    id: int
    """Its ID."""


@query(
    """
    SELECT s.name AS search, COUNT(DISTINCT p.birth) AS asked, COUNT(p.text) AS texts,
           COUNT(p.text) - COUNT(CASE WHEN p.problem IS NULL THEN 1 END) AS refused,
           COUNT(DISTINCT CASE WHEN p.text IS NULL THEN p.birth END) AS unusable,
           (SELECT COUNT(*) FROM program i WHERE i.search_id = s.id AND i.mutation = 'outside') AS born,
           (SELECT MAX(i.fitness) FROM program i WHERE i.search_id = s.id AND i.mutation = 'outside') AS best
    FROM proposal p JOIN search s ON s.id = p.search_id
    GROUP BY s.id, s.name ORDER BY s.id
    """
)
class AskedOutside(Row):
    """What came of asking for programs from outside, of a search that asks."""

    search: Name
    """The search."""
    asked: int
    """The questions."""
    texts: int
    """The texts of their answers."""
    refused: int
    """Those of them that are not used."""
    unusable: int
    """The answers that have no texts."""
    born: int
    """The programs that were born of them by now."""
    best: float | None
    """The highest fitness of these."""


# --- contradictions, of which a whole database has none ---------------------------------------------------------------


@columns_of
class Contradiction(Row):
    """A program that rows of the database do not agree about."""

    id: int
    """Its ID."""


@query(
    """
    SELECT id FROM program WHERE search_id = :search AND answered_by IN (:training, :reevaluation)
    AND NOT EXISTS (SELECT 1 FROM training WHERE training.key = program.key) ORDER BY id
    """
)
class Untrained(Contradiction):
    """A program that was trained, without any training."""


@query(
    """
    SELECT MIN(id) AS id FROM program WHERE search_id = :search AND answered_by <> :constraint
    GROUP BY dataflow_hash HAVING COUNT(DISTINCT key) > 1 ORDER BY MIN(id)
    """
)
class OtherKey(Contradiction):
    """The first of the programs that compute the same but have several keys."""


@query(
    "SELECT id FROM program WHERE search_id = :search AND answered_by IN (:rejection, :constraint)"
    " AND status <> :rejected"
)
class HalfRejected(Contradiction):
    """A program that was rejected, with the status of another end."""
