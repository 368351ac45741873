"""Who is asked for programs from outside: processes that are given time and trusted in nothing."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from programs.errors import InputError

from search.evolution.driver import Driver
from search.evolution.outside import proposer
from search.evolution.outside.proposer import Answer, ask, check_proposer
from search.settings.proposals import Proposals
from search.settings.settings_file import load_settings
from search.store import lease

from tests.support.searches import PretendingEvaluator, history_of, opened, rows_of_query, run, settings_of

QUESTION = {"births": 7, "best": [{"text": "update = g * lr"}]}
FUNCTIONS = """
import os, sys, time

sys.stdout.write("printed while it is imported\\n")

def best(question):
    print("printed")
    return [best["text"] for best in question["best"]] * question["births"]

def a_tuple(question):
    return ("update = g * lr", "update = g * w")

def raises(question):
    raise ValueError("no idea\\nat all")

def ends(question):
    os._exit(3)

def leaves(question):
    sys.exit("I leave")

def a_set(question):
    return {"update = g"}

def a_text(question):
    return "update = g"

def numbers(question):
    return ["update = g", 7]

def nothing(question):
    return None

def empty(question):
    return []

def hangs(question):
    open("hangs", "w").write(str(os.getpid()))
    time.sleep(600)

def crashes(question):
    os.kill(os.getpid(), 11)

def two(question, other):
    return []

def no_number(question):
    return [float("nan")]

not_callable = 7
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder that holds a module of functions, found as those beside a config are."""
    (tmp_path / "outside_functions.py").write_text(FUNCTIONS)
    (tmp_path / "broken_functions.py").write_text("def propose(question) return []")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in ("outside_functions", "broken_functions"):
        sys.modules.pop(name, None)


def asked(**settings: Any) -> Answer | None:
    return ask(Proposals.model_validate(settings), QUESTION, lambda: False)


def shell(line: str) -> dict[str, Any]:
    return {"command": ["sh", "-c", line]}


# --- answers ---------------------------------------------------------------------------------------------------------


def test_a_function_is_asked() -> None:
    assert asked(call="outside_functions:best") == Answer(["update = g * lr"] * 7)
    assert asked(call="outside_functions:a_tuple") == Answer(["update = g * lr", "update = g * w"])
    assert asked(call="outside_functions:empty") == Answer([])


def test_a_command_reads_and_writes_json(tmp_path: Path) -> None:
    assert asked(**shell("cat > asked; echo '[\"update = g\"]'")) == Answer(["update = g"])
    assert json.loads((tmp_path / "asked").read_text()) == QUESTION
    assert asked(**shell("echo '[\"update = g\"]'")) == Answer(["update = g"]), "it need not read"
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\necho '[\"\\u0077\"]'\n")
    script.chmod(0o755)
    assert asked(command=str(script)) == Answer(["w"])


def test_a_long_question_and_a_long_answer_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["x" * 1000 + str(number) for number in range(1000)]
    answer = ask(Proposals(command=("cat",)), texts, lambda: False)  # type: ignore[arg-type]  # any plain data
    assert answer == Answer(texts)
    monkeypatch.setattr(proposer, "MOST_BYTES", 2**20)
    assert asked(**shell("yes")) == Answer([], "the answer is longer than 1 MiB")
    assert asked(**shell("head -c 2000000 /dev/zero")) == Answer([], "the answer is longer than 1 MiB")


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"call": "outside_functions:raises"}, "it ended with code 1: at all"),
        ({"call": "outside_functions:ends"}, "it ended with code 3: printed while it is imported"),
        ({"call": "outside_functions:leaves"}, "it ended with code 1: I leave"),
        ({"call": "outside_functions:crashes"}, "it was ended by signal 11: printed while it is imported"),
        ({"call": "outside_functions:a_set"}, "it ended with code 1: TypeError: Object of type set is not"),
        ({"call": "outside_functions:a_text"}, "the answer is no JSON list of texts: '\"update = g\"'"),
        ({"call": "outside_functions:numbers"}, "the answer is no JSON list of texts: item 1 is of type int"),
        ({"call": "outside_functions:no_number"}, "the answer is no JSON list of texts: item 0 is of type float"),
        ({"call": "outside_functions:nothing"}, "the answer is no JSON list of texts: 'null'"),
        ({"call": "outside_functions:gone"}, "it ended with code 1: AttributeError: module 'outside_functions' has no"),
        (shell("echo here you are"), r"the answer is no JSON: 'here you are\n'"),
        (shell("printf '\\377\\376['"), "the answer is no JSON: "),
        (shell("true"), "the answer is no JSON: nothing at all"),
        (shell("echo '{\"texts\": []}'"), "the answer is no JSON list of texts: "),
        (shell("printf '%100000s' | tr ' ' '['"), "the answer is no JSON: '[[[["),
        (shell("echo '[1]'; exit 4"), "it ended with code 4"),
        (shell("echo first >&2; echo last >&2; kill -9 $$"), "it was ended by signal 9: last"),
        ({"command": "./outside_functions.py"}, "it cannot be started: Permission denied"),
        ({"command": "./gone"}, "it cannot be started: No such file or directory"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_answer(settings: dict[str, Any], problem: str) -> None:
    answer = asked(**settings)
    assert answer is not None and answer.texts == []
    assert answer.problem is not None and answer.problem.startswith(problem), answer.problem
    assert "\n" not in answer.problem


# --- time ------------------------------------------------------------------------------------------------------------


def test_an_answer_that_does_not_come_is_waited_for_no_longer_than_it_may_take(tmp_path: Path) -> None:
    """Nothing is left of the process, nor of those that it has started."""
    answer = asked(**shell("sleep 600 & echo $! > child; echo $$ > parent; wait"), timeout_s=0.5)
    assert answer == Answer([], "no answer within timeout_s, 0.5 s")
    for name in ("child", "parent"):
        _gone(int((tmp_path / name).read_text()))


def test_what_an_answer_leaves_behind_is_ended(tmp_path: Path) -> None:
    assert asked(**shell("sleep 600 & echo $! > child; echo '[]'")) == Answer([])
    _gone(int((tmp_path / "child").read_text()))


def _gone(pid: int) -> None:
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)


def test_a_search_that_is_stopped_waits_for_no_answer(tmp_path: Path) -> None:
    settings = Proposals(call="outside_functions:hangs")
    assert ask(settings, QUESTION, (tmp_path / "hangs").exists) is None


def test_a_search_stopped_while_it_waits_ends_and_asks_again(tmp_path: Path) -> None:
    script = "test -e answer && exec echo '[\"update = g * lr\"]'; touch asked; sleep 600"
    chosen = settings_of(strategy={"kind": "evolution", "proposals": shell(script) | {"every": 20}})
    with opened(tmp_path / "r.db") as store:
        driver = Driver(chosen, store, PretendingEvaluator())

        def stop() -> None:
            while not (tmp_path / "asked").exists():
                time.sleep(0.01)
            driver.stop()

        thread = threading.Thread(target=stop)
        thread.start()
        driver.run()
        thread.join()
        births = len(history_of(store))
        assert 0 < births < 100 and rows_of_query(store, "SELECT * FROM proposal") == []
        (tmp_path / "answer").touch()
        run(chosen, store, PretendingEvaluator())
        assert len(history_of(store)) == 100 and rows_of_query(store, "SELECT * FROM proposal WHERE problem IS NULL")


def test_a_lease_lives_while_an_answer_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command waits for two heartbeats to be written."""
    monkeypatch.setattr(lease.Heartbeat.__init__, "__defaults__", (0.05,))
    script = tmp_path / "waits.py"
    script.write_text(
        "import sqlite3, sys, time\n"
        "def beat():\n"
        "    return sqlite3.connect('r.db').execute('SELECT heartbeat FROM search').fetchone()[0]\n"
        "for _ in range(2):\n"
        "    before = beat()\n"
        "    while beat() == before:\n"
        "        time.sleep(0.01)\n"
        "print('[\"update = g * lr\"]')\n"
    )
    chosen = settings_of(
        strategy={"kind": "evolution", "proposals": {"command": [sys.executable, str(script)], "every": 60}}
    )
    with opened(tmp_path / "r.db") as store:
        run(chosen, store, PretendingEvaluator())
        assert {row["problem"] for row in rows_of_query(store, "SELECT problem FROM proposal")} == {None}


# --- in a search -----------------------------------------------------------------------------------------------------


def test_a_search_asks_a_function(tmp_path: Path) -> None:
    chosen = settings_of(
        strategy={"kind": "evolution", "proposals": {"call": "outside_functions:a_tuple", "every": 30}}
    )
    with opened(tmp_path / "r.db") as store:
        run(chosen, store, PretendingEvaluator())
        texts = rows_of_query(store, "SELECT genome FROM program WHERE mutation = 'outside'")
    assert [row["genome"] for row in texts] == ["update = g * lr", "update = g * w"] * 3


# --- refused before anything is trained ------------------------------------------------------------------------------

PLACE = "strategy.proposals"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"call": "no_such_module:propose"}, f"{PLACE}.call 'no_such_module:propose': cannot import 'no_such_module'"),
        ({"call": "outside_functions:other"}, f"{PLACE}.call 'outside_functions:other': 'outside_functions' has no"),
        ({"call": "outside_functions:not_callable"}, "'outside_functions' has no function 'not_callable'"),
        ({"call": "outside_functions:two"}, "missing a required argument: 'other'; it is given the question alone"),
        ({"call": "broken_functions:propose"}, "'broken_functions' is not Python"),
        ({"call": "__main__:main"}, "__main__"),
        ({"command": "no_such_command"}, f"{PLACE}.command: 'no_such_command' is not there, or may not be run"),
        ({"command": ["./outside_functions.py"]}, "'./outside_functions.py' is not there, or may not be run"),
        ({"command": "python ask.py"}, r"for arguments write a list, \[python, ask.py\]"),
    ],
    ids=str,
)
def test_who_is_not_there_is_refused_before_anything_is_trained(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    chosen = settings_of(strategy={"kind": "evolution", "proposals": settings})
    evaluator = PretendingEvaluator()
    with opened(tmp_path / "r.db") as store:
        with pytest.raises(InputError, match=message) as raised:
            run(chosen, store, evaluator)
        assert "\n" not in str(raised.value)
        assert not evaluator.submitted and rows_of_query(store, "SELECT * FROM search") == []


def test_a_function_without_a_file_is_refused() -> None:
    with pytest.raises(InputError, match="has no file"):
        check_proposer(Proposals(call="sys:exit"))


@pytest.mark.parametrize(
    ("proposals", "message"),
    [
        ({}, "strategy.proposals: set either call, to module:function, or command"),
        ({"call": "a:b", "command": "c"}, "strategy.proposals: set either call"),
        ({"command": []}, "strategy.proposals: set either call"),
        ({"call": "propose"}, "strategy.proposals.call: expected module:function, such as ask_model:propose"),
        ({"call": "a:b; import os"}, "strategy.proposals.call: expected module:function"),
        ({"command": [" "]}, "strategy.proposals.command: expected a program of this machine"),
        ({"command": ["a", 3]}, "strategy.proposals.command.1: Input should be a valid string"),
        ({"command": "a\0b"}, "strategy.proposals.command.0: expected a text without control characters"),
        ({"call": "a:b", "every": 0}, "strategy.proposals.every"),
        ({"call": "a:b", "most": 1001}, "strategy.proposals.most: .*each is recorded before the first is used"),
        ({"call": "a:b", "timeout_s": 0}, "strategy.proposals.timeout_s"),
        ({"call": "a:b", "often": 3}, "strategy.proposals.often: unknown setting; known here: call, command, every"),
        ("ask_model:propose", "strategy.proposals"),
    ],
    ids=str,
)
def test_settings_that_make_no_sense(tmp_path: Path, proposals: Any, message: str) -> None:
    path = tmp_path / "s.yaml"
    data = settings_of().model_dump(mode="json")
    path.write_text(yaml.safe_dump(data | {"strategy": {"kind": "evolution", "proposals": proposals}}))
    with pytest.raises(InputError, match=message) as raised:
        load_settings(path)
    assert "\n" not in str(raised.value)


def test_other_strategies_ask_nobody(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    data = settings_of().model_dump(mode="json")
    path.write_text(yaml.safe_dump(data | {"strategy": {"kind": "paper", "proposals": {"command": "true"}}}))
    with pytest.raises(InputError, match="proposals is a setting of kind: evolution; leave it out with kind: paper"):
        load_settings(path)
