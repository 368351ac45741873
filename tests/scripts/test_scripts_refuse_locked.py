"""Scripts that search, or train what a search has found, refuse the locked tasks before anything is trained."""

from __future__ import annotations

from contextlib import nullcontext
from importlib import import_module
from pathlib import Path

import pytest

from programs import InputError

from proxy_tasks import Task
from proxy_tasks.locked import is_locked


@pytest.mark.parametrize("script", ["scripts.record.headroom", "scripts.record.horizon", "scripts.peers.__main__"])
def test_locked_tasks_are_refused(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = import_module(script)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [script, "digits_mlp", "poisson_pinn_short"])
    monkeypatch.setattr(module, "opened", lambda *_: pytest.fail("something would be trained"))
    with pytest.raises(InputError, match="'poisson_pinn_short' is one of the locked tasks"):
        module.main()
    assert list(tmp_path.iterdir()) == []


def test_headroom_leaves_locked_tasks_out_where_it_takes_all(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []

    class Recorder:
        def __init__(self, *_: object) -> None:
            pass

        def row(self, task: Task) -> str:
            measured.append(task.name)
            return ""

    headroom = import_module("scripts.record.headroom")
    monkeypatch.setattr("sys.argv", ["headroom"])
    monkeypatch.setattr(headroom, "opened", lambda *_: nullcontext((None, None)))
    monkeypatch.setattr(headroom, "Recorder", Recorder)
    headroom.main()
    assert len(measured) > 30 and not any(map(is_locked, measured))
