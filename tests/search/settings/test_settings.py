"""Settings: every mistake is one line with file, line and key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from programs import zoo
from programs.errors import InputError

from search.settings.settings import Settings
from search.settings.settings_file import check_settings, load_settings

GOOD = """\
name: quick
seed: 7
strategy:
  kind: evolution
  population: 20
  tournament: 3
  start: adamw
budget:
  programs: 100
  minutes: 2.5
tasks:
  - name: digits_mlp
    seeds: 2
    steps: 50
evaluator:
  kind: inline
  batch: 8
  lookahead: 2
baselines: [adamw, lion]
store: sqlite:///here.db
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "search.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def complaint(folder: Path, text: str, *overrides: str) -> str:
    """The error, which must be one line, and no longer than somebody reads."""
    with pytest.raises(InputError) as raised:
        load_settings(write(folder, text), overrides)
    message = str(raised.value)
    assert "\n" not in message and len(message) < 500
    return message


# --- good settings ---------------------------------------------------------------------------------------------------


def test_settings_are_read(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, GOOD))
    assert (settings.name, settings.seed, settings.store) == ("quick", 7, "sqlite:///here.db")
    assert (settings.strategy.population, settings.strategy.tournament) == (20, 3)
    assert (settings.budget.programs, settings.budget.evaluations, settings.budget.minutes) == (100, None, 2.5)
    assert (settings.evaluator.kind, settings.evaluator.batch, settings.evaluator.workers) == ("inline", 8, "auto")
    assert settings.baselines == ("adamw", "lion")
    task = settings.tasks[0]
    assert task.task.steps == 50 and task.task.batch_size == 128 and settings.task_seeds[0].seeds == (0, 1)


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, GOOD))
    with pytest.raises(ValueError, match="frozen"):
        settings.seed = 8  # type: ignore[misc]


def test_the_shortest_settings() -> None:
    settings = Settings.model_validate({"name": "a", "budget": {"minutes": 1}, "tasks": [{"name": "digits_mlp"}]})
    assert settings.evaluator.kind == "ray" and settings.store == "sqlite:///results.db"
    assert settings.baselines == ("torch_adamw", "adamw", "lion", "sgd_momentum")


def task() -> None:
    """Stands for a function that a user gives."""


def test_a_task_and_a_budget_are_settings(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, "tasks: digits_mlp\nbudget: {programs: 5}\n"))
    assert (settings.name, settings.strategy.kind, settings.strategy.start) == ("search", "evolution", ("adamw",))
    assert settings.strategy.start_tuned and settings.strategy.start[0] in settings.baselines
    assert (settings.task_seeds[0].first, len(settings.task_seeds[0].seeds)) == (1, 16)


@pytest.mark.parametrize(
    ("changes", "is_tuned", "rungs"),
    [
        ({"strategy": {"kind": "paper"}}, True, 1),
        ({"strategy": {"kind": "random"}}, False, 1),
        ({"strategy": {"start": ["adamw", "lion"]}}, True, 5),
        ({"strategy": {"start": "sgd"}}, False, 5),
        ({"strategy": {"start_tuned": False}}, False, 5),
        ({"baselines": ["lion"]}, False, 5),
    ],
)
def test_defaults_follow_other_settings(changes: dict[str, Any], is_tuned: bool, rungs: int) -> None:
    settings = check_settings({"name": "a", "tasks": ["digits_mlp"], "budget": {"programs": 5}} | changes)
    assert settings.strategy.start_tuned is is_tuned and settings.task_seeds[0].rungs == rungs
    assert check_settings(settings.model_dump(mode="json")) == settings


def test_from_python_a_function_stands_for_its_name() -> None:
    data = {"name": "a", "budget": {"programs": 5}}
    for given in (task, [task], [{"name": task}]):
        assert check_settings(data | {"tasks": given}).tasks[0].name == f"{__name__}:task"
    with pytest.raises(InputError, match="has no name by which workers find it: define it with `def`"):
        check_settings(data | {"tasks": [lambda: None]})


def test_shipped_settings_are_good() -> None:
    configs = sorted((Path(__file__).parents[3] / "configs").glob("*.yaml"))
    assert configs
    for path in configs:
        assert load_settings(path).tasks


@pytest.mark.parametrize(
    ("override", "place", "value"),
    [
        ("seed=12", ("seed",), 12),
        ("name=other", ("name",), "other"),
        ("budget.programs=1000", ("budget", "programs"), 1000),
        ("budget.programs=null", ("budget", "programs"), None),
        ("budget.minutes=0.5", ("budget", "minutes"), 0.5),
        ("strategy.start_tuned=true", ("strategy", "start_tuned"), True),
        ("strategy.start=[lion, adamw]", ("strategy", "start"), ("lion", "adamw")),
        ("strategy.start=[lion]", ("strategy", "start"), ("lion",)),
        ("strategy.max_states=1.01", ("strategy", "max_states"), 1.01),
        ("strategy.max_states=0", ("strategy", "max_states"), 0),
        ("strategy.max_live_statements=12", ("strategy", "max_live_statements"), 12),
        ("language=paper", ("language", "set"), ("paper",)),
        ("language=extended", ("language", "set"), ("paper", "steps", "matrices")),
        ("language=[matrices, paper]", ("language", "set"), ("paper", "matrices")),
        ("tasks.0.steps=20", ("tasks", 0, "steps"), 20),
        ("evaluator.workers=auto", ("evaluator", "workers"), "auto"),
        ("evaluator.workers=3", ("evaluator", "workers"), 3),
        ("baselines=[adamw]", ("baselines",), ("adamw",)),
        ("hurdles=off", ("hurdles",), None),
        ("hurdles=null", ("hurdles",), None),
        ("hurdles.at=[0.1, 0.35]", ("hurdles", "points"), (2, 7)),
        ("aggregate=worst", ("aggregate",), "worst"),
        ("tasks.0.data.train=900", ("tasks", 0, "task", "dataset_args"), (("train", 900),)),
        ("tasks.0.model.hidden=[8, 9]", ("tasks", 0, "task", "model_args"), (("hidden", (8, 9)),)),
        ("store=sqlite:///a=b.db", ("store",), "sqlite:///a=b.db"),
    ],
)
def test_overrides(tmp_path: Path, override: str, place: tuple[Any, ...], value: object) -> None:
    found: Any = load_settings(write(tmp_path, GOOD), [override])
    for part in place:
        found = found[part] if isinstance(part, int) else getattr(found, part)
    assert found == value


@pytest.mark.parametrize(
    ("override", "place", "value"),
    [
        ("tasks.0.steps=20", ("tasks", 0, "steps"), 20),
        ("language.set=paper", ("language", "set"), ("paper",)),
        ("hurdles.at=[0.1, 0.35]", ("hurdles", "points"), (2, 7)),
        ("meta_validation.tasks.0.steps=7", ("meta_validation", "tasks", 0, "steps"), 7),
    ],
)
def test_a_setting_of_what_is_given_in_short_may_be_overridden(
    tmp_path: Path, override: str, place: tuple[Any, ...], value: object
) -> None:
    short = "name: a\nbudget: {programs: 5}\ntasks: digits_mlp\nlanguage: extended\nhurdles: off\n"
    short += "meta_validation: {tasks: digits_cnn}\n"
    found: Any = load_settings(write(tmp_path, short), [override])
    for part in place:
        found = found[part] if isinstance(part, int) else getattr(found, part)
    assert found == value


def test_overrides_may_name_sections_that_the_file_leaves_out_and_the_last_one_counts(tmp_path: Path) -> None:
    path = write(tmp_path, "name: a\nbudget: {programs: 5}\ntasks: [{name: digits_mlp}]\n")
    settings = load_settings(path, ["evaluator.batch=3", "evaluator.batch=4", "strategy.population=9"])
    assert settings.evaluator.batch == 4 and settings.strategy.population == 9


def test_history_leaves_out_what_may_change_between_runs(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    history = load_settings(path).history()
    for override in ("name=b", "store=sqlite:///b.db", "budget.programs=1", "budget.minutes=null",
                     "evaluator.kind=ray", "evaluator.workers=1"):  # fmt: skip
        assert load_settings(path, [override]).history() == history, override


@pytest.mark.parametrize(
    "override",
    [
        "seed=8", "strategy.population=21", "strategy.tournament=2", "strategy.start=lion",
        "strategy.start_tuned=false", "strategy.max_statements=10", "strategy.start=[adamw, lion]",
        "strategy.max_states=2",
        "strategy.max_live_statements=30", "strategy.kind=paper", "strategy.constants=0.5", "strategy.race_share=0.2",
        "tasks.0.seeds={first: 1, most: 2}", "language=[paper, steps]", "language=extended",
        "tasks.0.steps=51", "tasks.0.seeds=1", "tasks.0.batch_size=64",
        "evaluator.batch=9", "evaluator.lookahead=3", "baselines=[adamw]",
        "hurdles=off", "hurdles.at=[0.1]", "hurdles.better_part=0.7", "hurdles.quantile=0.9", "hurdles.after=60",
        "aggregate=worst", "tasks.0.data.train=900", "tasks.0.model.hidden=[8]", "tasks.0.anchors=[0.2, 0.1]",
        "dedup.fingerprint=false", "dedup.bits=20", "dedup.remutate=1", "dedup.cache=100",
    ],
)  # fmt: skip
def test_history_holds_what_decides_it(tmp_path: Path, override: str) -> None:
    path = write(tmp_path, GOOD)
    assert load_settings(path, [override]).history() != load_settings(path).history()


def test_what_is_written_in_another_way_is_the_same_history(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    history = load_settings(path).history()
    assert history["strategy"]["start"] == "adamw" and history["language"] == ["paper"]
    for override in ("language=paper", "language={set: [paper]}", "strategy.start=[adamw]"):
        assert load_settings(path, [override]).history() == history, override
    settings = load_settings(path, ["language=extended", "strategy.start=[adamw, lion]"])
    assert Settings.model_validate(settings.model_dump(mode="json")) == settings


def test_history_is_plain_data(tmp_path: Path) -> None:
    history = load_settings(write(tmp_path, GOOD)).history()
    assert yaml.safe_load(yaml.safe_dump(history)) == history


# --- bad settings ----------------------------------------------------------------------------------------------------

WRONG = [
    # line changed, its new text, line and key in the message, something that must be said
    (1, "name: a b", "1: name", "a b"),
    (1, "name: ''", "1: name", "''"),
    (1, "name: [a]", "1: name", "string"),
    (2, "seed: -1", "2: seed", "-1"),
    (2, "seed: 1.5", "2: seed", "1.5"),
    (2, "seed: many", "2: seed", "'many'"),
    (2, "seed: 9223372036854775808", "2: seed", "9223372036854775808"),
    (2, "sede: 7", "2: sede", "unknown setting; known here: name, seed"),
    (4, "  kind: luck", "4: strategy.kind", "'luck'"),
    (5, "  population: 1", "5: strategy.population", "got 1"),
    (5, "  population: 0.5", "5: strategy.population", "0.5"),
    (5, "  size: 20", "5: strategy.size", "unknown setting; known here: kind, population"),
    (6, "  tournament: 0", "6: strategy.tournament", "got 0"),
    (7, "  start: adam", "7: strategy.start", "no program 'adam' in the zoo"),
    (7, "  start: 3", "7: strategy.start", "3"),
    (7, "  start: [adamw, adam]", "7: strategy.start", "no program 'adam' in the zoo"),
    (7, "  start: [lion, adamw, lion]", "7: strategy.start", "'lion' is named 2 times"),
    (7, "  start: []", "7: strategy.start", "at least 1 item"),
    (7, "  max_states: 3", "7: strategy.max_states", "less than or equal to 2: programs have no more than two state"),
    (7, "  max_states: some", "7: strategy.max_states", "'some'"),
    (7, "  max_live_statements: 0", "7: strategy.max_live_statements", "got 0"),
    (
        20,
        "language: papers",
        "20: language.set",
        "'papers'; there are paper, extended, or a list of sets: paper, steps,",
    ),
    (20, "language: [paper, matrix]", "20: language.set", "no set of functions is called 'matrix'"),
    (20, "language: []", "20: language.set", "at least 1 item"),
    (20, "language: [paper, steps, paper]", "20: language.set", "'paper' is named 2 times"),
    (20, "language: [steps]", "20: language.set", "no function of these sets has a result for each weight"),
    (20, "language: 3", "20: language.set", "got 3"),
    (7, "  max_statements: 0", "7: strategy.max_statements", "got 0"),
    (9, "  programs: 0", "9: budget.programs", "got 0"),
    (9, "  programs: lots", "9: budget.programs", "'lots'"),
    (9, "  hours: 3", "9: budget.hours", "unknown setting; known here: programs, evaluations, replica_steps, minutes"),
    (9, "  evaluations: -5", "9: budget.evaluations", "-5"),
    (10, "  minutes: 0", "10: budget.minutes", "got 0"),
    (10, "  minutes: .nan", "10: budget.minutes", "nan"),
    (12, "  - name: cifar", "12: tasks.0.name", "unknown task 'cifar'"),
    (13, "    seeds: 0", "13: tasks.0.seeds", "got 0"),
    (14, "    steps: 0", "14: tasks.0.steps", "got 0"),
    (14, "    batch_size: none", "14: tasks.0.batch_size", "'none'"),
    (14, "    stepps: 3", "14: tasks.0.stepps", "unknown setting; known here: name, seeds, steps, batch_size"),
    (16, "  kind: slurm", "16: evaluator.kind", "'slurm'"),
    (17, "  batch: 0", "17: evaluator.batch", "got 0"),
    (17, "  workers: some", "17: evaluator.workers", "'some'"),
    (17, "  workers: 0", "17: evaluator.workers", "0"),
    (18, "  lookahead: 0", "18: evaluator.lookahead", "got 0"),
    (18, "  gpus: 1", "18: evaluator.gpus", "unknown setting; known here: kind, workers"),
    (19, "baselines: [adamw, adam]", "19: baselines", "unknown baseline 'adam'"),
    (19, "baselines: adamw", "19: baselines", "adamw"),
    (20, "store: 3", "20: store", "got 3"),
    (20, "dedup: {bits: 41}", "20: dedup.bits", "got 41"),
    (20, "dedup: {bits: 0}", "20: dedup.bits", "got 0"),
    (20, "dedup: {reevaluate: 0.1}", "20: dedup.reevaluate", "unknown setting; known here: fingerprint, bits"),
    (7, "  race_share: 1", "7: strategy.race_share", "got 1"),
    (20, "dedup: {remutate: -1}", "20: dedup.remutate", "got -1"),
    (20, "dedup: {cache: 0}", "20: dedup.cache", "got 0"),
    (20, "dedup: {dataflow: true}", "20: dedup.dataflow", "unknown setting; known here: fingerprint, bits"),
]


@pytest.mark.parametrize(("line", "text", "where", "said"), WRONG, ids=[case[1].strip() for case in WRONG])
def test_a_wrong_value_is_named_with_file_line_and_key(
    tmp_path: Path, line: int, text: str, where: str, said: str
) -> None:
    lines = GOOD.splitlines()
    lines[line - 1] = text
    message = complaint(tmp_path, "\n".join(lines))
    assert message.startswith(f"{tmp_path / 'search.yaml'}:{where}: ")
    assert said in message


@pytest.mark.parametrize(("missing", "key"), [("budget", "budget"), ("tasks", "tasks")], ids=lambda value: str(value))
def test_what_is_missing_is_named(tmp_path: Path, missing: str, key: str) -> None:
    data = yaml.safe_load(GOOD)
    del data[missing]
    message = complaint(tmp_path, yaml.safe_dump(data))
    assert f": {key}: " in message and "required" in message


@pytest.mark.parametrize(
    ("changes", "where", "said"),
    [
        ({"budget": {}}, "budget", "set at least one of programs, evaluations, replica_steps, minutes"),
        ({"budget": {"programs": None}}, "budget", "set at least one of"),
        ({"budget": None}, "budget", "budget"),
        ({"tasks": []}, "tasks", "1"),
        ({"tasks": [{"name": "digits_mlp"}, {"name": "digits_mlp"}]}, "", "each task may be named once"),
        ({"tasks": "digits"}, "tasks.0.name", "unknown task 'digits'"),
        ({"tasks": [3]}, "tasks.0", "got 3"),
        ({"tasks": [{"seeds": 1}]}, "tasks.0.name", "required"),
        ({"strategy": {"start_tuned": True, "start": "sgd"}}, "", "start_tuned needs 'sgd' among the baselines"),
        ({"baselines": [], "strategy": {"start_tuned": True}}, "", "start_tuned needs 'adamw'"),
        ({"strategy": {"start_tuned": True, "start": ["lion", "sgd"]}}, "", "start_tuned needs 'sgd' among"),
        ({"strategy": {"population": 2, "start": ["lion", "sgd", "adamw"]}}, "strategy", "no room for 3 start"),
        ({"language": ["matrices"]}, "", "start 'adamw' has the function square of the set 'paper', which is not in"),
        ({"hurdles": {"at": [0.33]}}, "hurdles.at", "multiples of 0.05"),
        ({"hurdles": {"at": []}}, "hurdles.at", "multiples of 0.05"),
        ({"hurdles": {"at": [0.5, 0.1]}}, "hurdles.at", "rising"),
        ({"hurdles": {"at": [1.0]}}, "hurdles.at.0", "less than 1"),
        ({"hurdles": {"better_part": 0}}, "hurdles.better_part", "greater than 0"),
        ({"hurdles": {"when": 3}}, "hurdles.when", "known here: at, better_part"),
        ({"hurdles": True}, "hurdles", "expected settings, such as {a: 1}, got True; known here: at, better_part"),
        ({"aggregate": "median"}, "aggregate", "'mean' or 'worst'"),
        ({"tasks": [{"name": "digits_mlp", "anchors": [0.1, 0.2]}]}, "tasks.0.anchors", "lower loss of the best known"),
        ({"tasks": [{"name": "digits_mlp", "anchors": [0.1]}]}, "tasks.0.anchors", "required"),
        ({"tasks": [{"name": "digits_mlp", "data": "here"}]}, "tasks.0.data", "expected settings, got 'here'"),
        ({"evaluator": {"rows": 0}}, "evaluator.rows", "greater than or equal to 1"),
        ({"evaluator": {"memory_mib": 0}}, "evaluator.memory_mib", "greater than 0"),
        ({"evaluator": {"device": "tpu"}}, "evaluator.device", "'cpu' or 'cuda'"),
        ({"evaluator": {"device": "cuda"}}, "evaluator", "device cuda needs gpus_per_worker: 1 for a GPU"),
        ({"evaluator": {"memory_limit_mib": 2000}}, "evaluator", "must not be below memory_mib"),
        ({"tasks": [{"name": "digits_mlp", "matmul": "fp8"}]}, "tasks.0.matmul", "'tf32' or 'bf16'"),
    ],
)
def test_settings_that_do_not_fit_together(tmp_path: Path, changes: dict[str, Any], where: str, said: str) -> None:
    message = complaint(tmp_path, yaml.safe_dump(yaml.safe_load(GOOD) | changes))
    assert where in message and said in message


def test_all_mistakes_are_counted(tmp_path: Path) -> None:
    assert "(and 2 more)" in complaint(tmp_path, GOOD.replace("7", "x").replace("20", "y").replace("50", "z"))


def test_a_setting_that_is_misspelt_comes_before_that_which_is_missing_for_it(tmp_path: Path) -> None:
    said = complaint(tmp_path, GOOD.replace("budget:", "budgets:"))
    assert "budgets: unknown setting" in said and "(and 1 more)" in said


@pytest.mark.parametrize("start", ["", "# nothing", "[1, 2]", "quick", "3"])
def test_a_file_that_holds_no_settings(tmp_path: Path, start: str) -> None:
    assert "expected settings such as 'name: quickstart'" in complaint(tmp_path, start)


@pytest.mark.parametrize(
    ("text", "where"),
    [("name: [a", "search.yaml"), ("name: a\nseed: 3: 4", ".yaml:2: "), ("name: a\n\tseed: 1", ".yaml:2: "),
     ("a: !!python/object/apply:os.system [ls]", ".yaml:1: "), ("name: *nothing", ".yaml:1: "), ("a: b\n\0", "")],
)  # fmt: skip
def test_a_file_that_is_not_yaml(tmp_path: Path, text: str, where: str) -> None:
    message = complaint(tmp_path, text)
    assert "not valid YAML" in message and where in message


def test_keys_given_twice_are_refused(tmp_path: Path) -> None:
    """YAML forbids them; taking the last in silence would hide what the file says."""
    message = complaint(tmp_path, GOOD + "seed: 8\n")
    assert "seed" in message


def test_keys_that_are_no_text(tmp_path: Path) -> None:
    assert "3" in complaint(tmp_path, GOOD + "3: 4\n")


def test_nesting_too_deep_for_the_parser(tmp_path: Path) -> None:
    assert "search.yaml" in complaint(tmp_path, "name: " + "[" * 5000)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent.yaml: cannot be read \(No such file or directory\); give the path"):
        load_settings(tmp_path / "absent.yaml")


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Is a directory"):
        load_settings(tmp_path)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "search.yaml").write_bytes(b"\xff\xfe\x00binary")
    with pytest.raises(InputError, match="is not text"):
        load_settings(tmp_path / "search.yaml")


# --- bad overrides ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("seed", "expected key=value"),
        ("", "expected key=value"),
        ("name.first=a", "no key 'name.first'"),
        ("tasks.1.steps=5", "no key 'tasks.1.steps'"),
        ("tasks.-1.steps=5", "no key 'tasks.-1.steps'"),
        ("tasks.first.steps=5", "no key 'tasks.first.steps'"),
        ("seed=[1", "--set seed=[1"),
        ("=3", "--set =3"),
        ("seed=-1", "seed"),
        ("sede=1", "sede"),
        ("budget.hours=1", "budget.hours: unknown setting; known here: programs, evaluations, replica_steps, minutes"),
        ("strategy.start=adam", "strategy.start: no program 'adam'"),
        ("tasks.0.name=cifar", "tasks.0.name: unknown task 'cifar'"),
        ("tasks.0.steps=soon", "tasks.0.steps"),
        ("evaluator.batch=", "evaluator.batch"),
        ("budget=7", "budget"),
    ],
)
def test_bad_overrides(tmp_path: Path, override: str, said: str) -> None:
    assert said in complaint(tmp_path, GOOD, override)


@pytest.mark.parametrize("override", ["seed=-1", "budget.hours=1"])
def test_a_bad_override_is_not_blamed_on_the_file(tmp_path: Path, override: str) -> None:
    """Line 2 of the file holds a good seed; the mistake stands on the command line."""
    message = complaint(tmp_path, GOOD, override)
    assert override in message or "--set" in message


def test_every_program_of_the_zoo_may_start(tmp_path: Path) -> None:
    for name in zoo.names():
        load_settings(write(tmp_path, GOOD), ["language=extended", f"strategy.start={name}"])


@pytest.mark.parametrize("override", ["seed=true", "tasks.0.seeds=true", "budget.programs=yes"])
def test_yes_is_no_number(tmp_path: Path, override: str) -> None:
    complaint(tmp_path, GOOD, override)


def test_searches_leave_the_fresh_seeds_alone(tmp_path: Path) -> None:
    """Results are confirmed on seeds 1000, 1001, ...: with more than 1000 training seeds they would not be fresh."""
    load_settings(write(tmp_path, GOOD), ["tasks.0.seeds=1000"])
    complaint(tmp_path, GOOD, "tasks.0.seeds=1001")
