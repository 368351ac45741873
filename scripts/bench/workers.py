"""How busy many workers are kept, and what a batch costs the driver.

    python -m scripts.bench.workers [--workers 64] [--lookaheads 64 96 128 192] [--seconds 60]

Workers only sleep, 0.5 to 1.5 s for a batch of `--batch` programs, and answer with a fitness that depends on the
program. Batches are small, so that drawing them is no bottleneck. Measuring begins when all workers have started and
the window of batches is full. `busy` is the time slept in worker processes over workers x wall time. The cost of a
batch is processor time of the driver's process, measured with batches of 32 and two workers that answer at once; from
it follows how long a batch must take so that the driver can feed 1,000 workers.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import ray

from proxy_tasks import Resources
from proxy_tasks.outcome import Outcome

from search.evolution.driver import Driver
from search.evolution.progress import Progress
from search.settings.settings import Settings
from search.store import open_store
from search.training.jobs import Job
from search.training.ray_pool import RayEvaluator
from search.training.session import logging_to

from scripts.stress import soak
from scripts.stress.soak import pretend


def sleep(job: Job, resources: Resources) -> list[Outcome]:
    """Sleep as if the batch were trained; `seconds` of the first outcome says how long."""
    seconds = Random(f"{job.number} {job.replicas[0].program}").uniform(0.5, 1.5)
    time.sleep(seconds)
    first, *others = pretend(job, resources)
    return [first._replace(seconds=seconds), *others]


def settings(batch: int, workers: int, lookahead: int) -> Settings:
    """Return the settings of a search without end."""
    return Settings.model_validate(
        {
            "name": f"lookahead {lookahead}".replace(" ", "-"), "budget": {"programs": 10**9}, "baselines": [],
            "tasks": [{"name": "digits_mlp"}], "strategy": {"population": 1000},
            "evaluator": {"workers": workers, "lookahead": lookahead, "batch": batch},
        }
    )  # fmt: skip


class Steady(NamedTuple):
    """The steady part of a run: seconds of wall time, slept, of the driver's processor; batches and births."""

    wall: float
    slept: float
    batches: int
    births: int
    processor: float


class _Slept(RayEvaluator):
    """A pool that adds up how long its workers slept."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.slept = 0.0
        self.jobs = 0

    def collect(self, timeout: float) -> Any:
        finished = super().collect(timeout)
        self.slept += sum(outcomes[0].seconds for _, outcomes in finished)
        self.jobs += len(finished)
        return finished

    @property
    def are_ready(self) -> bool:
        """Whether all workers have started, and each has had its first batches, with which it loads the task."""
        return not self._starting and self.jobs > 4 * len(self._idle + list(self._running))


def measure(evaluator: _Slept, chosen: Settings, warm_up: float, seconds: float) -> Steady:
    """Run the search, and measure for `seconds` after a warm-up that begins when all workers are ready."""
    began: list[float] = []
    result: list[Steady] = []
    steady_since = 0.0

    def watch(progress: Progress) -> None:
        nonlocal steady_since
        if not evaluator.are_ready:
            return
        steady_since = steady_since or time.monotonic()
        now = [time.monotonic(), evaluator.slept, evaluator.jobs, progress.births, time.process_time()]
        if not began and now[0] > steady_since + warm_up:
            began.extend(now)
        if began and not result and now[0] > began[0] + seconds:
            result.append(Steady(*(after - before for after, before in zip(now, began, strict=True))))  # type: ignore[arg-type]
            driver.stop()

    with (
        tempfile.TemporaryDirectory() as folder,
        closing(open_store(str(Path(folder) / "bench.db"), create=True)) as store,
        logging_to(store.log_path),
    ):
        driver = Driver(chosen, store, evaluator, watch)
        driver.run()
    return result[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--lookaheads", type=int, nargs="+", default=[64, 96, 128, 192])
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    ray.cloudpickle.register_pickle_by_value(soak)  # workers cannot import it
    cost = batch_cost(options.seconds)
    print(f"| look-ahead | busy | batches/s | births/s | driver's processor, of one core |\n|{'---|' * 5}")
    first = settings(options.batch, options.workers, options.lookaheads[0])
    with closing(_Slept(first.evaluator, sleep)) as evaluator:
        for lookahead in options.lookaheads:
            chosen = settings(options.batch, options.workers, lookahead)
            found = measure(evaluator, chosen, 10.0, options.seconds)
            busy = found.slept / (options.workers * found.wall)
            print(
                f"| {lookahead} | {busy:.1%} | {found.batches / found.wall:.1f} | {found.births / found.wall:.0f} |"
                f" {found.processor / found.wall:.0%} |",
                flush=True,
            )
    print(
        f"at {1e3 * cost:.0f} ms for each batch, the driver is fully busy when 1,000 workers take {1e3 * cost:.0f} s"
        " for a batch of 32"
    )


def batch_cost(seconds: float) -> float:
    """Return and print the processor seconds of the driver for a batch of 32, from drawing to committing."""
    chosen = settings(32, 2, 4)
    with closing(_Slept(chosen.evaluator, pretend)) as evaluator:
        found = measure(evaluator, chosen, 2.0, seconds)
    cost = found.processor / found.batches
    print(
        f"batches of 32: {1e3 * cost:.1f} ms of the driver's processor time each, {found.births / found.batches:.0f}"
        f" births in each; {found.batches / found.wall:.1f} batches/s"
    )
    return cost


if __name__ == "__main__":
    main()
