"""The commands that look at results: their tables word for word, their widths and filters, and JSON and CSV.

The tables are kept in the folder `snapshots` beside this file. After a change that is meant, write them anew and read
the difference:

    OPTSEARCH_SNAPSHOTS=write .venv/bin/pytest -n0 tests/search/commands/test_terminal.py
"""

from __future__ import annotations

import csv
import json
import math
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import unicodedata
from collections import Counter
from contextlib import closing
from io import FileIO, StringIO
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from sqlalchemy import text

from programs import parse, zoo
from programs.hashing import dataflow_hash
from programs.liveness import live_program

from proxy_tasks import Outcome, Replica

from search.commands import terminal as display
from search.commands import watch
from search.commands.cli import main
from search.commands.lineage import LARGEST, line_of
from search.commands.output import form_of
from search.commands.plots import ASCII, HEIGHT, LABEL, Curve, plot
from search.commands.terminal import console, make_table, number
from search.results.text import printable
from search.store import ProofRow, SelectionRow, Store
from search.store.proofs import finish_proof, open_locked
from search.training.jobs import Job

from tests.support.searches import PretendingEvaluator, key_of, opened, run, settings_of

SNAPSHOTS = Path(__file__).parent / "snapshots"
OPTSEARCH = str(Path(sys.executable).parent / "optsearch")
SETTINGS = settings_of(
    baselines=["adamw", "lion"],
    budget={"programs": 200},
    tasks=[{"name": "digits_mlp", "steps": 20}],
    hurdles=False,
    meta_validation={"tasks": [{"name": "noisy_quadratic_short"}], "every": 20},
)
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


class Evaluator(PretendingEvaluator):
    """With curves such as real trainings have."""

    def outcome(self, job: Job, replica: Replica) -> Outcome:
        known = super().outcome(job, replica)
        if known.fitness is None:
            return known._replace(curve=[2.3, 2.6, 9.9])
        start = Random(key_of(replica.program)).uniform(1.5, 2.5)
        curve = [(start + known.fitness) * math.exp(-n / 4) - known.fitness for n in range(20)]
        return known._replace(curve=curve, steps=job.task.steps)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small database, always the same."""
    path = tmp_path_factory.mktemp("terminal") / "results.db"
    with opened(path) as store:
        run(SETTINGS, store, Evaluator())
        with store.writing() as connection:
            connection.execute(text("UPDATE search SET seconds = 4, heartbeat = NULL"))
    return path


@pytest.fixture(scope="module")
def ids(path: Path) -> dict[str, int]:
    """Of the best program, of one that failed, and of one of those with most ancestors."""
    with opened(path) as store:
        (best,) = store.rows("SELECT id FROM v_leaderboard LIMIT 1")
        (failed,) = store.rows("SELECT MIN(id) AS id FROM program WHERE status = 'diverged'")
        late = max(range(200), key=lambda birth: len(line_of(store, 1, birth)))
    return {"best": best["id"], "failed": failed["id"], "late": late + 1}


@pytest.fixture(autouse=True)
def _piped(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the output is piped, whatever the tests themselves run in."""
    monkeypatch.setattr(console, "width", 100)
    monkeypatch.setattr(console, "_color_system", None)


def command(path: Path | str, line: str) -> tuple[int, str, str]:
    """Exit code, output and errors of a command on a database, run in the folder of a file."""
    out, err = StringIO(), StringIO()
    with pytest.MonkeyPatch.context() as patched:
        if isinstance(path, Path):
            patched.chdir(path.parent)
        store = path.name if isinstance(path, Path) else path
        patched.setattr(sys, "argv", ["optsearch", *line.split(), "--store", store])
        patched.setattr(sys, "stdout", out)
        patched.setattr(sys, "stderr", err)
        with pytest.raises(SystemExit) as ended:
            main()
    return int(ended.value.code or 0), out.getvalue(), err.getvalue()


def said(path: Path | str, line: str) -> str:
    """The output of a command that succeeds in silence."""
    code, out, err = command(path, line)
    assert (code, err) == (0, ""), err
    return out


def refused(path: Path, line: str) -> str:
    """The one line with which a command is refused."""
    code, out, err = command(path, line)
    assert (code, out) == (2, "") and err.startswith("error: ") and err.count("\n") == 1, (code, out, err)
    return err


def changed(path: Path, folder: Path, *statements: str) -> Path:
    """A copy of the database after these statements."""
    copy = folder / "changed.db"
    shutil.copy(path, copy)
    with opened(copy) as store, store.writing() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    return copy


def columns_of(line: str) -> int:
    """Of a terminal, reckoned from the Unicode tables alone."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line)


def fits(out: str, width: int = 100) -> None:
    assert "\x1b" not in out
    for line in out.splitlines():
        assert columns_of(line) <= width, line


# --- word for word ---------------------------------------------------------------------------------------------------


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
        run(SETTINGS, store, Evaluator())
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
        f"program {best}", best, "digits_mlp_long", "f", 28, 0.5, 0.0, genome, 8, -0.07, 0.001, "adamw", 0.002, 0.0004,
        3.0, 0.0135, 1, 2,
    )  # fmt: skip
    rows = [
        ProofRow(name, who, task, task, genome, 0.0123, 0.1, 28, 2, 20, 1, -0.5 - n, 0.01, ahead, error, z, share, 1.25,
                 1.02, 2.0, 1.5, z and 4.0, p)
        for task in ("mnist1d_cnn", "pydoc_transformer")
        for n, (name, who, ahead, error, z, share, p) in enumerate([
            (f"program {best}", best, None, None, None, 0.5, None),
            ("adamw", None, 0.0625, 0.0125, 4.25, 1.0, 0.00003),
            ("lion", None, -0.0125, None, None, None, 0.2),
        ])
    ]  # fmt: skip
    with opened(copy) as store:
        store.set_selection("final", "small", 1, [passed])
        store.set_selection("final", "small", 2, [passed._replace(task="digits_cnn", task_fingerprint="e", z=None)])
        other = open_locked(store, 1, "another", "final")
        opening = open_locked(store, best, store.program(best)["dataflow_hash"], "final")
        assert opening.id > other.id
        finish_proof(store, opening, rows)
    return copy


def test_a_program_that_is_proven(proven: Path, ids: dict[str, int]) -> None:
    out = said(proven, f"show {ids['best']}")
    fits(out)
    assert "(2 finalists so far)" in out and "1 of 2" in out
    matches_snapshot("proven", out[out.index("in the funnel") :])


def test_funnel_and_proof_for_machines(proven: Path, ids: dict[str, int]) -> None:
    tables = json.loads(said(proven, f"show {ids['best']} --json"))["tables"]
    with opened(proven) as store:
        for name in ("funnel", "proof"):
            rows = store.rows(f"SELECT * FROM v_{name}")
            assert tables[name] == rows and rows
    assert "in the funnel" not in said(proven, f"show {ids['failed']}")


# --- widths ----------------------------------------------------------------------------------------------------------

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


# --- colours ---------------------------------------------------------------------------------------------------------


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


# --- what the tables say ---------------------------------------------------------------------------------------------


def tables(path: Path, line: str) -> dict[str, list[dict[str, Any]]]:
    """The tables of a command's JSON."""
    found = json.loads(said(path, f"{line} --json"))
    assert found["command"] == line.split()[0] and found["store"] == path.name
    return found["tables"]  # type: ignore[no-any-return]


def test_json_and_csv_are_complete_and_exact(path: Path, ids: dict[str, int]) -> None:
    with opened(path) as store:
        views = {"leaderboard": "v_leaderboard", "failures": "v_failures"}
        for line, view in views.items():
            rows = store.rows(f"SELECT * FROM {view}")
            shown = tables(path, line)[line]
            assert [{k: row[k] for k in rows[0]} for row in shown] == rows
            assert len(rows) > (20 if line == "leaderboard" else 3)
        for view in ("v_progress", "v_meta_validation"):
            assert tables(path, "status")[view[2:]] == store.rows(f"SELECT * FROM {view}")
        program = store.program(ids["best"])
        (program,) = tables(path, f"show {ids['best']}")["program"]
        assert {k: v for k, v in program.items() if k in program} == {k: v for k, v in program.items() if k in program}
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


def test_curves_are_those_of_the_program_and_of_the_baselines(path: Path, ids: dict[str, int]) -> None:
    rows = tables(path, f"show {ids['best']}")["curves"]
    with opened(path) as store:
        keys = {f"program {ids['best']}": store.program(ids["best"])["key"]}
        keys |= {f"tuned {b.name}": b.key for b in store.baselines(1).values()}
        for name, key in keys.items():
            (known,) = store.rows(
                "SELECT id FROM training WHERE key = :key AND seed = 0 AND task = 'digits_mlp'", key=key
            )
            shown = [row for row in rows if row["competitor"] == name]
            assert [row["loss"] for row in shown] == store.curve(known["id"])
            assert [row["point"] for row in shown] == [*range(1, 21)] and {row["points"] for row in shown} == {20}
    assert {row["competitor"] for row in rows} == set(keys)


def test_duplicates_are_counted(path: Path) -> None:
    with opened(path) as store:
        (most,) = store.rows(
            "SELECT key, COUNT(*) AS programs FROM program GROUP BY key ORDER BY COUNT(*) DESC LIMIT 1"
        )
        rows = store.rows("SELECT id, answered_by FROM program WHERE key = :key ORDER BY id", key=most["key"])
    first, *others = rows
    assert len(others) > 6
    shown = tables(path, f"show {first['id']}")["duplicates"]
    assert {row["answered_by"]: row["programs"] for row in shown} == Counter(row["answered_by"] for row in others)
    out = " ".join(said(path, f"show {first['id']}").split())
    assert f"{len(others)} other births with this key" in out
    assert f"such as {', '.join(str(row['id']) for row in others[:5])} key" in out
    later = " ".join(said(path, f"show {others[-1]['id']}").split())
    assert f"program {first['id']} was trained, and does the same" in later


def test_curves_are_of_the_seed_that_every_search_trains_on(path: Path, ids: dict[str, int], tmp_path: Path) -> None:
    other = """INSERT INTO training (key, task_fingerprint, seed, task, status, fitness, curve, steps, seconds,
                                       device, created)
               SELECT key, task_fingerprint, 1, task, status, fitness, '[7.5]', steps, seconds, device, created
               FROM training WHERE seed = 0"""
    shown = tables(path, f"show {ids['best']}")["curves"]
    assert tables(changed(path, tmp_path, other), f"show {ids['best']}")["curves"] == shown


def test_curves_on_several_tasks_stand_side_by_side(path: Path, ids: dict[str, int], tmp_path: Path) -> None:
    """In the order of the settings, whatever was trained first; those for which there is no room are counted."""
    names = ["e", "digits_mlp", "d", "c", "b", "a"]
    tasks = json.dumps([{"name": name} for name in names])
    copies = [
        f"""INSERT INTO training (key, task_fingerprint, seed, task, status, fitness, curve, steps, seconds, device,
                                    created)
            SELECT key, '{name}', seed, '{name}', status, fitness, curve, steps, seconds, device, created
            FROM training WHERE task = 'digits_mlp'"""
        for name in sorted(names) if name != "digits_mlp"
    ]  # fmt: skip
    copy = changed(
        path, tmp_path, *copies, f"UPDATE search SET settings = json_replace(settings, '$.tasks', json('{tasks}'))"
    )
    out = said(copy, f"show {ids['best']}")
    fits(out)
    titles = [line.replace(", log scale", "").split() for line in out.splitlines() if line.count("log scale") == 2]
    assert titles == [["e", "digits_mlp"], ["d", "c"]] and "and on 2 more tasks: --json has the curves of all" in out
    assert {row["task"] for row in tables(copy, f"show {ids['best']}")["curves"]} == set(names)


@pytest.mark.parametrize("states", [None, 0, 1])
@pytest.mark.parametrize("statements", [None, 3, 5])
@pytest.mark.parametrize("status", ["ok", "diverged", "rejected"])
def test_filters(path: Path, states: int | None, statements: int | None, status: str) -> None:
    options = "".join(f" --{k} {v}" for k, v in (("states", states), ("statements", statements)) if v is not None)
    rows = tables(path, f"leaderboard --status {status} --search small --task digits_mlp{options}")["leaderboard"]
    with opened(path) as store:
        known = store.rows("SELECT id, status, answered_by, fitness, state_slots, live_statements FROM program")
    wanted = [
        row["id"]
        for row in sorted(known, key=lambda row: (-(row["fitness"] or 0), row["id"] if status == "ok" else -row["id"]))
        if row["status"] == status and row["answered_by"] in ("training", "rejection")
        and (states is None or row["state_slots"] <= states)
        and (statements is None or row["live_statements"] <= statements)
    ]  # fmt: skip
    assert [row["id"] for row in rows] == wanted
    assert {row["status"] for row in rows} <= {status}


def test_programs_of_searches_on_a_task(tmp_path: Path) -> None:
    with opened(tmp_path / "r.db") as store:
        run(settings_of(), store, PretendingEvaluator())
        other = settings_of(name="other", tasks=[{"name": "digits_mlp_short", "steps": 5}], seed=3)
        run(other, store, PretendingEvaluator())
    for task, search in (("digits_mlp", "small"), ("digits_mlp_short", "other")):
        assert {row["search"] for row in tables(tmp_path / "r.db", f"leaderboard --task {task}")["leaderboard"]} == {
            search
        }
    both = refused(tmp_path / "r.db", "leaderboard --task cifar")
    assert "--task cifar: no search trains on it; there are: digits_mlp, digits_mlp_short" in both
    one = refused(tmp_path / "r.db", "leaderboard --task digits_mlp --search other")
    assert "search 'other' does not train on it; there are: digits_mlp_short" in one


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


# --- lineage ---------------------------------------------------------------------------------------------------------


def ancestors(store: Store, birth: int | None) -> list[dict[str, Any]]:
    """The line of a birth, one query for each, the first ancestor first."""
    line: list[dict[str, Any]] = []
    while birth is not None:
        (row,) = store.rows("SELECT * FROM program WHERE birth = :birth", birth=birth)
        line.insert(0, row)
        birth = row["parent_birth"]
    return line


def test_the_line_is_that_of_parents(path: Path) -> None:
    with opened(path) as store:
        for birth in range(0, 200, 7):
            line, known = line_of(store, 1, birth), ancestors(store, birth)
            assert [row["id"] for row in line] == [row["id"] for row in known]
            for row, before, after in zip(line[1:], known, known[1:], strict=False):
                assert row["changed"] is int(before["dataflow_hash"] != after["dataflow_hash"])
                both = before["fitness"] is not None and after["fitness"] is not None
                assert row["gain"] == (after["fitness"] - before["fitness"] if both else None)
            assert (line[0]["changed"], line[0]["gain"]) == (None, None)


def test_each_step_says_what_changed(path: Path, ids: dict[str, int]) -> None:
    """Lines with - and + turn the live statements of one into those of the next; the rest is folded and counted."""
    out = said(path, f"lineage {ids['late']} --all")
    with opened(path) as store:
        line = ancestors(store, store.program(ids["late"])["birth"])
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
                                    statements, live_statements, state_slots, status, fitness, dataflow_hash)
            SELECT 1, b, b, b - 1, 'modify', 'update = g * 0.' || (1 + (b / 10) % 2), 'k', 'training', 1, 1, 0, 'ok',
                   (b / 10) * (b / 10) * 1e-6, '{other[:-1]}' || ((b / 10) % 2) FROM n""",
    )  # fmt: skip


def test_long_lines_stay_readable_and_take_few_queries(long_line: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queries: list[str] = []
    rows = Store.rows

    def counted(self: Store, query: str, **parameters: Any) -> list[dict[str, Any]]:
        queries.append(query)
        return rows(self, query, **parameters)

    monkeypatch.setattr(Store, "rows", counted)
    with opened(long_line) as store:
        (last,) = store.rows("SELECT MAX(id) AS id FROM program")
    out = said(long_line, f"lineage {last['id']}")
    fits(out)
    assert len(out.splitlines()) < 50 and len(queries) < 10
    assert f"the {LARGEST} with the largest gains and the last are shown; --all shows every change" in out
    assert "births, 490 of which changed something" in out, "the first and the last nine have the largest gains"
    everything = said(long_line, f"lineage {last['id']} --all")
    assert everything.count("9 births that changed nothing") == 499 and "of which changed something" not in everything
    assert len(tables(long_line, f"lineage {last['id']}")["lineage"]) == 5000


@pytest.mark.parametrize("parent", ["birth", "birth + 1", "4999", "-1", "2000000000"])
def test_a_line_that_no_run_has_written_ends(long_line: Path, tmp_path: Path, parent: str) -> None:
    copy = changed(long_line, tmp_path, f"UPDATE program SET parent_birth = {parent} WHERE birth = 4000")
    with opened(copy) as store:
        (last,) = store.rows("SELECT MAX(id) AS id FROM program")
        assert len(line_of(store, 1, 4999)) == 1000
    assert "no parent is known" in said(copy, f"lineage {last['id']}")


def test_a_program_without_ancestors(path: Path, tmp_path: Path) -> None:
    assert "it has no ancestors" in said(path, "lineage 1") and "the start program" in said(path, "lineage 1")
    random = changed(path, tmp_path, "UPDATE program SET parent_birth = NULL, mutation = 'random' WHERE id = 9")
    assert "drawn at random" in said(random, "lineage 9") and "drawn at random" in said(random, "show 9")


# --- plots -----------------------------------------------------------------------------------------------------------

CURVES = st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=20).map(lambda losses: Curve(losses, 20))


@settings(max_examples=200)
@given(CURVES.filter(lambda curve: curve.losses), st.none() | CURVES, st.integers(25, 60))
def test_plots_have_their_size_and_both_ends(ours: Curve, theirs: Curve | None, width: int) -> None:
    lines = plot("任 task", ours, theirs, width)
    assert len(lines) == HEIGHT + 3 and all(columns_of(line.plain) == width for line in lines)
    drawn = [line.plain[LABEL + 1 :] for line in lines[1 : HEIGHT + 1]]
    losses = [*ours.losses, *(theirs.losses if theirs else [])]
    if min(losses) < max(losses) and theirs is None and (min(losses) <= 0 or max(losses) / min(losses) > 1.01):
        ends = (drawn[0].strip(), drawn[-1].strip())
        assert all(ends) or max(losses) - min(losses) < 1e-12 * max(map(abs, losses))
    assert all(line.plain.isascii() for line in plot("task", ours, theirs, width, ASCII))


def test_a_falling_curve_falls_and_the_dashed_one_has_gaps() -> None:
    falling, flat = Curve([2.0 - n / 10 for n in range(20)], 20), Curve([1.0] * 20, 20)
    text = [line.plain for line in plot("t", falling, flat, 49, ASCII)]
    assert text[0].split() == ["t,", "log", "scale"] and text[1].split()[0] == "2|" and "0.1|" in text[HEIGHT]
    ends = [max(place for place, c in enumerate(line) if c == "*") for line in text[1 : HEIGHT + 1]]
    assert ends == sorted(ends) and ends[0] < 25 < ends[-1]
    dashed = next(line for line in text if line.count("o") > 5)
    assert "o " in dashed[20:] and len(dashed.split("o ")) > 4


def test_a_training_that_ended_early_is_drawn_as_far_as_it_went() -> None:
    text = [line.plain for line in plot("t", Curve([1.0, 2.0, 3.0, 4.0, 5.0], 20), None, 50, ASCII)]
    assert max(line.rindex("*") for line in text if "*" in line) < LABEL + 50 / 4


# --- watching --------------------------------------------------------------------------------------------------------


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Console:
    terminal = Console(
        file=StringIO(), force_terminal=True, color_system=None, width=100, height=40, _environ={"TERM": "xterm"}
    )
    monkeypatch.setattr(watch, "console", terminal)
    return terminal


class Clock:
    """Stands for time: what happens between looks, one step for each; then Ctrl-C."""

    def __init__(self, *steps: Any) -> None:
        self.waited: list[float] = []
        self._steps = iter(steps)

    def sleep(self, seconds: float) -> None:
        self.waited.append(seconds)
        step = next(self._steps, None)
        if step is None:
            raise KeyboardInterrupt
        step()


def test_a_run_is_watched_from_before_its_beginning(
    tmp_path: Path, terminal: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is waited for, then the search, then programs; Ctrl-C ends it without a word."""
    file = tmp_path / "r.db"
    stores: list[Store] = []

    def make() -> None:
        with opened(file):
            pass

    def search() -> None:
        with opened(file) as store:
            run(settings_of(), store, PretendingEvaluator())

    clock = Clock(make, search, lambda: None)
    monkeypatch.setattr(watch.time, "sleep", clock.sleep)
    code, out, err = command(file, "leaderboard --search small --limit 3 --watch 0.5")
    assert (code, out, err) == (0, "", "") and clock.waited == [0.5] * 4 and not stores
    shown = terminal.file.getvalue()  # type: ignore[attr-defined]
    first, second, third = (shown.index(s) for s in ("no such database", "no search 'small'", "over AdamW"))
    assert first < second < third and "every 0.5 s; Ctrl-C ends" in shown and "Traceback" not in shown
    assert shown.count("\x1b[1A") > 5, "in one place"


def test_what_is_wrong_from_the_beginning_ends_it(
    path: Path, terminal: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch.time, "sleep", Clock().sleep)
    assert "no search 'other'; there are: small" in refused(path, "leaderboard --watch --search other")
    assert terminal.file.getvalue() == ""  # type: ignore[attr-defined]


def test_watching_in_a_real_terminal(path: Path) -> None:
    """The command itself: Ctrl-C ends it, exit code 0, no traceback, and the table stays."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "40"}
    watching = subprocess.Popen(
        [OPTSEARCH, "leaderboard", "--watch", "0.2", "--store", str(path)],
        stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    with closing(os.fdopen(ours, "rb", buffering=0)) as screen:
        seen = ""
        while seen.count("Ctrl-C ends") < 3:
            seen += written(screen)
        watching.send_signal(signal.SIGINT)
        while more := written(screen):
            seen += more
    assert watching.wait(timeout=60) == 0
    assert "Traceback" not in seen and "over AdamW" in seen[-5000:]


def written(screen: FileIO) -> str:
    """What comes next on a terminal; nothing when its program has ended."""
    assert select.select([screen], [], [], 120)[0], "it hangs"
    try:
        return screen.read(65536).decode("utf-8", "replace")
    except OSError:  # how the end of a terminal is told
        return ""
