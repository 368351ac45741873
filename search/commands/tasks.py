"""The command `optsearch tasks`."""

from __future__ import annotations

from proxy_tasks import TASKS
from proxy_tasks.references import reference

from search.commands.terminal import show_table


def command() -> None:
    """The built-in tasks."""
    known = {task.name: recorded.optimizers for task in TASKS.values() if (recorded := reference(task))}
    names = list(dict.fromkeys(name for optimizers in known.values() for name in optimizers))
    rows = []
    for task in TASKS.values():
        tuned = known.get(task.name, {})
        losses = [f"{tuned[name].loss:.3g}" if name in tuned else "-" for name in names]
        rows.append([task.name, task.model, str(task.steps), str(task.batch_size), *losses])
    columns = ["task", "model", "steps", "batch", *names]
    show_table("built-in tasks, and the losses of tuned optimizers", columns, rows, left=["task", "model"])
