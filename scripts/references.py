"""Tune AdamW, Lion and SGD with momentum on built-in tasks and record what they reach.

    python scripts/references.py [TASK ...] [--store references.db] [--workers 2] [--seeds 5]
    python scripts/references.py --table     # what is recorded, in Markdown, for docs/tasks.md

Writes `proxy_tasks/references.json`, task by task; what is in the store is not trained again. The base tasks are tuned
over the grids of `search/baselines.py`; a variant starts from the best of its base task and goes on, in half-decades of
the learning rate, until the best does not lie at the edge. What is best on the tuning seeds is trained again on
fresh seeds, whose mean and standard deviation are recorded.

`best`, the upper anchor of scores, is the lowest loss of these optimizers, or of AdamW with four times the steps where
that is lower; null where nothing is better than AdamW itself.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from dataclasses import replace
from typing import Any

from programs import Program, zoo
from programs.knobs import with_decay, with_learning_rate

from proxy_tasks import SUITE, TASKS, Task
from proxy_tasks.references import FILE, reference

from search.baselines import BASELINES
from search.config import FRESH_SEED, TUNING_SEED, Dedup, EvaluatorSettings
from search.evaluation import EvaluationService, TaskSeeds
from search.evaluators import open_evaluator
from search.store import open_store
from search.tuning import train_programs

DEDUP = Dedup()
VARIANTS = ("short", "large_batch", "wide", "long")
HALF_DECADE = (1, 3)
TUNING_SEEDS = tuple(range(TUNING_SEED, TUNING_SEED + 3))
FINALISTS = 5


class Tuner:
    """Losses of optimizers with given constants on tasks, each trained once."""

    def __init__(self, service: EvaluationService, seeds: int) -> None:
        self._service = service
        self._seeds = seeds

    def losses(
        self, name: str, task: Task, points: list[tuple[float, float]], seeds: tuple[int, ...] = TUNING_SEEDS[:1]
    ) -> list[float]:
        """Mean validation losses on tuning seeds; infinite if any fails."""
        programs = [optimizer(name, *point) for point in points]
        trained = train_programs(programs, self._service, [TaskSeeds(task, seeds)], DEDUP)
        return [math.inf if t.failures else -t.mean for (t,) in trained]

    def best(self, name: str, task: Task, points: list[tuple[float, float]]) -> tuple[float, float]:
        """The best point: all on one seed, the best few of them on more."""
        losses = self.losses(name, task, points)
        few = sorted(points, key=lambda point: losses[points.index(point)])[:FINALISTS]
        losses = self.losses(name, task, few, TUNING_SEEDS)
        return few[losses.index(min(losses))]

    def recorded(self, name: str, task: Task, point: tuple[float, float]) -> dict[str, Any]:
        """The entry of `references.json`."""
        seeds = tuple(range(FRESH_SEED, FRESH_SEED + self._seeds))
        ((trainings,),) = train_programs([optimizer(name, *point)], self._service, [TaskSeeds(task, seeds)], DEDUP)
        losses = [-fitness for fitness in trainings.fitness]
        mean, sigma = (statistics.fmean(losses), statistics.stdev(losses)) if len(losses) > 1 else (math.inf, math.inf)
        lr, wd = point
        return {"loss": round(mean, 6), "sigma": round(sigma, 6), "seeds": len(losses), "learning_rate": lr,
                "weight_decay": wd}  # fmt: skip

    def over_grid(self, name: str, task: Task) -> tuple[float, float]:
        """The best point of the optimizer's grid."""
        grid = BASELINES[name]
        return self.best(name, task, [(lr, wd) for lr in grid.learning_rates for wd in grid.weight_decays])

    def around(self, name: str, task: Task, point: tuple[float, float]) -> tuple[float, float]:
        """The best learning rate near a point, in half-decades, with its weight decay."""
        lr, wd = point
        rates = [neighbour(lr, -1), lr, neighbour(lr, 1)]
        while True:
            rate, _ = self.best(name, task, [(rate, wd) for rate in rates])
            best = rates.index(rate)
            if 0 < best < len(rates) - 1 or len(rates) > 8:
                return rate, wd
            rates = [neighbour(rates[0], -1), *rates] if best == 0 else [*rates, neighbour(rates[-1], 1)]


def optimizer(name: str, learning_rate: float, weight_decay: float) -> Program:
    """A baseline with these constants."""
    return with_decay(with_learning_rate(zoo.load(name), learning_rate), weight_decay)


def neighbour(rate: float, direction: int) -> float:
    """The next of 1, 3, 10, 30, ... times a power of ten."""
    place = round(2 * math.log10(rate)) + direction
    return float(f"{HALF_DECADE[place % 2]}e{place // 2}")


def entry(tuner: Tuner, task: Task, known: dict[str, Any]) -> dict[str, Any]:
    """What is recorded of a task; variants start from what is known of their base task."""
    base = next(name for name in SUITE if task.name.startswith(name))
    points = {}
    for name in BASELINES:
        if task.name == base:
            points[name] = tuner.over_grid(name, task)
        else:
            start = known[base]["optimizers"][name]
            points[name] = tuner.around(name, task, (start["learning_rate"], start["weight_decay"]))
    optimizers = {name: tuner.recorded(name, task, point) for name, point in points.items()}
    losses = [tuned["loss"] for tuned in optimizers.values()]
    if not task.name.endswith(("_long", "_wide")):
        longer = replace(task, name=f"{task.name}, four times the steps", steps=4 * task.steps)
        losses.append(tuner.recorded("adamw", longer, tuner.around("adamw", longer, points["adamw"]))["loss"])
    baseline = optimizers["adamw"]["loss"]
    best = min(losses)
    return {"baseline": baseline, "best": best if best < baseline else None, "optimizers": optimizers}


def table() -> None:
    """Print what is recorded: losses, learning rates, and the best known."""
    names = list(BASELINES)
    print(f"| task | steps x batch | {' | '.join(names)} | best known |\n|{'---|' * (len(names) + 3)}")
    for name, task in TASKS.items():
        if known := reference(task):
            tuned = [f"{t.loss:.3g} ± {t.sigma:.1g} at {t.learning_rate:g}" for t in known.optimizers.values()]
            best = "-" if known.best is None else f"{known.best:.3g}"
            print(f"| {name} | {task.steps} x {task.batch_size} | {' | '.join(tuned)} | {best} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    everything = [*SUITE, *(f"{base}_{variant}" for variant in VARIANTS for base in SUITE)]
    parser.add_argument("tasks", nargs="*", metavar="TASK", default=everything)
    parser.add_argument("--store", default="references.db")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        table()
        return
    evaluator = open_evaluator(EvaluatorSettings(workers=options.workers))
    tuner = Tuner(EvaluationService(open_store(options.store, create=True), evaluator, batch_size=16), options.seeds)
    for name in options.tasks:
        known = json.loads(FILE.read_text(encoding="utf-8"))
        known[name] = entry(tuner, TASKS[name], known)
        FILE.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
        found = {k: (t["loss"], t["learning_rate"]) for k, t in known[name]["optimizers"].items()}
        print(name, found, "best", known[name]["best"], flush=True)
    evaluator.close()


if __name__ == "__main__":
    main()
