"""Where programs are trained: in this process or on Ray workers, behind one small interface."""

from __future__ import annotations

from proxy_tasks.backend import open_backend

from search.settings.settings import EvaluatorSettings
from search.training.inline import InlineEvaluator
from search.training.jobs import Evaluator, Job, resources_of


def open_evaluator(settings: EvaluatorSettings) -> Evaluator:
    """The evaluator that the settings ask for; the caller closes it.

    Raises:
        InputError: it is to train in this process, on a device that is not here.
    """
    if settings.kind == "inline":
        open_backend(settings.device)  # which says what is missing, before any program is blamed for it
        return InlineEvaluator(resources_of(settings))
    from search.training.ray_pool import RayEvaluator  # imported here: Ray takes a second, and inline needs none

    return RayEvaluator(settings)


__all__ = ["Evaluator", "InlineEvaluator", "Job", "open_evaluator"]
