"""What is begun goes on only where tasks, functions and versions mean what they meant."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from programs.errors import InputError

from search.evolution.resume import stored
from search.settings.meaning import VERSIONS, refuse_changes, settings_as_trained
from search.settings.tasks import load_tasks
from search.store import Store

from tests.support.searches import PretendingEvaluator, opened, rows_of_query, run, settings_of

TRAINER = "proxy_tasks.task.TRAINER_VERSION"
WATCHED = {"tasks": [{"name": "mnist1d_mlp", "steps": 5}], "every": 20}


def go_on(store: Store, **changes: Any) -> None:
    run(settings_of(**changes), store, PretendingEvaluator())


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (TRAINER, r"tasks\.digits_mlp\.trainer: 4 -> 5"),
        ("search.settings.meaning.FINGERPRINT_VERSION", r"fingerprint: \d+ -> 5"),
        ("torch.__version__", r"tasks\.digits_mlp\.torch: 2\.\d+ -> 4"),
    ],
)
def test_a_search_is_not_continued_where_versions_are_others(
    place: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path / "r.db") as store:
        go_on(store, budget={"programs": 20})
        monkeypatch.setattr(place, "4" if place.startswith("torch") else 5)
        with pytest.raises(InputError, match=rf"other code, data or versions \({said}\); .* --name") as caught:
            go_on(store)
        assert "\n" not in str(caught.value)
        monkeypatch.undo()
        go_on(store)


def test_a_change_within_a_task_is_named_alone(tmp_path: Path) -> None:
    with opened(tmp_path / "r.db") as store:
        go_on(store, budget={"programs": 20}, tasks=[{"name": "digits_mlp", "steps": 5, "seeds": 2}])
        with pytest.raises(InputError, match=r"other settings \(tasks\.0\.steps: 5 -> 6\); ") as caught:
            go_on(store, tasks=[{"name": "digits_mlp", "steps": 6, "seeds": 2}])
        assert "\n" not in str(caught.value)


def test_changed_data_are_named_with_the_first_digits_of_their_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path / "r.db") as store:
        go_on(store, budget={"programs": 20})
        monkeypatch.setattr(
            "proxy_tasks.datasets.load_dataset", lambda *_: SimpleNamespace(digest="0" * 64, source=None)
        )
        with pytest.raises(InputError, match=r"\(tasks\.digits_mlp\.data: [0-9a-f]{8} -> 00000000\)"):
            go_on(store)


def test_anchors_belong_to_a_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = [{"name": "digits_mlp"}, {"name": "mnist1d_mlp"}]
    before = stored(settings_of(tasks=tasks))[VERSIONS]
    monkeypatch.setattr("search.settings.tasks.Anchors.__new__", lambda cls, *_: tuple.__new__(cls, (2.0, 1.0)))
    after = stored(settings_of(tasks=tasks))[VERSIONS]
    assert before["anchors"].keys() == {"digits_mlp", "mnist1d_mlp"}
    with pytest.raises(InputError, match=r"anchors\.digits_mlp"):
        refuse_changes("it", {VERSIONS: before}, {VERSIONS: after}, "set them back")


def test_tasks_of_meta_validation_may_be_changed_but_must_not_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path / "r.db") as store:
        go_on(store, budget={"programs": 20}, meta_validation=WATCHED)
        go_on(store, budget={"programs": 30}, meta_validation=WATCHED | {"every": 10})
        go_on(store, budget={"programs": 40})
        go_on(store, budget={"programs": 50}, meta_validation=WATCHED)
        monkeypatch.setattr(
            "search.evolution.resume.meaning_of_choices", lambda _: {"tasks": {"mnist1d_mlp": {"a": 1}}}
        )
        with pytest.raises(InputError, match=r"meta_validation\.mnist1d_mlp\.a: None -> 1"):
            go_on(store, meta_validation=WATCHED)


def test_programs_are_judged_on_the_tasks_that_they_were_found_on(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of()
    kept = stored(settings)
    assert settings_as_trained("small", kept, None, "name a --task") == settings
    monkeypatch.setattr(TRAINER, 5)
    with pytest.raises(InputError, match=r"search 'small' was started .*trainer: 4 -> 5\); name a --task"):
        settings_as_trained("small", kept, None, "name a --task")
    with pytest.raises(InputError, match="name a --task"):
        settings_as_trained("small", kept | {VERSIONS: {}}, None, "name a --task")


COMPARISON = {
    "name": "two", "strategy": {"population": 4}, "budget": {"programs": 8}, "baselines": [],
    "tasks": [{"name": "digits_mlp", "steps": 20, "seeds": 1}],
    "evaluator": {"kind": "inline", "batch": 4, "lookahead": 1},
    "arms": {"first": {}, "second": {"strategy": {"kind": "random"}}},
}  # fmt: skip


@pytest.fixture
def compare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., bool]:
    """Run a small comparison, with changes of its settings."""
    from search.commands.compare import compare

    monkeypatch.chdir(tmp_path)
    (tmp_path / "two.yaml").write_text(yaml.safe_dump(COMPARISON), encoding="utf-8")
    return lambda *changes: compare(Path("two.yaml"), list(changes), tmp_path / "two.svg")


def test_a_comparison_does_not_go_on_with_other_tasks_and_says_so_at_once(
    compare: Callable[..., bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert compare()
    with opened(Path("results.db")) as store:
        of_first = store.find_search("two-first")
        assert of_first is not None
    monkeypatch.setattr(TRAINER, 5)
    monkeypatch.setattr("search.commands.compare.Driver.run", lambda _: pytest.fail("nothing may be trained"))
    with pytest.raises(InputError, match=r"search 'two-first' was started .*trainer: 4 -> 5"):
        compare()
    monkeypatch.undo()


def test_tasks_of_meta_validation_are_checked_before_anything_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []
    monkeypatch.setattr("search.settings.tasks.check_task", lambda task: checked.append(task.name))
    load_tasks(settings_of(meta_validation=WATCHED).all_tasks)
    assert checked == ["digits_mlp", "mnist1d_mlp"]


def test_a_search_that_has_nothing_yet_may_be_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when its first batch has failed as a whole, because of a model that is another once it is mended."""
    with opened(tmp_path / "r.db") as store:
        with pytest.raises(KeyboardInterrupt):
            run(settings_of(), store, PretendingEvaluator(limit=0))
        monkeypatch.setattr(TRAINER, 5)
        go_on(store, strategy={"population": 9}, budget={"programs": 20})
        (kept,) = rows_of_query(store, "SELECT settings FROM search")
        assert json.loads(kept["settings"])[VERSIONS]["tasks"]["digits_mlp"]["trainer"] == 5
        monkeypatch.undo()
        with pytest.raises(InputError, match=r"population: 9 -> 8"):
            go_on(store)
