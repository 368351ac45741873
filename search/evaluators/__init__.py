"""Where programs are trained: in this process or on Ray workers, behind one small interface."""

from __future__ import annotations

from search.config import EvaluatorSettings
from search.evaluators.evaluator import Evaluator, Job, Room
from search.evaluators.inline import InlineEvaluator


def open_evaluator(settings: EvaluatorSettings) -> Evaluator:
    """The evaluator that the settings ask for; the caller closes it."""
    if settings.kind == "inline":
        return InlineEvaluator(Room(settings.rows, settings.memory_mib))
    from search.evaluators.ray_pool import RayEvaluator  # imported here: Ray takes a second, and inline needs none

    return RayEvaluator(settings)


__all__ = ["Evaluator", "InlineEvaluator", "Job", "open_evaluator"]
