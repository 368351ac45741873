"""Inline and on Ray workers: the same outcomes, whatever becomes of the workers."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
import torch

from programs import Program, Statement, parse, zoo
from programs.errors import InputError
from programs.ops import OPS

from proxy_tasks import DEFAULT_RESOURCES, Outcome, Replica, configured_process, get_task
from proxy_tasks.task import Task

from search.settings.settings import EvaluatorSettings
from search.training.inline import InlineEvaluator
from search.training.jobs import Evaluator, Job, resources_of, train_job
from search.training.ray_pool import RayEvaluator
from search.training.session import open_evaluator
from search.training.worker import Worker

from tests.support.patience import wait_for
from tests.support.searches import history_of, opened, run, settings_of


def ray_settings(workers: int) -> EvaluatorSettings:
    return EvaluatorSettings(kind="ray", workers=workers, lookahead=4)


def job(number: int, *texts: str, steps: int = 20) -> Job:
    task = replace(get_task("digits_mlp"), steps=steps)
    programs = [parse(text) for text in texts] or [zoo.load(name) for name in ("adamw", "lion", "sgd")]
    return Job(number, task, tuple(Replica(program, number) for program in programs))


def collect_all(evaluator: Evaluator, jobs: int) -> dict[int, list[Outcome]]:
    """Outcomes by the number of their job, without the time they took and the process they were trained in."""
    outcomes: dict[int, list[Outcome]] = {}

    def collect() -> bool:
        for number, found in evaluator.collect(1.0):
            assert number not in outcomes, "a job came back twice"
            outcomes[number] = [outcome._replace(seconds=0.0, pid=None) for outcome in found]
        return len(outcomes) == jobs

    wait_for(collect, f"outcomes of {jobs} jobs", lambda: outcomes)
    assert evaluator.collect(0.01) == []
    return outcomes


def inline_outcomes(*jobs: Job) -> dict[int, list[Outcome]]:
    evaluator = InlineEvaluator()
    for one in jobs:
        evaluator.submit(one)
    return collect_all(evaluator, len(jobs))


@pytest.fixture(scope="module")
def workers(local_ray: None) -> Iterator[RayEvaluator]:
    """Two workers for all tests of this file: starting one takes seconds."""
    evaluator = RayEvaluator(ray_settings(2))
    yield evaluator
    evaluator.close()
    assert ray.is_initialized(), "closing must leave an instance alone that it did not start"


def memory_of(evaluator: RayEvaluator, workers: int) -> list[float]:
    """What each worker uses, once there are so many."""

    def told() -> list[float]:
        assert evaluator.collect(0.1) == []
        found = evaluator.peak_memory()
        return found if len(found) == workers else []

    return wait_for(told, f"memory of {workers} workers")


def under_way(evaluator: RayEvaluator, number: int) -> Any:
    """What the evaluator knows of a job once a worker has it."""

    def running() -> Any:
        found = next((run for run in evaluator._running.values() if run.piece.job.number == number), None)
        assert found or evaluator.collect(0.1) == []
        return found

    return wait_for(running, f"a worker with job {number}")


class Misbehaves:
    """A seed, 0, which does something to the process that unpickles it; if `mark` is given, only the first time."""

    def __init__(self, act: str, mark: Path | None = None) -> None:
        self._act = act  # workers cannot import this file: plain expressions travel
        self._mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        if self._mark is None:
            return eval, (self._act,)
        mark = repr(str(self._mark))
        return eval, (f"0 if __import__('os').path.exists({mark}) else (open({mark}, 'w').close(), {self._act})",)


HANGS = "__import__('time').sleep(1e6)"


# --- inline ----------------------------------------------------------------------------------------------------------


def test_inline_trains_one_job_at_each_call() -> None:
    evaluator = open_evaluator(EvaluatorSettings(kind="inline"))
    evaluator.submit(job(0))
    evaluator.submit(job(1))
    assert [finished.number for finished in evaluator.collect(1.0)] == [0]
    assert [finished.number for finished in evaluator.collect(1.0)] == [1]
    assert evaluator.collect(0.0) == [] and evaluator.peak_memory() == []
    evaluator.close()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_said_before_any_program_is_blamed_for_it(local_ray: None) -> None:
    """In the driver's process, in a worker as it starts, and where Ray is to find resources for one."""
    with pytest.raises(InputError, match=r"device cuda: torch .* sees no GPU here"):
        open_evaluator(EvaluatorSettings(kind="inline", device="cuda"))
    resources = resources_of(EvaluatorSettings(device="cuda", gpus_per_worker=0.25))
    assert (resources.device, resources.share) == ("cuda", 0.25)
    with configured_process(), pytest.raises(InputError, match=r"device cuda: torch .* sees no GPU here"):
        Worker(resources, train_job, None, [])  # which configures its process
    evaluator = open_evaluator(EvaluatorSettings(device="cuda", gpus_per_worker=1, workers="auto"))
    with pytest.raises(InputError, match=r"gpus_per_worker is 1 and Ray sees 0 GPUs here; lower it"):
        evaluator.submit(job(0))
    evaluator.close()


def test_workers_are_told_functions_of_the_users_with_their_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program knows them by their names alone."""
    monkeypatch.setitem(OPS, "mine", OPS["abs"])
    del OPS["mine"]
    twice, same = Program((Statement("update", "mine", ("g",)),)), parse("update = g + g")
    task = replace(get_task("digits_mlp"), steps=2)
    with configured_process():
        worker = Worker(DEFAULT_RESOURCES, train_job, None, [])
        work = Job(0, task, (Replica(twice, 0), Replica(same, 0)))
        found, expected = worker.train(work, task.fingerprint, {"mine": "def mine(x):\n    return x * 2"})
    assert found.fitness == expected.fitness is not None


def test_inline_records_a_job_that_raises() -> None:
    """As the workers do: one bad job must not take the search down."""
    broken = job(0)._replace(task=_broken_task())
    outcomes = inline_outcomes(broken, job(1))
    assert {outcome.status for outcome in outcomes[0]} == {"error"}
    assert {outcome.status for outcome in outcomes[1]} == {"ok"}


def _broken_task() -> Task:
    """It can be loaded, but no training lasts less than a step."""
    task = replace(get_task("digits_mlp"))
    object.__setattr__(task, "steps", 0)  # which is refused where a task is made
    return task


# --- Ray -------------------------------------------------------------------------------------------------------------


def test_workers_give_what_inline_gives(workers: RayEvaluator) -> None:
    """Also for a program whose values are denormal on the way: they are flushed in workers too."""
    flushed = "x = g * 1e-30\nx = x * 1e-12\nx = x * 1e30\nx = x * 1e12\nupdate = x * 0.1"
    jobs = [job(0), job(1, flushed, "update = w * -3.0"), job(2), job(3, "update = norm(g)\nupdate = g / update")]
    for one in jobs:
        workers.submit(one)
    assert collect_all(workers, 4) == inline_outcomes(*jobs)
    assert all(50 < mib < 4096 for mib in memory_of(workers, 2))


def test_workers_give_way_to_others_as_their_run_does(workers: RayEvaluator) -> None:
    """On a machine with other work to do a nicer worker would hardly run, and be recorded as too slow."""
    workers.submit(job(0))
    collect_all(workers, 1)
    assert {psutil.Process(member.place.pid).nice() for member in workers._idle} == {psutil.Process().nice()}


def test_workers_and_inline_give_one_history(workers: RayEvaluator, tmp_path: Path) -> None:
    histories = []
    for number, evaluator in enumerate([InlineEvaluator(), workers]):
        with opened(tmp_path / f"{number}.db") as store:
            run(settings_of(budget={"programs": 60}, strategy={"start": "adamw"}), store, evaluator)
            histories.append(history_of(store))
    assert len(histories[0]) == 60
    assert histories[0] == histories[1]


def test_a_job_that_raises_is_recorded_with_its_reason(workers: RayEvaluator) -> None:
    broken, good = job(0)._replace(task=_broken_task()), job(1)
    workers.submit(broken)
    workers.submit(good)
    outcomes = collect_all(workers, 2)
    assert len(outcomes[0]) == len(broken.replicas)
    for outcome in outcomes[0]:
        assert (outcome.status, outcome.fitness, outcome.curve) == ("error", None, [])
        assert outcome.reason == "ValueError: need at least one array to concatenate"
    assert outcomes[1] == inline_outcomes(good)[1]


def test_a_worker_whose_gpu_has_failed_is_replaced(local_ray: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process can do nothing more on that GPU, and would have every later program blamed."""
    raises = "lambda job, resources: (_ for _ in ()).throw(RuntimeError('CUDA error: illegal'))"
    evaluator = RayEvaluator(ray_settings(1), eval(raises, {}))  # noqa: S307 - workers cannot import this file
    replaced: list[str] = []
    replace_ = evaluator._replace
    monkeypatch.setattr(evaluator, "_replace", lambda *member: (replaced.append(member[1]), replace_(*member)))
    try:
        one = job(0)
        evaluator.submit(one._replace(replicas=one.replicas[:1]))
        (outcome,) = collect_all(evaluator, 1)[0]
        assert (outcome.status, outcome.reason) == ("error", "RuntimeError: CUDA error: illegal")
        assert set(replaced) == {"RuntimeError: CUDA error: illegal"}
    finally:
        evaluator.close()


def test_a_bad_replica_does_not_take_its_batch_down(workers: RayEvaluator) -> None:
    """Everything that can die dies alone: the others of the batch get what they would have got without it."""
    good = job(0)
    workers.submit(good._replace(replicas=(*good.replicas, Replica(zoo.load("sgd"), -1))))  # no such seed
    outcomes = collect_all(workers, 1)[0]
    assert outcomes[-1].status == "error"
    assert outcomes[:-1] == inline_outcomes(good)[0]


def test_a_killed_worker_is_replaced_and_its_job_trained_again(workers: RayEvaluator, tmp_path: Path) -> None:
    jobs = [job(0), job(1), job(2)]
    hanging: Any = Misbehaves(HANGS, tmp_path / "hangs")  # until it is killed in the middle of its job
    first, *others = jobs[0].replicas
    for one in (jobs[0]._replace(replicas=(first._replace(seed=hanging), *others)), *jobs[1:]):
        workers.submit(one)
    running = under_way(workers, 0)
    wait_for((tmp_path / "hangs").exists, "the middle of the job")
    os.kill(running.member.place.pid, signal.SIGKILL)
    assert collect_all(workers, 3) == inline_outcomes(*jobs)
    memory_of(workers, 2)


def test_memory_is_told_even_if_an_idle_worker_died(local_ray: None) -> None:
    """It is asked for at the very end of a run, which must not fail then."""
    evaluator = RayEvaluator(ray_settings(1))
    evaluator.submit(job(0))
    collect_all(evaluator, 1)
    os.kill(evaluator._idle[0].place.pid, signal.SIGKILL)
    assert len(evaluator.peak_memory()) <= 1
    evaluator.close()


def test_closing_with_jobs_under_way_ends_them(local_ray: None) -> None:
    evaluator = RayEvaluator(ray_settings(1))
    evaluator.submit(job(0, steps=100_000))
    evaluator.submit(job(1))
    worker = under_way(evaluator, 0).member.place.pid
    evaluator.close()
    wait_for(lambda: not psutil.pid_exists(worker), "the end of the worker")


def test_nothing_is_started_that_nobody_uses() -> None:
    evaluator = open_evaluator(ray_settings(2))
    assert evaluator.collect(0.0) == [] and evaluator.peak_memory() == []
    evaluator.close()
