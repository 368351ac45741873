"""`optsearch proxies` from a small store to tables, with real training; what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from search.commands.proxies import measure_programs
from search.commands.terminal import console
from search.evidence.proxy_measurement import Protocol, proxy_task
from search.results.results import Results
from search.settings.settings import EvaluatorSettings, Settings

from tests.support.commands import changed, command, refused, said
from tests.support.searches import filled, opened, rows_of_query

TASKS = ("digits_mlp@4", "digits_mlp@8", "noisy_quadratic@6", "digits_mlp@20")
PROTOCOL = Protocol(trials=3, tuning_seeds=1, fresh_seeds=2)
INLINE = EvaluatorSettings(kind="inline")


def measured(path: Path, *tasks: str, protocol: Protocol = PROTOCOL) -> None:
    measure_programs("small", [proxy_task(name) for name in tasks], 8, protocol, str(path), INLINE)


@pytest.fixture(scope="module")
def store_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small search with programs that were measured on short tasks."""
    path = tmp_path_factory.mktemp("proxies") / "results.db"
    filled(path)
    measured(path, *TASKS)
    return path


def tables(path: Path, line: str) -> dict[str, list[dict[str, Any]]]:
    return json.loads(said(path, f"proxies small {line} --json"))["tables"]


def test_programs_are_tuned_alike_and_measured_on_fresh_seeds(store_path: Path) -> None:
    rows = tables(store_path, "")["measurements"]
    assert len(rows) == 8 * len(TASKS) and {row["task"] for row in rows} == set(TASKS)
    assert {(row["trials"], row["tuning_seeds"], row["seeds"]) for row in rows} == {(3, 1, 2)}
    assert len({row["program_id"] for row in rows}) == 8
    assert all((row["fitness"] is None) is (row["seeds_failed"] > 0) for row in rows)
    with opened(store_path) as store:
        seeds = rows_of_query(store, "SELECT DISTINCT seed FROM training WHERE task LIKE 'noisy%' ORDER BY seed")
        best = Results(store).leaderboard("small", 1, pareto=False)[0].id
    assert [row["seed"] for row in seeds] == [10_000, 15_000, 15_001]  # of the first stage of a funnel
    assert best in {row["program_id"] for row in rows}


def test_the_cost_is_said_and_what_is_measured_is_not_trained_again(store_path: Path, tmp_path: Path) -> None:
    copy = changed(store_path, tmp_path)
    line = "proxies small --tasks digits_mlp@4,digits_mlp@9 --programs 3 --trials 2"
    code, out, _ = command(copy, line)
    assert code == 0 and "3 programs on digits_mlp@4, digits_mlp@9, 2 trials each: at most" in out
    most = int(re.findall(r"at most (\d+) trainings", out)[0])
    assert 0 < int(re.findall(r"(\d+) trainings in this run", out)[0]) <= most
    assert "what proxies say of digits_mlp@9" in out
    code, out, _ = command(copy, f"{line} --json")
    assert code == 0 and {row["seeds"] for row in json.loads(out)["tables"]["measurements"]} == {8}
    _, out, _ = command(copy, line)
    assert "0 trainings in this run" in out


def test_tables_fit_a_terminal(store_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "width", 80)
    out = said(store_path, "proxies small --target digits_mlp@20")
    assert max(map(len, out.splitlines())) <= 80
    for part in ("digits_mlp@4", "digits_mlp@8", "noisy_quadratic@6", "tau", "20%", "the cheapest"):
        assert part in out, part
    assert "what proxies say of digits_mlp@8" not in out
    assert "what proxies say of digits_mlp@8" in said(store_path, "proxies small")


def test_the_set_can_be_searched_on(store_path: Path) -> None:
    out = said(store_path, "proxies small --target digits_mlp@20")
    tasks = yaml.safe_load(out[out.index("tasks:") :])["tasks"]
    Settings.model_validate({"name": "next", "budget": {"programs": 9}, "tasks": tasks})
    found = tables(store_path, "--target digits_mlp@20")
    assert yaml.safe_load(found["choice"][0]["yaml"])["tasks"] == tasks
    (chosen,) = [one for one in found["sets"] if one["chosen"]]
    assert len(tasks) == len(found["weights"]) == len(chosen["tasks"].split(" + "))
    assert sum(one["weight"] for one in found["weights"]) == pytest.approx(1)
    assert [one["proxy"] for one in found["correlations"] if one["target"] == "digits_mlp@8"]


def test_failed_trainings_are_counted(store_path: Path, tmp_path: Path) -> None:
    rows = tables(store_path, "")["measurements"]
    well = next(n for n in {r["program_id"] for r in rows} if all(r["fitness"] for r in rows if r["program_id"] == n))
    fail = f"UPDATE proxy_measurement SET fitness = NULL, seeds_failed = 2 WHERE program_id = {well}"
    copy = changed(store_path, tmp_path, f"{fail} AND task = 'digits_mlp@4'")
    before, after = (
        next(one for one in tables(path, "")["correlations"] if one["proxy"] == "digits_mlp@4")
        for path in (store_path, copy)
    )
    assert after["failed"] == before["failed"] + 1 and after["programs"] == before["programs"]


def test_another_way_to_tune_replaces_what_cannot_be_compared(store_path: Path, tmp_path: Path) -> None:
    copy = changed(store_path, tmp_path)
    measured(copy, "digits_mlp@8", protocol=Protocol(2, 1, 2))
    rows = tables(copy, "")["measurements"]
    assert {(row["task"], row["trials"]) for row in rows} == {("digits_mlp@8", 2)}
    assert "a task with more steps are needed" in said(copy, "proxies small")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("small --tasks pydoc_transformer_short", "'pydoc_transformer_short' is one of the locked tasks"),
        ("small --tasks digits_mlp,mnist1d_cnn@10", "'mnist1d_cnn' is one of the locked tasks"),
        ("small --tasks digits_diffusion", "'digits_diffusion' is one of the locked tasks"),
        ("small --target mnist1d_cnn_wide", "'mnist1d_cnn_wide' is one of the locked tasks"),
        ("small --tasks digits_mlp@0", "expected NAME@STEPS with 1 to 10000000 steps, such as digits_mlp@500"),
        ("small --tasks digits", "unknown task 'digits'"),
        ("small --target digits_cnn", "--target digits_cnn: nothing was measured there; there are digits_mlp@4"),
        ("small --tasks digits_mlp@3 --target digits_mlp", "--target digits_mlp: nothing was measured there"),
        ("smal", "no search 'smal'; there are: small"),
        ("smal --tasks digits_mlp@4", "no search 'smal'; there are: small"),
    ],
)
def test_mistakes_are_said_in_one_line(store_path: Path, line: str, why: str) -> None:
    assert why in refused(store_path, f"proxies {line}")


def test_a_search_that_was_not_measured_says_so(store_path: Path, tmp_path: Path) -> None:
    copy = changed(store_path, tmp_path, "DELETE FROM proxy_measurement")
    assert "search 'small' has no measurements on proxy tasks; name tasks" in refused(copy, "proxies small")
