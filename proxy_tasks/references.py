"""What known optimizers reach on the built-in tasks: recorded once by `scripts/record/references.py`."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from proxy_tasks.task import Task
from proxy_tasks.tasks import TASKS

FILE = Path(__file__).with_name("references.json")


class TunedReference(NamedTuple):
    """A tuned optimizer: mean validation loss over `seeds` fresh seeds, its standard deviation, and the constants."""

    loss: float
    sigma: float
    seeds: int
    learning_rate: float
    weight_decay: float


class Reference(NamedTuple):
    """Losses on a task: of tuned AdamW, of the best known (None if none is better), and of all tuned optimizers."""

    baseline: float
    best: float | None
    optimizers: dict[str, TunedReference]


def reference(task: Task) -> Reference | None:
    """Return what is recorded of a task; None unless it is a built-in one, whatever its update scale."""
    if TASKS.get(task.name) != replace(task, update_scale=1.0):
        return None
    return _references().get(task.name)


def recorded_names() -> list[str]:
    """Return the names of the optimizers that are recorded, in the order of the file."""
    return list(dict.fromkeys(name for known in _references().values() for name in known.optimizers))


@cache
def _references() -> dict[str, Reference]:
    data: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return {
        name: Reference(
            entry["baseline"], entry["best"], {k: TunedReference(**v) for k, v in entry["optimizers"].items()}
        )
        for name, entry in data.items()
    }
