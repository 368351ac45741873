"""Reading pages of `optsearch report` in tests, and a small database, always the same, that fills every section."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from sqlalchemy import text

from programs.liveness import live_program

from search.results.results import Results
from search.store import NoiseRow, ProofRow, ProxyMeasurementRow, SelectionRow, Store
from search.store.proofs import finish_proof, open_locked, set_noise, set_proof
from search.store.proxies import set_proxy_measurements
from search.store.tables import SimplificationRow, VerdictRow
from search.store.views import LeaderboardEntry

from tests.support.searches import CurvedEvaluator, opened, rows_of_query, run, settings_of
from tests.support.sheets import sheet_of_lion

SETTINGS = settings_of(
    baselines=["adamw", "lion"],
    budget={"programs": 200},
    tasks=[{"name": "digits_mlp", "steps": 20}],
    hurdles=False,
    meta_validation={"tasks": [{"name": "noisy_quadratic_short"}], "every": 20},
    evaluator={"workers": 2},
)
SECTIONS = ("progress", "curves", "program", "family", "data-sheet", "leaderboard", "pareto", "verdict",
            "meta-validation", "funnel", "proof", "cache", "failures", "workers", "settings")  # fmt: skip
WITH_PROXIES = (*SECTIONS[: SECTIONS.index("cache")], "proxies", *SECTIONS[SECTIONS.index("cache") :])
"""Where `optsearch proxies` has measured programs: the only section that is not always there."""
VOID = {"meta", "link", "img", "br", "input", "hr"}


def fill(path: Path) -> None:
    """Write a search of 200 births in four minutes, judged, simplified, through a funnel, proven, measured as proxies.

    And a data sheet."""
    with opened(path) as store:
        run(SETTINGS, store, CurvedEvaluator())
        _set_times(store)
        best = Results(store).best("small")
        assert best is not None
        _simplify(store, best)
        store.set_verdict("small", VerdictRow(200, "ahead", best.id, "lion", 8, 0, -0.25, -0.5, 0.25, 0.0625, 4.0))
        _compare(store, best)
        store.keep_data_sheet(sheet_of_lion())
        _measure(store)


def _set_times(store: Store) -> None:
    """Let each batch take twelve seconds, and each training six."""
    batches = rows_of_query(store, "SELECT key, MIN(batch) AS batch FROM program GROUP BY key")
    with store.writing() as connection:
        connection.execute(
            text("""UPDATE search SET seconds = 240, heartbeat = NULL,
            created = '2026-01-01 00:00:00.000000', updated = '2026-01-01 00:04:00.000000'""")
        )
        for row in batches:
            seconds = 12 * (row["batch"] + 1)
            time = f"2026-01-01 00:{seconds // 60:02}:{seconds % 60:02}.000000"
            changes = "created = :time, seconds = 6.0, host = 'node', pid = :pid"
            values = {"time": time, "pid": row["batch"] % 2, "key": row["key"]}
            connection.execute(text(f"UPDATE training SET {changes} WHERE key = :key"), values)


def _simplify(store: Store, best: LeaderboardEntry) -> None:
    lean = str(live_program(best.program))
    store.set_simplification(best.id, [
        SimplificationRow(0, "algebra", best.genome, lean, {}, accepted=True),
        SimplificationRow(1, "delete", lean, "update = g * 0.5", {}, accepted=False),
    ])  # fmt: skip


def _compare(store: Store, best: LeaderboardEntry) -> None:
    genome, name = "update = g * lr", f"program {best.id}"
    one = SelectionRow(
        funnel="final", search="small", stage=1, stages=2, task="digits_mlp_long", task_fingerprint="f",
        competitor=name, program_id=best.id, passed=True, z=3.0, p=0.0135, ahead=0.002, ahead_error=0.0004,
        baseline="adamw", fitness=-0.07, standard_error=0.001, seeds=8, trials=28, learning_rate=0.5,
        weight_decay=0.0, genome=genome,
    )  # fmt: skip
    other = replace(one, competitor="program 2", program_id=2, z=-1.0, p=1.0, ahead=-0.001, passed=False)
    rival = replace(
        one, competitor="adamw", program_id=None, z=None, p=None, ahead=None, ahead_error=None, passed=False
    )
    rows = [
        ProofRow(who, program_id, locked_set, finalists, task, task, genome, 0.0123, 0.1, 28, 2, 20, 1, -0.5 - n, 0.01,
                 ahead, error, z, share, 1.25, 1.02, 2.0, 1.5, z and over_set, p and min(1.0, luck * p))
        for locked_set, finalists, task, over_set, luck in (
            ("first", 2, "mnist1d_cnn", 4.0, 1), ("first", 2, "pydoc_transformer", 4.0, 1),
            ("second", 1, "poisson_pinn", 1.0, 5_000),
        )
        for n, (who, program_id, ahead, error, z, share, p) in enumerate([
            (name, best.id, None, None, None, 0.5, None),
            ("adamw", None, 0.0625, 0.0125, 4.25, 1.0, 0.00003),
            ("lion", None, -0.0125, None, None, None, 0.2),
        ])
    ]  # fmt: skip
    store.set_selection([one, other, rival])
    store.set_selection([replace(one, stage=2, task="digits_cnn", task_fingerprint="e", z=2.5)])
    opening = open_locked(store, best.id, best.dataflow_hash, "final", 9000, {})
    set_proof(store, opening, rows)
    finish_proof(store, opening)
    set_noise(store, [NoiseRow("digits_mlp", "f", "k", genome, 8, 0, -0.1, 0.004)])


def _measure(store: Store) -> None:
    """Let a task with half the steps order six programs as the large one does but for one, and the smallest fail."""
    found = store.find_search("small")
    assert found is not None
    ids = [row.id for row in Results(store).leaderboard("small", 6, pareto=False)]
    orders = {"digits_mlp@10": (10, [1, 2, 3, 4, 6, 5]), "digits_mlp@20": (20, [1, 2, 3, 4, 5, 6]),
              "digits_mlp@5": (5, [None] * 6)}  # fmt: skip
    for task, (steps, places) in orders.items():
        set_proxy_measurements(store, found.id, [
            ProxyMeasurementRow(
                program_id=program_id, task=task, task_fingerprint=task, steps=steps, trials=28, tuning_seeds=3,
                seeds=8, seeds_failed=0 if place else 8, fitness=place and -0.1 * place, standard_error=place and 0.01,
                learning_rate=1.0, weight_decay=0.0, genome="update = g * lr",
            )
            for program_id, place in zip(ids, places, strict=True)
        ])  # fmt: skip


class ParsedPage(HTMLParser):
    """What a page says, as a browser without scripts shows it.

    `sections`: their texts, white space as single blanks; `lines`: texts of elements with an id, as they stand;
    `tables`: rows of cells; `tags`: all elements and their attributes.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.sections: dict[str, str] = {}
        self.lines: dict[str, str] = {}
        self.tables: dict[str, list[list[str]]] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[tuple[str, str]] = []
        self.feed(html)
        self.close()
        assert not self._open, f"not closed: {self._open}"
        self.sections = {name: " ".join(said.split()) for name, said in self.sections.items()}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        name = dict(attrs).get("id") or ""
        if tag not in VOID:
            self._open.append((tag, name))
        if tag == "section":
            self.sections[name] = ""
        if tag == "tr":
            self.tables.setdefault(self._inside("table"), []).append([])
        if tag in ("td", "th"):
            self.tables[self._inside("table")][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        opened, _ = self._open.pop()
        assert opened == tag, f"<{opened}> is closed by </{tag}>"

    def handle_data(self, data: str) -> None:
        for _, name in self._open:
            if name:
                self.lines[name] = self.lines.get(name, "") + data
        if any(tag == "section" for tag, _ in self._open):
            self.sections[self._inside("section")] += data + " "
        if any(tag in ("td", "th") for tag, _ in self._open):
            self.tables[self._inside("table")][-1][-1] += data

    def _inside(self, tag: str) -> str:
        return next(name for opened, name in reversed(self._open) if opened == tag)

    @property
    def figures(self) -> dict[str, Any]:
        """What plotly is given, figure by figure."""
        found: dict[str, Any] = json.loads(self.lines["figures"])
        return found

    def figure(self, name: str) -> dict[str, Any]:
        """Return the traces of a figure by their names."""
        return {trace.get("name", ""): trace for trace in self.figures[name]["data"]}
