"""What kinds of births have gained, and what trainings have been spent: how the next births are shared out."""

from __future__ import annotations

from collections.abc import Sequence

from search.evolution.births import Birth
from search.evolution.estimates import Estimator

CONSTANTS = "constants"
FLOOR = 0.3  # share of births that all kinds have alike, whatever they have gained
MEMORY = 0.99  # weight of what earlier births of a kind have gained, from birth to birth


class Credit:
    """What kinds of births have gained for each training."""

    def __init__(self, kinds: Sequence[str], constants: float) -> None:
        self._gains = dict.fromkeys(kinds, 0.0)
        self._tried = dict.fromkeys(kinds, 0.0)
        structural = max(1, len(kinds) - (CONSTANTS in kinds))
        self._prior = {k: constants if k == CONSTANTS else (1 - constants) / structural for k in kinds}

    def note(self, kind: str, gain: float) -> None:
        """Count a trained birth of a kind, and what it gained."""
        if kind in self._gains:
            self._gains[kind] = MEMORY * self._gains[kind] + gain
            self._tried[kind] = MEMORY * self._tried[kind] + 1.0

    def weights(self, adapts: bool) -> dict[str, float]:
        """Return the probabilities of all kinds."""
        if not adapts:
            return self._prior
        mean = (sum(self._gains.values()) + 1.0) / (sum(self._tried.values()) + 10.0)
        worth = {
            kind: prior * (self._gains[kind] + 10 * mean) / (self._tried[kind] + 10) / mean
            for kind, prior in self._prior.items()
        }
        total = sum(worth.values())
        return {kind: FLOOR * prior + (1 - FLOOR) * worth[kind] / total for kind, prior in self._prior.items()}


class Spending:
    """How many trainings a population has spent, and on races, over those of a program's first rung."""

    def __init__(self) -> None:
        self.all = self.races = 0.0

    def count(self, birth: Birth, estimator: Estimator) -> None:
        """Count a birth."""
        if birth.is_trained:
            cost = estimator.rungs.added(birth.rung) / estimator.rungs.added(0)
            self.all += cost
            self.races += cost if birth.rung else 0.0

    def copy(self) -> Spending:
        """Return another that counts on from here."""
        copied = Spending()
        copied.all, copied.races = self.all, self.races
        return copied
