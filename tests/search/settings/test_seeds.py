"""Which seeds are used for what: nothing is confirmed on seeds that something was selected on."""

from __future__ import annotations

from search.settings.seeds import (
    MOST_STAGE_SEEDS,
    PROOF_FRESH_SEEDS,
    PROOF_TUNING_SEEDS,
    SEEDS,
    fresh_seeds,
    overlaps,
    stage_fresh_seeds,
    stage_tuning_seeds,
    tuning_seeds,
)


def test_no_two_purposes_share_a_seed() -> None:
    assert overlaps(SEEDS) == []
    assert overlaps({"a": range(3), "b": range(2, 5), "c": range(5, 6)}) == [("a", "b")]


def test_all_seeds_come_from_the_table() -> None:
    given = {
        "searches, and whatever is tuned": tuning_seeds(1_000),
        "confirmation of results": fresh_seeds(1_000),
        "proof, tuning": PROOF_TUNING_SEEDS,
        "proof, fresh": PROOF_FRESH_SEEDS,
    }
    for purpose, seeds in given.items():
        assert set(seeds) == set(SEEDS[purpose])


def test_no_two_stages_of_a_funnel_share_a_seed() -> None:
    seen: set[int] = set()
    for stage in range(1, 6):
        for seeds in (stage_tuning_seeds(stage, MOST_STAGE_SEEDS), stage_fresh_seeds(stage, MOST_STAGE_SEEDS)):
            assert not seen & set(seeds) and all(seed in SEEDS["funnels, all stages"] for seed in seeds)
            seen |= set(seeds)
