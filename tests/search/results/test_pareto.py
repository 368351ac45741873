"""The Pareto front of quality, live statements and state slots."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.commands.leaderboard import Wanted, find_programs, write_leaderboard
from search.commands.output import Form
from search.results.pareto import pareto_front
from search.results.queries import Size
from search.results.results import Results

from tests.support.searches import PretendingEvaluator, opened, run, settings_of

ROWS = st.lists(st.tuples(st.integers(0, 6), st.integers(1, 6), st.integers(0, 2)), max_size=40)


def dominates(a: Size, b: Size) -> bool:
    """At least as good in all three, and better in one."""
    mine, other = ((r.lower_bound, -r.live_statements, -r.state_slots) for r in (a, b))
    return mine != other and all(x >= y for x, y in zip(mine, other, strict=True))


@given(ROWS)
def test_the_front_is_what_nothing_dominates(values: list[tuple[int, int, int]]) -> None:
    rows = [Size(n, s, fitness=9.0 - f, standard_error=9.0 - 2 * f, trainings=1, lower_bound=float(f), programs=1)
            for f, n, s in values]  # fmt: skip
    front = pareto_front(rows)
    undominated = [row for row in rows if not any(dominates(other, row) for other in rows)]
    assert set(front) == set(undominated)
    assert len(set(front)) == len(front)


def test_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with opened(tmp_path / "r.db") as store:
        run(settings_of(), store, PretendingEvaluator())
        results = Results(store)
        everything, front = (find_programs(results, Wanted("small", pareto=pareto), 1000) for pareto in (False, True))
        write_leaderboard(results, Wanted("small", pareto=True), None, Form.TEXT)
    assert front[0] == everything[0] and 1 < len(front) < len(everything)
    assert "Pareto front of small" in capsys.readouterr().out


@pytest.mark.parametrize("sizes", [[], ["statements"]])
def test_a_search_that_aims_at_small_programs_shows_its_front_unless_told_otherwise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sizes: list[str]
) -> None:
    with opened(tmp_path / "r.db") as store:
        settings = settings_of(strategy={"kind": "evolution", "objectives": ["fitness", *sizes]})
        run(settings, store, PretendingEvaluator())
        results = Results(store)
        everything, front = (results.leaderboard("small", None, pareto=pareto) for pareto in (False, True))
        assert len(front) < len(everything)
        expected = front if sizes else everything
        assert results.leaderboard("small", None) == results.leaderboard(None, None) == expected
        assert results.best("small") == everything[0]
        write_leaderboard(results, Wanted("small"), None, Form.TEXT)
        assert ("Pareto front of small" if sizes else "leaderboard of small") in capsys.readouterr().out
        run(settings_of(name="other"), store, PretendingEvaluator())
        assert len(results.leaderboard(None, None)) > len(expected)
