"""The command as people use it: a search, looking at it, taking the winner home, and mistakes."""

from __future__ import annotations

import os
import re
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from programs import parse, zoo

from tests.support.command_line import CONFIG, HISTORY, contents, rows
from tests.support.forked import ForkServer
from tests.support.patience import OPTSEARCH, Result, call


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder but for the settings."""
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    return tmp_path


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """The real command in a process of its own: the folder of a finished search, and what the run said."""
    folder = tmp_path_factory.mktemp("searched")
    (folder / "tiny.yaml").write_text(CONFIG)
    done = call(OPTSEARCH, "run", "tiny.yaml", folder=folder)
    assert done.code == 0, done.err
    return folder, done


@pytest.fixture(scope="module")
def searched(first_run: tuple[Path, Result]) -> Path:
    """The folder of a finished search."""
    return first_run[0]


@pytest.fixture(scope="module")
def winner(searched: Path) -> tuple[int, str]:
    """ID and genome of the best program."""
    (row,) = rows(searched / "results.db", "SELECT id, genome FROM v_leaderboard LIMIT 1")
    return row  # type: ignore[return-value]


# --- a search --------------------------------------------------------------------------------------------------------


def test_run(first_run: tuple[Path, Result]) -> None:
    """The line during the run; then leaderboard, verdict, the candidate without dead code, database, next commands."""
    folder, (_, out, err) = first_run
    last = re.split(r"[\r\n]", err.strip())[-1]
    for pattern in (r"60 programs", r"\d+ trained", r"\d+% cached", r"\d+% redundant", r"best -\d\.\d+ \([+-]",
                    "vs AdamW", r"\d+/s", r"\d:\d\d left"):  # fmt: skip
        assert re.search(pattern, last), pattern
    ((judgement, candidate, baseline),) = rows(
        folder / "results.db", "SELECT judgement, program_id, baseline FROM v_verdicts"
    )
    taken = candidate if judgement == "ahead" else f"tiny:{baseline}"
    for text in ("leaderboard of tiny", "tuned baselines", f"program {candidate} without its dead statements",
                 f"tuned {baseline}, the best baseline", "fresh seeds (z = ", "results.db",
                 f"optsearch show {candidate}", f"optsearch export {taken} --to torch", "optsearch leaderboard",
                 "peak memory: driver"):  # fmt: skip
        assert text in " ".join(out.split()), text
    said = {"ahead": "verdict: ahead: ", "behind": "verdict: not ahead: ", "undecided": "verdict: undecided: "}
    assert said[judgement] in out
    assert ("The best baseline as it was tuned: " in out) == (judgement != "ahead")
    assert "Traceback" not in err
    assert contents(folder).keys() == {"tiny.yaml", "results.db", "results.log"}, "no journal, nothing else is left"
    assert len(rows(folder / "results.db", HISTORY)) == 60
    assert rows(folder / "results.db", "SELECT state FROM search") == [("finished",)]


def test_running_a_finished_search_changes_nothing(server: ForkServer, searched: Path) -> None:
    tables = ("program", "training", "baseline")
    before = {table: rows(searched / "results.db", f"SELECT * FROM {table}") for table in tables}
    code, out, _ = server.optsearch(searched, "run", "tiny.yaml")
    assert code == 0 and "0 trainings in this run" in out
    assert {table: rows(searched / "results.db", f"SELECT * FROM {table}") for table in tables} == before


def test_the_commands_said_at_the_end_work(server: ForkServer, first_run: tuple[Path, Result], tmp_path: Path) -> None:
    folder, said = first_run
    commands = re.findall(r"^    optsearch (.+)$", said.out, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        args = command.replace("optimizer.py", str(tmp_path / "optimizer.py")).split()
        assert server.optsearch(folder, *args).code == 0, command


def test_another_search_in_the_same_database_from_settings_on_the_command_line(
    server: ForkServer, folder: Path
) -> None:
    args = ("run", "tiny.yaml", "--set", "baselines=[]", "--set", "budget.programs=20")
    assert server.optsearch(folder, *args).code == 0
    assert server.optsearch(folder, *args, "--set", "name=second", "--set", "seed=4").code == 0
    assert rows(folder / "results.db", "SELECT name, state FROM search") == [
        ("tiny", "finished"),
        ("second", "finished"),
    ]


# --- looking at it ---------------------------------------------------------------------------------------------------


def looked(server: ForkServer, folder: Path, *args: str) -> str:
    """The output of a command that only looks: it must succeed in silence and change nothing."""
    before = contents(folder)
    code, out, err = server.optsearch(folder, *args)
    assert (code, err) == (0, "") and contents(folder) == before
    return out


def test_status(server: ForkServer, searched: Path) -> None:
    (line,) = re.findall(r"^ *(tiny +finished .+)$", looked(server, searched, "status"), re.MULTILINE)
    births, trained = rows(searched / "results.db", "SELECT SUM(births), SUM(trained) FROM v_progress")[0]
    assert line.split()[:4] == ["tiny", "finished", str(births), str(trained)]
    assert line.split()[-1] == "0"


def test_leaderboard(server: ForkServer, searched: Path) -> None:
    best = rows(searched / "results.db", "SELECT id, fitness, over_adamw FROM v_leaderboard LIMIT 3")
    for args in (("--limit", "3"), ("--search", "tiny", "--limit", "3"), ("--store", "sqlite:///results.db")):
        title, verdict, table = looked(server, searched, "leaderboard", *args).partition("verdict on tiny: ")
        assert title.startswith("leaderboard") and verdict
        lines = [line.split() for line in table[table.index("─") :].splitlines()]
        shown = [(int(words[0]), words[1], words[4]) for words in lines if words and words[0].isdecimal()]
        assert shown[:3] == [(i, f"{fitness:.5f}", f"{margin:+.5f}") for i, fitness, margin in best]


def test_show(server: ForkServer, searched: Path) -> None:
    """Every program of the search: source with dead statements marked, outcome, origin."""
    for number, genome, status, reason in rows(
        searched / "results.db", "SELECT id, genome, status, reason FROM program WHERE id % 10 = 1"
    ):
        out = looked(server, searched, "show", str(number))
        assert f"program {number} of search tiny" in out and "lineage" in out
        for statement in genome.splitlines():
            assert f"    {statement}" in out
        if status != "ok":
            assert f"{status}: {reason}" in " ".join(out.split())


def test_failures(server: ForkServer, searched: Path) -> None:
    out = looked(server, searched, "failures", "--search", "tiny")
    counted = rows(searched / "results.db", "SELECT status, reason, programs FROM v_failures")
    assert counted
    for status, reason, programs in counted:
        assert re.search(rf"{status} +{re.escape(reason)} +{programs} ", out)


def test_tasks_and_zoo(server: ForkServer, folder: Path) -> None:
    assert re.search(r"digits_mlp +mlp +500 +128 +0\.\d+ +0\.\d+ ", looked(server, folder, "tasks"))
    out = looked(server, folder, "zoo")
    for name in zoo.names():
        assert name in out
        assert parse(looked(server, folder, "zoo", name)) == zoo.load(name), "what is printed reads back"
    functions = looked(server, folder, "zoo", "--functions")
    for function in ("interp(x, y, a)", "get_step()", "orthogonalize(x)"):
        assert sum(line.startswith(function) for line in functions.splitlines()) == 1


def test_help(server: ForkServer, folder: Path) -> None:
    out = looked(server, folder, "--help")
    for command in (
        "init",
        "run",
        "status",
        "leaderboard",
        "show",
        "lineage",
        "eval",
        "analyze",
        "export",
        "tasks",
        "zoo",
    ):
        assert command in out
    assert "--set" in looked(server, folder, "run", "--help")


def test_a_data_sheet_is_about_the_task_of_the_search(server: ForkServer, searched: Path) -> None:
    code, sheet, err = server.optsearch(searched, "analyze", "1", "--sections", "properties")
    assert (code, err) == (0, "") and "program 1: " in sheet and "; digits_mlp: 20 steps" in sheet
    other = server.optsearch(searched, "analyze", "1", "--sections", "properties", "--task", "digits_mlp_short")
    assert (other.code, other.err) == (0, "") and "; digits_mlp_short: " in other.out


def test_no_command_shows_the_help(server: ForkServer, folder: Path) -> None:
    code, out, err = server.optsearch(folder)
    assert code in (0, 2) and "leaderboard" in out + err and "error: ;" not in err


# --- eval ------------------------------------------------------------------------------------------------------------


def test_eval_of_file_name_and_id(server: ForkServer, searched: Path, winner: tuple[int, str], tmp_path: Path) -> None:
    """The same program three ways has one line of figures; the second time nothing is trained."""
    (tmp_path / "mine.py").write_text(parse(winner[1]).as_function())
    figures = []
    for what in (str(tmp_path / "mine.py"), str(winner[0]), "adamw"):
        database = str(tmp_path / "eval.db")
        if what == str(winner[0]):
            database = "results.db"
        code, out, err = server.optsearch(searched, "eval", what, "--steps", "20", "--seeds", "2", "--store", database)
        assert code == 0 and re.fullmatch(r"(\s|\d+% .*)*", err), "no more than progress, which slow machines show"
        for name in ("tuned adamw", "tuned lion", "tuned sgd_momentum"):
            assert name in out
        name = {"adamw": "adamw", str(winner[0]): f"program {winner[0]}"}.get(what, "mine")
        figures.append(re.findall(rf"^ *{name} +digits_mlp +(.+)$", out, re.MULTILINE))
    assert figures[0] == figures[1] != figures[2] and len(figures[0]) == 1
    before = contents(tmp_path)
    assert server.optsearch(searched, "eval", "adamw", "--steps", "20", "--seeds", "2",
                            "--store", str(tmp_path / "eval.db")).code == 0  # fmt: skip
    assert contents(tmp_path) == before


# --- taking the winner home ------------------------------------------------------------------------------------------

TEN_LINES = """\
import sys
sys.modules.update({name: None for name in ("programs", "proxy_tasks", "search")})  # importing them fails
import torch, optimizer
(Optimizer,) = [c for c in vars(optimizer).values() if isinstance(c, type) and issubclass(c, torch.optim.Optimizer)
                and c is not torch.optim.Optimizer]
torch.manual_seed(0)
x, model = torch.randn(64, 5), torch.nn.Linear(5, 1)
y, optimizer, losses = x.sum(1, keepdim=True), Optimizer(model.parameters()), []
for _ in range(100):
    loss = torch.nn.functional.mse_loss(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(float(loss))
print(losses[0], losses[-1])
"""


def test_export_to_torch_is_a_file_that_needs_nothing_of_ours(
    server: ForkServer, searched: Path, winner: tuple[int, str], tmp_path: Path
) -> None:
    target = tmp_path / "optimizer.py"
    code, out, err = server.optsearch(searched, "export", str(winner[0]), "--to", "torch", "-o", str(target))
    assert (code, err) == (0, "") and str(target) in out.replace("\n", "")
    (tmp_path / "train.py").write_text(TEN_LINES)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = call(sys.executable, "train.py", folder=tmp_path, environment=environment)
    assert done.code == 0, done.err
    first, last = map(float, done.out.split())
    assert last != first
    assert rows(searched / "results.db", "SELECT program_id, target FROM export")[-1] == (winner[0], "torch")


def test_exports_to_the_terminal(server: ForkServer, searched: Path, winner: tuple[int, str]) -> None:
    code, out, err = server.optsearch(searched, "export", str(winner[0]), "--to", "dsl")
    assert (code, err) == (0, "") and parse(out) == parse(winner[1])
    code, out, err = server.optsearch(searched, "export", "lion")
    assert (code, err) == (0, "")
    compile(out, "lion.py", "exec")


# --- mistakes --------------------------------------------------------------------------------------------------------

BAD_PROGRAMS = {
    "unparsable.py": "update = = g",
    "kinds.py": "update = norm(g)",
    "unknown.py": "update = relu(g)",
    "order.py": "update = x * 2.0\nx = g * 1.0",
    "empty.py": "",
    "code.py": "import os\nos.system('touch harm')",
    "binary.py": "\x00\x01",
}

BAD = [
    # settings
    (("run", "absent.yaml"), "absent.yaml: cannot be read"),
    (("run", "."), "cannot be read"),
    (("run", "broken.yaml"), "broken.yaml:2: not valid YAML"),
    (("run", "unknown_setting.yaml"), "unknown_setting.yaml:8: sede: unknown setting; known here: name, seed"),
    (("run", "unknown_task.yaml"), "unknown_task.yaml:5: tasks.0.name: unknown task 'cifar'"),
    (("run", "wrong_value.yaml"), "wrong_value.yaml:3: strategy.population: "),
    (("run", "tiny.yaml", "--set", "strategy.population=lots"), "strategy.population"),
    (("run", "tiny.yaml", "--set", "evaluator.batch=0"), "evaluator.batch"),
    (("run", "tiny.yaml", "--set", "nonsense"), "--set nonsense: expected key=value"),
    (("run", "tiny.yaml", "--set", "strategy.start=adam"), "no program 'adam' in the zoo"),
    (("run", "tiny.yaml", "--set", "seed=" + "[" * 3000), "nested more than 20 levels deep"),
    (("run", "tiny.yaml", "--set", "tasks.0.data.x=no"), "--set tasks.0.data.x=no: tasks.0.data.x: may be read as"),
    (("run", "tiny.yaml", "--set", "strategy.tournament=1_000_000"), "as many are drawn for every birth, got 1000000"),
    (("run", "tiny.yaml", "--name", "a b"), "--name a b: name: expected letters, digits"),
    (("run", "tiny.yaml", "--name", "2026", "--set", "store=mysql://x/y"), "mysql://x/y: not a database URL of SQLite"),
    # databases
    (("run", "tiny.yaml", "--set", "store=sqlite:////sys/x.db"), "/sys/x.db: cannot be used as a database"),
    (("run", "tiny.yaml", "--set", "store=absent/x.db"), "absent/x.db: no folder absent; make it, or name another"),
    (("run", "tiny.yaml", "--set", "store=foreign.db"), "foreign.db: holds tables of another program"),
    (("run", "tiny.yaml", "--set", "store=tiny.yaml"), "tiny.yaml: cannot be used as a database"),
    (("run", "tiny.yaml", "--set", "store=nothing://x"), "nothing://x: not a database URL"),
    (("status",), "results.db: no such database; `optsearch run CONFIG` writes one"),
    (("leaderboard",), "results.db: no such database"),
    (("failures", "--store", "absent.db"), "absent.db: no such database"),
    (("show", "1"), "results.db: no such database"),
    (("export", "1"), "results.db: no such database"),
    (("eval", "1"), "results.db: no such database"),
    (("status", "--store", "foreign.db"), "foreign.db: holds tables of another program"),
    (("leaderboard", "--store", "tiny.yaml"), "tiny.yaml: cannot be used as a database (file is not a database)"),
    (("eval", "adamw", "--store", "foreign.db"), "foreign.db: holds tables of another program"),
    (("eval", "adamw", "--store", "/sys/x.db"), "/sys/x.db: cannot be used as a database"),
    # programs, IDs, names
    *((("eval", name), f"{name}: ") for name in BAD_PROGRAMS),
    *((("export", name), f"{name}: ") for name in ("kinds.py", "code.py")),
    (("eval", "kinds.py"), "expected a tree"),
    (("eval", "unparsable.py"), "line 1, column "),
    (
        ("eval", "nothing_of_this_name"),
        "nothing_of_this_name: neither an ID, nor a file, nor SEARCH:BASELINE, nor in the zoo (adabelief",
    ),
    (("eval", "x" * 300), "neither an ID, nor a file, nor SEARCH:BASELINE, nor in the zoo"),
    (("eval", "adamw", "--task", "cifar"), "unknown task 'cifar'; `optsearch tasks` lists all, such as digits_mlp"),
    (("analyze", "adamw", "--sections", "plots"), "--sections: no section 'plots'; there are properties, family"),
    (("analyze", "nothing_of_this_name"), "neither an ID, nor a file, nor SEARCH:BASELINE, nor in the zoo"),
    (("eval", "adamw", "--seeds", "0"), "--seeds"),
    (("eval", "adamw", "--steps", "many"), "--steps"),
    (("eval", "adamw", "--steps", "1e3"), "'--steps': '1e3' is not a whole number from 1 to 10000000"),
    (("eval", "adamw", "--seeds", "1001"), "'--seeds': '1001' is not a whole number from 1 to 1000"),
    (("zoo", "adam"), "no program 'adam' in the zoo; there are adabelief, adafactor, adamw"),
    (("simplify", "nothing_of_this_name"), "neither an ID, nor a file, nor SEARCH:BASELINE, nor in the zoo"),
    (("simplify", "kinds.py"), "expected a tree"),
    (("simplify", "1"), "results.db: no such database"),
    (("simplify", "adamw", "--task", "cifar"), "unknown task 'cifar'"),
    (("simplify", "adamw", "--seeds", "1"), "--seeds"),
    (("simplify", "adamw", "--tolerance", "-1"), "--tolerance"),
    (("simplify", "adamw", "--tolerance", "inf"), "'--tolerance': 'inf' is not a number from 0 to 1000"),
    (("export", "adamw", "--to", "jax"), "--to jax: unknown target; there are torch"),
    (("export", "adamw", "-o", "/sys/x.py"), "/sys/x.py: cannot be written"),
    (("export", "adamw", "-o", "absent/x.py"), "absent/x.py: cannot be written"),
    (("export", "adamw", "--name", "not a name"), "not a name"),
    (("export", "adamw", "--name", "class"), "class"),
    # the command itself
    (("run",), "search.yaml: cannot be read"),
    (("show", "first"), "'ID'"),
    (("search",), "No such command 'search'"),
    (("status", "--sotre", "x"), "--sotre"),
]

BAD_IN_A_DATABASE = [
    (("show", "0"), "results.db: no program 0; IDs go from 1 to 60"),
    (("show", "61"), "results.db: no program 61"),
    (("show", "99999999999999999999"), "no program 99999999999999999999"),
    (("export", "61"), "no program 61"),
    (("eval", "61"), "no program 61"),
    (("leaderboard", "--search", "other"), "results.db: no search 'other'; there are: tiny"),
    (("failures", "--search", "other"), "no search 'other'"),
    (("leaderboard", "--limit", "0"), "--limit"),
    (("leaderboard", "--limit", "99999999999999999999"), "--limit"),
    (("run", "tiny.yaml", "--set", "evaluator.batch=5"), "evaluator.batch: 4 -> 5); set them back"),
    (("run", "tiny.yaml", "--set", "seed=4", "--set", "baselines=[]"), "seed: 3 -> 4"),
]


def _id(value: Any) -> str:
    return " ".join(value)[:60] if isinstance(value, tuple) else ""


def is_refused(result: Result, said: str) -> None:
    """Exit code 2 and exactly one line that begins with `error:`."""
    code, out, err = result
    assert "Traceback" not in err, err
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and err.endswith("\n") and err.count("\n") == 1
    assert said in err


@pytest.mark.parametrize(("args", "said"), BAD, ids=_id)
def test_mistakes(server: ForkServer, folder: Path, args: Sequence[str], said: str) -> None:
    """One line that says what is wrong and where; nothing is written."""
    for name, text in BAD_PROGRAMS.items():
        (folder / name).write_text(text)
    (folder / "broken.yaml").write_text("name: a\nseed: 3: 4\n")
    (folder / "unknown_setting.yaml").write_text(CONFIG + "sede: 3\n")
    (folder / "unknown_task.yaml").write_text(CONFIG.replace("digits_mlp", "cifar"))
    (folder / "wrong_value.yaml").write_text(CONFIG.replace("population: 10", "population: ten"))
    with closing(sqlite3.connect(folder / "foreign.db")) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    before = contents(folder)
    result = server.optsearch(folder, *args)
    is_refused(result, said)
    assert contents(folder) == before


@pytest.mark.parametrize(("args", "said"), BAD_IN_A_DATABASE, ids=_id)
def test_mistakes_about_what_a_database_holds(
    server: ForkServer, searched: Path, args: Sequence[str], said: str
) -> None:
    before = contents(searched)
    is_refused(server.optsearch(searched, *args), said)
    assert contents(searched) == before


def test_mistakes_as_the_installed_command_reports_them(folder: Path) -> None:
    """The tests above fork; this is the command itself."""
    is_refused(call(OPTSEARCH, "run", "absent.yaml", folder=folder), "absent.yaml: cannot be read")


def test_every_message_names_a_fix(server: ForkServer, folder: Path) -> None:
    """What is wrong, where, and what to do; seen on one of each kind."""
    for args, fix in [
        (("status",), "`optsearch run CONFIG` writes one"),
        (("eval", "nothing"), "adamw"),
        (("run", "absent.yaml"), "give the path of a YAML file"),
        (("run", "tiny.yaml", "--set", "store=/sys/x.db"), "--set store="),
        (("eval", "adamw", "--store", "/sys/x.db"), "--store"),
    ]:
        assert fix in server.optsearch(folder, *args).err
