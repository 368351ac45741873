"""What is trained, what becomes of it, and the hurdles that stop it early."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from programs.program import Program

CURVE_POINTS = 20


class Status(StrEnum):
    """How a training, or a program over all its trainings, ended. Programs that cannot learn are rejected untrained."""

    OK = "ok"
    DIVERGED = "diverged"
    DROPPED = "dropped"
    REJECTED = "rejected"
    TIMEOUT = "timeout"
    ERROR = "error"
    LOST = "lost"


class Replica(NamedTuple):
    """One training: a program and a seed."""

    program: Program
    seed: int


class Outcome(NamedTuple):
    """What became of a replica.

    The trainer itself says ok, diverged, or dropped (at a hurdle); error (training raised), timeout (it took too long)
    and lost (its process died) come from evaluators. `fitness` is minus the final validation loss, None unless `status`
    is ok. `curve` holds mean training losses over twentieths of the steps, as far as they are finite. `seconds` is the
    replica's share of the time of its batch, `device` what it was trained on.
    """

    status: str
    fitness: float | None
    curve: list[float]
    steps: int
    seconds: float
    reason: str | None = None
    device: str = "cpu"


class Hurdle(NamedTuple):
    """Training goes on beyond `point` twentieths of the steps only if the mean loss over the last is within `bound`."""

    point: int
    bound: float


def diverged_outcome(loss: float, bound: float, step: int) -> Outcome | None:
    """The outcome of a replica whose mean training loss over a twentieth, up to a step, is no number within a bound."""
    if loss <= bound:
        return None
    said = f"exceeds {bound:g}" if math.isfinite(loss) else "is not finite"
    return Outcome("diverged", None, [], step, 0.0, f"training loss {said} by step {step}")


def validated(loss: float, bound: float, steps: int) -> Outcome:
    """The outcome of a replica trained for so many steps, by its validation loss; its curve is still to be added."""
    if loss <= bound:
        return Outcome("ok", -loss, [], steps, 0.0)
    return Outcome("diverged", None, [], steps, 0.0, "validation loss is not finite or exceeds the bound")


def failed_hurdle(curve: Sequence[float], hurdles: Sequence[Hurdle]) -> Hurdle | None:
    """The first hurdle that a curve fails, as far as it goes."""
    return next((h for h in hurdles if h.point <= len(curve) and curve[h.point - 1] > h.bound), None)


def dropped(curve: Sequence[float], hurdle: Hurdle, steps: int) -> Outcome:
    """The outcome of a replica that fails this hurdle, of a training of so many steps."""
    reason = f"training loss above the hurdle at {hurdle.point / CURVE_POINTS:.0%} of the steps"
    return Outcome("dropped", None, list(curve[: hurdle.point]), checkpoint(hurdle.point, steps), 0.0, reason)


def apply_hurdles(outcome: Outcome, hurdles: Sequence[Hurdle], steps: int) -> Outcome | None:
    """What a known outcome would have been with these hurdles.

    None if it was dropped where they would let it pass, or is not of a training of so many steps.
    """
    if outcome.status == "ok" and outcome.steps != steps:
        return None
    hurdle = failed_hurdle(outcome.curve, hurdles)
    if hurdle is not None:
        return dropped(outcome.curve, hurdle, steps)._replace(seconds=outcome.seconds)
    return None if outcome.status == "dropped" else outcome


def checkpoint(point: int, steps: int) -> int:
    """The step at which so many twentieths of the steps are done."""
    return round(point * steps / CURVE_POINTS)
