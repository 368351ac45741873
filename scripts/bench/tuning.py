"""Time of tuning AdamW as a program, all candidates of a round in batches, and as torch's optimizer, one at a time.

    python -m scripts.bench.tuning [--task digits_mlp] [--trials 28] [--seeds 3] [--rounds 1] [--steps N]

Both sides tune the baseline `torch_adamw` as `optsearch eval` does, with the same points, in this process, into a store
of their own; torch's optimizer is the reference.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from statistics import median

from proxy_tasks import Task, get_task
from proxy_tasks.outcome import TorchOptimizer

from search.settings.baselines import BASELINES, TRIALS, Competitor
from search.settings.settings import Dedup
from search.settings.tasks import TaskSeeds
from search.store import open_store
from search.training.inline import InlineEvaluator
from search.training.service import TrainingService
from search.training.tuning import TunedCompetitor, tune

NAME = "torch_adamw"
BATCH = 32  # trainings at once, as in `optsearch eval`

PROGRAM = BASELINES[NAME]
OF_TORCH = PROGRAM._replace(make=lambda rate, decay: TorchOptimizer(NAME, rate, decay))


def timed(competitor: Competitor, task: Task, seeds: int, trials: int) -> tuple[float, int, TunedCompetitor]:
    """Return the seconds that tuning takes, the number of trainings, and what it found."""
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(open_store(str(Path(folder) / "results.db"), create=True)) as store,
    ):
        service = TrainingService(store, InlineEvaluator(), BATCH, Dedup())
        task.load()
        started = time.perf_counter()
        (tuned,) = tune([competitor], service, [TaskSeeds(task, tuple(range(seeds)))], trials=trials)
        return time.perf_counter() - started, service.trained, tuned


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="digits_mlp")
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--steps", type=int)
    args = parser.parse_args()
    task = get_task(args.task)
    task = task if args.steps is None else replace(task, steps=args.steps)
    rounds = [[timed(one, task, args.seeds, args.trials) for one in (PROGRAM, OF_TORCH)] for _ in range(args.rounds)]
    print(f"{NAME} on {task.name}, {task.steps} steps: {args.trials} trials, {args.seeds} seeds, {args.rounds} rounds")
    for name, side in (("program", 0), ("torch.optim", 1)):
        of_side = [one[side] for one in rounds]
        seconds, (_, trainings, tuned) = median(s for s, _, _ in of_side), of_side[0]
        rate, decay = tuned.best.learning_rate, tuned.best.weight_decay
        print(f"{name:12} {seconds:8.2f} s  {trainings} trainings, found lr {rate:.3g}, decay {decay:.3g}")
    ratio = median(program[0] / of_torch[0] for program, of_torch in rounds)
    print(f"{'program / torch':12} {ratio:.3f}")


if __name__ == "__main__":
    main()
