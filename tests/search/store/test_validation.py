"""A hostile database: every command ends with one line, or as if nothing were wrong, and nothing of it is run."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from programs.errors import InputError

from proxy_tasks import Outcome

from search.commands.cli import main
from search.store import StoreError, open_store
from search.training.jobs import FinishedJob

from tests.support.searches import PretendingEvaluator, opened, run, settings_of

SETTINGS = settings_of(
    name="small",
    tasks=[{"name": "digits_mlp", "steps": 20}],
    baselines=["adamw"],
    hurdles={"after": 10},
    budget={"programs": 60},
)
COMMANDS = (
    ("status",),
    ("status", "--json"),
    ("leaderboard",),
    ("leaderboard", "--search", "small"),
    ("leaderboard", "--status", "diverged"),
    ("failures",),
    ("show", "4"),
    ("show", "4", "--json"),
    ("lineage", "4"),
    ("lineage", "4", "--csv"),
    ("export", "4", "--to", "dsl"),
    ("export", "4"),
    ("simplify", "4", "--no-training"),
)
STRANGE = "holds something that optsearch did not write"


class Evaluator(PretendingEvaluator):
    """With curves as long as those of real trainings."""

    def collect(self, timeout: float) -> list[FinishedJob]:
        finished = super().collect(timeout)
        return [FinishedJob(number, [_long(outcome) for outcome in outcomes]) for number, outcomes in finished]


def _long(outcome: Outcome) -> Outcome:
    if outcome.fitness is None:
        return outcome
    return outcome._replace(curve=[2.0 - outcome.fitness - n / 20 for n in range(20)], steps=20)


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small database with something in every table that commands read."""
    path = tmp_path_factory.mktemp("valid") / "results.db"
    with opened(path) as store:
        run(SETTINGS, store, Evaluator())
    for args in COMMANDS:
        assert command(path, *args) == (0, ""), args
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    return path


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="module", autouse=True)
def _elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """In a folder with a module that must never be imported."""
    folder, before, path = tmp_path_factory.mktemp("folder"), Path.cwd(), list(sys.path)
    (folder / "hostile_module.py").write_text("open('imported', 'w').close()\ndef task(): ...\n")
    os.chdir(folder)
    yield
    assert not (folder / "imported").exists() and "hostile_module" not in sys.modules
    os.chdir(before)
    sys.path[:] = path


def command(path: Path, *args: str) -> tuple[int, str]:
    """Exit code of a command and what it wrote as error; any exception but a usual end is raised."""
    out, err = StringIO(), StringIO()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["optsearch", *args, "--store", str(path)])
        patched.setattr(sys, "stdout", out)
        patched.setattr(sys, "stderr", err)
        with pytest.raises(SystemExit) as ended:
            main()
    code = ended.value.code
    assert type(code) is int
    assert "\x1b" not in out.getvalue() + err.getvalue(), "nothing steers the terminal"
    return code, err.getvalue()


def refused(path: Path, *args: str) -> str:
    """The one line with which a command refuses the database."""
    code, err = command(path, *args)
    assert code == 2, (args, err)
    assert err.startswith("error: ") and err.count("\n") == 1
    return err


def ends_well(path: Path, *args: str) -> None:
    """The command ends with success, or one line."""
    code, err = command(path, *args)
    assert code in (0, 1, 2), (args, err)
    assert (code == 0 and err == "") or (err.startswith("error: ") and err.count("\n") == 1), (args, err)
    assert len(err) < 2000


def goes_on(path: Path) -> bool:
    """Whether a run goes on with the database, rather than refuse it."""
    more = SETTINGS.model_copy(update={"budget": SETTINGS.budget.model_copy(update={"programs": 90})})
    try:
        with closing(open_store(str(path), create=True)) as store:
            run(more, store, Evaluator())
    except (InputError, StoreError) as error:
        assert "\n" not in str(error) and len(str(error)) < 2000
        return False
    return True


def changed(valid: Path, folder: Path, *statements: str, parameters: tuple[object, ...] = ()) -> Path:
    """A copy of the database after these statements; the last has the parameters."""
    path = folder / "hostile.db"
    for old in folder.glob("hostile.db*"):
        old.unlink()
    shutil.copy(valid, path)
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements[:-1]:
            connection.execute(statement)
        connection.execute(statements[-1], parameters)
        connection.commit()
    return path


# --- any value anywhere ----------------------------------------------------------------------------------------------

COLUMNS = {
    "search": ("name", "settings", "state", "created", "updated", "seconds", "holder", "holder_token",
               "holder_machine", "holder_pid", "heartbeat"),
    "program": ("search_id", "birth", "batch", "parent_birth", "mutation", "genome", "key", "answered_by",
                   "statements", "live_statements", "state_slots", "status", "fitness", "reason", "dataflow_hash",
                   "trainings", "standard_error", "replica_steps", "hurdle_losses", "by_seed"),
    "training": ("key", "task_fingerprint", "seed", "task", "status", "fitness", "curve", "steps", "seconds",
                   "device", "host", "pid", "reason", "created"),
    "baseline": ("search_id", "name", "genome", "key", "learning_rate", "weight_decay", "fitness", "trials"),
    "alembic_version": ("version_num",),
}  # fmt: skip

DEEP = "[" * 100_000 + "]" * 100_000
VALUES = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(max_size=20),
    st.binary(max_size=20),
    st.sampled_from([
        "", "[/red]", "[bold", "\x1b[2J", "\0", "x" * 10**6, "ok", "training", "running", 0, -1, 1, 2**31, 2**62,
        float("inf"), "NaN", "Infinity", "[NaN]", "[1e999, 1e999]", "{}", "[]", "null", "5", '"x"', "true",
        DEEP, "[" * 200 + "]" * 200, '{"a":' * 500 + "1" + "}" * 500, "[" + "9" * 5000 + "]",
        '{"tasks": [{"name": "hostile_module:task"}]}', '{"tasks": 5, "budget": []}', '{"budget": {"programs": "x"}}',
        '["a", "b", "c"]', "[0.5]", "[0.5, 0.5, 0.5, 0.5, 0.5, 0.5]", "[[0.5]]", "[" + "0.5," * 999 + "0.5]",
        "import hostile_module", "update = __import__('hostile_module')", "update = " + "(" * 300, "m = -" * 20_000,
        "update = abs(" * 500, "9999", "0001", "0003", "zz", "../../etc/passwd",
    ]),
)  # fmt: skip
PLACES = st.sampled_from([(table, column) for table, columns in COLUMNS.items() for column in columns])


@settings(max_examples=20)
@given(place=PLACES, row=st.integers(1, 60), value=VALUES)
def test_any_value_anywhere(valid: Path, scratch: Path, place: tuple[str, str], row: int, value: object) -> None:
    table, column = place
    where = "" if table in ("search", "alembic_version") or row % 7 == 0 else f"WHERE id IN ({row}, 4)"
    try:
        path = changed(valid, scratch, f"UPDATE OR IGNORE {table} SET {column} = ? {where}", parameters=(value,))
    except sqlite3.IntegrityError:  # null where the tables allow none
        return
    except UnicodeEncodeError:  # half a character
        return
    for args in COMMANDS:
        ends_well(path, *args)
    goes_on(path)


# Where a run needs none of what is wrong, it goes on: old programs are not read again, and it writes its state anew.
HARMLESS_TO_RUNS = ("genome = 'import", "genome = 'update", " statements =", "seconds =", "state =", "SET name =")


@pytest.mark.parametrize(
    ("statement", "commands"),
    [
        ("UPDATE program SET fitness = 'much' WHERE id = 4",
         ("status", "leaderboard --limit 99", "show 4", "export 4")),
        ("UPDATE program SET fitness = 9e999 WHERE id = 4", ("leaderboard --limit 99", "show 4")),
        ("UPDATE program SET genome = x'00ff' WHERE id = 4",
         ("leaderboard --limit 99", "show 4", "simplify 4 --no-training")),
        ("UPDATE program SET genome = 'import hostile_module' WHERE id = 4", ("show 4", "export 4")),
        ("UPDATE program SET genome = 'update = eval(w)' WHERE id = 4", ("show 4", "export 4")),
        ("UPDATE program SET genome = CAST(x'ff' AS TEXT) WHERE id = 4",
         ("leaderboard --limit 99", "show 4")),
        ("UPDATE program SET genome = zeroblob(20000000) WHERE id = 4",
         ("leaderboard --limit 99", "show 4")),
        ("UPDATE program SET status = 'splendid', answered_by = 'training' WHERE id = 4",
         ("failures", "show 4")),
        ("UPDATE program SET answered_by = 'magic' WHERE id = 4", ("show 4",)),
        ("UPDATE program SET hurdle_losses = '5' WHERE id = 4", ()),
        ("UPDATE program SET hurdle_losses = '[0.5]' WHERE answered_by = 'training'", ()),
        ("UPDATE program SET birth = -1 - birth", ()),
        ("UPDATE program SET parent_birth = 900 WHERE id = 4", ()),
        ("UPDATE program SET parent_birth = birth", ()),
        ("DELETE FROM program WHERE id = 4", ("show 4",)),
        ("UPDATE program SET statements = 9223372036854775807", ("status",)),
        ("UPDATE search SET settings = '[]'", ("status", "show 4", "export 4")),
        ("UPDATE search SET settings = 'x'", ("status", "show 4", "export 4")),
        ("UPDATE search SET settings = '{\"tasks\": [5]}'", ("status", "show 4", "export 4")),
        ("UPDATE search SET name = 'a' || char(10) || 'import hostile_module'",
         ("status", "show 4", "export 4")),
        ("UPDATE search SET settings = json_replace(settings, '$.tasks[0].name', 'a\"\"\"')",
         ("show 4", "export 4")),
        ("UPDATE search SET seconds = 'long'", ("status",)),
        ("UPDATE search SET state = 'asleep'", ("status",)),
        ("UPDATE baseline SET learning_rate = 'high'", ()),
        ("UPDATE alembic_version SET version_num = 'newest'",
         ("status", "leaderboard --limit 99", "failures", "show 4")),
        ("UPDATE alembic_version SET version_num = x'30303034'", ("status",)),
        ("INSERT INTO alembic_version VALUES ('0003')", ("status",)),
        ("DELETE FROM alembic_version", ("status",)),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_ours_is_refused(valid: Path, tmp_path: Path, statement: str, commands: tuple[str, ...]) -> None:
    path = changed(valid, tmp_path, statement)
    for line in commands:
        message = refused(path, *line.split())
        assert str(path) in message or "program 4" in message
    if "simplify" not in str(commands):
        for args in COMMANDS:
            ends_well(path, *args)
    assert goes_on(path) is any(part in statement for part in HARMLESS_TO_RUNS)


def test_a_task_of_ones_own_is_not_loaded_because_a_database_names_it(valid: Path, tmp_path: Path) -> None:
    own = """UPDATE search SET settings = json_replace(settings, '$.tasks[0].name', 'hostile_module:task')"""
    path = changed(valid, tmp_path, own)
    for args in COMMANDS:
        ends_well(path, *args)
    for args in (("simplify", "4"), ("verify", "--search", "small")):
        assert "has a user-defined task, 'hostile_module:task', and nothing is loaded" in refused(path, *args)
    assert not goes_on(path)


def test_settings_of_no_meaning_are_refused_where_they_are_used(valid: Path, tmp_path: Path) -> None:
    path = changed(valid, tmp_path, "UPDATE search SET settings = json_replace(settings, '$.seed', 'x')")
    for args in (("simplify", "4"), ("verify", "--search", "small")):
        assert "its settings in the database are not those of this version (seed: " in refused(path, *args)


@pytest.mark.parametrize("levels", [40, 900, 100_000])
def test_deeply_nested_json_is_refused(valid: Path, tmp_path: Path, levels: int) -> None:
    """Also where the parser would take it: others walk through it later."""
    nested = '{"hurdles": {}, "more": ' + "[" * levels + "]" * levels + "}"
    path = changed(valid, tmp_path, "UPDATE search SET settings = ?", parameters=(nested,))
    for args in (("status",), ("show", "4"), ("export", "4")):
        assert STRANGE in refused(path, *args)
    assert not goes_on(path)


def test_text_that_looks_like_markup_is_shown_as_it_is(valid: Path, tmp_path: Path) -> None:
    path = changed(valid, tmp_path, "UPDATE program SET mutation = '[/red]' || char(27) || '[2J', reason = '[/]'")
    for args in COMMANDS:
        assert command(path, *args) == (0, "")


# --- other tables, views, and what runs code -------------------------------------------------------------------------

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT"


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TRIGGER t AFTER INSERT ON program BEGIN DELETE FROM search; END"],
        ["CREATE TRIGGER t AFTER UPDATE ON search BEGIN DELETE FROM program; END"],
        ["DROP VIEW v_leaderboard", f"CREATE VIEW v_leaderboard AS {ENDLESS} i AS id, 'x' AS search FROM n"],
        ["DROP VIEW v_progress", f"CREATE VIEW v_progress AS {ENDLESS} i AS births FROM n"],
        ["DROP VIEW v_failures", "CREATE TABLE v_failures (search, status, reason, programs, example_id)"],
        ["DROP VIEW v_lineage"],
        ["DROP TABLE baseline", f"CREATE VIEW baseline AS {ENDLESS} i AS id FROM n"],
        ["DROP TABLE baseline", "CREATE TABLE baseline (id INTEGER PRIMARY KEY, name TEXT)"],
        ["DROP TABLE baseline"],
        ["DROP TABLE alembic_version", f"CREATE VIEW alembic_version AS {ENDLESS} '0005' AS version_num FROM n"],
        ["DROP TABLE selection", "CREATE VIRTUAL TABLE selection USING fts5(program_id)"],
        ["ALTER TABLE program DROP COLUMN hurdle_losses"],
        ["ALTER TABLE program ADD COLUMN more TEXT"],
        ["ALTER TABLE search ADD COLUMN more AS (length(zeroblob(10000000)))"],
        ["ALTER TABLE search ADD COLUMN more CHECK (length(zeroblob(10000000)) > 0)"],
        ["ALTER TABLE baseline RENAME COLUMN trials TO attempts"],
        ["DROP INDEX ix_program_key", "CREATE INDEX ix_program_key ON program (abs(zeroblob(10000000)))"],
        ["CREATE INDEX more ON training (status)"],
    ],
    ids=lambda statements: statements[-1][:50],
)  # fmt: skip
def test_what_would_run_code_or_has_another_shape_is_refused(
    valid: Path, tmp_path: Path, statements: list[str]
) -> None:
    path = changed(valid, tmp_path, *statements)
    before = path.read_bytes()
    for args in COMMANDS:
        assert STRANGE in refused(path, *args)
    with pytest.raises(InputError, match=STRANGE):
        open_store(str(path), create=True)
    assert path.read_bytes() == before


def test_tables_and_views_of_ones_own_are_left_alone(valid: Path, tmp_path: Path) -> None:
    path = changed(
        valid, tmp_path, "CREATE TABLE notes (id, text)", "CREATE VIEW mine AS SELECT * FROM v_leaderboard",
        "CREATE INDEX ix_notes ON notes (abs(id))",
    )  # fmt: skip
    for args in COMMANDS:
        assert command(path, *args) == (0, "")
    assert goes_on(path)


def test_bytes_changed_anywhere_end_well(valid: Path, scratch: Path) -> None:
    """Of the file itself: pages, trees, lengths."""
    content, path = valid.read_bytes(), scratch / "hostile.db"

    @settings(max_examples=25)
    @given(
        st.lists(
            st.tuples(st.integers(0, len(content) - 9), st.binary(min_size=1, max_size=8)), min_size=1, max_size=20
        )
    )
    def check(changes: list[tuple[int, bytes]]) -> None:
        for old in scratch.glob("hostile.db*"):
            old.unlink()
        hostile = bytearray(content)
        for start, new in changes:
            hostile[start : start + len(new)] = new
        path.write_bytes(bytes(hostile))
        for args in COMMANDS[:2]:
            ends_well(path, *args)
        with suppress(InputError):
            open_store(str(path), create=True).close()

    check()
