"""Programs from outside: one history for the answers that are in the store, however the search is run."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import text as sql

from programs import parse
from programs.errors import InputError
from programs.mutation import mutate
from programs.program import MAX_TEXT

from search.evolution.history import History
from search.evolution.outside import asking
from search.evolution.outside.proposer import Answer
from search.results.results import Results
from search.settings.proposals import Proposals
from search.settings.settings import Settings
from search.store import ProposalRow, Store

from tests.support.commands import command, said
from tests.support.searches import (
    PretendingEvaluator,
    column,
    history_of,
    opened,
    rows_of_query,
    run,
    settings_of,
    stop_at,
    uninterrupted,
)

Question = dict[str, Any]
Reply = Callable[[Question], list[str] | str]  # texts, or what is wrong

PROPOSALS = {"command": "true", "every": 10, "most": 4}
CASES: dict[str, dict[str, Any]] = {
    "one population": {},
    "at every batch": {"strategy": {"proposals": PROPOSALS | {"every": 1, "most": 3}}},
    "more than a batch takes": {"strategy": {"proposals": PROPOSALS | {"most": 20}}},
    "side by side on islands": {"strategy": {"repeats": 3, "islands": 2, "migrate_after": 5}},
    "nothing in flight": {"evaluator": {"lookahead": 1}},
    "raced": {"tasks": [{"name": "digits_mlp", "steps": 5, "seeds": {"first": 1, "most": 4}}]},
    "no states": {"strategy": {"max_states": 1}},
}  # fmt: skip


def settings(**changes: Any) -> Settings:
    strategy = {"kind": "evolution", "proposals": PROPOSALS} | changes.pop("strategy", {})
    return settings_of(strategy=strategy, **changes)


def by_question(question: Question) -> list[str]:
    """Children of the best programs, and what is no program: a function of the question alone."""
    rng = Random(json.dumps(question))
    parents = [parse(best["text"]) for best in question["best"]]
    texts = [str(mutate(parent, rng, 20)[0]) for parent in parents[:3]]
    return [*texts, "import os", f"update = g * {rng.random()}", *texts, *texts]


class Outside:
    """Stands in for the process that is asked, and keeps the questions."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.questions: list[Question] = []

    def __call__(self, _settings: Proposals, question: Question, _stopped: Callable[[], bool]) -> Answer:
        question = json.loads(json.dumps(question, allow_nan=False))
        self.questions.append(question)
        reply = self.reply(question)
        return Answer([], reply) if isinstance(reply, str) else Answer(reply)


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> Outside:
    found = Outside(by_question)
    monkeypatch.setattr(asking, "ask", found)
    return found


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path / "r.db") as store:
        yield store


def answered(store: Store) -> list[dict[str, Any]]:
    return rows_of_query(store, "SELECT birth, population, number, text, problem FROM proposal ORDER BY birth, number")


def born(store: Store) -> list[tuple[int, str]]:
    """Numbers and texts of the programs that were born of proposals."""
    history = history_of(store)
    rows = zip(*(column(history, name) for name in ("birth", "mutation", "genome")), strict=True)
    return [(birth, genome) for birth, mutation, genome in rows if mutation == "outside"]


# --- one history -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_one_history_however_it_is_run(tmp_path: Path, outside: Outside, changes: dict[str, Any]) -> None:
    """Interrupted again and again, with budgets that cut batches short, jobs finishing in any order."""
    chosen = settings(**changes)
    whole = uninterrupted(chosen, tmp_path / "whole.db")
    assert column(whole, "mutation").count("outside") > 20 and len(outside.questions) > 4
    asked = outside.questions
    outside.questions = []
    with opened(tmp_path / "r.db") as store:
        for births in (1, 9, 20, 33, 34, 62, 80):
            run(chosen, store, PretendingEvaluator(births), stop_at(births))
            part = history_of(store)
            assert part == whole[: len(part)]
        for programs in (83, 90, 91, 97):
            few = chosen.model_copy(update={"budget": chosen.budget.model_copy(update={"programs": programs})})
            run(few, store, PretendingEvaluator(programs))
            assert history_of(store) == whole[: max(programs, len(part))]
        run(chosen, store, PretendingEvaluator(1))
        assert history_of(store) == whole
    assert outside.questions == asked, "each question is asked once, and is the same"


@pytest.mark.parametrize("limit", [1, 6, 11, 15])
def test_killed_in_training(tmp_path: Path, outside: Outside, limit: int) -> None:
    whole = uninterrupted(settings(), tmp_path / "whole.db")
    asked = len(outside.questions)
    with opened(tmp_path / "r.db") as store:
        with pytest.raises(KeyboardInterrupt):
            run(settings(), store, PretendingEvaluator(0, limit))
        run(settings(), store, PretendingEvaluator(1))
        assert history_of(store) == whole
    assert len(outside.questions) == 2 * asked


@pytest.mark.parametrize("question", [0, 2, 5])
def test_killed_between_the_answer_and_its_use(
    tmp_path: Path, outside: Outside, question: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was answered is in the store by then, so nobody is asked twice."""
    whole = uninterrupted(settings(), tmp_path / "whole.db")
    asked = len(outside.questions)
    outside.questions = []
    give = History.give

    def killed(history: History, given: Any) -> None:
        if len(outside.questions) == question + 1:
            raise KeyboardInterrupt
        give(history, given)

    with opened(tmp_path / "r.db") as store:
        with monkeypatch.context() as patched:
            patched.setattr(History, "give", killed)
            with pytest.raises(KeyboardInterrupt):
                run(settings(), store, PretendingEvaluator())
        assert len({row["birth"] for row in answered(store)}) == question + 1
        run(settings(), store, PretendingEvaluator())
        assert history_of(store) == whole
    assert len(outside.questions) == asked


def test_killed_while_it_waits(tmp_path: Path, outside: Outside) -> None:
    """Nothing was answered, so it is asked again."""
    whole = uninterrupted(settings(), tmp_path / "whole.db")

    def killed(_: Question) -> list[str]:
        raise KeyboardInterrupt

    with opened(tmp_path / "r.db") as store:
        outside.reply = killed
        with pytest.raises(KeyboardInterrupt):
            run(settings(), store, PretendingEvaluator())
        assert answered(store) == []
        outside.reply = by_question
        run(settings(), store, PretendingEvaluator())
        assert history_of(store) == whole


def test_what_is_in_the_store_decides(tmp_path: Path, outside: Outside) -> None:
    """Answers that are others each time: the history is that of those which were recorded."""
    random = Random(1)
    outside.reply = lambda _: [f"update = g * {random.random()}" for _ in range(random.randrange(6))]
    chosen = settings(strategy={"repeats": 2})
    with opened(tmp_path / "r.db") as store, opened(tmp_path / "again.db") as again:
        for births in (1, 20, 33, 62):
            run(chosen, store, PretendingEvaluator(births), stop_at(births))
        run(chosen, store, PretendingEvaluator())
        run(chosen.model_copy(update={"budget": chosen.budget.model_copy(update={"programs": 1})}), again,
            PretendingEvaluator())  # fmt: skip
        with again.writing() as connection:
            again.insert(connection, store.select(ProposalRow), search_id=1)
        outside.reply = lambda _: pytest.fail("asked though the answer is known")
        run(chosen, again, PretendingEvaluator())
        assert history_of(again) == history_of(store)
        assert answered(again) == answered(store) != []


# --- what is used ----------------------------------------------------------------------------------------------------


def test_texts_are_born_in_their_order_in_the_population_that_was_asked_about(store: Store, outside: Outside) -> None:
    outside.reply = lambda question: [f"update = g * 0.{question['births']}{n}1" for n in range(3)]
    run(settings(strategy={"repeats": 2}), store, PretendingEvaluator())
    rows = answered(store)
    populations = [question["population"] for question in outside.questions]
    assert populations == [turn % 2 for turn in range(len(populations))] and len(populations) > 5
    assert [row["population"] for row in rows] == [one for one in populations for _ in range(3)]
    for population in (0, 1):
        texts = [row["text"] for row in rows if row["population"] == population]
        mine = [(birth, genome) for birth, genome in born(store) if birth % 2 == population]
        assert [genome for _, genome in mine] == texts[: len(mine)] and len(texts) - len(mine) <= 3
        starts = {row["text"]: row["birth"] for row in rows}
        assert all(birth >= starts[genome] for birth, genome in mine)
        first = next(birth for birth, _ in mine)
        assert [birth for birth, _ in mine][:3] == [first, first + 2, first + 4]
    parents = {row[2] for row in history_of(store) if row[3] == "outside"}
    assert parents == {None}


def test_it_is_asked_where_a_batch_begins_after_so_many_births_and_not_before_the_start_programs(
    store: Store, outside: Outside
) -> None:
    starts = ["sgd", "lion", "adamw", "signum", "nadamw", "nesterov"]  # more than the first batch
    run(settings(strategy={"start": starts, "proposals": PROPOSALS | {"every": 4}}), store, PretendingEvaluator())
    history = history_of(store)
    batches = [row[1] for row in history]
    asked = [question["births"] for question in outside.questions]
    begins = [birth for birth in range(1, 100) if batches[birth] != batches[birth - 1]]
    assert set(asked) <= set(begins) and min(asked) >= 6
    assert column(history, "mutation")[:6] == ["start"] * 6
    expected, last = [], 0
    for birth in begins:
        if birth >= 6 and birth // 4 > last // 4:
            expected.append(birth)
            last = birth
    assert asked == expected


def test_what_it_is_asked(store: Store, outside: Outside) -> None:
    run(settings(baselines=["adamw", "muon"], strategy={"max_states": 1}), store, PretendingEvaluator())
    first, *_, last = outside.questions
    assert first["best"] == [] or first["best"][0]["fitness"] < 0
    fitness = [best["fitness"] - best["standard_error"] for best in last["best"]]
    assert fitness == sorted(fitness, reverse=True) and 3 < len(fitness) <= 10
    known = {row[4]: row[9] for row in history_of(store)}
    for best in last["best"]:
        assert known[str(parse(best["text"]))] == best["fitness"] and best["states"] <= 1
        assert best["statements"] == len(parse(best["text"]))
    assert 0 < len(last["failed"]) <= 10 and all(failed["reason"] for failed in last["failed"])
    assert {failed["text"] for failed in last["failed"]} <= set(known)
    assert last["refused"][0]["text"] == "import os" and "expected an assignment" in last["refused"][0]["reason"]
    assert last["tasks"] == [{"name": "digits_mlp", "steps": 5}]
    adamw, muon = last["baselines"]
    assert adamw["name"] == "adamw" and adamw["fitness"] < 0 and len(parse(adamw["text"])) > 5
    assert muon["name"] == "muon"
    names = [function["function"] for function in last["language"]["functions"]]
    assert "interp(x, y, a)" in names and "x * y" in names and not any("orthogonalize" in name for name in names)
    assert last["limits"] == {"texts": 4, "max_statements": 64, "max_states": 1, "max_live_statements": None}
    assert parse(last["best"][0]["text"]) and "return update, m, v" in last["language"]["form"]


# --- bad answers -----------------------------------------------------------------------------------------------------

HOSTILE = {
    "import os\nos.system('touch ran')": "expected an assignment",
    "update = __import__('os').system('touch ran')": "expected one function of variables",
    "update = g.__class__": "expected one function of variables",
    "update = eval('1')": "unknown function 'eval'",
    "update = (lambda: g)()": "expected one function of variables",
    "update = g * lr * 2": "give an inner expression a variable",
    "update = [g for g in g]": "expected one function of variables",
    "x": "expected an assignment",
    "": "update",
    "update = g * lr\0": "null bytes",
    "update = g * lr # \ud800": "can't encode",
    "update = " + "(" * 5000 + "g": "too many nested parentheses",
    "update = g * lr\n" * 10_000: f"expected at most {MAX_TEXT}",
    "\n".join(["update = g * lr"] * 65): "65 statements, more than strategy.max_statements: 64",
    "update = orthogonalize(g)": "'orthogonalize' is not among the functions of this search",
    "I would try this:\n```\nupdate = g * lr\n```": "line 1, column",
    "def train(w, g, m, v, lr):\n    update = g * lr": "expected 'return update, m, v'",
}


@pytest.mark.parametrize(("text", "reason"), HOSTILE.items(), ids=range(len(HOSTILE)))
def test_a_text_that_is_no_program_is_refused_and_the_others_are_used(
    store: Store, outside: Outside, text: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outside.reply = lambda _: ["update = g * 0.5", text, "update = g * 0.25"]
    run(settings(budget={"programs": 25}), store, PretendingEvaluator())
    for first, refused, last in zip(*[iter(answered(store))] * 3, strict=True):
        assert first["problem"] is None and last["problem"] is None
        assert reason in refused["problem"] and "\n" not in refused["problem"] and len(refused["problem"]) <= 300
        assert len(refused["text"]) <= 2000
    assert [genome for _, genome in born(store)][:2] == ["update = g * 0.5", "update = g * 0.25"]
    assert not (tmp_path / "ran").exists()
    assert outside.questions[-1]["refused"] == [] or outside.questions[-1]["refused"][0]["text"] == refused["text"]


def test_an_answer_without_texts_is_noted_once_and_the_search_goes_on(
    store: Store, outside: Outside, caplog: pytest.LogCaptureFixture
) -> None:
    outside.reply = lambda _: "it ended with code 1:\n\x1b[31mno"
    with caplog.at_level(logging.INFO):
        run(settings(), store, PretendingEvaluator())
    assert len(history_of(store)) == 100 and born(store) == []
    assert {row["problem"] for row in answered(store)} == {"it ended with code 1: [31mno"}
    assert [row["text"] for row in answered(store)] == [None] * len(outside.questions)
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert "0 programs from outside, 1 not used (it ended with code 1: [31mno); the search goes on" in warning


def test_no_more_texts_are_taken_than_asked_for(store: Store, outside: Outside) -> None:
    outside.reply = lambda _: ["update = g * lr"] * 1000
    run(settings(), store, PretendingEvaluator())
    assert len(answered(store)) == 4 * len(outside.questions)


def test_a_recorded_text_that_is_no_program_is_told_in_one_line(store: Store, outside: Outside) -> None:
    run(settings(), store, PretendingEvaluator(), stop_at(40))
    with store.writing() as connection:
        connection.execute(sql("UPDATE proposal SET text = 'import os' WHERE problem IS NULL"))
    with pytest.raises(InputError, match=r"text 0 from outside, birth \d+, in the store: line 1"):
        run(settings(), store, PretendingEvaluator())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("population = 1", "the population of a proposal"),
        ("birth = -birth", "the place of a proposal"),
        ("text = NULL, problem = NULL", "a proposal without text"),
        ("text = 7", "an? .* as text|line 1"),
    ],
)
def test_answers_that_no_run_has_written_are_refused(store: Store, outside: Outside, change: str, message: str) -> None:
    run(settings(), store, PretendingEvaluator(), stop_at(40))
    with store.writing() as connection:
        connection.execute(sql(f"UPDATE proposal SET {change}"))
    with pytest.raises(InputError, match=message):
        run(settings(), store, PretendingEvaluator())


# --- who is asked ----------------------------------------------------------------------------------------------------


def test_another_proposer_is_another_search(store: Store, outside: Outside) -> None:
    run(settings(), store, PretendingEvaluator(), stop_at(20))
    other = settings(strategy={"proposals": PROPOSALS | {"command": "false"}})
    with pytest.raises(InputError, match=r"other settings \(strategy.proposals.command: \['true'\] -> \['false'\]\)"):
        run(other, store, PretendingEvaluator())
    with pytest.raises(InputError, match="other settings"):
        run(settings(strategy={"proposals": None}), store, PretendingEvaluator())
    run(settings(strategy={"proposals": PROPOSALS | {"timeout_s": 5}}), store, PretendingEvaluator())
    assert len(history_of(store)) == 100


def test_answers_alone_make_a_history(store: Store, outside: Outside) -> None:
    """They may be there before the first birth is committed; then others must not be asked in their place."""
    with pytest.raises(KeyboardInterrupt):
        run(settings(strategy={"proposals": PROPOSALS | {"every": 4}}), store, PretendingEvaluator(0, limit=0))
    assert history_of(store) == [] and answered(store)
    with pytest.raises(InputError, match="other settings"):
        run(settings(), store, PretendingEvaluator())


def test_a_search_from_before_there_were_proposals_goes_on(tmp_path: Path) -> None:
    chosen = settings(strategy={"proposals": None})
    whole = uninterrupted(chosen, tmp_path / "whole.db")
    with opened(tmp_path / "r.db") as store:
        run(chosen, store, PretendingEvaluator(), stop_at(20))
        found = store.find_search("small")
        assert found is not None
        del found.settings["strategy"]["proposals"]
        with store.writing() as connection:
            connection.execute(sql("UPDATE search SET settings = :s"), {"s": json.dumps(found.settings)})
        run(chosen, store, PretendingEvaluator())
        assert history_of(store) == whole


# --- what commands say -----------------------------------------------------------------------------------------------


def test_commands_know_programs_from_outside(tmp_path: Path, outside: Outside) -> None:
    path = tmp_path / "r.db"
    with opened(path) as store:
        run(settings(), store, PretendingEvaluator())
        rows = rows_of_query(store, "SELECT id, birth FROM program WHERE mutation = 'outside' AND fitness IS NOT NULL")
        child = rows_of_query(
            store,
            "SELECT c.id FROM program c JOIN program p ON c.search_id = p.search_id AND c.parent_birth = p.birth"
            " WHERE p.mutation = 'outside'",
        )[0]["id"]
        entries = Results(store).proposals("small")
    assert f"birth {rows[0]['birth']}, from outside" in said(path, f"show {rows[0]['id']}")
    assert "from outside" in said(path, f"lineage {child}") and said(path, f"show {child}")
    assert "from outside" in said(path, f"lineage {rows[0]['id']}")
    refused = sum(entry.problem is not None for entry in entries)
    assert refused > 0
    status = " ".join(said(path, "status").split())
    assert f"small has asked outside {len(outside.questions)} times: {len(entries)} texts, {refused} refused;" in status
    assert f"{len(entries) - refused} were born, the best with fitness -0." in status
    (counted,) = json.loads(said(path, "status --json"))["tables"]["outside"]
    assert counted["asked"] == len(outside.questions) and counted["unusable"] == 0
    assert command(path, "check")[0] == 0
