"""What a report asks of `Results`: rows of one search alone, and no more of them than it names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy_tasks.outcome import Status

from search.results.results import Results, open_results
from search.store.proofs import open_locked, set_proof
from search.store.tables import ProgramColumns, ProgramRow, ProofRow

from tests.support.pages import fill
from tests.support.searches import rows_of_query, settings_of


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Results]:
    path = tmp_path_factory.mktemp("results") / "results.db"
    fill(path)
    with open_results(str(path)) as results:
        yield results


def test_a_limited_lineage_ends_with_the_program(results: Results) -> None:
    whole = results.lineage(78)
    assert whole[0].parent_birth is None and whole[-1].id == 78 and len(whole) == 4
    assert [row.parent_birth for row in whole[1:]] == [row.birth for row in whole[:-1]]
    assert results.lineage(78, 2) == whole[-2:]


def test_children_are_those_of_the_births(results: Results) -> None:
    """More births than fit into one query; gains are those of the lineage."""
    found = results.children("small", range(1000))
    rows = rows_of_query(results.store, "SELECT birth, parent_birth, fitness, gain FROM v_lineage WHERE birth > 0")
    assert [row.as_columns() for row in found] == [row for row in rows if row["parent_birth"] is not None]
    assert {row.parent_birth for row in results.children("small", [0, 1])} <= {0, 1}
    assert results.children("small", []) == [] and results.children("other", [0]) == []


def test_counts_and_limits(results: Results) -> None:
    leaders = results.leaderboard("small", None)
    assert results.distinct_programs("small") == len(leaders) == 50 and results.distinct_programs("other") == 0
    assert results.failures("small", 1) == results.failures("small")[:1]
    assert results.simplification(78, 1) == results.simplification(78)[:1]
    every = results.trainings(leaders[0])
    assert results.trainings(leaders[0], Status.OK) == every and results.trainings(leaders[0], limit=1) == every[:1]
    assert results.trainings(leaders[0], Status.DIVERGED) == []


def test_the_last_proof_is_that_of_the_search(tmp_path: Path) -> None:
    """The last that was opened, whatever its number, and none of another search."""
    fill(tmp_path / "r.db")
    with open_results(str(tmp_path / "r.db")) as results:
        store, first = results.store, results.program(1)
        rows = [ProofRow(**{name: getattr(row, name) for name in ProofRow.kinds}) for row in results.proof(78)]
        other = store.create_search("other", settings_of(name="other").model_dump(mode="json"))
        assert results.last_proof("other") == []
        born = ProgramRow(**{name: getattr(first, name) for name in ProgramColumns.kinds})
        with store.writing() as connection:
            store.insert(connection, [born], search_id=other)
        (last,) = rows_of_query(store, "SELECT MAX(id) AS id FROM program")
        for program_id in (1, last["id"]):
            set_proof(store, open_locked(store, program_id, f"of {program_id}", "final", 9000, {}), rows)
        assert {row.finalist for row in results.proof()} == {1, 78, last["id"]} and last["id"] > 78
        assert {row.finalist for row in results.last_proof("small")} == {1}
        assert {row.finalist for row in results.last_proof("other")} == {last["id"]}
