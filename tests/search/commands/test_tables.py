"""The tables of the commands that look at results: word for word, their widths, and their colours.

The tables are kept in the folder `snapshots` beside this file. After a change that is meant, write them anew and read
the difference:

    OPTSEARCH_SNAPSHOTS=write .venv/bin/pytest -n0 tests/search/commands/test_tables.py
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import sys
from collections import Counter
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from sqlalchemy import text

from programs import parse, zoo

from search.commands import terminal as display
from search.commands.cli import main
from search.commands.terminal import console, make_table, number
from search.results.results import Results
from search.results.text import printable
from search.store import ProofRow, SelectionRow
from search.store.proofs import finish_proof, open_locked, set_proof

from tests.support.commands import SETTINGS, command, fits, said
from tests.support.searches import CurvedEvaluator, opened, rows_of_query, run

SNAPSHOTS = Path(__file__).parent / "snapshots"
COMMANDS = (
    "status",
    "leaderboard",
    "leaderboard --pareto",
    "leaderboard --status diverged",
    "leaderboard --states 1 --statements 4",
    "failures",
    "show {best}",
    "show {failed}",
    "lineage {late}",
    "lineage {late} --all",
)


# --- word for word ----------------------------------------------------------------------------------------------------


def matches_snapshot(name: str, out: str) -> None:
    file = SNAPSHOTS / f"{name}.txt"
    shown = "".join(f"{line.rstrip()}\n" for line in out.splitlines())
    if os.environ.get("OPTSEARCH_SNAPSHOTS") == "write":
        file.write_text(shown, encoding="utf-8")
    assert shown == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("line", COMMANDS)
def test_tables(path: Path, ids: dict[str, int], line: str) -> None:
    out = said(path, line.format(**ids))
    fits(out)
    matches_snapshot(re.sub(r"\W+", "_", line).strip("_"), out)


@pytest.mark.parametrize("line", ["status --csv", "leaderboard --csv --limit 3", "failures --json", "lineage 20 --csv"])
def test_forms_for_machines(path: Path, line: str) -> None:
    matches_snapshot(re.sub(r"\W+", "_", line), said(path, line))


def test_the_same_on_postgresql(path: Path, ids: dict[str, int], postgres_server: Any) -> None:
    location = postgres_server.database()
    with opened(location) as store:
        run(SETTINGS, store, CurvedEvaluator())
        with store.writing() as connection:
            connection.execute(text("UPDATE search SET seconds = 4, heartbeat = NULL"))
        name = store.location
    for line in (*COMMANDS, "status --json", "leaderboard --csv", "show {best} --json", "lineage {late} --csv"):
        assert said(location, line.format(**ids)).replace(name, "results.db") == said(path, line.format(**ids)), line


@pytest.mark.parametrize("line", ["zoo --functions", "zoo", "tasks"])
def test_other_tables(
    line: str, path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["optsearch", *line.split()])
    with pytest.raises(SystemExit):
        main()
    out = capsys.readouterr().out
    fits(out)
    assert len(out.splitlines()) > 9


def test_every_snapshot_is_of_some_test() -> None:
    """None is left behind by a test that has another name now."""
    lines = [*COMMANDS, "status --csv", "leaderboard --csv --limit 3", "failures --json", "lineage 20 --csv", "proven"]
    assert {file.stem for file in SNAPSHOTS.iterdir()} == {re.sub(r"\W+", "_", line).strip("_") for line in lines}


@pytest.fixture(scope="module")
def proven(path: Path, ids: dict[str, int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database after a funnel and a proof of its best program."""
    copy, best = tmp_path_factory.mktemp("proven") / "results.db", ids["best"]
    shutil.copy(path, copy)
    genome = "update = g * lr"
    passed = SelectionRow(
        funnel="final", search="small", stage=1, stages=2, competitor=f"program {best}", program_id=best,
        task="digits_mlp_long", task_fingerprint="f", trials=28, learning_rate=0.5, weight_decay=0.0, genome=genome,
        seeds=8, fitness=-0.07, standard_error=0.001, baseline="adamw", ahead=0.002, ahead_error=0.0004, z=3.0,
        p=0.0135, passed=True,
    )  # fmt: skip
    rows = [
        ProofRow(name, who, *of, of[-1], genome, 0.0123, 0.1, 28, 2, 20, 1, -0.5 - n, 0.01, ahead, error, z, share,
                 1.25, 1.02, 2.0, 1.5, z and 4.0, p)
        for of in (("first", 3, "mnist1d_cnn"), ("first", 3, "pydoc_transformer"), ("second", 2, "poisson_pinn"))
        for n, (name, who, ahead, error, z, share, p) in enumerate([
            (f"program {best}", best, None, None, None, 0.5, None),
            ("adamw", None, 0.0625, 0.0125, 4.25, 1.0, 0.00003),
            ("lion", None, -0.0125, None, None, None, 0.2),
        ])
    ]  # fmt: skip
    with opened(copy) as store:
        store.set_selection([passed])
        store.set_selection([replace(passed, stage=2, task="digits_cnn", task_fingerprint="e", z=None)])
        other = open_locked(store, 1, "another", "final", 9000, {})
        opening = open_locked(store, best, Results(store).program(best).dataflow_hash, "final", 9000, {})
        assert opening.id > other.id
        set_proof(store, opening, rows)
        finish_proof(store, opening)
    return copy


def test_a_program_that_is_proven(proven: Path, ids: dict[str, int]) -> None:
    out = said(proven, f"show {ids['best']}")
    fits(out)
    assert "first locked set (3 finalists by then)" in out and "second locked set (2 finalists by then)" in out
    assert "1 of 2" in out
    matches_snapshot("proven", out[out.index("in the funnel") :])


def test_funnel_and_proof_for_machines(proven: Path, ids: dict[str, int]) -> None:
    tables = json.loads(said(proven, f"show {ids['best']} --json"))["tables"]
    with opened(proven) as store:
        for name in ("funnel", "proof"):
            rows = rows_of_query(store, f"SELECT * FROM v_{name}")
            assert tables[name] == rows and rows
    assert "in the funnel" not in said(proven, f"show {ids['failed']}")


# --- widths -----------------------------------------------------------------------------------------------------------
TEXTS = st.one_of(st.text(max_size=40), st.text("漢字かな語", max_size=120), st.text("ab _-\n\x1b\u202e", max_size=400))
NUMBERS = st.one_of(
    st.integers(-(2**63), 2**63).map(str), st.floats().map(number), st.floats().map(lambda x: number(x, True))
)


@settings(max_examples=60)
@given(st.data(), st.integers(1, 9), st.integers(0, 5), st.sampled_from([100, 80, 60]))
def test_no_table_is_too_wide_and_nothing_in_it_is_lost(
    data: st.DataObject, columns: int, rows: int, width: int
) -> None:
    cells = [data.draw(st.lists(TEXTS | NUMBERS, min_size=columns, max_size=columns)) for _ in range(rows)]
    heads = data.draw(st.lists(st.text("abc de", max_size=12), min_size=columns, max_size=columns))
    chosen = data.draw(st.sets(st.sampled_from(heads)))
    console.width = width
    with console.capture() as captured:
        console.print(make_table(heads, cells, left=list(chosen)))
    fits(captured.get(), width)
    shown = Counter(re.sub(r"[\s─]", "", captured.get()))
    as_table, as_lists = [heads, *cells], [row for of_row in cells for row in (heads, of_row)]
    assert shown in [kept_of(rows) for rows in (as_table, as_lists)]


def kept_of(rows: list[list[str]]) -> Counter[str]:
    kept = "".join(printable(cell, display.LONGEST_CELL) for row in rows for cell in row)
    return Counter(re.sub(r"[\s─]", "", kept))


WILD = st.sampled_from([
    "UPDATE program SET reason = :text WHERE status <> 'ok'", "UPDATE program SET mutation = :text",
    "UPDATE program SET fitness = :number WHERE fitness IS NOT NULL", "UPDATE search SET name = :name",
    "UPDATE program SET statements = :whole, birth = birth", "UPDATE program SET key = :text",
    "UPDATE training SET curve = :curve", "UPDATE baseline SET name = :name WHERE name = 'lion'",
    "UPDATE meta_validation SET fitness = :number, meta_fitness = -:number",
    "UPDATE search SET holder = :text, state = 'running'",
    "UPDATE training SET task = :text", "UPDATE baseline SET fitness = :number",
])  # fmt: skip
LOSSES = st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=20, max_size=20)


@settings(max_examples=20)
@given(st.lists(WILD, min_size=1, max_size=4), st.text(max_size=200), st.text("Ωx漢_.-9", min_size=1, max_size=200),
       st.floats(allow_nan=False, allow_infinity=False), st.integers(0, 2**63 - 1), LOSSES)  # fmt: skip
def test_no_command_writes_wider_lines(
    path: Path,
    ids: dict[str, int],
    wild: list[str],
    words: str,
    name: str,
    value: float,
    whole: int,
    curve: list[float],
) -> None:
    copy = path.with_name("wild.db")
    shutil.copy(path, copy)
    values = {
        "text": words.encode("utf-8", "replace").decode(),
        "name": name,
        "number": value,
        "whole": whole,
        "curve": json.dumps(curve),
    }
    with opened(copy) as store, store.writing() as connection:
        for statement in wild:
            connection.execute(text(statement), {k: v for k, v in values.items() if f":{k}" in statement})
    for line in ("status", "leaderboard", "leaderboard --status diverged", "failures", "show {best}", "lineage {late}"):
        code, out, err = command(copy, line.format(**ids))
        fits(out)
        assert code == 0 or (code == 2 and err.count("\n") == 1), err


@pytest.mark.parametrize("width", [40, 80])
def test_narrower_terminals(path: Path, ids: dict[str, int], width: int) -> None:
    for line in COMMANDS:
        console.width = width
        fits(said(path, line.format(**ids)), width)
    out = said(path, "leaderboard")
    assert all(number in out for number in ("-0.00104", "+0.04612", "+0.00584")), "numbers are never folded"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "-"), (math.nan, "-"), (0.0, "+0.00000"), (-0.5, "-0.50000"), (1e-7, "+1.00e-07"), (-1e300, "-1.00e+300"),
     (9999999.0, "+9999999.00000"), (math.inf, "+inf")],
)  # fmt: skip
def test_numbers_are_short_and_never_a_zero_that_is_none(value: float | None, shown: str) -> None:
    assert number(value, sign=True) == shown and len(number(value)) <= 14


# --- colours ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def coloured(monkeypatch: pytest.MonkeyPatch) -> Console:
    """A terminal with colours, in place of the console of the program's own."""
    terminal = Console(
        file=StringIO(), force_terminal=True, color_system="standard", width=100, highlight=False, markup=False
    )
    monkeypatch.setattr(display, "console", terminal)
    return terminal


def test_dead_statements_are_dimmed_and_marked(coloured: Console) -> None:
    display.show_program(parse("x = square(w)\nupdate = g * 0.5"))
    _, dead, alive, _ = coloured.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert dead == "    \x1b[2m    x = square(w)    # dead\x1b[0m"
    assert "dead" not in alive and "\x1b[35m0.5\x1b[0m" in alive


@given(st.sampled_from(zoo.names()))
def test_colours_leave_programs_as_they_are(name: str) -> None:
    text = zoo.load(name).as_function()
    assert display.code(text).plain == text
