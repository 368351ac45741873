"""What `optsearch compare` takes as the best of each population."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from search.evidence.comparison import repeats_of
from search.store.tables import ProgramRow

from tests.support.searches import PretendingEvaluator, opened, run, settings_of

SETTINGS = settings_of(
    strategy={"kind": "evolution", "repeats": 2}, baselines=["adamw", "lion"], budget={"programs": 120},
    tasks=[{"name": "digits_mlp", "steps": 5, "seeds": {"first": 1, "most": 4}}],
)  # fmt: skip


def lower(row: ProgramRow) -> float:
    return -math.inf if row.lower is None else row.lower


def test_the_best_of_a_population_is_that_with_the_highest_bound_as_it_is_known_in_the_end(tmp_path: Path) -> None:
    with opened(tmp_path / "r.db") as store:
        run(SETTINGS, store, PretendingEvaluator())
        births = list(store.births(1))
        repeats = repeats_of(store, SETTINGS)
    raced = {row.key: row for row in births if row.mutation == "race"}
    assert raced
    for place, repeat in enumerate(repeats):
        own = [row for row in births if row.birth % 2 == place]
        met = {row.key: row for row in reversed(own) if row.fitness is not None}
        best = max((raced.get(key, row) for key, row in met.items()), key=lower)
        assert repeat.best[-1] == best.fitness and repeat.genome is not None
        assert len(repeat.best) == len(own)
        assert repeat.trained[-1] == pytest.approx(sum(r.is_trained for r in births if r.birth <= own[-1].birth) / 2)


def test_where_all_have_the_same_seed_it_is_the_fittest_so_far(tmp_path: Path) -> None:
    settings = settings_of(strategy={"repeats": 2})
    with opened(tmp_path / "r.db") as store:
        run(settings, store, PretendingEvaluator())
        births = list(store.births(1))
        repeats = repeats_of(store, settings)
    for place, repeat in enumerate(repeats):
        fitness = [-math.inf if r.fitness is None else r.fitness for r in births if r.birth % 2 == place]
        assert repeat.best == [max(fitness[: n + 1]) for n in range(len(fitness))]
