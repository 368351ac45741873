"""`optsearch check`: damage anywhere is found, and what is whole is not blamed."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from search.store import Store, tables
from search.store.rows import metadata

from tests.support.commands import command, said
from tests.support.postgres import Server
from tests.support.searches import CurvedEvaluator, opened, run, settings_of, stop_at

SETTINGS = settings_of(
    baselines=["adamw", "torch_adamw"],
    tasks=[{"name": "digits_mlp", "steps": 20}],
    hurdles={"after": 10},
    meta_validation={"tasks": [{"name": "noisy_quadratic_short"}], "every": 20},
)
PAGE = 4096
COMMANDS = ("status --csv", "leaderboard --json", "failures --json", "lineage 4 --json")


def fill(store: Store) -> None:
    """Something in every table that runs write."""
    run(SETTINGS, store, CurvedEvaluator())
    step = tables.SimplificationRow(0, "algebra", "update = g * lr", "update = g * lr", {}, accepted=True)
    store.set_simplification(4, [step])
    store.add_export(4, tables.ExportRow("dsl", "Program4", "update = g * lr"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "results.db"
    with opened(path) as store:
        fill(store)
    return path


@pytest.fixture
def path(whole: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copy(whole, tmp_path / "results.db"))


def found(path: Path | str, summary: str = "finding") -> list[str]:
    """The findings, which stand alone on the standard output."""
    code, out, err = command(path, "check")
    assert code == 1 and summary in err and err.startswith("error: ") and err.count("\n") == 1, (code, out, err)
    assert "\x1b" not in out
    return out.splitlines()


def changed(path: Path, *statements: str) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    return [line.removeprefix("results.db: ") for line in found(path)]


# --- whole -----------------------------------------------------------------------------------------------------------


def test_what_is_whole_is_said_so_in_one_line(whole: Path) -> None:
    with closing(sqlite3.connect(whole)) as connection:
        trainings, rows = (
            sum(connection.execute(f"SELECT COUNT(*) FROM {name}").fetchone()[0] for name in names)
            for names in (["training"], set(metadata.tables) - {"search", "program", "training"})
        )
    assert said(whole, "check") == (
        "results.db: whole (pages, indexes, references, rows and programs: 1 search, 100 programs,"
        f" {trainings} trainings, {rows} other rows)\n"
    )


def test_nothing_is_blamed_while_a_run_writes(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    with opened(path) as store:
        for births in (20, 60):
            run(SETTINGS, store, CurvedEvaluator(), stop_at(births))
            assert ": whole (" in said(path, "check")


def test_an_empty_database_is_whole(tmp_path: Path) -> None:
    with opened(tmp_path / "results.db"):
        pass
    assert "0 programs" in said(tmp_path / "results.db", "check")


def test_what_cannot_be_looked_at_is_no_damage(tmp_path: Path, whole: Path) -> None:
    assert command(tmp_path / "no.db", "check")[0] == 2
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    code, out, err = command(other, "check")
    assert (code, out) == (2, "") and "holds tables of another program" in err


# --- the file --------------------------------------------------------------------------------------------------------


def test_a_page_turned_over_anywhere_is_found_or_harmless(whole: Path, path: Path) -> None:
    content = whole.read_bytes()
    before = [command(whole, line) for line in COMMANDS]
    harmless = []
    for start in range(0, len(content), PAGE):
        page = bytes(byte ^ 0xFF for byte in content[start : start + PAGE])
        path.write_bytes(content[:start] + page + content[start + PAGE :])
        code, out, err = command(path, "check")
        if code == 0:
            harmless.append(start)
            assert [command(path, line) for line in COMMANDS] == before
        else:
            assert (code == 1 and out) or (code == 2 and start == 0), (start, code, out, err)
    assert len(harmless) < len(content) / PAGE / 10


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.9, 0.999])
def test_a_file_cut_short_is_found(path: Path, whole: Path, share: float) -> None:
    content = whole.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert found(path)


@pytest.mark.parametrize("start", [0, 20, 100])
def test_a_damaged_head_is_found(path: Path, whole: Path, start: int) -> None:
    content = bytearray(whole.read_bytes())
    content[start : start + 16] = b"\xff" * 16
    path.write_bytes(content)
    code, out, err = command(path, "check")
    assert code in (1, 2) and err.count("\n") == 1 and err.startswith("error: "), (code, out, err)


def test_entries_that_indexes_lack_are_found_whoever_opens_the_file(path: Path) -> None:
    """Every page is good in itself, but questions answered by such an index would leave programs out."""
    names = "'ix_program_key', 'ix_program_fitness'"
    with closing(sqlite3.connect(path)) as connection:
        kept = connection.execute(f"SELECT * FROM sqlite_master WHERE name IN ({names})").fetchall()
        assert len(kept) == 2
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(f"DELETE FROM sqlite_master WHERE name IN ({names})")
        connection.commit()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE program SET key = 'x', fitness = 1 WHERE id = 7")
        connection.execute("PRAGMA writable_schema = ON")
        connection.executemany("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", kept)
        connection.commit()
    lines = found(path)
    for name in names.split(", "):
        assert any(name.strip("'") in line for line in lines), lines
    for line in COMMANDS:
        code, out, err = command(path, line)
        assert (code, out) == (2, "") and "results.db: is damaged (" in err


# --- the log ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def killed(tmp_path: Path) -> tuple[Path, int]:
    """A database as a run leaves it that is killed, most of it in its log, and the size of a frame there."""
    (tmp_path / "running").mkdir()
    with opened(tmp_path / "running" / "results.db") as store:
        run(SETTINGS, store, CurvedEvaluator(), stop_at(60))
        for file in (tmp_path / "running").iterdir():
            shutil.copy(file, tmp_path)
    return tmp_path / "results.db", PAGE + 24


def test_a_log_that_a_killed_run_leaves_is_whole(killed: tuple[Path, int], tmp_path: Path) -> None:
    path, frame = killed
    log = path.with_name("results.db-wal")
    content, copy = log.read_bytes(), tmp_path / "copy" / "results.db"
    copy.parent.mkdir()
    for left in (len(content), len(content) - 1, len(content) - frame // 2, 32 + 5 * frame, 32, 10, 0):
        shutil.copy(path, copy)
        copy.with_name(log.name).write_bytes(content[:left])
        code, out, _ = command(copy, "check")
        assert "results.db-wal" not in out, "a write that was cut short loses nothing that was committed"
        assert code == 0 or left < len(content) - frame
        copy.with_name(log.name).unlink(missing_ok=True)


@pytest.mark.parametrize("share", [0.05, 0.4, 0.8, 1.0])
def test_a_damaged_frame_is_found_and_told_to_everybody(
    killed: tuple[Path, int], share: float, caplog: pytest.LogCaptureFixture
) -> None:
    path, frame = killed
    log = path.with_name("results.db-wal")
    content = bytearray(log.read_bytes())
    number = max(1, int(share * ((len(content) - 32) // frame)))
    content[32 + (number - 1) * frame + 1000] ^= 0x10
    log.write_bytes(content)
    expected = f"results.db-wal: frame {number} is damaged, and "
    (line, *_) = found(path)
    assert expected in line and "cannot be read; the database is as it was before" in line
    log.write_bytes(content)
    command(path, "status")
    assert any(expected in record.getMessage() for record in caplog.records)


def test_a_damaged_head_of_a_log_is_found(killed: tuple[Path, int]) -> None:
    path, _ = killed
    log = path.with_name("results.db-wal")
    content = bytearray(log.read_bytes())
    content[9] ^= 1
    log.write_bytes(content)
    assert "results.db-wal: its head is damaged, and all commits from there on cannot be read" in found(path)[0]


# --- rows ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        ("UPDATE program SET genome = 'update = g' WHERE id = 5", "program 5: its text: line 1, column 10: "),
        ("UPDATE program SET genome = genome || '  # so' WHERE id = 5", "program 5: its text is not as programs are"),
        ("UPDATE program SET genome = (SELECT genome FROM program WHERE id = 1), statements = 9 WHERE id = 100",
         "program 100: its dataflow_hash is "),
        ("UPDATE program SET statements = statements + 1 WHERE id = 5", "program 5: its statements is "),
        ("UPDATE program SET live_statements = 0 WHERE id = 5", "program 5: its live_statements is 0, "),
        ("UPDATE program SET state_slots = 9 WHERE id = 5", "program 5: its state_slots is 9, "),
        ("UPDATE program SET dataflow_hash = 'x' WHERE id = 5", "program 5: its dataflow_hash is x, "),
        ("UPDATE program SET key = 'x' WHERE id = 1", "program 1: was trained, but there is no training with its key"),
        ("UPDATE program SET fitness = 'x' WHERE id = 60", "program 60: a str as fitness"),
        ("UPDATE program SET reason = CAST(x'ff' AS TEXT) WHERE id = 7", "program 7: a bytes as reason"),
        ("UPDATE program SET batch = 0 WHERE id = 90", "program 90: batch 0 follows batch "),
        ("UPDATE program SET parent_birth = 900 WHERE id = 9", "program 9: the parent of a birth"),
        ("UPDATE program SET hurdle_losses = '[0.5]' WHERE id = (SELECT MIN(id) FROM program WHERE hurdle_losses"
         " IS NOT NULL)", " losses at hurdles, expected "),
        ("DELETE FROM program WHERE id = 20", "program 21: birth 20 of search 'small' follows birth 18"),
        ("UPDATE program SET status = 'diverged', fitness = NULL WHERE answered_by = 'rejection'",
         "was rejected, and yet has another status"),
        ("UPDATE program SET search_id = 8 WHERE id = 100", "program 100: there is no such row as its search_id names"),
        ("DELETE FROM training", "program 1: was trained, but there is no training with its key"),
        ("UPDATE training SET curve = '[1' WHERE id = 9", "training 9: no JSON as curve"),
        ("UPDATE training SET status = 'splendid' WHERE id = 9", "training 9: 'splendid' as status"),
        ("UPDATE training SET fitness = 9e999 WHERE id = 1", "training 1: inf as fitness"),
        ("UPDATE baseline SET genome = 'update = ' WHERE name = 'adamw'", "baseline 1: its text: line 1"),
        ("UPDATE baseline SET search_id = 8 WHERE id = 1", "baseline 1: there is no such row as its search_id names"),
        ("UPDATE simplification SET after = 'x'", "simplification 1: its text: line 1"),
        ("UPDATE export SET program_id = 900", "export 1: there is no such row as its program_id names"),
        ("UPDATE search SET settings = '[]'", "search 1: "),
        ("UPDATE search SET created = 'yesterday'", "search 1: a str as created"),
        ("CREATE TRIGGER t AFTER UPDATE ON search BEGIN DELETE FROM program; END", "a trigger, 't'"),
        ("DROP VIEW v_pace", "no 'v_pace'"),
    ],
    ids=str,
)  # fmt: skip
def test_every_row_is_read_and_every_program(path: Path, statement: str, finding: str) -> None:
    lines = changed(path, statement)
    assert any(finding in line for line in lines), lines


def test_one_fault_does_not_hide_another_and_many_alike_are_counted(path: Path) -> None:
    lines = changed(
        path, "UPDATE program SET statements = 0", "UPDATE training SET curve = '5' WHERE id < 4",
        "UPDATE baseline SET trials = 'x'",
    )  # fmt: skip
    assert sum("as trials" in line for line in lines) == 2 and sum("as curve" in line for line in lines) == 3
    assert sum(": its statements is 0" in line or "the counts of a birth" in line for line in lines) == 20
    assert "search 'small': 80 more like these" in lines


def test_text_that_would_steer_the_terminal_is_shown_as_text(path: Path) -> None:
    lines = changed(path, "UPDATE search SET state = char(27) || '[2J' || char(10) || 'x'")
    assert len(lines) == 1 and "as state" in lines[0]


def test_a_server_has_its_rows_examined_too(postgres_server: Server) -> None:
    url = postgres_server.database()
    with opened(url) as store:
        fill(store)
        assert "whole (references, rows and programs: 1 search, 100 programs" in said(url, "check")
        with store.writing() as connection:
            connection.exec_driver_sql("UPDATE program SET genome = 'update = g' WHERE id = 5")
            connection.exec_driver_sql("UPDATE training SET curve = '[null]' WHERE id = 9")
            connection.exec_driver_sql("DELETE FROM program WHERE id = 20")
        lines = found(url, "restore a copy")
    for finding in (
        "training 9: no JSON as curve",
        "program 5: its text: line 1",
        "birth 20 of search 'small' follows",
    ):
        assert any(finding in line for line in lines), lines
