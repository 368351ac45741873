"""The locked sets: which tasks are in them, and that no place where something is chosen takes them."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest
import yaml

from programs import InputError

from proxy_tasks import SUITE, TASKS, Task
from proxy_tasks.locked import LOCKED_SETS, LockedSet, is_locked, refuse_locked

CONFIGS = Path(__file__).parents[2] / "configs"
VARIANTS = ("_short", "_long", "_large_batch", "_wide")


def family(task: Task) -> tuple[str, str]:
    return task.dataset, task.model


def test_every_task_of_a_set_is_of_its_families_and_every_family_has_a_task() -> None:
    for locked in LOCKED_SETS:
        assert {family(TASKS[name]) for name in locked.tasks} == {*locked.families}
        assert len(set(locked.tasks)) == len(locked.tasks) and len(set(locked.families)) == len(locked.families)
        assert len(locked.tasks) % 2, "so that there always is a majority"
        assert locked.openings >= 0


def test_families_of_sets_are_disjoint() -> None:
    for one, other in combinations(LOCKED_SETS, 2):
        assert one.name != other.name
        assert not {*one.families} & {*other.families} and not {*one.tasks} & {*other.tasks}
        assert not {data for data, _ in one.families} & {data for data, _ in other.families}, "nor do they share data"


def test_a_task_is_locked_with_all_its_variants_or_with_none() -> None:
    families = {pair for locked in LOCKED_SETS for pair in locked.families}
    for base in SUITE:
        assert {is_locked(f"{base}{variant}") for variant in ("", *VARIANTS)} == {family(TASKS[base]) in families}
    assert not any(map(is_locked, ("mnist1d_mlp", "markov_transformer", "stdlib_gru", "stdlib_masked")))
    assert not any(map(is_locked, ("digits_finetune", "digits_subspace", "digits_autoencoder", "mine.py:task")))


def test_transformers_of_the_two_sets_have_other_shapes() -> None:
    """So that what suits the one by its shape alone gains nothing on the other."""
    one, other = (dict(TASKS[name].model_args) for name in ("pydoc_transformer", "stdlib_transformer"))
    assert all(one[name] != other[name] for name in ("layers", "width", "heads"))
    contexts = {dict(TASKS[name].dataset_args)["context"] for name in ("pydoc_transformer", "stdlib_transformer")}
    assert len(contexts) == 2


@pytest.mark.parametrize("locked", LOCKED_SETS, ids=lambda locked: locked.name)
def test_tasks_of_either_set_are_refused_in_one_line(locked: LockedSet) -> None:
    for name in locked.tasks:
        with pytest.raises(InputError, match=rf"^'{name}' is one of the locked tasks, .*; take another$"):
            refuse_locked(name)
    refuse_locked("digits_mlp")


def named(settings: object) -> list[str]:
    """All names of built-in tasks anywhere in settings."""
    if isinstance(settings, dict):
        return [name for value in settings.values() for name in named(value)]
    if isinstance(settings, list):
        return [name for value in settings for name in named(value)]
    return [settings] if isinstance(settings, str) and settings in TASKS else []


def test_no_config_trains_on_a_locked_task() -> None:
    found = {file: named(yaml.safe_load(file.read_text(encoding="utf-8"))) for file in CONFIGS.rglob("*.yaml")}
    assert sum(map(len, found.values())) > 20
    assert {file.name for file, names in found.items() if any(map(is_locked, names))} == set()
