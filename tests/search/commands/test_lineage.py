"""`optsearch lineage`: the births from the start program to a program, and what each of them changed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from programs import parse
from programs.hashing import dataflow_hash
from programs.liveness import live_program

from search.commands.lineage import LARGEST
from search.results.results import Results
from search.store import Store
from search.store.rows import Row

from tests.support.commands import changed, fits, refused, said, tables
from tests.support.searches import opened, rows_of_query


def ancestors(store: Store, birth: int | None) -> list[dict[str, Any]]:
    """The line of a birth, one query for each, the first ancestor first."""
    line: list[dict[str, Any]] = []
    while birth is not None:
        (row,) = rows_of_query(store, "SELECT * FROM program WHERE birth = :birth", birth=birth)
        line.insert(0, row)
        birth = row["parent_birth"]
    return line


def test_the_line_is_that_of_parents(path: Path) -> None:
    with opened(path) as store:
        for birth in range(0, 200, 7):
            line, known = Results(store).lineage(birth + 1), ancestors(store, birth)
            assert [row.id for row in line] == [row["id"] for row in known]
            for row, before, after in zip(line[1:], known, known[1:], strict=False):
                assert row.changed is (before["dataflow_hash"] != after["dataflow_hash"])
                both = before["fitness"] is not None and after["fitness"] is not None
                assert row.gain == (after["fitness"] - before["fitness"] if both else None)
            assert (line[0].changed, line[0].gain) == (None, None)


def test_each_step_says_what_changed(path: Path, ids: dict[str, int]) -> None:
    """Lines with - and + turn the live statements of one into those of the next; the rest is folded and counted."""
    out = said(path, f"lineage {ids['late']} --all")
    with opened(path) as store:
        line = ancestors(store, Results(store).program(ids["late"]).birth)
    steps: dict[int, list[str]] = {}
    births, changes = 0, 0
    for shown in out.splitlines()[3:-1]:
        if number := re.match(r" *(\d+) ", shown):
            steps[current := int(number[1])] = []
        if sign := re.search(r"(?<=  )[-+] \w+ = [^ ]+(?: [-+*/] [^ ]+|, [^ ]+)*", shown):
            steps[current].append(sign[0])
        if folded := re.search(r"(\d+) births? that changed nothing", shown):
            births += int(folded[1])
    for before, after in pairwise(line):
        if before["dataflow_hash"] == after["dataflow_hash"]:
            continue
        changes += 1
        old, new = (Counter(map(str, live_program(parse(row["genome"])).statements)) for row in (before, after))
        gone, come = (Counter(s[2:] for s in steps[after["id"]] if s[0] == sign) for sign in "-+")
        assert old - gone + come == new and steps[after["id"]]
    assert births + changes == len(line) - 1 > 3 and births and changes


@pytest.fixture(scope="module")
def long_line(path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """5,000 births, each a child of the one before; every tenth changes something, and gains its birth's share."""
    other = dataflow_hash(parse("update = g * 0.5"))
    return changed(
        path, tmp_path_factory.mktemp("long"), "DELETE FROM meta_validation", "DELETE FROM program WHERE birth > 0",
        f"""WITH RECURSIVE n(b) AS (SELECT 1 UNION ALL SELECT b + 1 FROM n WHERE b < 4999)
            INSERT INTO program (search_id, birth, batch, parent_birth, mutation, genome, key, answered_by,
                                    statements, live_statements, state_slots, status, fitness, trainings, replica_steps,
                                    dataflow_hash)
            SELECT 1, b, b, b - 1, 'modify', 'update = g * 0.' || (1 + (b / 10) % 2), 'k', 'training', 1, 1, 0, 'ok',
                   (b / 10) * (b / 10) * 1e-6, 1, 20, '{other[:-1]}' || ((b / 10) % 2) FROM n""",
    )  # fmt: skip


def last_program(path: Path) -> int:
    """Return the ID of the program that was drawn last."""
    with opened(path) as store:
        return int(rows_of_query(store, "SELECT MAX(id) AS id FROM program")[0]["id"])


def test_long_lines_stay_readable_and_take_few_queries(long_line: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queries: list[type[Row]] = []
    iterate = Store.iterate

    def counted(self: Store, kind: type[Row], *arguments: Any, **parameters: Any) -> Iterator[Row]:
        queries.append(kind)
        return iterate(self, kind, *arguments, **parameters)

    monkeypatch.setattr(Store, "iterate", counted)
    last = last_program(long_line)
    out = said(long_line, f"lineage {last}")
    fits(out)
    assert len(out.splitlines()) < 50 and len(queries) < 10
    assert f"the {LARGEST} with the largest gains and the last are shown; --all shows every change" in out
    assert "births, 490 of which changed something" in out, "the first and the last nine have the largest gains"
    everything = said(long_line, f"lineage {last} --all")
    assert everything.count("9 births that changed nothing") == 499 and "of which changed something" not in everything
    assert len(tables(long_line, f"lineage {last}")["lineage"]) == 5000


@pytest.mark.parametrize("parent", ["birth", "birth + 1", "4999", "-1", "2000000000"])
def test_a_line_that_no_run_has_written_is_refused(long_line: Path, tmp_path: Path, parent: str) -> None:
    copy = changed(long_line, tmp_path, f"UPDATE program SET parent_birth = {parent} WHERE birth = 4000")
    assert "optsearch did not write (the parent of a birth)" in refused(copy, f"lineage {last_program(copy)}")


def test_a_line_ends_where_a_parent_is_missing(long_line: Path, tmp_path: Path) -> None:
    copy = changed(long_line, tmp_path, "DELETE FROM program WHERE birth = 3999")
    last = last_program(copy)
    with opened(copy) as store:
        assert len(Results(store).lineage(last)) == 1000
    assert "no parent is known" in said(copy, f"lineage {last}")


def test_a_program_without_ancestors(path: Path, tmp_path: Path) -> None:
    assert "it has no ancestors" in said(path, "lineage 1") and "the start program" in said(path, "lineage 1")
    random = changed(path, tmp_path, "UPDATE program SET parent_birth = NULL, mutation = 'random' WHERE id = 9")
    assert "drawn at random" in said(random, "lineage 9") and "drawn at random" in said(random, "show 9")
