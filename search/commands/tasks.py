"""The command `optsearch tasks`."""

from __future__ import annotations

from typing import Any

from proxy_tasks import TASKS
from proxy_tasks.references import recorded_names, reference

from search.commands.options import JsonOption
from search.commands.output import Form, Table, write
from search.commands.terminal import show_table


def command(json: JsonOption = False) -> None:
    """The built-in tasks."""
    tuned = {task.name: recorded.optimizers for task in TASKS.values() if (recorded := reference(task))}
    names = recorded_names()
    columns = ["task", "model", "steps", "batch", *names]
    rows: list[dict[str, Any]] = [
        {"task": task.name, "model": task.model, "steps": task.steps, "batch": task.batch_size}
        | {name: tuned[task.name][name].loss if name in tuned.get(task.name, {}) else None for name in names}
        for task in TASKS.values()
    ]
    if json:
        write(Form.JSON, "tasks", None, [Table("tasks", columns, rows)])
        return
    cells = [[_shown(row[column]) for column in columns] for row in rows]
    show_table("built-in tasks, and the losses of tuned optimizers", columns, cells, left=["task", "model"])


def _shown(value: str | float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)
