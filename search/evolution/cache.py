"""What a search remembers of its own past: bounded, and the same however the search was interrupted."""

from __future__ import annotations

from collections import OrderedDict

from search.training.service import Score


class Cache:
    """Keys of trainings by dataflow hash and scores by key; the least recently born are forgotten first.

    Only `note`, called for every committed birth in order, changes anything: what is forgotten when is a function of
    the history alone. A program forgotten here is found in the store's table of trainings, so nothing is trained twice.

    Args:
        size: the most entries of each of the two.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._keys: OrderedDict[str, str] = OrderedDict()
        self._scores: OrderedDict[str, Score] = OrderedDict()

    def key_of(self, dataflow_hash: str) -> str | None:
        """Return the key of programs with this hash, if remembered."""
        return self._keys.get(dataflow_hash)

    def score_of(self, key: str) -> Score | None:
        """Return the score under this key, if remembered."""
        return self._scores.get(key)

    def note(self, dataflow_hash: str, key: str, score: Score, replace: bool) -> None:
        """Make the key and score of a birth the youngest entries; a score already there stays unless `replace`."""
        _put(self._keys, dataflow_hash, key, self._size)
        score = of_twin(score)
        _put(self._scores, key, score if replace else self._scores.get(key, score), self._size)


def of_twin(score: Score) -> Score:
    """Return a score as another birth of the same key has it: without what belongs to the training itself."""
    return score._replace(hurdle_losses=None, replica_steps=0)


def _put(entries: OrderedDict[str, str] | OrderedDict[str, Score], name: str, value: str | Score, size: int) -> None:
    entries[name] = value  # type: ignore[assignment]  # values fit their own dictionary
    entries.move_to_end(name)
    if len(entries) > size:
        entries.popitem(last=False)
