"""How often programs share a key that should not: the measured false-merge rate."""

from __future__ import annotations

import math
import statistics
from random import Random
from typing import NamedTuple

from programs.errors import InputError
from programs.program import Program, parse

from search.settings.seeds import TUNING_SEED, fresh_seeds
from search.settings.settings import Settings
from search.settings.tasks import TaskSeeds
from search.store import Store
from search.store.rows import Digest, Row, query
from search.training.service import Candidate, TrainingService

SIGMA_SEEDS = 20
SIGMAS = 3.0
SUSPECT_SEEDS = 6


class Pair(NamedTuple):
    """Two programs with one key and different dataflow."""

    first: Program
    second: Program
    hashes: tuple[str, str]


class Verification(NamedTuple):
    """What training both programs of each pair showed.

    `differences`: absolute differences of fitness on the search's seed, of pairs that both trained. `suspects`: pairs
    further apart there than `threshold` (three standard deviations over seeds of the start program), or of which only
    one trained. `false_merges`: suspects that stay apart beyond their own noise on more seeds.
    """

    pairs: int
    differences: list[float]
    suspects: int
    false_merges: int
    threshold: float


@query(
    """
    SELECT i.key, i.dataflow_hash, MIN(i.genome) AS genome
    FROM program i
    WHERE i.search_id = :search AND i.status <> 'rejected' AND i.key IN (
        SELECT key FROM program WHERE search_id = :search GROUP BY key HAVING COUNT(DISTINCT dataflow_hash) > 1
    )
    GROUP BY i.key, i.dataflow_hash ORDER BY MIN(i.birth)
    """
)
class _Merged(Row):
    """Programs of one dataflow among those that share a key."""

    key: Digest
    dataflow_hash: Digest
    genome: str


def sample_pairs(store: Store, search_id: int, number: int, seed: int = 0) -> list[Pair]:
    """Random pairs of births of a search that were merged although their dataflow differs.

    Raises:
        InputError: there is none.
    """
    by_key: dict[str, list[_Merged]] = {}
    for row in store.select(_Merged, search=search_id):
        by_key.setdefault(row.key, []).append(row)
    if not by_key:
        raise InputError("no two programs of this search share a key but not their dataflow; let it run longer")
    rng = Random(seed)
    pairs = [(group[0], other) for group in by_key.values() for other in group[1:]]
    chosen = rng.sample(pairs, min(number, len(pairs)))
    return [Pair(parse(a.genome), parse(b.genome), (a.dataflow_hash, b.dataflow_hash)) for a, b in chosen]


def verify(pairs: list[Pair], start: Program, settings: Settings, service: TrainingService) -> Verification:
    """Train both programs of each pair on the search's first task and seed, under keys of their own.

    Two trainings of one rule can part through rounding alone where training is chaotic. So pairs that are far apart on
    the search's seed are trained on more seeds, and only those whose means differ beyond their own noise count.
    """
    task = settings.tasks[0].task
    candidates = {h: Candidate(h, p) for pair in pairs for h, p in zip(pair.hashes, pair[:2], strict=True)}
    with service.counting(len(candidates)):
        scores = service.evaluate(list(candidates.values()), [TaskSeeds(task, (TUNING_SEED,))])
    noise = service.train([start], [TaskSeeds(task, fresh_seeds(SIGMA_SEEDS))])[0][0].fitness
    if len(noise) < 2:
        raise InputError(
            f"the start program fails on {task.name}: there is no noise of seeds to compare differences with"
        )
    sigma = statistics.stdev(noise)
    differences, suspects = [], []
    for pair in pairs:
        first, second = (scores[h] for h in pair.hashes)
        if first.fitness is not None and second.fitness is not None:
            differences.append(abs(first.fitness - second.fitness))
            if differences[-1] > SIGMAS * sigma:
                suspects.append(pair)
        elif first.status != second.status:
            suspects.append(pair)
    more = TaskSeeds(task, fresh_seeds(SUSPECT_SEEDS))
    asked = {h: candidates[h] for pair in suspects for h in pair.hashes}
    trained = service.train(list(asked.values()), [more])
    fitness = {h: of_program.fitness for h, (of_program,) in zip(asked, trained, strict=True)}
    false_merges = sum(_differ(fitness[pair.hashes[0]], fitness[pair.hashes[1]], sigma) for pair in suspects)
    return Verification(len(pairs), differences, len(suspects), false_merges, SIGMAS * sigma)


def _differ(first: list[float], second: list[float], sigma: float) -> bool:
    """Return whether two programs differ beyond noise: in how often training fails, or in their mean fitness."""
    if abs(len(first) - len(second)) > SUSPECT_SEEDS // 2:
        return True
    if len(first) < 2 or len(second) < 2:
        return False
    error = math.hypot(*(max(statistics.stdev(ok), sigma) / math.sqrt(len(ok)) for ok in (first, second)))
    return abs(statistics.fmean(first) - statistics.fmean(second)) > SIGMAS * error
