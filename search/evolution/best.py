"""The best program of a search so far, by what is known of all programs by now."""

from __future__ import annotations

import math

from search.store import ProgramRow
from search.store.keys import Answer


class Best:
    """The best program so far.

    Attributes:
        row: the birth with which it was last trained, the first or a race; None until something has trained well.
    """

    def __init__(self) -> None:
        self._known: dict[str, ProgramRow] = {}
        self.row: ProgramRow | None = None

    @property
    def fitness(self) -> float | None:
        """Its fitness; None until something has trained well."""
        return None if self.row is None else self.row.fitness

    @property
    def birth(self) -> int | None:
        """Its first birth, whatever it was raced since."""
        if self.row is None or self.row.answered_by != Answer.REEVALUATION:
            return None if self.row is None else self.row.birth
        return self.row.parent_birth

    def count(self, row: ProgramRow) -> None:
        """Take in a birth."""
        if not row.is_trained:
            return
        if row.lower is None:
            self._known.pop(row.key, None)
        else:
            self._known[row.key] = row
        if self.row is None or row.key == self.row.key:
            self.row = max(self._known.values(), key=_lower, default=None)  # the first of equals
        elif _lower(row) > _lower(self.row):
            self.row = row


def _lower(row: ProgramRow) -> float:
    return -math.inf if row.lower is None else row.lower
