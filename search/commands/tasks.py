"""The command `optsearch tasks`."""

from __future__ import annotations

from proxy_tasks import TASKS
from proxy_tasks.references import recorded_names, reference

from search.commands.terminal import show_table


def command() -> None:
    """The built-in tasks."""
    names = recorded_names()
    rows = []
    for task in TASKS.values():
        known = reference(task)
        tuned = {} if known is None else known.optimizers
        losses = [f"{tuned[name].loss:.3g}" if name in tuned else "-" for name in names]
        rows.append([task.name, task.model, str(task.steps), str(task.batch_size), *losses])
    columns = ["task", "model", "steps", "batch", *names]
    show_table("built-in tasks, and the losses of tuned optimizers", columns, rows, left=["task", "model"])
