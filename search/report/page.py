"""The page: sections put together, and everything that a browser needs put into one file.

plotly's script, 4.6 MiB, lies in it compressed (1.9 MiB as text), and browsers unpack it. A content security policy
lets nothing run but the page's own scripts, which a random word marks, and lets nothing be loaded.
"""

from __future__ import annotations

import base64
import gzip
import secrets
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from search.report.answers import answers
from search.report.curves import loss_curves
from search.report.data_sheet import data_sheet
from search.report.failures import failures
from search.report.family import family
from search.report.funnel import funnel
from search.report.leaderboard import leaderboard
from search.report.meta_validation import meta_validation
from search.report.pareto import pareto
from search.report.program import program
from search.report.progress import best_over_births
from search.report.proof import proof
from search.report.proxies import proxies
from search.report.section import Figure, Section
from search.report.settings import settings_and_versions
from search.report.source import ReportedSearch
from search.report.summary import Summary, summary_of
from search.report.verdict import verdict
from search.report.winner import winner_of
from search.report.workers import workers
from search.results.text import printable
from search.store.encoding import to_json

# The sections by the question that they answer: the menu of the page, and the order of its sections.
GROUPS = {
    "What was found": ("progress", "curves", "program", "family", "data-sheet", "leaderboard", "pareto"),
    "Does it hold": ("verdict", "meta-validation", "funnel", "proof", "proxies"),
    "How it went": ("cache", "failures", "workers", "settings"),
}
LONGEST_TEXT = 5000  # characters of a sentence or a line
_UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


class Page(NamedTuple):
    """What a page shows."""

    search: str
    state: str
    location: str
    summary: Summary
    sections: list[Section]
    made: datetime


def page_of(source: ReportedSearch) -> Page:
    """Return everything about a search.

    Raises:
        InputError: the database holds what optsearch did not write.
    """
    winner = winner_of(source)
    sections = [
        best_over_births(source, winner), program(source, winner), family(source, winner), data_sheet(source),
        leaderboard(source), pareto(source), loss_curves(source, winner), verdict(source), meta_validation(source),
        funnel(source), proof(source), *proxies(source), answers(source), failures(source), workers(source),
        settings_and_versions(source),
    ]  # fmt: skip
    summary = summary_of(source, winner)
    return Page(source.name, source.row.state, source.results.location, summary, sections, datetime.now(UTC))


def html_of(page: Page, reload_after: float | None = None) -> str:
    """Return the page as one HTML file.

    Args:
        page: what it shows.
        reload_after: seconds after which an open page fetches itself anew; never without it.
    """
    figures = {
        block.name: block.data() for section in page.sections for block in section.blocks if isinstance(block, Figure)
    }
    by_name = {section.name: section for section in page.sections}
    return _environment().get_template("report.html").render(
        page=page,
        groups={title: [by_name[name] for name in names if name in by_name] for title, names in GROUPS.items()},
        figures=_as_script_data(figures), plotly=Markup(_plotly()),  # noqa: S704 - letters and digits
        nonce=secrets.token_urlsafe(16), reload_after=reload_after,
    )  # fmt: skip


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("search.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.globals["part"] = _part
    environment.filters["shown"] = lambda text: printable(text, LONGEST_TEXT)
    return environment


def _part(name: str) -> Markup:
    """Return a style sheet or a script of the page, unescaped."""
    return Markup((resources.files("search.report") / "templates" / name).read_text("utf-8"))  # noqa: S704


def _as_script_data(value: Any) -> Markup:
    """Return JSON that is nothing but data wherever it stands in a page."""
    text = to_json(value)
    for unsafe, safe in _UNSAFE.items():
        text = text.replace(unsafe, safe)
    return Markup(text)  # noqa: S704


@cache
def _plotly() -> str:
    """Return plotly's script, compressed, in letters and digits."""
    script = (resources.files("plotly") / "package_data" / "plotly.min.js").read_bytes()
    return base64.b64encode(gzip.compress(script, 9, mtime=0)).decode("ascii")
