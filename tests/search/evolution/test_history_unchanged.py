"""Histories of the paper's search and of its set of functions are what they always were, to the bit.

The digests hold since before other sets of functions and other strategies came in. What they are of: every birth, as
searches without a setting `language` draw it and recognise it: by its fingerprint where only constants change, else by
its dataflow, since the fingerprints of some programs depend on how a processor rounds.
"""

from __future__ import annotations

from hashlib import blake2b

import pytest

from programs import zoo

from search.evolution.births import Batch, Birth
from search.evolution.history import History, HistorySettings
from search.settings.settings import Dedup, Strategy
from search.training.service import Score

BIRTHS = 600
START = "adamw"

DIGESTS = {
    "paper": "243a11437d7f505250e548c5c81217af",
    "tune": "3fdc5c1fb23322c7918e3141f5f6dd3d",
    "random": "5ce01d0d06c9f7102a98fd07ddcaaaa0",
}


def scored(key: str) -> Score:
    """What training gives, as a function of the key."""
    number = int(key[:8], 16)
    return Score("diverged", None, "not finite") if number % 6 == 0 else Score("ok", -(number % 97) / 97)


def births(kind: str) -> list[Birth]:
    """Return the first births of a search of this kind whose batches are trained in order."""
    strategy = Strategy(kind=kind, population=20, tournament=4, start=START)
    dedup = Dedup(fingerprint=kind == "tune")
    history = History(strategy, dedup, HistorySettings(seed=7, batch=8, lookahead=3), [zoo.load(START)])
    drawn = list[Birth]()
    while len(drawn) < BIRTHS:
        while len(history.window) < 3:
            drawn += history.draw().births
        first: Batch = history.window[0]
        history.finish(first, {birth.key: scored(birth.key) for birth in first.trained})
        history.fold()
    return drawn[:BIRTHS]


@pytest.mark.parametrize("kind", DIGESTS)
def test_births_are_those_of_before(kind: str) -> None:
    digest = blake2b(digest_size=16)
    for b in births(kind):
        row = (b.number, b.parent, b.mutation, str(b.genome.program), b.dataflow_hash, b.key, str(b.answered_by))
        digest.update(repr(row).encode())
    assert digest.hexdigest() == DIGESTS[kind]
