"""Jobs under way, in pieces: what is tried again, what is split, and when a training is given up.

Whatever ends a worker (a signal, the memory, a node that is taken away) or takes too long cannot be pinned on a program
as long as others were trained beside it. So a piece that fails is halved until the guilty program is alone; the others
get their outcomes. This is bookkeeping only: it knows no workers and no clock.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import Literal, NamedTuple

from proxy_tasks.outcome import Outcome

from search.training.jobs import Finished, Job, failed, one_line

log = logging.getLogger("optsearch.pieces")

DEATHS_TOGETHER = 2  # workers that a piece may cost before it is halved
DEATHS_ALONE = 3  # and those that a program may cost before it is lost

Failure = Literal["timeout", "lost", "error"]


class Piece(NamedTuple):
    """Some replicas of a job, trained together. `deaths`: workers that died on these, or on more of them, before."""

    job: Job
    start: int
    stop: int
    deaths: int = 0

    @property
    def work(self) -> Job:
        """What a worker gets."""
        return self.job._replace(replicas=self.job.replicas[self.start : self.stop])

    @property
    def is_alone(self) -> bool:
        """Whether one program is left."""
        return self.stop - self.start == 1

    @property
    def is_last_chance(self) -> bool:
        """Whether one more death is the end of it."""
        return self.is_alone and self.deaths + 1 >= DEATHS_ALONE

    def __str__(self) -> str:
        return f"job {self.job.number}, trainings {self.start} to {self.stop - 1}"


class Pieces:
    """The jobs of one evaluator, each one piece at first; a failure brings a retry, two halves or a verdict."""

    def __init__(self) -> None:
        self._waiting: deque[Piece] = deque()
        self._outcomes: dict[int, dict[int, Outcome]] = {}

    def submit(self, job: Job) -> None:
        """Take a job; it waits behind the others."""
        self._outcomes[job.number] = {}
        self._waiting.append(Piece(job, 0, len(job.replicas)))

    def take(self) -> Piece | None:
        """The next piece to train, None if all are under way."""
        return self._waiting.popleft() if self._waiting else None

    def give_back(self, piece: Piece) -> None:
        """A piece that was taken and not trained, through no fault of its own."""
        self._waiting.appendleft(piece)

    def succeeded(self, piece: Piece, outcomes: list[Outcome]) -> list[Finished]:
        """Note the outcomes of a piece; the job, if they were the last it lacked."""
        known = self._outcomes[piece.job.number]
        known.update(zip(range(piece.start, piece.stop), outcomes, strict=True))
        if len(known) < len(piece.job.replicas):
            return []
        del self._outcomes[piece.job.number]
        return [Finished(piece.job.number, [known[number] for number in range(len(known))])]

    def failed(self, piece: Piece, status: Failure, reason: str) -> list[Finished]:
        """Try again, halve, or give up the one program that is left; the job, if that was the last it lacked.

        Only workers that died are tried again as they were: they may have been killed for no fault of the program's.
        """
        reason = one_line(reason)
        deaths = piece.deaths + (status == "lost")
        if status == "lost" and deaths < (DEATHS_ALONE if piece.is_alone else DEATHS_TOGETHER):
            log.info("%s: %s; trained again", piece, reason)
            self.give_back(piece._replace(deaths=deaths))
            return []
        if not piece.is_alone:
            log.info("%s: %s: %s; halved", piece, status, reason)
            middle = (piece.start + piece.stop) // 2
            # The next death of a half halves it at once; a program alone has one more try.
            part = piece._replace(deaths=min(deaths, DEATHS_TOGETHER - 1))
            self.give_back(part._replace(start=middle))
            self.give_back(part._replace(stop=middle))
            return []
        if status == "lost":
            reason = f"its worker died {deaths} times: {reason}"
        log.info("%s: %s: %s\n%s", piece, status, reason, piece.work.replicas[0].program)
        return self.succeeded(piece, failed(piece.work, status, reason))

    def clear(self) -> None:
        """Forget everything."""
        self._waiting.clear()
        self._outcomes.clear()
