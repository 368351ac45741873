"""Many births through Ray workers that only pretend to train: does the memory of the driver grow?

    python -m scripts.stress.soak [--births 100000] [--cache 2000]

Prints resident memory, open files, threads and child processes of the driver every 10,000 births. The driver remembers
the keys and scores of its last distinct programs, `dedup.cache` of them but no fewer than may be in flight (2,048
here): memory that it takes until that cache is full is no leak. So the cache is small here by default, and full after
the warm-up, the first 20,000 births. The exit code is 1 if the driver then grows by 1 MiB or more in 10,000 births, on
average, or if it has more open files or processes than before.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
from contextlib import closing
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import psutil

from proxy_tasks import Resources
from proxy_tasks.outcome import Outcome, Status

from search.evolution.driver import Driver
from search.evolution.progress import Progress
from search.settings.settings import Settings
from search.store import open_store
from search.training.jobs import Job
from search.training.ray_pool import RayEvaluator
from search.training.session import logging_to

EVERY = 10_000  # births
WARM_UP = 2  # readings
CONNECTION = 2  # files of one more connection to the database, opened when two threads first need one at the same time
MOST_GROWTH = 1.0  # MiB in EVERY births


def pretend(job: Job, _resources: Resources) -> list[Outcome]:
    """Return outcomes whose fitness is a function of the program's text."""
    outcomes = []
    for replica in job.replicas:
        digest = blake2b(str(replica.program).encode(), digest_size=4).digest()
        outcomes.append(Outcome(Status.OK, -int.from_bytes(digest, "big") / 2**32, [0.5] * 20, 100, 0.01))
    return outcomes


class Reading(NamedTuple):
    """What the driver's process uses at some birth."""

    births: int
    seconds: float
    memory: float
    files: int
    threads: int
    children: int


def read(births: int, since: float) -> Reading:
    """Return what this process uses now."""
    gc.collect()
    process = psutil.Process()
    return Reading(
        births, time.monotonic() - since, process.memory_info().rss / 2**20, process.num_fds(),
        process.num_threads(), len(process.children(recursive=True)),
    )  # fmt: skip


def soak(births: int, cache: int, workers: int) -> list[Reading]:
    """Run a search of `births` births, and return a reading for every EVERY births."""
    settings = Settings.model_validate(
        {
            "name": "soak", "budget": {"programs": births}, "tasks": [{"name": "digits_mlp"}], "baselines": [],
            "strategy": {"population": 1000}, "dedup": {"cache": cache},
            "evaluator": {"workers": workers, "batch": 8, "lookahead": 4},
        }
    )  # fmt: skip
    readings: list[Reading] = []
    since = time.monotonic()

    def watch(progress: Progress) -> None:
        if progress.births >= EVERY * (len(readings) + 1):
            readings.append(read(progress.births, since))
            print("| " + " | ".join(f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"
                                    for value in readings[-1]) + " |", flush=True)  # fmt: skip

    with (
        tempfile.TemporaryDirectory() as folder,
        closing(open_store(str(Path(folder) / "soak.db"), create=True)) as store,
        logging_to(store.log_path),
        closing(RayEvaluator(settings.evaluator, pretend)) as evaluator,
    ):
        driver = Driver(settings, store, evaluator, watch)
        driver.run()
        print(f"{driver.progress.births} births, {driver.progress.trained} answered by workers")
    return readings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--births", type=int, default=100_000)
    parser.add_argument("--cache", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    print("| births | seconds | memory, MiB | open files | threads | processes started |\n|---|---|---|---|---|---|")
    readings = soak(options.births, options.cache, options.workers)
    if len(readings) <= WARM_UP:
        sys.exit(f"nothing to compare: at least {(WARM_UP + 1) * EVERY} births are needed")
    first, last = readings[WARM_UP - 1], readings[-1]
    growth = (last.memory - first.memory) / (last.births - first.births) * EVERY
    print(f"after the first {first.births:,} births {growth:+.2f} MiB in {EVERY:,} births")
    steady = last.files <= first.files + CONNECTION and last.children <= first.children
    sys.exit(0 if growth < MOST_GROWTH and steady else 1)


if __name__ == "__main__":
    main()
