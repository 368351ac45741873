"""The funnel: equal trials for all, fresh seeds in every stage, and only what beats the best baseline goes on."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml

from programs import zoo
from programs.errors import InputError
from programs.program import Program

from proxy_tasks import Outcome, Replica, get_task

from search.commands import select as select_command
from search.commands.select import select
from search.evidence.funnel import Entrant, StageResult, run_stage
from search.results.results import Results
from search.settings.baselines import TRIALS
from search.settings.funnel import Funnel, Stage
from search.settings.seeds import stage_fresh_seeds, stage_tuning_seeds
from search.store import Store
from search.store.proofs import passed_funnel
from search.training.jobs import Job
from search.training.service import TrainingService

from tests.support.searches import PretendingEvaluator, opened, rows_of_query, run, settings_of

DEDUP = settings_of().dedup


class Graded(PretendingEvaluator):
    """The fitness of a program is its quality, a function of its shape, and a little noise."""

    def outcome(self, job: Job, replica: Any) -> Outcome:
        quality = self.quality(replica.program)
        if quality is None:
            return Outcome("diverged", None, [], 1, 0.0, "as it was told")
        noise = 0.01 * Random(f"{job.task.name} {replica}").random()
        return Outcome("ok", quality + noise, [1.0] * 20, job.task.steps, 0.0)

    @staticmethod
    def quality(program: Program) -> float | None:
        return -1.0 + 0.1 * len(program)


def stage(**changes: Any) -> Stage:
    data: dict[str, Any] = {"tasks": [{"name": "digits_mlp"}, {"name": "mnist1d_mlp"}], "keep": 2, "fresh_seeds": 3}
    return Stage.model_validate(data | changes)


def entrants(*texts: str) -> list[Entrant]:
    from programs import parse

    return [Entrant(number, parse(text)) for number, text in enumerate(texts, start=1)]


FIRST_DECIDING = stage_fresh_seeds(1, 1)[0]
LONGER = [  # of different behaviour; the statements that make them longer do nothing
    f"x = {function}(g)\n{'y = g * 2.0' + chr(10)}" * n + "update = x * lr"
    for n, function in ((4, "sign"), (5, "cube"), (6, "exp"))
]


def staged(
    store: Store, evaluator: PretendingEvaluator, programs: list[Entrant], number: int = 1, **changes: Any
) -> list[StageResult]:
    service = TrainingService(store, evaluator, 64, DEDUP)
    return run_stage(number, stage(**changes), programs, ["adamw", "lion"], service, 1000, lambda _: None)


def test_all_competitors_get_the_same_trials_and_the_same_seeds(tmp_path: Path) -> None:
    """Tuning and deciding seeds are of the stage alone, and no search trains on them."""
    with opened(tmp_path / "r.db") as store:
        evaluator = Graded()
        results = staged(store, evaluator, entrants(*LONGER), number=2)
    seeds = defaultdict(set)
    for key, task, seed in evaluator.trained():
        seeds[task, key].add(seed)
    deciding = set(stage_fresh_seeds(2, 3))
    assert deciding == {25_000, 25_001, 25_002}
    assert {seed for of_key in seeds.values() for seed in of_key} == {*stage_tuning_seeds(2, 1)} | deciding
    for result in results:
        assert [on.tuned.trials for on in result.tasks] == [TRIALS, TRIALS]
        for on in result.tasks:
            assert seeds[on.fingerprint, on.tuned.best.candidate.key] >= deciding
            assert on.fresh.by_seed.keys() == deciding


def test_only_what_beats_the_best_baseline_goes_on_and_at_most_the_best_few(tmp_path: Path) -> None:
    """Baselines have 6 or 7 statements here."""
    with opened(tmp_path / "r.db") as store:
        results = staged(store, Graded(), entrants("update = g * lr", *LONGER))
    assert [r.name for r in results[:2]] == ["adamw", "lion"]
    assert [r.passed for r in results[2:]] == [True, True, False, False]
    assert [r.z for r in results[2:]] == sorted((r.z or 0.0 for r in results[2:]), reverse=True)
    assert results[-1].program_id == 1
    worst = results[-1]
    assert worst.z is not None and worst.z < 0 and worst.p is not None and worst.p > 0.99
    assert all(r.p is not None and 0 <= r.p <= 1 for r in results[2:])


def test_a_program_that_fails_on_one_task_does_not_pass(tmp_path: Path) -> None:
    class FailsOnce(Graded):
        def outcome(self, job: Job, replica: Replica) -> Outcome:
            if job.task.name == "mnist1d_mlp" and replica.seed >= FIRST_DECIDING and len(replica.program) > 12:
                return Outcome("diverged", None, [], 1, 0.0, "there")
            return super().outcome(job, replica)

    with opened(tmp_path / "r.db") as store:
        results = staged(store, FailsOnce(), entrants(LONGER[2]))
    assert results[-1].z is None and not results[-1].passed


def test_twins_once_tuned_go_on_once(tmp_path: Path) -> None:
    """Two programs that differ by a factor on the update alone are the same once that factor is tuned."""
    with opened(tmp_path / "r.db") as store:
        programs = entrants(LONGER[0], LONGER[0])
        results = staged(store, Graded(), programs)
    assert sum(r.passed for r in results) == 1


def test_a_program_must_beat_every_baseline_over_all_tasks_but_not_the_best_of_each(tmp_path: Path) -> None:
    """AdamW is the best on one task and Lion on the other; a program between them on both is ahead of either."""

    class Specialists(Graded):
        good = -1.0

        def outcome(self, job: Job, replica: Any) -> Outcome:
            found = super().outcome(job, replica)
            is_digits = job.task.name == "digits_mlp"
            best = {len(zoo.load("adamw")): is_digits, len(zoo.load("lion")): not is_digits}
            is_best = best.get(len(replica.program))
            fitness = self.good if is_best is None else (-0.9 if is_best else -2.0)
            return found._replace(fitness=fitness + 0.01 * Random(f"{job.task.name} {replica}").random())

    class TooBad(Specialists):
        good = -1.8

    for evaluator, passes in ((Specialists(), True), (TooBad(), False)):
        with opened(tmp_path / f"{passes}.db") as store:
            *baselines, program = staged(store, evaluator, entrants(LONGER[0]), level=0.5)
            strict = staged(store, evaluator, entrants(LONGER[0]), level=0.05)[-1]
        assert program.z is not None and program.z < 1.64 and not strict.passed, "a stage passes at its level"
        assert program.passed is passes and program.baseline in ("adamw", "lion")
        leads = [one.mean for one in program.ahead if one is not None]
        assert len(leads) == 2 and min(leads) < 0 < max(leads)
        assert all(one.z is None and one.ahead == [None, None] for one in baselines)


def test_a_baseline_that_fails_is_no_rival(tmp_path: Path) -> None:
    class AdamwFails(Graded):
        def outcome(self, job: Job, replica: Replica) -> Outcome:
            if len(replica.program) == len(zoo.load("adamw")) and replica.seed >= FIRST_DECIDING:
                return Outcome("diverged", None, [], 1, 0.0, "there")
            return super().outcome(job, replica)

    with opened(tmp_path / "r.db") as store:
        program = staged(store, AdamwFails(), entrants(LONGER[2]))[-1]
    assert program.baseline == "lion" and program.passed


# --- the command -----------------------------------------------------------------------------------------------------

FUNNEL = {
    "name": "fu", "search": "small", "enter": 6, "baselines": ["adamw", "sgd_momentum"],
    "stages": [
        {"tasks": [{"name": "digits_mlp"}], "keep": 4, "trials": 14, "fresh_seeds": 3},
        {"tasks": [{"name": "mnist1d_mlp"}, {"name": "digits_autoencoder"}], "keep": 2, "trials": 14, "fresh_seeds": 3},
    ],
    "evaluator": {"kind": "inline", "batch": 16},
}  # fmt: skip


@pytest.fixture
def funnel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The settings of a funnel behind a finished search."""
    monkeypatch.chdir(tmp_path)
    with opened(tmp_path / "results.db") as store:
        run(settings_of(), store, PretendingEvaluator())
    path = tmp_path / "funnel.yaml"
    path.write_text(yaml.safe_dump(FUNNEL))
    return path


def test_the_best_enter_and_all_are_counted_whatever_the_objectives(tmp_path: Path) -> None:
    """Sizes decide who is a parent; p is for all distinct programs that were compared."""
    with opened(tmp_path / "results.db") as store:
        objectives = {"kind": "evolution", "objectives": ["fitness", "states", "statements"]}
        run(settings_of(strategy=objectives, budget={"programs": 60}), store, PretendingEvaluator())
        results = Results(store)
        found, examined = select_command._entrants(results, cast("Any", SimpleNamespace(search="small", enter=5)))
        best = results.leaderboard("small", 5, pareto=False)
        assert [one.program_id for one in found] == [row.id for row in best] and len(best) == 5
        assert examined == results.distinct_programs("small") > len(results.leaderboard("small", None))


def selected(
    path: Path, monkeypatch: pytest.MonkeyPatch, evaluator: PretendingEvaluator, until: int | None = None
) -> list[int]:
    """What the command finds, with better programs than that search had."""
    monkeypatch.setattr("search.training.session.open_evaluator", lambda _settings: evaluator)
    monkeypatch.setattr(select_command, "_entrants", lambda *_: (entrants("update = g * lr", *LONGER), 80))
    return select(path, [], until)


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    whole = {
        "name": "fu", "search": "small", "store": f"sqlite:///{tmp_path / 'none.db'}", "baselines": ["adamw"],
        "stages": [{"tasks": [{"name": "digits_mlp_short"}], "keep": 1}],
    }  # fmt: skip
    config = tmp_path / "funnel.yaml"
    config.write_text(yaml.safe_dump(whole), encoding="utf-8")
    with pytest.raises(InputError, match=r"none\.db: no such database"):
        select(config, [])
    assert list(tmp_path.iterdir()) == [config]


def rows(folder: Path) -> list[dict[str, Any]]:
    with opened(folder / "results.db") as store:
        return rows_of_query(store, "SELECT * FROM v_funnel")


def test_stage_by_stage(funnel: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    finalists = selected(funnel, monkeypatch, Graded())
    found = rows(funnel.parent)
    first, second = ([r for r in found if r["stage"] == n] for n in (1, 2))
    assert len(first) == 2 + 4 and {r["task"] for r in second} == {"mnist1d_mlp", "digits_autoencoder"}
    passed = {r["program_id"] for r in first if r["passed"]}
    assert passed == {2, 3, 4} and {r["program_id"] for r in second} - {None} == passed
    assert set(finalists) == {r["program_id"] for r in second if r["passed"]} and len(finalists) == 2
    assert {r["trials"] for r in found} == {14} and {r["seeds"] for r in found} == {3}
    out = capsys.readouterr().out
    assert f"passed all stages (level 0.05, 0.05): program {finalists[0]}" in out and "stage 2: tuned" in out


def test_again_nothing_is_trained(funnel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finalists, before = selected(funnel, monkeypatch, Graded()), rows(funnel.parent)
    evaluator = Graded()
    assert selected(funnel, monkeypatch, evaluator) == finalists
    assert evaluator.submitted == [] and rows(funnel.parent) == before


@pytest.mark.parametrize("jobs", [0, 1, 3, 6])
def test_interrupted_and_continued(funnel: Path, monkeypatch: pytest.MonkeyPatch, jobs: int) -> None:
    """What was trained is not trained again, and the outcome is the same."""
    with pytest.raises(KeyboardInterrupt):
        selected(funnel, monkeypatch, Graded(order=jobs, limit=jobs))
    with opened(funnel.parent / "results.db") as store:
        known = {
            tuple(row.values()) for row in rows_of_query(store, "SELECT key, task_fingerprint, seed FROM training")
        }
    evaluator = Graded()
    finalists, found = selected(funnel, monkeypatch, evaluator), rows(funnel.parent)
    assert evaluator.trained() and not known & set(evaluator.trained())
    (funnel.parent / "results.db").unlink()
    with opened(funnel.parent / "results.db") as store:
        run(settings_of(), store, PretendingEvaluator())
    assert (selected(funnel, monkeypatch, Graded()), rows(funnel.parent)) == (finalists, found)


def test_stages_one_by_one(funnel: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What passed the first stage only is no finalist; going on leads to what all stages at once do."""
    first = selected(funnel, monkeypatch, Graded(), until=1)
    with opened(funnel.parent / "results.db") as store:
        assert {r["stage"] for r in rows(funnel.parent)} == {1} and len(first) == 3
        assert all(passed_funnel(store, program) is None for program in first)
    assert "passed stages 1 to 1 of 2 (level 0.05): " in capsys.readouterr().out
    finalists = selected(funnel, monkeypatch, Graded())
    with opened(funnel.parent / "results.db") as store:
        found = [passed_funnel(store, program) for program in finalists]
        assert [row.funnel for row in found if row is not None] == ["fu"] * len(finalists) == ["fu", "fu"]
    (funnel.parent / "results.db").unlink()
    with opened(funnel.parent / "results.db") as store:
        run(settings_of(), store, PretendingEvaluator())
    assert selected(funnel, monkeypatch, Graded()) == finalists


def test_a_funnel_is_not_continued_as_another(funnel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is trained, nor lost; under another name it begins anew."""
    selected(funnel, monkeypatch, Graded(), until=1)
    before = rows(funnel.parent)
    stages = [FUNNEL["stages"][0] | {"trials": 15}, *FUNNEL["stages"][1:]]
    funnel.write_text(yaml.safe_dump(FUNNEL | {"stages": stages}))
    evaluator = Graded()
    with pytest.raises(InputError, match=r"results.db: funnel 'fu' was started with other settings \(.*with --name"):
        selected(funnel, monkeypatch, evaluator)
    funnel.write_text(yaml.safe_dump(FUNNEL))
    monkeypatch.setattr("proxy_tasks.task.TRAINER_VERSION", 5)
    with pytest.raises(InputError, match=r"other code, data or versions \(tasks\.stage 1: digits_mlp\.trainer: 4 -> 5"):
        selected(funnel, monkeypatch, evaluator)
    assert evaluator.submitted == [] and rows(funnel.parent) == before
    select(funnel, [], 1, "other")
    assert {row["funnel"] for row in rows(funnel.parent)} == {"fu", "other"}


def test_the_noise_of_every_task_is_kept(funnel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    selected(funnel, monkeypatch, Graded())
    with opened(funnel.parent / "results.db") as store:
        found = rows_of_query(store, "SELECT * FROM v_noise")
    assert [row["task"] for row in found] == ["digits_mlp", "mnist1d_mlp", "digits_autoencoder"]
    assert all(row["seeds"] == 20 and 0 < row["sigma"] < 0.01 and row["seeds_failed"] == 0 for row in found)
    assert len({row["genome"] for row in found}) == 3, "tuned on each task"


@pytest.mark.parametrize("stage", [0, 3, -1])
def test_an_unknown_stage(funnel: Path, stage: int) -> None:
    with pytest.raises(InputError, match=rf"funnel\.yaml: no stage {stage}; its stages are 1 to 2"):
        select(funnel, [], stage)


def test_no_program_passes(funnel: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Worse(Graded):
        @staticmethod
        def quality(program: Program) -> float | None:
            return 0.0 - 0.1 * len(program) if len(program) > 3 else -5.0

    assert selected(funnel, monkeypatch, Worse()) == []
    assert "no program is ahead of the best baseline through all stages (level " in capsys.readouterr().out


def test_a_stage_without_tasks_has_those_of_the_search(funnel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    funnel.write_text(yaml.safe_dump(FUNNEL | {"stages": [{"keep": 4, "trials": 14, "fresh_seeds": 2}]}))
    selected(funnel, monkeypatch, Graded())
    assert {row["task"] for row in rows(funnel.parent)} == {"digits_mlp"}
    with opened(funnel.parent / "results.db") as store:
        (begun,) = rows_of_query(store, "SELECT settings FROM funnel_settings")
    (task,) = json.loads(begun["settings"])["stages"][0]["tasks"]
    assert (task["name"], task["steps"], task["seeds"]) == ("digits_mlp", 5, 3)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"baselines": []}, "baselines"),
        ({"baselines": ["adam"]}, "unknown baseline 'adam'"),
        ({"search": "other"}, "no search 'other' in results.db; there are: small"),
        ({"stages": []}, "stages"),
        ({"enter": 3}, "keep must not grow"),
        ({"stages": [{"tasks": [{"name": "pydoc_transformer_short"}], "keep": 1}]}, "is one of the locked tasks"),
        ({"stages": [{"tasks": [{"name": "digits_lora_wide"}], "keep": 1}]}, "is one of the locked tasks"),
        ({"stages": [{"tasks": [{"name": "digits_mlp"}], "keep": 1, "kept": 1}]}, "known here: tasks, keep, trials"),
        ({"stages": [{"tasks": [{"name": "cifar"}], "keep": 1}]}, "unknown task 'cifar'"),
    ],
)
def test_mistakes(funnel: Path, changes: dict[str, Any], said: str) -> None:
    funnel.write_text(yaml.safe_dump(FUNNEL | changes))
    with pytest.raises(InputError, match=said):
        select(funnel, [])


def test_the_shipped_funnels_can_be_read() -> None:
    from search.settings.settings_file import SettingsFile

    paths = list(Path("configs/funnels").glob("*.yaml"))
    assert paths
    for path in paths:
        for one in SettingsFile(path).read(Funnel).stages:
            assert all(get_task(choice.name) for choice in one.tasks)
