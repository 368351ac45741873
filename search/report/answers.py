"""How births got their scores as the search went on, and how many of their statements had no effect."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from search.report.section import NO_BIRTHS, Axis, Figure, Section, missing
from search.report.source import ReportedSearch
from search.report.style import FIFTH, FOURTH, GROUND, INK, OURS, REFERENCE, SIXTH, THIRD
from search.report.text import plural, share
from search.store.views import ProgressEntry

STRETCHES = 80  # into which a search is divided
_ANSWERS = (  # column of v_progress, name, colour, and pattern for people who cannot tell the colours apart
    ("trained", "trained", OURS, ""),
    ("raced", "known, on further seeds", REFERENCE, "+"),
    ("by_hash", "known by dataflow hash", FIFTH, "/"),
    ("by_fingerprint", "known by fingerprint", THIRD, "\\"),
    ("in_flight", "twin of one in training", FOURTH, "x"),
    ("rejected", "rejected untrained", SIXTH, "."),
)


def answers(source: ReportedSearch) -> Section:
    """Return the section about answers and redundancy."""
    rows = source.progress
    title = "Cache hits and redundancy"
    if not rows:
        return missing("cache", title, NO_BIRTHS)
    stretches = _stretches(rows)
    ends = [part[-1].births_so_far for part in stretches]
    answers = [answer for answer in _ANSWERS if any(getattr(row, answer[0]) for row in rows)]
    traces: list[dict[str, Any]] = [
        {"type": "scatter", "mode": "lines", "name": name, "stackgroup": "all", "x": ends,
         "y": [_rate(part, column) for part in stretches], "line": {"color": colour, "width": 1}, "fillcolor": colour,
         "fillpattern": {"shape": pattern, "size": 6, "solidity": 0.2, "fgcolor": GROUND, "fillmode": "overlay"},
         "hovertemplate": "%{y:.1%}<extra>" + name + "</extra>"}
        for column, name, colour, pattern in answers
    ]  # fmt: skip
    traces.append(
        {"type": "scatter", "mode": "lines", "name": "statements without effect", "x": ends,
         "y": [_redundant(part) for part in stretches], "line": {"color": INK, "width": 3, "dash": "dash"},
         "hovertemplate": "%{y:.1%}<extra>statements without effect</extra>"}
    )  # fmt: skip
    axes = Axis("births"), Axis("share of births, or of statements", range=(0, 1), percent=True)
    caption = _caption(rows, stretches[-1])
    figure = Figure("answers", caption, traces, *axes, layout={"hovermode": "x unified"}, height=400)
    return Section("cache", title, [figure])


def _caption(rows: Sequence[ProgressEntry], end: Sequence[ProgressEntry]) -> str:
    last, births = rows[-1], rows[-1].births_so_far
    raced = f", {share(last.raced_so_far, births)} of them known programs on further seeds" * (last.raced_so_far > 0)
    return (
        f"Of {plural(births, 'birth')} {share(last.trained_so_far, births)} were trained{raced};"
        f" {share(last.by_hash_so_far, births)} were known by their dataflow hash,"
        f" {share(last.by_fingerprint_so_far, births)} by what they do to weights,"
        f" {share(last.in_flight_so_far, births)} were twins of programs in training, and"
        f" {share(last.rejected_so_far, births)} cannot learn and were rejected."
        f" Of all statements {_redundant(rows):.0%} had no effect, {_redundant(end):.0%} at the end."
    )


def _stretches(rows: Sequence[ProgressEntry]) -> list[Sequence[ProgressEntry]]:
    """Return the batches in stretches of about the same number of births."""
    ends = np.array([row.births_so_far for row in rows])
    at = np.searchsorted(ends, np.linspace(0, ends[-1], STRETCHES + 1)[1:])
    edges = [0, *(int(place) + 1 for place in np.unique(at))]
    return [rows[start:end] for start, end in pairwise(edges)]


def _rate(part: Sequence[ProgressEntry], column: str) -> float:
    answered: int = sum(getattr(row, column) for row in part)
    if column == "trained":
        answered -= sum(row.raced for row in part)
    return round(answered / sum(row.births for row in part), 5)


def _redundant(part: Sequence[ProgressEntry]) -> float:
    return round(sum(row.redundant_share * row.births for row in part) / sum(row.births for row in part), 5)
