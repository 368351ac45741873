"""Tune AdamW, Lion and SGD with momentum on built-in tasks and record what they reach.

    python -m scripts.record.references [TASK ...] [--store references.db] [--workers 2] [--seeds 5]

Writes `proxy_tasks/references.json`, task by task; what is in the store is not trained again. Optimizers are tuned on
three seeds as baselines are (`search/training/tuning.py`). The best setting is trained again on fresh seeds, of which
the mean and the standard deviation are recorded.

`best`, the upper anchor of scores, is the lowest loss of these optimizers, or of AdamW with four times the steps where
that is lower; it is null where nothing is better than AdamW itself.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from proxy_tasks import SUITE, TASKS, Task
from proxy_tasks.references import FILE

from search.settings.baselines import BASELINES
from search.settings.seeds import tuning_seeds
from search.settings.settings import Dedup, EvaluatorSettings
from search.settings.tasks import TaskSeeds
from search.training.service import TrainingService
from search.training.session import opened
from search.training.tuning import TunedCompetitor, measure_noise, tune

TUNING_SEEDS = 3
RECORDED = ("adamw", "lion", "sgd_momentum")
VARIANTS = ("short", "large_batch", "wide", "long")


class Recorder:
    """Tunes optimizers and measures what they reach."""

    def __init__(self, service: TrainingService, seeds: int) -> None:
        self._service = service
        self._seeds = seeds

    def recorded(self, names: Sequence[str], task: Task) -> dict[str, Any]:
        """Return entries of `references.json`."""
        found = tune([BASELINES[name] for name in names], self._service, [TaskSeeds(task, tuning_seeds(TUNING_SEEDS))])
        return {one.name: self._entry(one, task) for one in found}

    def _entry(self, tuned: TunedCompetitor, task: Task) -> dict[str, Any]:
        noise = measure_noise(tuned.program, task, self._service, self._seeds)
        loss, sigma = (math.inf, math.inf) if noise.mean is None or noise.sigma is None else (-noise.mean, noise.sigma)
        return {"loss": round(loss, 6), "sigma": round(sigma, 6), "seeds": noise.seeds - noise.seeds_failed,
                "learning_rate": tuned.best.learning_rate, "weight_decay": tuned.best.weight_decay}  # fmt: skip


def entry(recorder: Recorder, task: Task) -> dict[str, Any]:
    """Return what is recorded of a task."""
    optimizers = recorder.recorded(RECORDED, task)
    losses = [tuned["loss"] for tuned in optimizers.values()]
    if not task.name.endswith(("_long", "_wide")):
        longer = replace(task, name=f"{task.name}, four times the steps", steps=4 * task.steps)
        losses.append(recorder.recorded(["adamw"], longer)["adamw"]["loss"])
    baseline = optimizers["adamw"]["loss"]
    best = min(losses)
    return {"baseline": baseline, "best": best if best < baseline else None, "optimizers": optimizers}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    everything = [*SUITE, *(f"{base}_{variant}" for variant in VARIANTS for base in SUITE)]
    parser.add_argument("tasks", nargs="*", metavar="TASK", default=everything)
    parser.add_argument("--store", default="references.db")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    with opened(options.store, EvaluatorSettings(workers=options.workers)) as (store, evaluator):
        recorder = Recorder(TrainingService(store, evaluator, batch_size=16, dedup=Dedup()), options.seeds)
        for name in options.tasks:
            known = json.loads(FILE.read_text(encoding="utf-8"))
            known[name] = entry(recorder, TASKS[name])
            FILE.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
            found = {k: (t["loss"], t["learning_rate"]) for k, t in known[name]["optimizers"].items()}
            print(name, found, "best", known[name]["best"], flush=True)


if __name__ == "__main__":
    main()
