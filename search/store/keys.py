"""Under which key a training is kept, and where the score of a birth comes from."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class TrainingKey(NamedTuple):
    """Two trainings with equal keys give equal outcomes."""

    key: str
    task_fingerprint: str
    seed: int


class Answer(StrEnum):
    """Where the score of a birth came from: the first two were trained, the others answered without training."""

    TRAINING = "training"
    REEVALUATION = "reevaluation"
    """A known program was trained once more, on other seeds."""
    HASH = "hash"
    """A program with the same dataflow was known."""
    FINGERPRINT = "fingerprint"
    """A program with the same fingerprint was known."""
    IN_FLIGHT = "in_flight"
    """The same program was being trained."""
    REJECTION = "rejection"
    """Its fingerprint shows that it cannot learn."""


TRAINED = (Answer.TRAINING, Answer.REEVALUATION)
