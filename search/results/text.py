"""What a database holds as it may be shown, in a terminal or on a page."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from search.store.keys import Judgement

if TYPE_CHECKING:  # words are the same without a database
    from search.store.evidence_views import OpeningEntry, VerdictEntry
    from search.store.tables import VerdictRow
    from search.store.views import ProgramEntry

STRATEGIES = {
    "evolution": "evolution of structures",
    "paper": "the paper's evolution",
    "random": "random search",
    "tune": "hyperparameter tuning",
}
"""Kinds of strategies in words, of which each can end the sentence "It was found by ..."."""
KINDS_OF_CHANGE = {
    "start": "the start program",
    "random": "drawn at random",
    "outside": "from outside",
    "insert": "a statement inserted",
    "delete": "a statement deleted",
    "modify": "an argument modified",
    "exchange": "a function exchanged",
    "graft": "a part of another program grafted",
    "rescale": "a value rescaled",
    "combine": "something added to a value",
    "average": "a value averaged over steps",
    "duplicate_state": "a state duplicated",
    "constants": "other constants",
    "tune": "a constant tuned",
    "race": "further seeds",
}
"""What makes births, by the first word of their column `mutation`."""
_MUTATION = re.compile(r"(?P<kind>\w+)(?: x(?P<factor>[^ +]+))?(?:\+(?P<more>\d+))?")


def listed(names: Iterable[str]) -> str:
    """Return names with commas between them, each once."""
    return ", ".join(dict.fromkeys(names)) or "none yet"


def verdict_in_words(verdict: VerdictRow) -> str:
    """Return whether a search has found something better than its best baseline, as the rest of `verdict: ...`."""
    program, on = f"program {verdict.program_id}", f"on {verdict.seeds} fresh seeds"
    rival = f"tuned {verdict.baseline}"
    if verdict.judgement == Judgement.NOTHING:
        return "nothing found: no program but the tuned baselines has trained well"
    if verdict.baseline is None:
        return f"undecided: there is no tuned baseline that trains {on}, so there is nothing to compare {program} with"
    if verdict.ahead is None:
        failed = f"the training of {program} fails on {verdict.seeds_failed} of {verdict.seeds} fresh seeds"
        return f"not ahead: {failed}, and {rival} trains on all of them"
    is_ahead = verdict.ahead >= 0
    side = "ahead of" if is_ahead else "behind"
    margin = f"by {abs(verdict.ahead):.3g} +- {verdict.ahead_error or 0:.2g} {on} (z = {verdict.z or 0:.1f})"
    words = {Judgement.AHEAD: "ahead", Judgement.BEHIND: "not ahead", Judgement.UNDECIDED: "undecided"}
    text = f"{words[Judgement(verdict.judgement)]}: {program} is {side} {rival}, the best baseline, {margin}"
    return f"{text}, which does not tell" if verdict.judgement == Judgement.UNDECIDED else text


def verdict_line(verdict: VerdictEntry, births: int) -> str:
    """Return the same as a sentence of its own, with the births that it is about where there have been more since."""
    since = "" if verdict.births == births else f" (as of {verdict.births:,} births)"
    return f"verdict on {printable(verdict.search)}: {verdict_in_words(verdict)}{since}"


def interrupted_proof(opening: OpeningEntry) -> str:
    """Return that a proof has not come to its end, how far it is, and what goes on with it."""
    return (
        f"the locked tasks were opened for program {opening.program_id} on {opening.opened[:16]} UTC, and the proof has"
        f" not come to its end: {opening.trained:,} of at most {opening.trainings:,} trainings;"
        f" go on with `optsearch prove {opening.program_id}`"
    )


def printable(text: str, most: int = 1000) -> str:
    """Return a text without characters that steer a terminal, and cut after `most` characters."""
    shown = "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text[:most])
    return shown + "..." if len(text) > most else shown


def failure(of: ProgramEntry) -> str:
    """Return why a program has no fitness."""
    return f"{of.status}: {printable(of.reason or 'no reason noted')}"


def pace(rate: float) -> str:
    """Return how many there are in a second, or in a minute where that says more."""
    return f"{rate:.0f}/s" if rate == 0 or rate >= 1 else f"{60 * rate:.2g}/min"


def states(slots: float) -> str:
    """Return a number of state slots: 2, or such as 1.01 where one is kept by rows or columns."""
    return f"{slots:.3g}"


def in_states(slots: float, what: str = "state") -> str:
    """Return the same in words: 1 state, 1.01 states."""
    return f"{states(slots)} {what}{'s' * (slots != 1)}"


def change(mutation: str) -> str:
    """Return what made a birth in words: `insert+1` is `a statement inserted, and 1 more change`."""
    found = _MUTATION.fullmatch(mutation)
    if found is None or found["kind"] not in KINDS_OF_CHANGE:
        return mutation
    parts = [KINDS_OF_CHANGE[found["kind"]]]
    parts += [f"updates x {found['factor']}"] * (found["factor"] is not None)
    parts += [f"and {found['more']} more change{'s' * (found['more'] != '1')}"] * (found["more"] is not None)
    return ", ".join(parts)


def in_trainings(trainings: int) -> str:
    """Return a number of trainings in words."""
    return f"{trainings:,} training{'s' * (trainings != 1)}"
