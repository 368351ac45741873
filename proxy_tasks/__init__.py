"""What programs are trained on, and the trainer. Programs are known here only as update rules.

Names are loaded when they are first asked for: what tasks are can be read without torch, which takes seconds.
"""

import os
from typing import TYPE_CHECKING

# Matrix products that do not depend, to the last bit, on alignment and on how many are computed together: so a replica
# has the same outcome in every batch. Read by MKL at its first call.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
# Sums in the same order for the same product. Read by cuBLAS when it is first used.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

from programs.later import names_of

from proxy_tasks.named import args
from proxy_tasks.outcome import Hurdle, Outcome, Replica
from proxy_tasks.task import Task
from proxy_tasks.tasks import SUITE, TASKS, get_task
from proxy_tasks.user_task import UserTask

if TYPE_CHECKING:
    from proxy_tasks.runtime import configure_process, configured_process
    from proxy_tasks.trainer import DEFAULT_RESOURCES, Resources, train

__getattr__ = names_of(__name__, {
    "DEFAULT_RESOURCES": "proxy_tasks.trainer",
    "Resources": "proxy_tasks.trainer",
    "configure_process": "proxy_tasks.runtime",
    "configured_process": "proxy_tasks.runtime",
    "train": "proxy_tasks.trainer",
})  # fmt: skip

__all__ = [
    "DEFAULT_RESOURCES", "SUITE", "TASKS", "Hurdle", "Outcome", "Replica", "Resources", "Task", "UserTask", "args",
    "configure_process", "configured_process", "get_task", "train",
]  # fmt: skip
