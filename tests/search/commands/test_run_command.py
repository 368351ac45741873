"""What `optsearch run` says at its end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from search.commands.run import _show_alternatives
from search.store.keys import Judgement

from tests.support.searches import settings_of


@pytest.mark.parametrize(("births", "larger"), [(8, 32), (10, 40), (60, 240)])
def test_a_larger_budget_is_larger_than_what_there_is(
    births: int, larger: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where an earlier run has made more than this one was allowed to."""
    driver = SimpleNamespace(progress=SimpleNamespace(births=births, baselines={}))
    verdict = SimpleNamespace(judgement=Judgement.BEHIND, baseline=None)
    settings = settings_of(budget={"programs": 8})
    _show_alternatives(settings, cast("Any", driver), cast("Any", verdict))
    assert f"--set budget.programs={larger}." in capsys.readouterr().out
