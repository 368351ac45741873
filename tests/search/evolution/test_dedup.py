"""Recognising programs in a search: levels, remutation, upgrade of older databases."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from programs import dataflow_hash, parse
from programs.fingerprint import fingerprint

from search.evolution.driver import Driver
from search.settings.settings import Settings
from search.store import ProgramRow, Store, open_store
from search.training.inline import InlineEvaluator

from tests.support.searches import rows_of_query


def settings(programs: int, **dedup: object) -> Settings:
    return Settings.model_validate(
        {
            "name": "dedup", "budget": {"programs": programs}, "baselines": [], "dedup": dedup,
            "strategy": {"kind": "paper", "population": 10}, "tasks": [{"name": "digits_mlp", "steps": 5}],
            "evaluator": {"kind": "inline", "batch": 8, "lookahead": 3},
        }
    )  # fmt: skip


def search(folder: Path, chosen: Settings) -> tuple[Store, list[ProgramRow]]:
    store = open_store(str(folder / "results.db"), create=True)
    Driver(chosen, store, InlineEvaluator(), lambda _: None).run()
    found = store.find_search(chosen.name)
    assert found is not None
    return store, list(store.births(found.id))


def test_every_level_answers_and_is_right(tmp_path: Path) -> None:
    """Each birth says truly what answered it."""
    _, births = search(tmp_path, settings(1200))
    levels = Counter(birth.answered_by for birth in births)
    assert set(levels) == {"training", "hash", "fingerprint", "in_flight", "rejection"}
    hashes: set[str] = set()
    keys: set[str] = set()
    for birth in births:
        found = fingerprint(parse(birth.genome))
        assert birth.dataflow_hash == dataflow_hash(parse(birth.genome))
        assert birth.key == found.key
        if birth.answered_by == "training":
            assert birth.key not in keys
        elif birth.answered_by == "hash":
            assert birth.dataflow_hash in hashes
        elif birth.answered_by == "rejection":
            assert (birth.status, birth.reason) == ("rejected", found.rejection)
        else:
            assert birth.key in keys
        hashes.add(birth.dataflow_hash)
        keys.add(birth.key)


def test_twins_share_their_score(tmp_path: Path) -> None:
    _, births = search(tmp_path, settings(600))
    by_key: dict[str, set[tuple[str, float | None]]] = {}
    for birth in births:
        by_key.setdefault(birth.key, set()).add((birth.status, birth.fitness))
    assert all(len(scores) == 1 for scores in by_key.values())


def test_a_second_search_trains_nothing_again_and_has_the_same_history(tmp_path: Path) -> None:
    """Another search of the same settings in the same database finds every evaluation."""
    store, first = search(tmp_path, settings(300))
    evaluations = rows_of_query(store, "SELECT COUNT(*) AS n FROM training")[0]["n"]
    again = settings(300).model_copy(update={"name": "again"})
    driver = Driver(again, store, InlineEvaluator(), lambda _: None)
    driver.run()
    assert driver.service.trained == 0
    assert rows_of_query(store, "SELECT COUNT(*) AS n FROM training")[0]["n"] == evaluations
    found = store.find_search("again")
    assert found is not None
    assert list(store.births(found.id)) == first


def test_an_interrupted_search_with_a_small_memory_is_the_same(tmp_path: Path) -> None:
    chosen = {"remutate": 2, "cache": 5}
    for folder in ("whole", "parts"):
        (tmp_path / folder).mkdir()
    _, whole = search(tmp_path / "whole", settings(400, **chosen))
    for programs in (90, 91, 250):
        search(tmp_path / "parts", settings(programs, **chosen))
    _, parts = search(tmp_path / "parts", settings(400, **chosen))
    assert parts == whole


def test_remutation_makes_children_that_differ_from_their_parents(tmp_path: Path) -> None:
    def same_as_parent(births: list[ProgramRow]) -> float:
        """Share among children of parents that do something: nearly all mutants of a zero update are zero again."""
        keys = {birth.birth: birth.key for birth in births if birth.status != "rejected"}
        children = [(keys[birth.parent_birth], birth.key) for birth in births if birth.parent_birth in keys]
        return sum(parent == child for parent, child in children) / len(children)

    for folder in ("plain", "remutated"):
        (tmp_path / folder).mkdir()
    _, plain = search(tmp_path / "plain", settings(400))
    _, remutated = search(tmp_path / "remutated", settings(400, remutate=20))
    assert same_as_parent(remutated) < same_as_parent(plain) / 3
    assert any("+" in birth.mutation for birth in remutated)


def test_without_fingerprints_the_hash_is_the_key(tmp_path: Path) -> None:
    _, births = search(tmp_path, settings(300, fingerprint=False))
    assert all(birth.key == birth.dataflow_hash for birth in births)
    assert {birth.answered_by for birth in births} == {"training", "hash", "in_flight"}
