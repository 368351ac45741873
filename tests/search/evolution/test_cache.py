"""The memory of a search is bounded and forgets the least recently born first."""

from __future__ import annotations

from search.evolution.cache import Cache
from search.training.service import Score


def test_the_least_recently_born_is_forgotten_first() -> None:
    cache = Cache(2)
    for name in ("a", "b", "a", "c"):
        cache.note(f"hash {name}", f"key {name}", Score("ok", -1.0), replace=False)
    assert cache.key_of("hash b") is None
    assert cache.score_of("key b") is None
    assert cache.key_of("hash a") == "key a"
    assert cache.score_of("key c") == Score("ok", -1.0)


def test_looking_up_changes_nothing() -> None:
    """So that what is forgotten depends on births alone, not on who asked."""
    cache = Cache(2)
    for name in ("a", "b"):
        cache.note(name, name, Score("ok", -1.0), replace=False)
    assert cache.score_of("a") is not None
    cache.note("c", "c", Score("ok", -1.0), replace=False)
    assert cache.score_of("a") is None


def test_a_score_is_replaced_only_by_a_training() -> None:
    cache = Cache(2)
    cache.note("a", "a", Score("ok", -1.0), replace=True)
    cache.note("a", "a", Score("ok", -9.0), replace=False)
    assert cache.score_of("a") == Score("ok", -1.0)
    cache.note("a", "a", Score("ok", -2.0, None, 2, 0.5), replace=True)
    assert cache.score_of("a") == Score("ok", -2.0, None, 2, 0.5)
