"""The population: tournaments and aging."""

from __future__ import annotations

import math
from collections import Counter
from random import Random

import pytest

from programs import zoo

from search.evolution.births import Genome
from search.evolution.population import Member, Population

PROGRAM = Genome(zoo.load("sgd"))


def population(fitness: list[float]) -> Population:
    return Population(len(fitness), [Member(i, PROGRAM, f"key {i % 2}", f) for i, f in enumerate(fitness)])


@pytest.mark.parametrize("contestants", [1, 2, 5])
def test_winners_are_distributed_as_the_best_of_draws_with_replacement(contestants: int) -> None:
    """The member of rank k of n, worst first, wins with probability (k/n)^T - ((k-1)/n)^T."""
    fitness = [0.3, -math.inf, 2.0, -1.0, 0.5, 1.0]
    members, rng, draws = population(fitness), Random(0), 20_000
    wins = Counter(members.tournament(rng, contestants).birth for _ in range(draws))
    for birth, value in enumerate(fitness):
        rank = sum(other <= value for other in fitness)
        share = (rank / 6) ** contestants - ((rank - 1) / 6) ** contestants
        assert wins[birth] / draws == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / draws))


def test_of_equals_each_wins_alike() -> None:
    members, rng = population([1.0] * 4), Random(1)
    wins = Counter(members.tournament(rng, 3).birth for _ in range(8000))
    assert all(wins[birth] / 8000 == pytest.approx(0.25, abs=0.03) for birth in range(4))


def test_programs_without_fitness_can_be_drawn_when_there_is_nothing_else() -> None:
    assert population([-math.inf] * 3).tournament(Random(0), 2).birth in range(3)


def test_the_oldest_dies_however_fit() -> None:
    members = population([9.0, 1.0, 2.0])
    members.add(Member(3, PROGRAM, "", 0.0))
    rng = Random(0)
    assert {members.tournament(rng, 1).birth for _ in range(200)} == {1, 2, 3}
    assert members.tournament(rng, 50).birth == 2


def test_a_copy_lives_its_own_life() -> None:
    members = population([1.0, 2.0])
    copy = members.copy()
    copy.add(Member(2, PROGRAM, "", 3.0))
    assert members.tournament(Random(0), 30).birth == 1
    assert copy.tournament(Random(0), 30).birth == 2
    copy.add(Member(3, PROGRAM, "", 0.0))
    copy.add(Member(4, PROGRAM, "", 0.0))
    assert {copy.tournament(Random(i), 1).birth for i in range(50)} == {3, 4}, "a copy has the size of the original"


def test_at_the_start_all_members_are_the_start_program() -> None:
    members = Population.of(5, [Member(0, PROGRAM, "key")])
    assert members.tournament(Random(0), 3) == Member(0, PROGRAM, "key", -math.inf)
    for birth in range(1, 5):
        members.add(Member(birth, PROGRAM, "", 1.0))
    assert {members.tournament(Random(i), 1).birth for i in range(100)} == {0, 1, 2, 3, 4}
