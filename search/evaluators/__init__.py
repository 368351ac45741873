"""Where programs are trained: in this process or on Ray workers, behind one small interface."""

from __future__ import annotations

from proxy_tasks.backend import open_backend

from search.config import EvaluatorSettings
from search.evaluators.evaluator import Evaluator, Job, room_of
from search.evaluators.inline import InlineEvaluator


def open_evaluator(settings: EvaluatorSettings) -> Evaluator:
    """The evaluator that the settings ask for; the caller closes it.

    Raises:
        InputError: it is to train in this process, on a device that is not here.
    """
    if settings.kind == "inline":
        open_backend(settings.device)  # which says what is missing, before any program is blamed for it
        return InlineEvaluator(room_of(settings))
    from search.evaluators.ray_pool import RayEvaluator  # imported here: Ray takes a second, and inline needs none

    return RayEvaluator(settings)


__all__ = ["Evaluator", "InlineEvaluator", "Job", "open_evaluator"]
