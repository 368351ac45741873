"""What a report says first, in words and in a few figures."""

from __future__ import annotations

from typing import NamedTuple

from search.report.clock import length
from search.report.funnel import funnel_outcome
from search.report.progress import ahead_of_baselines
from search.report.proof import proof_interrupted, proof_outcome
from search.report.source import ReportedSearch
from search.report.text import capitalized, estimate, figures, plural, share
from search.report.verdict import verdict_sentence
from search.report.winner import Winner
from search.results.text import STRATEGIES, in_trainings
from search.results.trained_tasks import remarks_on_fitness


class Tile(NamedTuple):
    """A figure that is shown large, and what it is."""

    value: str
    what: str


class Summary(NamedTuple):
    """Sentences, and figures beside them."""

    sentences: list[str]
    tiles: list[Tile]


def summary_of(source: ReportedSearch, winner: Winner | None) -> Summary:
    """Return what was searched, how much was trained, what was found, how far it is ahead, and whether that is
    confirmed."""
    verdict = source.verdict
    judged = [] if verdict is None else [verdict_sentence(source, verdict)]
    sentences = [*judged, _searched(source), _trained(source), _found(source, winner), _confirmed(source, winner)]
    tiles = [Tile(f"{source.row.births:,}", "programs born"), Tile(f"{source.row.trained:,}", "of them trained")]
    if winner is not None:
        what = f"fitness of {winner.name} in the search, {in_trainings(winner.row.trainings)}"
        tiles.append(Tile(estimate(winner.row.fitness, winner.row.standard_error), what))
        if winner.row.over_adamw is not None:
            tiles.append(Tile(figures(winner.row.over_adamw, sign=True), "ahead of tuned AdamW there"))
    return Summary([sentence for sentence in sentences if sentence], tiles)


def _searched(source: ReportedSearch) -> str:
    row = source.row
    strategy = source.settings.get("strategy", {})
    kind = STRATEGIES.get(strategy.get("kind"), "evolution")
    starts = strategy.get("start", [])
    starts = [starts] if isinstance(starts, str) else starts
    names = " and ".join(map(str, starts)) if isinstance(starts, list) else ""
    start = f" from {'tuned ' if strategy.get('start_tuned') else ''}{names}" if names else ""
    on = f" on {plural(len(source.tasks), 'task')} ({', '.join(source.tasks)})" if source.tasks else ""
    state = {"finished": "", "interrupted": " It is interrupted, and goes on when started again."}
    ran = f"in {length(row.seconds)}" if row.seconds > 0 else "so far"
    return (
        f"Search '{source.name}' has drawn {plural(row.births, 'program')} by {kind}"
        f"{start if strategy.get('kind') != 'random' else ''}{on}, {ran}.{state.get(row.state, ' It is not finished.')}"
    )


def _trained(source: ReportedSearch) -> str:
    births, trained = source.row.births, source.row.trained
    if not births:
        return ""
    said = f"{trained:,} of them ({share(trained, births)}) were trained; the others were known, or cannot learn."
    if source.row.raced:
        said += f" {source.row.raced:,} of the trained were promising ones on further seeds."
    return said


def _found(source: ReportedSearch, winner: Winner | None) -> str:
    if winner is None:
        return "No program has trained well yet."
    ahead = ahead_of_baselines(source, winner.row)
    fitness = estimate(winner.row.fitness, winner.row.standard_error)
    text = f"{winner.name.capitalize()} has fitness {fitness} over {in_trainings(winner.row.trainings)}"
    text += f": {ahead}, on the seeds that the search trains on." if ahead else "; no baseline was tuned."
    return " ".join([text, *(f"{capitalized(remark)}." for remark in remarks_on_fitness([source.row]))])


def _confirmed(source: ReportedSearch, winner: Winner | None) -> str:
    """Return whether what was found holds on fresh seeds and other tasks."""
    outcomes = [text for text in (funnel_outcome(source), proof_outcome(source), proof_interrupted(source)) if text]
    if outcomes:
        text = "; ".join(outcomes)
        return f"{capitalized(text)}."
    if winner is None:
        return ""
    if source.verdict is not None:
        return "Neither a funnel nor the locked tasks have confirmed this on other tasks yet."
    return "Neither a funnel nor the locked tasks have confirmed this yet: it may still be luck of the seeds."
