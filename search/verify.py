"""How often programs share a key that should not: the measured false-merge rate."""

from __future__ import annotations

import statistics
from random import Random
from typing import Any, NamedTuple

from programs.errors import InputError
from programs.program import Program, parse

from search.config import FRESH_SEED, TUNING_SEED, Settings
from search.evaluation import Candidate, EvaluationService, TaskSeeds
from search.store import Store
from search.tuning import train_programs

SIGMA_SEEDS = 20
SIGMAS = 3.0  # two trainings of one seed this far apart are called different


class Pair(NamedTuple):
    """Two programs with one key and different dataflow."""

    first: Program
    second: Program
    hashes: tuple[str, str]


class Verification(NamedTuple):
    """What training both programs of each pair showed.

    `differences`: absolute differences of fitness of pairs that both trained. `false_merges`: pairs further apart than
    `threshold`, or of which only one trained. `sigma`: standard deviation over seeds of the start program.
    """

    pairs: int
    differences: list[float]
    false_merges: int
    sigma: float
    threshold: float


def sample_pairs(store: Store, search_id: int, number: int, seed: int = 0) -> list[Pair]:
    """Random pairs of births of a search that were merged although their dataflow differs.

    Raises:
        InputError: there is none.
    """
    rows = store.rows(_MERGED, search=search_id)
    by_key: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_key.setdefault(row["key"], []).append(row)
    if not by_key:
        raise InputError("no two programs of this search share a key but not their dataflow; let it run longer")
    rng = Random(seed)
    pairs = [(group[0], other) for group in by_key.values() for other in group[1:]]
    chosen = rng.sample(pairs, min(number, len(pairs)))
    return [Pair(parse(a["genome"]), parse(b["genome"]), (a["dataflow_hash"], b["dataflow_hash"])) for a, b in chosen]


_MERGED = """
    SELECT i.key, i.dataflow_hash, MIN(i.genome) AS genome
    FROM individual i
    WHERE i.search_id = :search AND i.status <> 'rejected' AND i.key IN (
        SELECT key FROM individual WHERE search_id = :search GROUP BY key HAVING COUNT(DISTINCT dataflow_hash) > 1
    )
    GROUP BY i.key, i.dataflow_hash ORDER BY MIN(i.birth)
"""


def verify(pairs: list[Pair], start: Program, settings: Settings, service: EvaluationService) -> Verification:
    """Train both programs of each pair on the search's first task and seed, under keys of their own."""
    task = settings.tasks[0].task
    seeds = TaskSeeds(task, (TUNING_SEED,))
    candidates = [Candidate(h, p) for pair in pairs for h, p in zip(pair.hashes, pair[:2], strict=True)]
    scores = service.evaluate(candidates, [seeds])
    fresh = TaskSeeds(task, tuple(range(FRESH_SEED, FRESH_SEED + SIGMA_SEEDS)))
    sigma = statistics.stdev(train_programs([start], service, [fresh], settings.dedup)[0][0].fitness)
    differences, false_merges = [], 0
    for pair in pairs:
        first, second = (scores[h] for h in pair.hashes)
        if first.fitness is not None and second.fitness is not None:
            differences.append(abs(first.fitness - second.fitness))
            false_merges += differences[-1] > SIGMAS * sigma
        else:
            false_merges += first.status != second.status
    return Verification(len(pairs), differences, false_merges, sigma, SIGMAS * sigma)
