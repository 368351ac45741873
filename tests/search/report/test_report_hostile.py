"""`optsearch report`: hostile text in a database is shown and does nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from search.report.page import html_of, page_of
from search.report.source import ReportedSearch
from search.results.results import open_results

from tests.support.pages import ParsedPage
from tests.support.report_pages import asked, changed, command, made

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'><b>{{7*7}}</b><!--\u2028&lt;a&gt;]]>"


def texts_of(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from texts_of(item)
    elif isinstance(value, str):
        yield value


@pytest.fixture(scope="module")
def hostile(path: Path, tmp_path_factory: pytest.TempPathFactory) -> ParsedPage:
    """The page about a database that has hostile text wherever it takes any."""
    settings = asked(path, "SELECT settings FROM v_searches")[0]["settings"]
    settings = json.dumps(json.loads(settings) | {HOSTILE: HOSTILE, "versions": {HOSTILE: HOSTILE}})
    folder = tmp_path_factory.mktemp("hostile<img src=x onerror=alert(3)>")
    return made(changed(
        path, folder, "UPDATE program SET mutation = :text",
        "UPDATE program SET reason = :text WHERE status <> 'ok'",
        "UPDATE selection SET competitor = :text || id, task = :text, baseline = :text, funnel = :text",
        "UPDATE proof SET competitor = :text || competitor, task = :text || task, locked_set = :text || locked_set",
        "UPDATE proxy_measurement SET task = :text || task",
        "UPDATE task_noise SET task = :text || id", "UPDATE opening SET opened = :text",
        "UPDATE data_sheet SET program = :text, task = :text, sections = replace(sections, 'batch size', :quoted)",
        "UPDATE training SET task = :text, reason = :text, device = :text, host = :text",
        "UPDATE search SET settings = :settings",
        text=HOSTILE, settings=settings, quoted=json.dumps(HOSTILE)[1:-1],
    ))  # fmt: skip


def test_hostile_text_is_shown_and_nothing_else(page: ParsedPage, hostile: ParsedPage) -> None:
    """The same elements as on a page without it, none of them made by text."""
    for name in (
        "curves", "family", "data-sheet", "leaderboard", "funnel", "proof", "proxies", "failures",
        "workers", "settings",
    ):  # fmt: skip
        assert "<script>alert(1)" in hostile.sections[name] and "{{7*7}}" in hostile.sections[name], name
    kinds = {tag for tag, _ in hostile.tags}
    assert kinds <= {tag for tag, _ in page.tags} and "img" not in kinds
    assert sum(tag == "script" for tag, _ in hostile.tags) == 3
    assert not [name for _, attributes in hostile.tags for name in attributes if name.startswith("on")]


def test_hostile_text_is_inert_in_figures(path: Path, hostile: ParsedPage) -> None:
    """Within its script element it is data, and plotly, which reads some HTML, finds none but ours."""
    raw = hostile.lines["figures"]
    assert not re.search("[<>&\u2028\u2029]", raw)
    assert any("alert(1)" in text for text in texts_of(hostile.figures))
    for said in texts_of(hostile.figures):
        assert "<" not in re.sub(r"<br>|</?extra>", "", said), said


def test_only_scripts_of_the_page_may_run(path: Path) -> None:
    with open_results(str(path)) as results:
        made = page_of(ReportedSearch(results))
    pages = [ParsedPage(html_of(made)), ParsedPage(html_of(made))]
    nonces = []
    for page in pages:
        (policy,) = (a["content"] or "" for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
        marks = {a["nonce"] for tag, a in page.tags if tag == "script"}
        assert len(marks) == 1 and f"script-src 'nonce-{next(iter(marks))}';" in policy
        assert "default-src 'none'" in policy and "http" not in policy
        nonces.append(marks)
        assert not [a for tag, a in page.tags for name in ("src", "href") if (a.get(name) or "#")[0] not in "#d"]
    assert nonces[0] != nonces[1]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE program SET genome = :text WHERE fitness IS NOT NULL", "UPDATE search SET name = :text",
        "UPDATE program SET status = :text", "UPDATE baseline SET name = :text WHERE name = 'lion'",
        "UPDATE baseline SET genome = :text", "UPDATE simplification SET after = :text",
        "UPDATE search SET settings = :text", "UPDATE training SET curve = :text",
        "UPDATE training SET created = '2026-01-01 00:01:99'", "UPDATE search SET state = :text",
    ],
)  # fmt: skip
def test_what_no_run_has_written_is_refused(path: Path, tmp_path: Path, statement: str) -> None:
    copy = changed(path, tmp_path, statement, text=HOSTILE)
    code, out, err = command(tmp_path, "--store", str(copy))
    assert (code, out) == (2, "") and err.startswith("error: ") and err.count("\n") == 1
    assert not (tmp_path / "report.html").exists()
