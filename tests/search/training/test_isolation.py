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
from tests.support.hostile import GRACE, HOSTILE, Played, attempts_by_role, play, settings

TIMEOUT = 5.0


def pretend(job: Job, _resources: Resources) -> list[Outcome]:
    return [searches.pretended(searches.key_of(replica.program), replica.seed) for replica in job.replicas]


@pytest.fixture(scope="module")
def played(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    modules = hostile, searches, sys.modules[__name__]  # workers cannot import them
    for module in modules:
        ray.cloudpickle.register_pickle_by_value(module)
    folder = tmp_path_factory.mktemp("hostile")
    task = {"name": "noisy_quadratic", "steps": 5}  # the one that a new worker can load at once
    chosen = settings(folder, 60, task, timeout_s=TIMEOUT, workers=2, batch=1, memory_limit_mib=512)
    yield play(chosen, folder, pretend)
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
        assert max(attempt.seconds for attempt in tried) < TIMEOUT + GRACE + 30, f"{role}: hangs"
