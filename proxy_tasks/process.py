"""Settings of a process that trains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def configure_process(threads: int = 1) -> None:
    """One thread, so that results do not depend on the machine, and no denormals."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)


@contextmanager
def configured_process() -> Iterator[None]:
    """`configure_process` for a while, for processes that do other things too."""
    threads = torch.get_num_threads()
    configure_process()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(False)
