"""Which seeds are used for what: one table, so that nothing is confirmed on seeds that something was selected on."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

TUNING_SEED, FRESH_SEED = 0, 1_000  # where the first two ranges of the table begin
_STAGE, _HALF = 10_000, 5_000  # stage n of a funnel tunes on seeds from n * _STAGE, and decides on the half after these

SEEDS = {
    "searches, and whatever is tuned": range(TUNING_SEED, FRESH_SEED),
    "confirmation of results": range(FRESH_SEED, 2_000),
    "proof, tuning": range(2_000, 2_003),
    "proof, fresh": range(3_000, 3_020),
    "funnels, all stages": range(_STAGE, 2**31),
}
PROOF_TUNING_SEEDS = tuple(SEEDS["proof, tuning"])
PROOF_FRESH_SEEDS = tuple(SEEDS["proof, fresh"])
MOST_SEARCH_SEEDS = len(SEEDS["searches, and whatever is tuned"])
MOST_STAGE_SEEDS = _HALF


def tuning_seeds(number: int) -> tuple[int, ...]:
    """Return the first `number` seeds of searches, on which baselines are tuned too."""
    return tuple(range(TUNING_SEED, TUNING_SEED + number))


def fresh_seeds(number: int) -> tuple[int, ...]:
    """Return `number` seeds that no search trains on."""
    return tuple(range(FRESH_SEED, FRESH_SEED + number))


def stage_tuning_seeds(stage: int, number: int) -> tuple[int, ...]:
    """Return `number` seeds on which a stage of a funnel tunes; stages count from 1."""
    return tuple(range(_STAGE * stage, _STAGE * stage + number))


def stage_fresh_seeds(stage: int, number: int) -> tuple[int, ...]:
    """Return `number` seeds on which a stage of a funnel decides; stages count from 1."""
    return tuple(range(_STAGE * stage + _HALF, _STAGE * stage + _HALF + number))


def overlaps(seeds: Mapping[str, range]) -> list[tuple[str, str]]:
    """Return the names of all pairs of ranges that share a seed."""
    return [
        (one, other)
        for (one, first), (other, second) in combinations(seeds.items(), 2)
        if max(first.start, second.start) < min(first.stop, second.stop)
    ]


assert not overlaps(SEEDS), overlaps(SEEDS)
