"""When programs are asked for, about which population, and what of the answers is used: all of it as the store has it.

Every answer is written before anything of it is used, and what is written is never asked for again. So a history is a
function of settings, seed and what was answered.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from programs.errors import InputError
from programs.program import Program, parse

from search.evolution.births import Given
from search.evolution.outside.proposer import Answer, ask
from search.settings.proposals import Proposals
from search.settings.settings import Settings
from search.store import Lease, ProposalRow
from search.store.encoding import ForeignDataError, clean_text

log = logging.getLogger("optsearch.outside")

_MOST_CHARACTERS = 300  # of a problem


class Asking:
    """Asks, keeps and gives programs from outside.

    Args:
        settings: of the search.
        proposals: who is asked.
        lease: with which answers are written.

    Raises:
        InputError: the store holds answers about a population that there is not.
    """

    def __init__(self, settings: Settings, proposals: Proposals, lease: Lease) -> None:
        strategy = settings.strategy
        self._proposals = proposals
        self._lease = lease
        self._repeats = strategy.repeats
        self._earliest = len(strategy.start) * strategy.repeats * strategy.islands  # births after the start programs
        self._functions = {op.name for op in settings.functions}
        self._most_statements = strategy.max_statements
        self._answers = {birth: list(rows) for birth, rows in groupby(lease.proposals(), lambda row: row.birth)}
        self._has_told = False
        if any(row.population >= self._repeats for rows in self._answers.values() for row in rows):
            raise ForeignDataError(lease.store.location, "the population of a proposal")

    def given(self) -> list[Given]:
        """Return all that was ever answered, in the order of births."""
        return [_given(rows) for _, rows in sorted(self._answers.items())]

    def before(
        self, birth: int, question: Callable[[int, Sequence[ProposalRow]], dict[str, Any]], stopped: Callable[[], bool]
    ) -> Given | None:
        """Return what was answered before this birth is drawn, the first of a batch; asks if it is time to.

        Args:
            birth: its number.
            question: makes the question about a population, with what was refused of its last answer.
            stopped: whether the search has been stopped, so that no answer is waited for.

        Returns:
            None if it is not the time, or if the search was stopped before there was an answer.
        """
        earlier = sorted(asked for asked in self._answers if asked < birth)
        every = self._proposals.every
        if birth < self._earliest or birth // every == (earlier[-1] if earlier else 0) // every:
            return None
        if birth not in self._answers:
            population = len(earlier) % self._repeats
            last = earlier[-self._repeats] if len(earlier) >= self._repeats else None
            refused = [row for row in self._answers.get(last, ()) if row.problem is not None and row.text is not None]
            answer = ask(self._proposals, question(population, refused), stopped)
            if answer is None:
                return None
            rows = list(self._rows(birth, population, answer))
            self._lease.add_proposals(rows)
            self._answers[birth] = rows
            self._tell(birth, rows)
        return _given(self._answers[birth])

    def _rows(self, birth: int, population: int, answer: Answer) -> Iterator[ProposalRow]:
        if not answer.texts:
            yield ProposalRow(birth, population, 0, None, _one_line(answer.problem or "the answer is an empty list"))
        for number, text in enumerate(answer.texts[: self._proposals.most]):
            problem = self._problem(text)
            kept = text if problem is None else clean_text(text)
            yield ProposalRow(birth, population, number, kept, None if problem is None else _one_line(problem))

    def _problem(self, text: str) -> str | None:
        """Return why a text is not used: it is no program of the language, or too long."""
        try:
            program = parse(text, "text")
        except InputError as error:
            return str(error)
        for statement in program.statements:
            if statement.function not in self._functions:
                return f"text: '{statement.function}' is not among the functions of this search"
        if len(program) > self._most_statements:
            return f"text: {len(program)} statements, more than strategy.max_statements: {self._most_statements}"
        return None

    def _tell(self, birth: int, rows: Sequence[ProposalRow]) -> None:
        """Log what came of a question; on the terminal, say once that something is not used."""
        used = sum(row.problem is None for row in rows)
        problem = next((row.problem for row in rows if row.problem is not None), None)
        if problem is None:
            log.info("birth %d: %d programs from outside", birth, used)
            return
        said = f"birth {birth}: {used} programs from outside, {len(rows) - used} not used ({problem})"
        if self._has_told:
            log.info("%s", said)
        else:
            self._has_told = True
            log.warning("%s; the search goes on, and v_proposals lists all", said)


def _given(rows: Sequence[ProposalRow]) -> Given:
    return Given(rows[0].birth, rows[0].population, list(_programs(rows)))


def _programs(rows: Iterable[ProposalRow]) -> Iterator[Program]:
    for row in rows:
        if row.problem is None:
            assert row.text is not None
            yield parse(row.text, f"text {row.number} from outside, birth {row.birth}, in the store")


def _one_line(text: str) -> str:
    """Return a text without what moves the cursor of a terminal, of one line, and not endless."""
    printable = "".join(char if char.isprintable() else " " for char in text[: 4 * _MOST_CHARACTERS])
    return str(clean_text(" ".join(printable.split())[:_MOST_CHARACTERS]))
