"""The page of built-in tasks, from their table and from what is recorded of optimizers on them."""

from __future__ import annotations

from proxy_tasks import TASKS, Task
from proxy_tasks.references import recorded_names, reference

HEAD = """\
# Built-in tasks

What tuned optimizers reach on the built-in tasks, as it is recorded; `optsearch tasks` lists the same in the terminal.
Mean validation loss on fresh seeds ± its standard deviation between seeds, and the learning rate that tuning found.
`best known` is the lowest of these, or of AdamW with four times the steps; scores place losses between AdamW's and this
one. How optimizers were tuned, and what the tasks are for, is explained in [Proxy tasks](../tasks.md).
"""


def tasks_page() -> str:
    """Return the page as Markdown."""
    names = recorded_names()
    head = ["task", "data", "model", "steps x batch", *names, "best known"]
    rows = [_row(task, names) for task in TASKS.values()]
    return "\n".join([HEAD, f"| {' | '.join(head)} |", "|---" * len(head) + "|", *rows, ""])


def _row(task: Task, names: list[str]) -> str:
    known = reference(task)
    tuned = {} if known is None else known.optimizers
    cells = [
        f"{tuned[name].loss:.3g} ± {tuned[name].sigma:.1g} at {tuned[name].learning_rate:g}" if name in tuned else "-"
        for name in names
    ]
    best = "-" if known is None or known.best is None else f"{known.best:.3g}"
    columns = [f"`{task.name}`", task.dataset, task.model, f"{task.steps} x {task.batch_size}", *cells, best]
    return f"| {' | '.join(columns)} |"
