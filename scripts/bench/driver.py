"""Speed and memory of the driver alone: the evaluator is a stub that answers at once.

    python -m scripts.bench.driver [--births 20000] [--population 1000]

Births are drawn, looked up and committed to a SQLite file as in any search. The reference, measured in the same run, is
a bare loop over what every search needs: draw + check + hash.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from random import Random

from programs import dataflow_hash, zoo
from programs.mutation import mutate

from proxy_tasks import DEFAULT_RESOURCES
from proxy_tasks.runtime import peak_memory_mib

from search.evolution.driver import Driver
from search.evolution.progress import Progress
from search.settings.settings import Settings
from search.store import open_store
from search.training.jobs import FinishedJob, Job

from scripts.stress.soak import pretend


class StubEvaluator:
    """Answers at once with pretended outcomes."""

    def __init__(self) -> None:
        self._finished: list[FinishedJob] = []

    def submit(self, job: Job) -> None:
        self._finished.append(FinishedJob(job.number, pretend(job, DEFAULT_RESOURCES)))

    def collect(self, timeout: float) -> list[FinishedJob]:  # noqa: ARG002 - of the interface
        finished, self._finished = self._finished, []
        return finished

    def peak_memory(self) -> list[float]:
        return []

    def close(self) -> None:
        pass


def bare_loop(births: int) -> float:
    """Return the births per second of draw + check + hash from one parent."""
    parent = zoo.load("adamw")
    started = time.perf_counter()
    for number in range(births):
        dataflow_hash(mutate(parent, Random(number))[0])
    return births / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--births", type=int, default=20_000)
    parser.add_argument("--population", type=int, default=1000)
    options = parser.parse_args()
    settings = Settings.model_validate(
        {
            "name": "bench", "budget": {"programs": options.births}, "tasks": [{"name": "digits_mlp"}], "baselines": [],
            "strategy": {"population": options.population},
        }
    )  # fmt: skip
    memory: list[tuple[int, float]] = []

    def watch(progress: Progress) -> None:
        if not memory or progress.births >= memory[-1][0] + options.births // 10:
            memory.append((progress.births, peak_memory_mib()))

    with tempfile.TemporaryDirectory() as folder:
        store = open_store(str(Path(folder) / "bench.db"), create=True)
        driver = Driver(settings, store, StubEvaluator(), watch)
        started = time.perf_counter()
        progress = driver.run()
        rate = progress.births / (time.perf_counter() - started)
        store.close()
    bare = bare_loop(min(options.births, 10_000))
    print(f"{progress.births} births, {progress.trained} answered by the stub, population {options.population}")
    print(f"driver {rate:,.0f} births/s; bare draw + check + hash {bare:,.0f}/s; ratio {rate / bare:.2f}")
    print("peak memory: " + ", ".join(f"{mib:.0f} MiB at {births}" for births, mib in memory))


if __name__ == "__main__":
    main()
