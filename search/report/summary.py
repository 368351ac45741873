"""What a report says first, in words and in a few figures."""

from __future__ import annotations

from typing import NamedTuple

from search.report.clock import length
from search.report.evidence import funnel_outcome
from search.report.locked import proof_outcome
from search.report.progress import ahead_of_baselines
from search.report.reading import Reading
from search.report.section import figures, plural, share
from search.report.winner import Winner


class Tile(NamedTuple):
    """A figure that is shown large, and what it is."""

    value: str
    what: str


class Summary(NamedTuple):
    """Sentences, and figures beside them."""

    sentences: list[str]
    tiles: list[Tile]


def summary_of(reading: Reading, winner: Winner | None) -> Summary:
    """What was searched, how much was trained, what was found, how far it is ahead, and whether that is confirmed."""
    sentences = [_searched(reading), _trained(reading), _found(reading, winner), _confirmed(reading, winner)]
    births, trained = reading.row["births"], reading.row["trained"]
    tiles = [Tile(f"{births:,}", "programs born"), Tile(f"{trained:,}", "of them trained")]
    if winner is not None:
        tiles.append(Tile(figures(winner.row["fitness"]), f"fitness of {winner.name}"))
        if winner.row["over_adamw"] is not None:
            tiles.append(Tile(figures(winner.row["over_adamw"], 3, sign=True), "ahead of tuned AdamW"))
    return Summary([sentence for sentence in sentences if sentence], tiles)


def _searched(reading: Reading) -> str:
    row, settings = reading.row, reading.settings
    strategy = settings.get("strategy", {})
    kind = {"random": "random search", "tune": "hyperparameter tuning"}.get(strategy.get("kind"), "evolution")
    start = strategy.get("start")
    start = f" from {'tuned ' if strategy.get('start_tuned') else ''}{start}" if isinstance(start, str) else ""
    tasks = reading.tasks
    on = f" on {plural(len(tasks), 'task')} ({', '.join(tasks)})" if tasks else ""
    began = "" if row["state"] == "finished" else f" It is {_state(row['state'])}."
    ran = f"in {length(float(row['seconds']))}" if row["seconds"] > 0 else "so far"
    return (
        f"Search '{reading.search}' has drawn {plural(row['births'], 'program')} by {kind}"
        f"{start if kind != 'random search' else ''}{on}, {ran}.{began}"
    )


def _state(state: str) -> str:
    return "interrupted, and goes on when started again" if state == "interrupted" else "not finished"


def _trained(reading: Reading) -> str:
    births, trained = reading.row["births"], reading.row["trained"]
    if not births:
        return ""
    return f"{trained:,} of them ({share(trained, births)}) were trained; the others were known, or cannot learn."


def _found(reading: Reading, winner: Winner | None) -> str:
    if winner is None:
        return "No program has trained well yet."
    ahead = ahead_of_baselines(reading, winner.row)
    text = f"{winner.name.capitalize()} has fitness {figures(winner.row['fitness'])}"
    return f"{text}: {ahead}, on the seeds that the search trains on." if ahead else f"{text}; no baseline was tuned."


def _confirmed(reading: Reading, winner: Winner | None) -> str:
    """Whether what was found holds on fresh seeds and other tasks."""
    outcomes = [text for text in (funnel_outcome(reading), proof_outcome(reading)) if text]
    if outcomes:
        text = "; ".join(outcomes)
        return f"{text[0].upper()}{text[1:]}."
    if winner is None:
        return ""
    return "Neither a funnel nor the locked tasks have confirmed this yet: it may still be luck of the seeds."
