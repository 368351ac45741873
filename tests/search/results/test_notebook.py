"""Results in a notebook: a data frame, a figure, HTML that shows hostile texts as texts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import search
from search import InputError
from search.evolution.progress import Progress
from search.results.results import Results, open_results
from search.store.views import LeaderboardEntry

from tests.support.searches import CurvedEvaluator, opened, run, settings_of


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("notebook") / "results.db"
    with opened(path) as store:
        run(settings_of(baselines=["adamw"], tasks=[{"name": "digits_mlp", "steps": 20}]), store, CurvedEvaluator())
    return path


def test_the_leaderboard_is_a_data_frame(path: Path) -> None:
    with open_results(str(path)) as results:
        rows, frame = results.leaderboard(limit=None), results.to_frame()
        assert len(results.to_frame(limit=3)) == 3
        assert list(frame["id"]) == [row.id for row in rows] and list(frame.columns) == list(LeaderboardEntry.kinds)
        assert search.Result("small", True, Progress(), results).to_frame(2).equals(results.to_frame("small", 2))


def test_without_pandas_one_line_says_what_to_install(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with open_results(str(path)) as results, pytest.raises(InputError, match=r"pip install 'optsearch\[notebook\]'$"):
        results.to_frame()


def test_the_best_is_drawn_over_births(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "agg")
    from matplotlib import pyplot

    with open_results(str(path)) as results:
        axes = results.plot()
        curve, adamw = axes.get_lines()
        batches = [b for b in results.progress() if b.best_so_far is not None]
        assert [tuple(point) for point in curve.get_xydata()] == [(b.births_so_far, b.best_so_far) for b in batches]
        assert adamw.get_ydata()[0] == results.baselines()[0].fitness
        assert search.Result("small", True, Progress(), results).plot(axes) is axes
    pyplot.close("all")


def test_a_notebook_shows_the_best_and_no_markup_of_the_database(path: Path) -> None:
    with open_results(str(path)) as results:
        html = search.Result("small", False, Progress(births=100), results)._repr_html_()
        assert html.startswith("<p>small: 100 births, not finished</p><table>")
        assert html.count("<tr>") == 1 + len(results.leaderboard())
        assert f"<td>{results.leaderboard()[0].id}</td>" in results._repr_html_()
        hostile = Results(results.store)
        hostile.leaderboard = lambda *_, **__: []  # type: ignore[method-assign]
        hostile.names = lambda: ["<script>"]  # type: ignore[method-assign]
        assert "the best of &lt;script&gt;" in hostile._repr_html_()


def test_the_package_lists_what_there_is() -> None:
    assert dir(search) == sorted(search.__all__)
