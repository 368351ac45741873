"""Eight hostile evaluations among innocent ones: each ends alone, is recorded with its reason, changes nothing else.

The short version of `scripts/stress/hostile.py`: the innocent only pretend to train, and every program is a batch,
since each worker that must be replaced takes seconds. How batches are halved is tested in test_pieces.py.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

import pytest
import ray

from proxy_tasks import Resources
from proxy_tasks.outcome import Outcome

from search.training.jobs import Job

from tests.support import hostile, searches
from tests.support.hostile import HOSTILE, Played, attempts_by_role, play, settings
from tests.support.patience import PATIENCE

TIMEOUTS = (5.0, 50.0, 500.0)


def pretend(job: Job, _resources: Resources) -> list[Outcome]:
    return [searches.pretended(searches.key_of(replica.program), replica.seed) for replica in job.replicas]


def too_slow(played: Played) -> bool:
    """Whether an innocent program took longer than evaluator.timeout_s."""
    genomes = {row[4] for row in played.found if row[6:8] == ("training", "timeout")}
    return bool(genomes - played.roles.keys())


@pytest.fixture(scope="module")
def played(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    modules = hostile, searches, sys.modules[__name__]  # workers cannot import them
    for module in modules:
        ray.cloudpickle.register_pickle_by_value(module)
    task = {"name": "noisy_quadratic", "steps": 5}  # the one that a new worker can load at once
    for timeout in TIMEOUTS:  # until that is enough for the innocent, on a busy machine
        folder = tmp_path_factory.mktemp("hostile")
        chosen = settings(folder, 60, task, timeout_s=timeout, workers=2, batch=1, memory_limit_mib=512)
        played = play(chosen, folder, pretend)
        if not too_slow(played):
            break
    yield played
    for module in modules:
        ray.cloudpickle.unregister_pickle_by_value(module)


def test_the_others_are_what_they_would_have_been(played: Played) -> None:
    assert len(played.expected) == 60
    assert played.found == played.expected


@pytest.mark.parametrize("role", HOSTILE)
def test_a_hostile_evaluation_is_recorded_with_its_reason(played: Played, role: str) -> None:
    status, reason = played.verdicts[role]
    assert status == HOSTILE[role].status
    assert re.match(HOSTILE[role].reason, reason), reason


def test_hostile_evaluations_are_ended_in_time(played: Played) -> None:
    attempts = attempts_by_role(played)
    assert attempts.keys() == HOSTILE.keys()
    for role, tried in attempts.items():
        assert len(tried) == (3 if HOSTILE[role].status == "lost" else 1)
        assert max(attempt.seconds for attempt in tried) < PATIENCE, f"{role}: hangs"
        if HOSTILE[role].status == "timeout":
            assert tried[0].seconds >= TIMEOUTS[0], f"{role}: ended too early"
