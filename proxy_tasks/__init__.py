"""What a candidate is trained on, and the trainer. Knows programs only as update rules."""

import os

# Matrix products that do not depend, to the last bit, on alignment and on how many are computed together: with this the
# outcome of a replica is the same whatever batch it is trained in. Read by MKL at its first call.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")

from proxy_tasks.named import args
from proxy_tasks.outcome import Hurdle, Outcome, Replica
from proxy_tasks.process import configure_process, configured_process
from proxy_tasks.task import Task
from proxy_tasks.tasks import SUITE, TASKS, get_task
from proxy_tasks.trainer import train

__all__ = [
    "SUITE", "TASKS", "Hurdle", "Outcome", "Replica", "Task", "args", "configure_process", "configured_process",
    "get_task", "train",
]  # fmt: skip
