"""JSON and CSV of the commands that look at results, and what these commands refuse."""

from __future__ import annotations

import csv
from io import StringIO
from pathlib import Path

import pytest

from search.commands.output import form_of
from search.results.results import Results

from tests.support.commands import changed, refused, said, tables
from tests.support.searches import opened, rows_of_query


def test_json_and_csv_are_complete_and_exact(path: Path, ids: dict[str, int]) -> None:
    with opened(path) as store:
        views = {"leaderboard": "v_leaderboard", "failures": "v_failures"}
        for line, view in views.items():
            rows = rows_of_query(store, f"SELECT * FROM {view}")
            shown = tables(path, line)[line]
            assert [{k: row[k] for k in rows[0]} for row in shown] == rows
            assert len(rows) > (20 if line == "leaderboard" else 3)
        for view in ("v_progress", "v_meta_validation"):
            assert tables(path, "status")[view[2:]] == rows_of_query(store, f"SELECT * FROM {view}")
        known = Results(store).program(ids["best"]).as_columns()
        (shown_program,) = tables(path, f"show {ids['best']}")["program"]
        assert {k: v for k, v in shown_program.items() if k in known} == known
    for line in ("status", "leaderboard", "failures", f"show {ids['best']}", f"lineage {ids['best']}"):
        first = next(iter(tables(path, line).values()))
        rows = list(csv.DictReader(StringIO(said(path, f"{line} --csv"))))
        assert rows == [{k: "" if v is None else str(v) for k, v in row.items()} for row in first]


def test_csv_without_rows_has_its_heading(path: Path) -> None:
    assert said(path, "leaderboard --csv --statements 0").splitlines() == [
        ",".join(tables(path, "leaderboard")["leaderboard"][0])
    ]
    assert tables(path, "leaderboard --statements 0") == {"leaderboard": []}


def test_long_texts_are_whole_in_csv_and_steer_nothing(path: Path, tmp_path: Path) -> None:
    copy = changed(path, tmp_path, "UPDATE program SET reason = printf('%.*c', 5000, 'x') || char(27) WHERE id = 2")
    rows = list(csv.DictReader(StringIO(said(copy, "leaderboard --status diverged --csv"))))
    assert rows[-1]["reason"] == "x" * 5000 + "\N{REPLACEMENT CHARACTER}"
    (row,) = [row for row in tables(copy, "failures")["failures"] if row["example_id"] == 2]
    assert row["reason"] == "x" * 5000 + "\x1b" and "\x1b" not in said(copy, "failures --json")


def test_limits_hold_in_every_form(path: Path) -> None:
    assert len(tables(path, "leaderboard --limit 2")["leaderboard"]) == 2
    assert len(tables(path, "failures --limit 1")["failures"]) == 1
    assert said(path, "leaderboard --limit 2").splitlines()[-1] == "there are more; --limit says how many are listed"
    counted = tables(path, "failures")["failures"]
    last = said(path, "failures --limit 1").splitlines()[-1]
    programs = sum(row["programs"] for row in counted[1:])
    assert last == f"and {len(counted) - 1} more reasons, for {programs} programs; --limit lists more"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("status --search other", "no search 'other'; there are: small"),
        ("leaderboard --search other", "no search 'other'; there are: small"),
        ("leaderboard --status fine", "--status fine: no such status; there are: diverged, dropped, error, lost, ok, "),
        (
            "leaderboard --status diverged --pareto",
            "--pareto --status diverged: only programs that are ok have a fitness",
        ),
        ("leaderboard small", "unexpected 'small'; a search is named with --search NAME"),
        ("leaderboard --watch", "--watch: needs a terminal"),
        ("leaderboard --watch soon", "--watch soon: expected seconds between two looks"),
        ("leaderboard --watch 1e9", "--watch 1e9: expected seconds between two looks"),
        ("leaderboard --watch --csv", "--watch: refreshes a table for people"),
        ("failures --json --csv", "--json and --csv: results are written in one form; leave one of the two out"),
        ("lineage 201", "no program 201; IDs go from 1 to 200"),
        ("lineage", "Missing argument 'ID'"),
        ("show best", "'ID'"),
    ],
)
def test_mistakes(path: Path, line: str, message: str) -> None:
    assert message in refused(path, line)


def test_a_program_that_is_not_there_yet(tmp_path: Path) -> None:
    with opened(tmp_path / "r.db") as store:
        store.create_search("a", {})
    assert "no program has trained well" in said(tmp_path / "r.db", "leaderboard")
    assert "nothing has failed" in said(tmp_path / "r.db", "failures")
    assert "no such program" in said(tmp_path / "r.db", "leaderboard --states 0")
    assert "IDs go from 1 to 0" in refused(tmp_path / "r.db", "lineage 1")


def test_two_forms_are_one_too_many() -> None:
    assert [form_of(*of).value for of in ((False, False), (True, False), (False, True))] == ["text", "json", "csv"]
