"""Evolution, random search and tuning; populations side by side and their restarts: one history for each, as ever."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from programs import parse, zoo
from programs.errors import InputError
from programs.program import Program

from search.evolution.births import Genome
from search.evolution.population import Member, Populations
from search.settings.settings_file import load_settings

from tests.support.searches import (
    PretendingEvaluator,
    column,
    history_of,
    opened,
    run,
    settings_of,
    stop_at,
    uninterrupted,
)

STRATEGIES: dict[str, dict[str, Any]] = {
    "side by side": {"repeats": 3},
    "restarts from the best": {"restart_after": 20},
    "restarts from the start": {"restart_after": 15, "restart_from": "start"},
    "side by side with restarts": {"repeats": 3, "restart_after": 9, "population": 4},
    "random": {"kind": "random", "lengths": [3, 3, 5]},
    "random side by side": {"kind": "random", "repeats": 4},
    "tuning": {"kind": "tune"},
    "tuning side by side with restarts": {"kind": "tune", "repeats": 2, "restart_after": 12},
    "structures": {"kind": "evolution"},
    "structures on islands side by side": {
        "kind": "evolution", "repeats": 2, "islands": 2, "migrate_after": 5, "population": 4,
    },
    "structures with restarts at three scales": {
        "kind": "evolution", "restart_after": 8, "restart_from": "start", "scales": [1, 0.3, 3], "match_size": False,
    },
    "structures by the paper's changes": {
        "kind": "evolution", "operators": ["insert", "delete", "modify"], "constants": 0, "adapt": False,
        "clean": False,
    },
    "small structures": {"kind": "evolution", "objectives": ["fitness", "statements", "states"]},
}  # fmt: skip
SEEDS: dict[str, Any] = {"one seed": 1, "raced": {"first": 1, "most": 8}, "raced from two": {"first": 2, "most": 6}}


def settings(strategy: dict[str, Any], **changes: Any) -> Any:
    return settings_of(strategy={"kind": "paper"} | strategy, **changes)


CASES = {
    f"{name}, {seeds}": (strategy, SEEDS[seeds])
    for name, strategy in STRATEGIES.items()
    for seeds in (SEEDS if strategy.get("kind") == "evolution" else ["one seed"])
}


@pytest.mark.parametrize(("strategy", "seeds"), CASES.values(), ids=CASES)
def test_one_history_however_it_is_run(tmp_path: Path, strategy: dict[str, Any], seeds: Any) -> None:
    """Interrupted again and again, jobs finishing in any order."""
    chosen = settings(strategy, tasks=[{"name": "digits_mlp", "steps": 5, "seeds": seeds}])
    whole = uninterrupted(chosen, tmp_path / "whole.db")
    assert len(whole) == 100
    with opened(tmp_path / "r.db") as store:
        for births in (1, 5, 20, 33, 47, 61, 62, 80):
            run(chosen, store, PretendingEvaluator(births), stop_at(births))
            part = history_of(store)
            assert part == whole[: len(part)]
        run(chosen, store, PretendingEvaluator(1))
        assert history_of(store) == whole


def test_populations_do_not_mix(tmp_path: Path) -> None:
    """Each begins with the start program, and a parent is of its child's population; what is trained is shared."""
    history = uninterrupted(settings({"repeats": 3}), tmp_path / "r.db")
    assert column(history, "mutation")[:3] == ["start"] * 3 and column(history, "parent_birth")[:3] == [None] * 3
    assert len(set(column(history, "key")[:3])) == 1 and column(history, "answered_by")[:3].count("training") == 1
    for birth, parent in enumerate(column(history, "parent_birth")):
        assert birth < 3 or parent % 3 == birth % 3
    trained = [key for key, by in zip(column(history, "key"), column(history, "answered_by"), strict=True)
               if by == "training"]  # fmt: skip
    assert len(trained) == len(set(trained))


def test_one_population_is_what_it_was_without_the_setting(tmp_path: Path) -> None:
    assert uninterrupted(settings({"repeats": 1}), tmp_path / "a.db") == uninterrupted(settings({}), tmp_path / "b.db")


def test_random_programs_have_the_lengths_asked_for_and_no_parents(tmp_path: Path) -> None:
    history = uninterrupted(settings({"kind": "random", "lengths": [3, 3, 5]}), tmp_path / "r.db")
    lengths = Counter(len(parse(genome)) for genome in column(history, "genome"))
    assert lengths.keys() == {3, 5} and lengths[3] / 100 == pytest.approx(2 / 3, abs=0.15)
    assert set(column(history, "parent_birth")) == {None} and set(column(history, "mutation")) == {"random"}
    assert len(set(column(history, "genome"))) > 95


def test_tuning_changes_constants_alone(tmp_path: Path) -> None:
    history = uninterrupted(settings({"kind": "tune", "start": "adamw"}), tmp_path / "r.db")
    assert set(column(history, "mutation")) == {"start", "tune"}
    shapes = {_without_constants(parse(genome)) for genome in column(history, "genome")}
    assert shapes == {_without_constants(zoo.load("adamw"))}
    assert len(set(column(history, "genome"))) > 50


def _without_constants(program: Program) -> tuple[Any, ...]:
    return tuple(
        (s.target, s.function, *(a if isinstance(a, str) else None for a in s.args)) for s in program.statements
    )


# --- restarts --------------------------------------------------------------------------------------------------------


def member(birth: int, fitness: float) -> Member:
    return Member(birth, Genome(zoo.load("sgd")), f"key {birth}", fitness)


def parents(populations: Populations, birth: int) -> set[int]:
    return set(column_of_members(populations, birth))


def column_of_members(populations: Populations, birth: int) -> list[int]:
    return [m.birth for m in populations.parents_of(birth)._members]


@pytest.mark.parametrize(("from_best", "first"), [(True, 2), (False, 0)])
def test_a_population_restarts_after_its_births(from_best: bool, first: int) -> None:
    populations = Populations(3, 1, [member(0, 0.0)], restart_after=4, restart_from_best=from_best)
    for birth, fitness in enumerate([0.0, 1.0, 5.0, 2.0]):
        populations.join(member(birth, fitness))
    assert parents(populations, 3) == {1, 2, 3}, "births of before the restart have parents of before"
    assert column_of_members(populations, 4) == [first] * 3
    populations.join(member(4, 1.0))
    assert column_of_members(populations, 5) == [first, first, 4]
    populations.join(member(3, 9.0))  # drawn before, known only now
    assert column_of_members(populations, 5) == [first, first, 4]
    populations.join(member(8, 0.0))
    assert column_of_members(populations, 9) == ([3, 3, 8] if from_best else [0, 0, 8]), "its best of all time"


def test_populations_restart_each_from_its_own_best() -> None:
    populations = Populations(2, 2, [member(0, 0.0)], restart_after=2, restart_from_best=True)
    for birth, fitness in enumerate([0.0, 0.0, 3.0, 7.0]):
        populations.join(member(birth, fitness))
    assert (parents(populations, 4), parents(populations, 5)) == ({2}, {3})


def test_a_program_that_failed_is_no_best() -> None:
    populations = Populations(2, 1, [member(0, -math.inf)], restart_after=2, restart_from_best=True)
    populations.join(member(0, 1.0))
    populations.join(member(1, -math.inf))
    assert parents(populations, 2) == {0}


# --- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ({"kind": "random", "restart_after": 5}, "random programs have no start"),
        ({"kind": "evolution", "lengths": [3]}, "lengths are those of random programs"),
        (
            {"kind": "paper", "constants": 0.3},
            "constants is a setting of kind: evolution; leave it out with kind: paper",
        ),
        ({"kind": "evolution", "operators": ["instert"]}, "no change is called 'instert'; there are insert, delete"),
        ({"repeats": 0}, "strategy.repeats"),
        ({"restart_from": "middle"}, "strategy.restart_from"),
        ({"kind": "annealing"}, "strategy.kind"),
    ],
)
def test_settings_that_make_no_sense(tmp_path: Path, strategy: dict[str, Any], message: str) -> None:
    import yaml

    data = settings_of().model_dump(mode="json")
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump(data | {"strategy": strategy}))
    with pytest.raises(InputError, match=message):
        load_settings(path)


def test_a_search_stored_before_a_setting_existed_goes_on(tmp_path: Path) -> None:
    import json

    from sqlalchemy import text

    whole = uninterrupted(settings_of(), tmp_path / "whole.db")
    with opened(tmp_path / "r.db") as store:
        run(settings_of(), store, PretendingEvaluator(), stop_at(20))
        found = store.find_search("small")
        assert found is not None
        old = {k: v for k, v in found.settings.items() if k != "hurdles"}
        old["strategy"] = {k: v for k, v in old["strategy"].items() if k not in ("repeats", "lengths")}
        old["evaluator"] = {k: v for k, v in old["evaluator"].items() if k != "timeout_s"}
        with store.writing() as connection:
            connection.execute(text("UPDATE search SET settings = :s"), {"s": json.dumps(old)})
        run(settings_of(), store, PretendingEvaluator())
        assert history_of(store) == whole
