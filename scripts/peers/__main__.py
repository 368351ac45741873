"""Other searches beside ours, on the same tasks and machine, for the same time.

    python -m scripts.peers [TASK ...] [--minutes 10] [--folder peers] [--workers 2] [--arms tree genome ...] [--seed 0]

| arm | what it is |
|---|---|
| evolution | the search of this project |
| regularized | regularized evolution from tuned AdamW, as the Lion paper and NOSBench have it (`kind: paper`) |
| random | random programs of the same language (`kind: random`) |
| genome | the genetic algorithm of arXiv 2512.11853 |
| tree | the tree search of arXiv 2209.13575, which ends after 128 evaluations |

Every arm trains on this project's engine, on seeds of its own, with a database of its own, so none has what another
trained. The best that each of them believes in is trained on 16 fresh seeds. Prints rows of Markdown.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any, NamedTuple

from programs.program import Program, parse

from proxy_tasks import TASKS, Task
from proxy_tasks.locked import refuse_locked

from search.evolution.driver import Driver
from search.settings.seeds import fresh_seeds
from search.settings.settings import Dedup, EvaluatorSettings, Settings
from search.settings.tasks import TaskSeeds
from search.store import Store
from search.training.jobs import Evaluator
from search.training.service import TrainingService
from search.training.session import opened

from scripts.peers.genome import GenomePeer
from scripts.peers.peer import Peer
from scripts.peers.tree import TreePeer

PEERS = {"tree": TreePeer, "genome": GenomePeer}
FROM_ADAMW = {"start": "torch_adamw", "start_tuned": True}
OURS: dict[str, tuple[dict[str, Any], Any]] = {
    "evolution": ({"kind": "evolution", **FROM_ADAMW}, {"first": 1, "most": 16}),
    "regularized": ({"kind": "paper", "population": 100, "tournament": 3, **FROM_ADAMW}, 2),
    "random": ({"kind": "random"}, 2),
}
SEEDS = tuple(range(2))  # that peers train on
HEADER = """\
| task | arm | programs | programs/s | seconds | believed | loss on fresh seeds | failed |
|---|---|---|---|---|---|---|---|"""


class Found(NamedTuple):
    """The best program of an arm, what the arm believes of its fitness, and what it took."""

    program: Program
    fitness: float
    programs: int
    seconds: float


def ours(arm: str, task: Task, minutes: float, seed: int, store: Store, evaluator: Evaluator) -> Found:
    """Run one of this project's strategies."""
    begun = time.monotonic()
    progress = Driver(settings_of(arm, task, minutes, seed), store, evaluator).run()
    best = progress.best
    if best is None or best.fitness is None:
        raise RuntimeError(f"{arm} on {task.name}: nothing was trained in {minutes:g} minutes; give it more")
    return Found(parse(best.genome), best.fitness, progress.trained, time.monotonic() - begun)


def settings_of(arm: str, task: Task, minutes: float, seed: int) -> Settings:
    """Return the settings of one of this project's strategies."""
    strategy, seeds = OURS[arm]
    return Settings.model_validate(
        {
            "name": arm, "seed": seed, "language": "extended", "budget": {"minutes": minutes}, "strategy": strategy,
            "tasks": [{"name": task.name, "seeds": seeds}], "evaluator": {"batch": 64, "lookahead": 2},
        }
    )  # fmt: skip


def peers(peer: Peer, task: Task, minutes: float, store: Store, evaluator: Evaluator) -> Found:
    """Run a peer until its time is over or it ends; what it asks for first is trained in any case."""
    service = TrainingService(store, evaluator, batch_size=64, dedup=Dedup())
    begun = time.monotonic()
    best: tuple[float, str] = (-math.inf, "")
    while texts := peer.ask():
        found = service.train([parse(text) for text in texts], [TaskSeeds(task, SEEDS)])
        fitness = [-math.inf if one.failures else one.mean for (one,) in found]
        best = max(best, *zip(fitness, texts, strict=True))
        peer.tell(fitness)
        if time.monotonic() - begun > 60 * minutes:
            break
    return Found(parse(best[1]), best[0], peer.evaluated, time.monotonic() - begun)


def database(task: str, arm: str, options: argparse.Namespace) -> Path:
    """Return where an arm keeps what it trains on a task."""
    folder: Path = options.folder
    return folder / f"{task}-{arm}-{options.seed}.db"


def row(arm: str, task: Task, options: argparse.Namespace) -> str:
    """Run an arm on a task and return what came of it."""
    options.folder.mkdir(exist_ok=True)
    with opened(str(database(task.name, arm, options)), EvaluatorSettings(workers=options.workers)) as (
        store,
        evaluator,
    ):
        if arm in OURS:
            found = ours(arm, task, options.minutes, options.seed, store, evaluator)
        else:
            found = peers(PEERS[arm](options.seed), task, options.minutes, store, evaluator)
        service = TrainingService(store, evaluator, batch_size=64, dedup=Dedup())
        ((fresh,),) = service.train([found.program], [TaskSeeds(task, fresh_seeds(16))])
    rate, loss = found.programs / found.seconds, f"{-fresh.mean:.4g} ± {fresh.standard_error:.1g}"
    cells = [task.name, arm, found.programs, f"{rate:.1f}", f"{found.seconds:.0f}", f"{-found.fitness:.4g}", loss]
    cells.append(len(fresh.failures))
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    """Run all arms on all tasks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", metavar="TASK", default=["digits_autoencoder_short", "mnist1d_mlp_short"])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--folder", type=Path, default=Path("peers"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--arms", nargs="+", choices=[*OURS, *PEERS], default=[*OURS, *PEERS])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for name in options.tasks:
        refuse_locked(name)
    before = [path for name in options.tasks for arm in options.arms if (path := database(name, arm, options)).exists()]
    if before:
        parser.error(f"{before[0]} is there: what it holds would be trained in no time; take another --folder")
    print(HEADER, flush=True)
    for name in options.tasks:
        for arm in options.arms:
            print(row(arm, TASKS[name], options), flush=True)


if __name__ == "__main__":
    main()
