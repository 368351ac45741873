"""The replay of a ranker of children: it finds what features tell, and nothing where they tell nothing."""

import numpy as np
import pytest

from programs import zoo

from scripts.record.ranker import Child, features_of, replayed


def born(tells: float, seed: int) -> list[Child]:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(900, 5))
    worth = tells * features[:, 2] + rng.normal(size=900)
    return [Child(x, float(y) if y > -1 else -np.inf, 0.0) for x, y in zip(features, worth, strict=True)]


def test_features_that_tell_are_found() -> None:
    result = replayed([born(3.0, seed) for seed in (0, 1)], children=4, refit=64, memory=400)
    assert result.groups == 2 * len(range(100, 896, 4))
    assert result.best > 0.6
    assert result.pairs > 0.8
    for ours, lot in (result.trains, result.gains, result.top):
        assert ours > lot + 0.1


def test_features_that_tell_nothing_choose_by_lot() -> None:
    result = replayed([born(0.0, seed) for seed in (2, 3)], children=4, refit=64, memory=400)
    assert result.pairs == pytest.approx(0.5, abs=0.06)
    assert result.top[0] == pytest.approx(result.top[1], abs=0.06)


def test_a_child_that_does_what_its_parent_does_lies_in_the_same_direction() -> None:
    lion, adamw = zoo.load("lion"), zoo.load("adamw")
    same, other = (features_of(lion, "insert", parent, -1.0) for parent in (lion, adamw))
    assert same[-1] == pytest.approx(1.0)
    assert other[-1] < 0.9
    assert len(same) == len(other)
