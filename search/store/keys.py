"""Words and keys that the tables, the engine and the commands share."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from proxy_tasks.outcome import Status


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
    CONSTRAINT = "constraint"
    """It is larger than programs of its search may be."""


class SearchState(StrEnum):
    """What a search is doing, as its last run noted it."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"
    FINISHED = "finished"


class Judgement(StrEnum):
    """What a verdict says of the best candidate of a search."""

    AHEAD = "ahead"
    """It is ahead of the best tuned baseline."""
    BEHIND = "behind"
    """It is behind it, or fails where that trains."""
    UNDECIDED = "undecided"
    """No more seeds were tried, and they do not tell; or there is no baseline to compare with."""
    NOTHING = "nothing"
    """There is no candidate: nothing that is not a baseline has trained well."""


TRAINED = (Answer.TRAINING, Answer.REEVALUATION)
REJECTED = (Answer.REJECTION, Answer.CONSTRAINT)

CIRCUMSTANCES = (Status.TIMEOUT, Status.LOST, Status.ERROR)
"""Failures that say more about the machine than about the program: they never answer a later request."""


def sql_list(words: tuple[StrEnum, ...]) -> str:
    """Return words as a list of SQL, such as `'training', 'reevaluation'`."""
    return ", ".join(f"'{word}'" for word in words)
