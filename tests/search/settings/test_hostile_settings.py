"""Settings that would break a search later: each is refused when it is read, in one line that says where."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import yaml
from pydantic import BaseModel, ValidationError

from programs.errors import InputError

from search import api
from search.settings import limits
from search.settings.fields import Immutable
from search.settings.funnel import Funnel
from search.settings.limits import Limit
from search.settings.names import NAME
from search.settings.settings import Settings
from search.settings.settings_file import SettingsFile, check_settings, load_settings
from search.settings.yaml_text import DEEPEST
from search.store import rows

GOOD: dict[str, Any] = {
    "name": "quick",
    "strategy": {"population": 20},
    "budget": {"programs": 100, "minutes": 5},
    "tasks": [{"name": "digits_mlp", "steps": 50, "data": {"train": 900}, "model": {"hidden": [8]}}],
    "evaluator": {"kind": "inline", "batch": 8},
    "meta_validation": {"tasks": [{"name": "noisy_quadratic_short"}]},
}
FUNNEL: dict[str, Any] = {
    "name": "f", "search": "quick", "enter": 4, "baselines": ["adamw"],
    "stages": [{"tasks": [{"name": "digits_mlp"}], "keep": 2}],
}  # fmt: skip


def written(folder: Path, text: str) -> Path:
    path = folder / "search.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(folder: Path, *overrides: str, text: str = yaml.safe_dump(GOOD), model: type[BaseModel] = Settings) -> str:
    with pytest.raises(InputError) as refused:
        SettingsFile(written(folder, text), overrides).read(model)
    message = str(refused.value)
    assert "\n" not in message and len(message) < 500, message
    return message


def refusal_of_data(data: Any, changes: dict[str, Any] | None = None) -> str:
    with pytest.raises(InputError) as refused:
        api.run(data, changes)
    message = str(refused.value)
    assert "\n" not in message and len(message) < 500, message
    return message


# --- bounds ----------------------------------------------------------------------------------------------------------


def numbers_of(kind: type[BaseModel]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every number in the schema of a model, and in lists and choices within it."""
    for name, part in kind.model_json_schema()["properties"].items():
        parts = [part]
        for one in parts:
            parts += [*one.get("anyOf", ()), *one.get("prefixItems", ()), *([one["items"]] if "items" in one else ())]
        yield from ((name, one) for one in parts if one.get("type") in ("integer", "number"))


@pytest.mark.parametrize("kind", Immutable.__subclasses__(), ids=lambda kind: kind.__name__)
def test_every_number_has_bounds_on_both_sides(kind: type[BaseModel]) -> None:
    for name, part in numbers_of(kind):
        assert {"minimum", "exclusiveMinimum"} & part.keys() and {"maximum", "exclusiveMaximum"} & part.keys(), name


def test_the_numbers_of_all_models_are_seen() -> None:
    found = {name for kind in Immutable.__subclasses__() for name, _ in numbers_of(kind)}
    assert {
        "population",
        "lengths",
        "minutes",
        "at",
        "workers",
        "anchors",
        "memory_mib",
        "keep",
        "fresh_seeds",
    } <= found


@pytest.mark.parametrize(
    ("model", "key", "limit"),
    [
        (Settings, "strategy.population", limits.POPULATION),
        (Settings, "strategy.tournament", limits.TOURNAMENT),
        (Settings, "strategy.max_statements", limits.STATEMENTS),
        (Settings, "strategy.repeats", limits.REPEATS),
        (Settings, "strategy.restart_after", limits.BIRTHS),
        (Settings, "budget.programs", limits.BIRTHS),
        (Settings, "budget.evaluations", limits.BIRTHS),
        (Settings, "budget.minutes", limits.MINUTES),
        (Settings, "hurdles.after", limits.FINISHED),
        (Settings, "dedup.remutate", limits.REMUTATIONS),
        (Settings, "dedup.cache", limits.REMEMBERED),
        (Settings, "tasks.0.steps", limits.STEPS),
        (Settings, "tasks.0.batch_size", limits.BATCH_SIZE),
        (Settings, "tasks.0.update_scale", limits.UPDATE_SCALE),
        (Settings, "evaluator.workers", limits.WORKERS),
        (Settings, "evaluator.batch", limits.BATCH),
        (Settings, "evaluator.lookahead", limits.LOOKAHEAD),
        (Settings, "evaluator.rows", limits.ROWS),
        (Settings, "evaluator.memory_limit_mib", limits.MEMORY_MIB),
        (Settings, "evaluator.timeout_s", limits.TIMEOUT_S),
        (Settings, "evaluator.cpus_per_worker", limits.CPUS),
        (Settings, "evaluator.gpus_per_worker", limits.GPUS),
        (Settings, "meta_validation.every", limits.BIRTHS),
        (Settings, "meta_validation.tasks.0.steps", limits.STEPS),
        (Funnel, "enter", limits.PASSING),
        (Funnel, "stages.0.keep", limits.PASSING),
        (Funnel, "stages.0.trials", limits.TRIALS),
    ],
)  # fmt: skip
def test_too_much_is_refused_with_the_reason(tmp_path: Path, model: type[Any], key: str, limit: Limit) -> None:
    text = yaml.safe_dump(GOOD if model is Settings else FUNNEL)
    for value in (limit.most + 1, 10**17):
        message = refusal(tmp_path, f"{key}={value}", text=text, model=model)
        assert message.startswith(f"--set {key}={value}: {key}: ") and f": {limit.why}, got {value}" in message
    if key != "stages.0.keep":  # which may not exceed what enters
        SettingsFile(written(tmp_path, text), [f"{key}={limit.most}"]).read(model)


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan", "1e400"])
@pytest.mark.parametrize(
    "key", ["budget.minutes", "evaluator.timeout_s", "evaluator.memory_mib", "tasks.0.update_scale",
            "strategy.race_share", "tasks.0.anchors=[1, 0]; tasks.0.anchors.0",
            "tasks.0.anchors=[1, 0]; tasks.0.anchors.1"],
)  # fmt: skip
def test_numbers_must_be_finite(tmp_path: Path, key: str, value: str) -> None:
    *before, last = key.split("; ")
    assert f"{last}: Input should be a finite number" in refusal(tmp_path, *before, f"{last}={value}")


def test_anchors_must_be_apart(tmp_path: Path) -> None:
    """Scores between them would not be finite."""
    assert "lower loss of the best known" in refusal(tmp_path, "tasks.0.anchors=[1e-300, 0]")
    load_settings(written(tmp_path, yaml.safe_dump(GOOD)), ["tasks.0.anchors=[0.2, 0.1]"])


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("seed=1e3", "valid integer, got 1000.0"),
        ("budget.minutes='5'", "valid number, got '5'"),
        ("budget.minutes=true", "valid number, got True"),
        ("budget.programs=010", "valid integer, got '010'"),
        ("budget.minutes=1:30", "valid number, got '1:30'"),
        ("evaluator.gpus_per_worker=1.5", "a share from 0.001 to 1, or a whole number"),
        ("evaluator.gpus_per_worker=0.0001", "a share from 0.001 to 1"),
        ("evaluator.cpus_per_worker=0.00001", "greater than or equal to 0.001"),
        ("evaluator.address=head:99999", "expected host:port"),
        ("evaluator.address=head:0", "expected host:port"),
        ("baselines=[adamw, lion, adamw]", "'adamw' is named 2 times"),
        ("meta_validation.tasks=[{name: digits_cnn}, {name: digits_cnn, steps: 5}]", "each task may be named once"),
        (f"name={'x' * 300}", "at most 200 characters"),
        ("name=2026", "valid string, got 2026"),
        ("baselines=lion", "baselines: expected a list, such as [a, b], got 'lion'"),
        ("strategy.operators={insert: 1}", "strategy.operators: expected a list, such as [a, b], found settings"),
        ("budget=100", "budget: expected settings, such as {a: 1}, got 100; known here: programs, evaluations, "),
        ("strategy=null", "strategy: expected settings, such as {a: 1}, found nothing; known here: kind, "),
        ("tasks.0.seeds={frist: 2}", "tasks.0.seeds.frist: unknown setting; known here: first, most"),
        ("tasks.0.seeds={first: 4, most: 2}", "tasks.0.seeds: most (2) must not be below first (4)"),
        ("tasks.0.seeds={first: 0}", "tasks.0.seeds.first: Input should be greater than or equal to 1, got 0"),
        ("tasks.0.seeds=many", "tasks.0.seeds: Input should be a valid integer, got 'many'"),
        ("language.functions=[mine.py]", "language.functions: give the path of one file with all your functions"),
    ],
)
def test_values_of_the_wrong_kind(tmp_path: Path, override: str, said: str) -> None:
    message = refusal(tmp_path, override)
    assert said in message and message.startswith(f"--set {override[:60]}")


@pytest.mark.parametrize(("text", "found"), [("", "nothing"), ("- a", "list"), ("3", "int")])
def test_a_file_that_holds_no_settings(tmp_path: Path, text: str, found: str) -> None:
    assert refusal(tmp_path, text=text).endswith(f"expected settings such as 'name: quickstart', found {found}")


def test_a_stage_names_each_task_once(tmp_path: Path) -> None:
    """The results of a stage are kept by task."""
    twice = "stages.0.tasks=[{name: digits_mlp}, {name: digits_mlp, seeds: 3}]"
    assert "each task may be named once" in refusal(tmp_path, twice, text=yaml.safe_dump(FUNNEL), model=Funnel)


def test_a_run_without_end_is_one_without_minutes(tmp_path: Path) -> None:
    """An infinite number would be null in the database, and the budget without any end."""
    said = "budget.minutes: Input should be a finite number: leave it out where the time does not matter, got inf"
    assert said in refusal(tmp_path, "budget.minutes=.inf")


# --- texts -----------------------------------------------------------------------------------------------------------

CONTROL = ('"a\\0b"', '"a\\nb"', '"a\\eb"', '"a\\x85b"')


@pytest.mark.parametrize("value", CONTROL)
@pytest.mark.parametrize("key", ["store", "strategy.start", "evaluator.address", "tasks.0.name", "name"])
def test_texts_without_control_characters(tmp_path: Path, key: str, value: str) -> None:
    said = "expected letters, digits" if key == "name" else "expected a text without control characters"
    assert f"{key}: {said}" in refusal(tmp_path, f"{key}={value}")


def test_a_half_of_a_character_is_refused(tmp_path: Path) -> None:
    assert "store: Input should be a valid string" in refusal(tmp_path, 'store="a\\ud800"')


@pytest.mark.parametrize("name", ["cafe\u0301", "\u0939\u093f", "a b", "", "a" * 201])
def test_names_are_those_that_the_store_reads(tmp_path: Path, name: str) -> None:
    """Accents and vowel signs of their own are letters to other patterns than Python's."""
    assert NAME in get_args(rows.Name)
    assert "name: expected letters, digits, and . _ - alone" in refusal(tmp_path, f'name="{name}"')


def test_the_same_in_funnels_and_in_python(tmp_path: Path) -> None:
    assert "search: expected a text" in refusal(tmp_path, 'search="a\\0"', text=yaml.safe_dump(FUNNEL), model=Funnel)
    assert "store: expected a text without control" in refusal_of_data(GOOD, {"store": "a\0b.db"})
    assert "embedded null" in refusal_of_data("a\0b.yaml")


def test_words_like_no_and_off_are_names_where_names_are_expected(tmp_path: Path) -> None:
    path = written(tmp_path, yaml.safe_dump(GOOD))
    for name in ("no", "off", "y", "010"):
        assert load_settings(path, [f"name={name}"]).name == name
    assert load_settings(path, ["hurdles=off"]).hurdles is None
    assert load_settings(path, ["strategy.start_tuned=yes"]).strategy.start_tuned is True


# --- arguments of data sets and models -------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["data", "model"])
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-1", 0.1), ("1E5", 1e5), ("1.e3", 1e3), (".5", 0.5), ("-.5e-3", -0.0005), ("+1e3", 1e3), ("1_000", 1000),
        ("[1e-3, [2e-3, x]]", [0.001, [0.002, "x"]]), ("true", True), ("~", None), ("2026-11-28", "2026-11-28"),
        ("'no'", "no"), ("'010'", "010"), ("'1e-1'", "1e-1"), ("18446744073709551615", 2**64 - 1),
    ],
)  # fmt: skip
def test_arguments_mean_the_same_in_files_overrides_and_the_database(
    tmp_path: Path, part: str, text: str, value: Any
) -> None:
    task = f"{{name: digits_mlp, {part}: {{x: {text}}}}}"
    path = written(tmp_path, f"name: a\nbudget: {{programs: 5}}\ntasks: [{task}]\n")
    from_file = load_settings(path)
    from_override = load_settings(path, [f"tasks.0.{part}.x={text}"])
    same = {"name": "digits_mlp", part: {"x": value}}
    from_python = check_settings({"name": "a", "budget": {"programs": 5}, "tasks": [same]})
    assert from_file == from_override == from_python
    found = getattr(from_file.tasks[0], part)["x"]
    assert found == value and repr(found) == repr(value)
    stored = Settings.model_validate(json.loads(json.dumps(from_file.model_dump(mode="json"), allow_nan=False)))
    assert stored == from_file


@pytest.mark.parametrize("word", ["no", "On", "OFF", "yes", "010", "1:30", "2024_01", "nan", "-inf"])
def test_unclear_words_are_no_arguments(tmp_path: Path, word: str) -> None:
    message = refusal(tmp_path, text=yaml.safe_dump(GOOD).replace("train: 900", f"train: {word}"))
    line = yaml.safe_dump(GOOD).splitlines().index("    train: 900") + 1
    assert message.startswith(
        f"{tmp_path / 'search.yaml'}:{line}: tasks.0.data.train: may be read as a text, or else as"
    )
    assert f"write '{word}'" in message
    assert "tasks.0.model.hidden: may be read as" in refusal(tmp_path, f"tasks.0.model.hidden=[1, {word}]")


def test_a_quoted_word_is_an_argument(tmp_path: Path) -> None:
    settings = load_settings(written(tmp_path, yaml.safe_dump(GOOD)), ["tasks.0.data.train='no'"])
    assert settings.tasks[0].data["train"] == "no"


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


CYCLE: list[Any] = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (math.nan, "a finite number"), (math.inf, "a finite number"), (2**64, "64 bits"), (-(2**63) - 1, "64 bits"),
        (10**5000, "got a number of thousands of digits"), (datetime.date(2026, 11, 28), "expected null, true, false"),
        (b"x", "expected null"), ({1, 2}, "expected null"), ({"a": 1}, "expected null"), (np.int64(3), "expected null"),
        (nested(DEEPEST + 1), "lists more than 20 deep"), (nested(3000), "lists more than 20 deep"),
        (CYCLE, "or one within itself"), ("a\0b", "a text without null characters"), ("\ud800", "a text without null"),
        ([1, [math.nan]], "a finite number"),
    ],
    ids=lambda value: str(type(value)),
)  # fmt: skip
def test_arguments_that_cannot_be_kept_are_refused(value: Any, said: str) -> None:
    message = refusal_of_data(GOOD, {"tasks.0.data.train": value})
    assert message.startswith("settings: tasks.0.data.train: ") and said in message


def test_arguments_of_python_that_are_data_are_taken() -> None:
    given = {"path": Path("a") / "b", "size": (1, 2), "rate": np.float64(0.5), "text": "a\tb"}
    settings = check_settings(GOOD | {"tasks": [{"name": "digits_mlp", "data": given}]})
    assert settings.tasks[0].data == {"path": "a/b", "size": [1, 2], "rate": 0.5, "text": "a\tb"}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (GOOD | {3: 4}, "settings: 3: Keys should be strings"),
        (GOOD | {"budget": {None: 4}}, "settings: budget.None: Keys should be strings"),
        (GOOD | {"tasks": [{"name": "digits_mlp", "data": {3: 4}}]}, "tasks.0.data.3: Input should be a valid string"),
        (GOOD | {"tasks": CYCLE}, "tasks.0: "),
        (GOOD | {"tasks": nested(3000)}, "nested too deeply"),
        (GOOD | {"a" * 5000: 1}, "unknown setting"),
        (GOOD | {"strategy": {"start": "x" * 5000}}, "at most 200 characters"),
        (GOOD | {"seed": 10**5000}, "got a number of thousands of digits"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_python_data_of_strange_shapes(data: Any, said: str) -> None:
    assert said in refusal_of_data(data)


def test_changes_with_keys_that_are_no_texts() -> None:
    assert "changes: 3: expected a key such as budget.programs" in refusal_of_data(GOOD, {3: 4})  # type: ignore[dict-item]


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_files_as_editors_and_shells_save_them(tmp_path: Path, encoding: str, end: str) -> None:
    path = tmp_path / "search.yaml"
    path.write_bytes(yaml.safe_dump(GOOD).replace("\n", end).encode(encoding))
    assert load_settings(path) == check_settings(GOOD)
    path.write_bytes(yaml.safe_dump(GOOD | {"seed": -1}).replace("\n", end).encode(encoding))
    line = yaml.safe_dump(GOOD | {"seed": -1}).splitlines().index("seed: -1") + 1
    with pytest.raises(InputError, match=rf"search.yaml:{line}: seed: "):
        load_settings(path)


# --- places ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("budget={hours: 1}", "budget.hours"),
        ("strategy={population: 1}", "strategy.population"),
        ("tasks.0.anchors=[1, x]", "tasks.0.anchors.1"),
        ("budjet.programs=5", "budjet"),
        ("hurdles.after.most=50", "hurdles.after"),
        ("strategy.pop.size=5", "strategy.pop"),
    ],
)
def test_what_an_override_brings_with_it_is_blamed_on_it(tmp_path: Path, override: str, key: str) -> None:
    assert refusal(tmp_path, override).startswith(f"--set {override}: {key}: ")


def test_changes_of_a_file_are_named_as_such(tmp_path: Path) -> None:
    path = written(tmp_path, yaml.safe_dump(GOOD))
    assert refusal_of_data(path, {"seed": -1}).startswith("changes: seed: seed: ")


def test_long_overrides_are_shown_shortened(tmp_path: Path) -> None:
    for override in ("name=" + "[" * 3000, "x" * 5000, "a." * 3000 + "b=1", "tasks.0.data." + "a." * 3000 + "b=1",
                     "seed=" + "9" * 5000, "seed='" + "9" * 5000 + "'", "name=&a [*a]"):  # fmt: skip
        assert refusal(tmp_path, override).startswith(f"--set {override[:60]}")


def test_the_line_of_what_a_merge_key_brings_and_of_what_replaces_it(tmp_path: Path) -> None:
    text = "name: a\nbudget: {programs: 5}\ntasks:\n- &t {name: digits_mlp, steps: 0}\n- <<: *t\n  name: digits_cnn\n"
    assert refusal(tmp_path, text=text).startswith(f"{tmp_path / 'search.yaml'}:4: tasks.0.steps")
    text = text.replace("steps: 0", "steps: 5").replace("digits_cnn", "digits_cnn\n  steps: 0")
    assert refusal(tmp_path, text=text).startswith(f"{tmp_path / 'search.yaml'}:7: tasks.1.steps")


def test_the_models_take_what_they_hold() -> None:
    """As they come back from the database."""
    for model, data in ((Settings, GOOD), (Funnel, FUNNEL)):
        read = model.model_validate(data)
        assert model.model_validate(json.loads(json.dumps(read.model_dump(mode="json")))) == read
        with pytest.raises(ValidationError):
            model.model_validate(data | {"name": "a b"})
