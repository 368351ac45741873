"""The driver: one history for one set of settings, however it is run."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from programs import Program, parse, zoo
from programs.errors import InputError

from proxy_tasks import Outcome, Replica, configured_process, get_task, references, train
from proxy_tasks.outcome import Status

from search.errors import RunError
from search.evolution.driver import Driver
from search.evolution.progress import Progress
from search.settings.baselines import BASELINES
from search.settings.settings import Aggregate
from search.settings.settings_file import stored_settings
from search.settings.tasks import Anchors, TaskSeeds
from search.store import LeaseLost, Store, lease
from search.training.inline import InlineEvaluator
from search.training.jobs import Job
from search.training.service import Score, score
from search.training.tuning import tune

from tests.support.searches import (
    BIRTHS,
    PretendingEvaluator,
    column,
    history_of,
    key_of,
    opened,
    pretended,
    rows_of_query,
    run,
    settings_of,
    stop_at,
    uninterrupted,
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Any, ...]]:
    """The history of `settings_of()`."""
    history = uninterrupted(settings_of(), tmp_path_factory.mktemp("whole") / "r.db")
    assert len(history) == BIRTHS and {"training", "hash", "in_flight", "rejection"} <= set(
        column(history, "answered_by")
    )
    assert {"ok", "diverged", "rejected"} == set(column(history, "status"))
    return history


def state(store: Store, name: str = "small") -> str:
    return str(rows_of_query(store, "SELECT state FROM search WHERE name = :name", name=name)[0]["state"])


def to_the_end(driver: Driver) -> None:
    while driver.advance():
        pass


# --- one history -----------------------------------------------------------------------------------------------------


def test_same_settings_same_history_with_real_training(tmp_path: Path) -> None:
    settings = settings_of(budget={"programs": 40}, strategy={"start": "adamw"})
    histories = []
    for name in ("a.db", "b.db"):
        with opened(tmp_path / name) as store:
            run(settings, store, InlineEvaluator())
            histories.append(history_of(store))
    assert histories[0] == histories[1]
    assert column(histories[0], "birth") == list(range(40))


def test_fitness_is_what_the_trainer_gives(tmp_path: Path) -> None:
    """Mean over seeds, trained here again one by one."""
    settings = settings_of(budget={"programs": 12}, tasks=[{"name": "digits_mlp", "steps": 5, "seeds": 2}])
    with opened(tmp_path / "r.db") as store:
        run(settings, store, InlineEvaluator())
        history = history_of(store)
    for genome, status, fitness in zip(*(column(history, c) for c in ("genome", "status", "fitness")), strict=True):
        replicas = [Replica(parse(genome), seed) for seed in (0, 1)]
        with configured_process():
            outcomes = [train(settings.tasks[0].task, [replica])[0] for replica in replicas]
        if status == "rejected":
            continue
        if status == "ok":
            assert fitness == sum(o.fitness or math.nan for o in outcomes) / 2
        else:
            assert "diverged" in {o.status for o in outcomes}


def test_another_seed_is_another_history(tmp_path: Path, whole: list[tuple[Any, ...]]) -> None:
    assert column(uninterrupted(settings_of(seed=4), tmp_path / "r.db"), "key") != column(whole, "key")


@pytest.mark.parametrize("order", range(1, 6))
def test_the_order_in_which_jobs_finish_leaves_no_trace(
    tmp_path: Path, whole: list[tuple[Any, ...]], order: int
) -> None:
    with opened(tmp_path / "r.db") as store:
        run(settings_of(), store, PretendingEvaluator(order))
        assert history_of(store) == whole


def test_nothing_is_trained_twice(tmp_path: Path) -> None:
    with opened(tmp_path / "r.db") as store:
        evaluator = PretendingEvaluator()
        run(settings_of(baselines=["adamw"]), store, evaluator)
        assert len(evaluator.trained()) == len(set(evaluator.trained()))


def test_parents_come_from_before_the_window(whole: list[tuple[Any, ...]]) -> None:
    batch_of = dict(zip(column(whole, "birth"), column(whole, "batch"), strict=True))
    answered_by = dict(zip(column(whole, "birth"), column(whole, "answered_by"), strict=True))
    for birth, parent in zip(column(whole, "birth")[1:], column(whole, "parent_birth")[1:], strict=True):
        known_at_once = batch_of[parent] == batch_of[birth] and answered_by[parent] in (
            "hash",
            "fingerprint",
            "rejection",
        )
        assert parent == 0 or known_at_once or batch_of[parent] <= batch_of[birth] - 3


# --- going on --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("births", [1, 9, 30, 50])
def test_stopped_and_continued(tmp_path: Path, whole: list[tuple[Any, ...]], births: int) -> None:
    with opened(tmp_path / "r.db") as store:
        driver = run(settings_of(), store, PretendingEvaluator(), stop_at(births))
        assert driver.stopping and state(store) == "interrupted"
        part = history_of(store)
        assert births <= len(part) < BIRTHS and part == whole[: len(part)]
        run(settings_of(), store, PretendingEvaluator(1))
        assert history_of(store) == whole and state(store) == "finished"


@pytest.mark.parametrize("jobs", [0, 1, 3, 6, 9])
def test_killed_and_continued(tmp_path: Path, whole: list[tuple[Any, ...]], jobs: int) -> None:
    """Any number of jobs answered, in any order; what is in the store is a beginning of the history, and goes on."""
    with opened(tmp_path / "r.db") as store:
        killed = PretendingEvaluator(order=jobs, limit=jobs)
        with pytest.raises(KeyboardInterrupt):
            run(settings_of(), store, killed)
        part = history_of(store)
        assert part == whole[: len(part)]
        evaluator = PretendingEvaluator()
        run(settings_of(), store, evaluator)
        assert history_of(store) == whole
        answered = {(key_of(r.program), r.seed) for job in killed.submitted if job not in killed.jobs
                    for r in job.replicas}  # fmt: skip
        assert not answered & {(key, seed) for key, _, seed in evaluator.trained()}, "trained before, trained again"


def test_stopped_again_and_again(tmp_path: Path, whole: list[tuple[Any, ...]]) -> None:
    with opened(tmp_path / "r.db") as store:
        for births in range(1, BIRTHS, 9):
            run(settings_of(), store, PretendingEvaluator(births), stop_at(births))
        run(settings_of(), store, PretendingEvaluator())
        assert history_of(store) == whole


def test_stopped_while_baselines_are_tuned(tmp_path: Path) -> None:
    settings = settings_of(baselines=["adamw", "lion"], strategy={"start": "lion", "start_tuned": True})
    expected = uninterrupted(settings, tmp_path / "whole.db")

    class StopsTheDriver(PretendingEvaluator):
        def submit(self, job: Any) -> None:
            super().submit(job)
            driver.stop()

    with opened(tmp_path / "r.db") as store:
        first, second = StopsTheDriver(), PretendingEvaluator()
        driver = Driver(settings, store, first, lambda _: None)
        driver.run()
        assert state(store) == "interrupted" and history_of(store) == []
        assert not store.baselines(1), "they are tuned side by side, round by round"
        run(settings, store, second)
        assert history_of(store) == expected
        assert first.trained() and not {*first.trained()} & {*second.trained()}


@pytest.mark.parametrize("budgets", [[1, BIRTHS], [7, 8, 9, 31, BIRTHS], [23, 10, BIRTHS], [BIRTHS - 1, BIRTHS]])
def test_a_larger_budget_goes_on(tmp_path: Path, whole: list[tuple[Any, ...]], budgets: list[int]) -> None:
    with opened(tmp_path / "r.db") as store:
        for programs in budgets:
            run(settings_of(budget={"programs": programs}), store, PretendingEvaluator())
            part = history_of(store)
            assert part == whole[: len(part)]
        assert part == whole


def test_a_finished_search_stays_as_it_is(tmp_path: Path, whole: list[tuple[Any, ...]]) -> None:
    with opened(tmp_path / "r.db") as store:
        run(settings_of(), store, PretendingEvaluator())
        evaluator = PretendingEvaluator()
        driver = run(settings_of(), store, evaluator)
        assert history_of(store) == whole and evaluator.trained() == []
        assert state(store) == "finished" and driver.progress.births == BIRTHS


# --- budgets ---------------------------------------------------------------------------------------------------------


def test_a_budget_of_evaluations_ends_between_batches(tmp_path: Path, whole: list[tuple[Any, ...]]) -> None:
    with opened(tmp_path / "r.db") as store:
        run(settings_of(budget={"programs": None, "evaluations": 10}), store, PretendingEvaluator())
        history = history_of(store)
    assert column(history, "answered_by").count("training") == 12
    assert history == whole[: len(history)]


def test_a_budget_of_evaluations_continued_with_more(tmp_path: Path, whole: list[tuple[Any, ...]]) -> None:
    with opened(tmp_path / "r.db") as store:
        for evaluations in (1, 10, 15, 1000):
            budget = {"programs": BIRTHS, "evaluations": evaluations}
            run(settings_of(budget=budget), store, PretendingEvaluator())
        assert history_of(store) == whole


@pytest.mark.parametrize("evaluations", [13, 17, 21])
def test_a_batch_cut_short_counts_once_in_a_budget_of_evaluations(
    tmp_path: Path, whole: list[tuple[Any, ...]], evaluations: int
) -> None:
    """The births of a batch that is drawn anew are in the store and in the window: they must not count twice."""
    for cut in range(16, 40, 3):
        with opened(tmp_path / f"{cut}.db") as store:
            run(settings_of(budget={"programs": cut}), store, PretendingEvaluator())
            run(settings_of(budget={"evaluations": evaluations}), store, PretendingEvaluator())
            run(settings_of(), store, PretendingEvaluator())
            assert history_of(store) == whole, f"cut at birth {cut}"


def test_a_budget_of_minutes_ends_the_run(tmp_path: Path, whole: list[tuple[Any, ...]]) -> None:
    with opened(tmp_path / "r.db") as store:
        run(settings_of(budget={"programs": None, "minutes": 1e-9}), store, PretendingEvaluator())
        assert history_of(store) == []
        run(settings_of(), store, PretendingEvaluator())
        assert history_of(store) == whole


# --- settings that changed -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": 4}, ["seed: 12 -> 4"]),
        ({"evaluator": {"batch": 5}}, ["evaluator.batch: 4 -> 5"]),
        ({"evaluator": {"lookahead": 1}}, ["evaluator.lookahead: 3 -> 1"]),
        ({"strategy": {"population": 9, "tournament": 2}}, ["population: 8 -> 9", "tournament: 3 -> 2"]),
        ({"strategy": {"start": "lion"}}, ["strategy.start: sgd_momentum -> lion"]),
        ({"tasks": [{"name": "digits_mlp", "steps": 6}]}, ["tasks", "5", "6"]),
        ({"dedup": {"bits": 20}}, ["dedup.bits: 24 -> 20"]),
        ({"baselines": ["adamw"]}, ["baselines: [] -> ['adamw']"]),
        ({"seed": 5, "evaluator": {"batch": 1}}, ["seed: 12 -> 5", "evaluator.batch: 4 -> 1"]),
    ],
    ids=str,
)  # fmt: skip
def test_settings_that_would_change_the_history_are_refused(
    tmp_path: Path, changes: dict[str, Any], said: list[str]
) -> None:
    with opened(tmp_path / "r.db") as store:
        run(settings_of(), store, PretendingEvaluator(), stop_at(9))
        before = rows_of_query(store, "SELECT * FROM search"), history_of(store)
        evaluator = PretendingEvaluator()
        with pytest.raises(InputError) as raised:
            run(settings_of(**changes), store, evaluator)
        assert (rows_of_query(store, "SELECT * FROM search"), history_of(store)) == before
        assert evaluator.submitted == []
    message = str(raised.value)
    assert "\n" not in message and "search 'small' was started with other settings" in message
    for difference in said:
        assert difference in message


@pytest.mark.parametrize(
    "changes", [{"evaluator": {"workers": 7}}, {"evaluator": {"kind": "ray"}}, {"budget": {"minutes": 60}}], ids=str
)
def test_settings_that_may_change_are_accepted_and_kept(
    tmp_path: Path, whole: list[tuple[Any, ...]], changes: dict[str, Any]
) -> None:
    with opened(tmp_path / "r.db") as store:
        run(settings_of(), store, PretendingEvaluator(), stop_at(9))
        run(settings_of(**changes), store, PretendingEvaluator())
        assert history_of(store) == whole
        found = store.find_search("small")
        assert found is not None and stored_settings(found.settings, "small") == settings_of(**changes)


# --- several searches in one database --------------------------------------------------------------------------------


def test_a_search_uses_the_evaluations_of_another_and_has_its_own_history(tmp_path: Path) -> None:
    expected = uninterrupted(settings_of(name="second", seed=8), tmp_path / "empty.db")
    with opened(tmp_path / "r.db") as store:
        first, second, same = PretendingEvaluator(), PretendingEvaluator(), PretendingEvaluator()
        run(settings_of(), store, first)
        run(settings_of(name="second", seed=8), store, second)
        assert history_of(store, "second") == expected
        assert second.trained() and not set(second.trained()) & set(first.trained())
        assert len(second.trained()) < column(expected, "answered_by").count("training")
        run(settings_of(name="third", seed=8), store, same)
        assert history_of(store, "third") == expected
        assert same.submitted == []


def test_the_second_driver_of_a_search_is_refused_and_the_first_goes_on(
    tmp_path: Path, whole: list[tuple[Any, ...]]
) -> None:
    refused = []
    with opened(tmp_path / "r.db") as store, opened(tmp_path / "r.db") as other:

        def meanwhile(driver: Driver, progress: Progress) -> None:
            if progress.births in (0, 50):
                with pytest.raises(InputError, match=f"'small' is being run by .*, process {os.getpid()};"):
                    run(settings_of(), other, PretendingEvaluator())
                refused.append(progress.births)

        run(settings_of(), store, PretendingEvaluator(), meanwhile)
        assert 0 in refused and history_of(store) == whole


def test_a_driver_that_slept_is_succeeded_and_writes_nothing_more(
    tmp_path: Path, whole: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease has ended, another run has taken the search over: nothing of the first may get in between."""
    monkeypatch.setattr(lease.Heartbeat, "_beat", lambda _: None)  # asleep from the first moment, however slow this is
    with opened(tmp_path / "r.db") as store, opened(tmp_path / "r.db") as other:
        driver = Driver(settings_of(), store, PretendingEvaluator(), lambda _: None)
        driver.start()
        for _ in range(5):
            driver.advance()
        with store.writing() as connection:
            connection.execute(text("UPDATE search SET heartbeat = heartbeat - 1000"))
        monkeypatch.setattr(lease, "WATCH_SECONDS", 0.0)  # nothing gives a sign of life
        successor = Driver(settings_of(), other, PretendingEvaluator(1), lambda _: None)
        successor.start()
        with pytest.raises(LeaseLost, match="another run has taken this search over"):
            to_the_end(driver)
        driver.end()
        to_the_end(successor)
        successor.end()
        assert history_of(store) == whole and state(store) == "finished"


# --- baselines and progress ------------------------------------------------------------------------------------------


def test_baselines_are_the_best_of_their_trials(tmp_path: Path) -> None:
    """Those of `tune`, with as many trials for each; a second run trains nothing."""
    with opened(tmp_path / "r.db") as store:
        settings = settings_of(baselines=list(BASELINES), budget={"programs": 4})
        evaluator = PretendingEvaluator()
        driver = run(settings, store, evaluator)
        found = store.baselines(1)
        assert list(found) == list(BASELINES)
        for tuned in tune(list(BASELINES.values()), driver.service, driver.tasks):
            assert found[tuned.name] == tuned.row
            assert tuned.trials == 28 and tuned.fitness == pretended(tuned.best.candidate.key, 0).fitness
        trained = len(evaluator.submitted)
        run(settings_of(baselines=list(BASELINES), budget={"programs": 8}), store, evaluator)
        assert store.baselines(1) == found
        assert all(isinstance(r.program, Program) for job in evaluator.submitted[trained:] for r in job.replicas)


class Diverging(PretendingEvaluator):
    """Has everything diverge."""

    def outcome(self, _job: Job, _replica: Replica) -> Outcome:
        return Outcome(Status.DIVERGED, None, [], 1, 0.5, "training loss is not finite by step 1")


def test_a_search_ends_at_once_where_no_baseline_trains(tmp_path: Path) -> None:
    settings = settings_of(baselines=["adamw", "lion"])
    with opened(tmp_path / "r.db") as store:
        for _ in range(2):  # starting it again does not get around it
            with pytest.raises(RunError, match=r"no baseline trains .*diverged: training loss is not finite by step 1"):
                run(settings, store, Diverging())
        assert not history_of(store) and not store.baselines(1)


def test_a_tuned_start(tmp_path: Path) -> None:
    with opened(tmp_path / "r.db") as store:
        settings = settings_of(baselines=["lion"], strategy={"start": "lion", "start_tuned": True})
        run(settings, store, PretendingEvaluator())
        assert column(history_of(store), "key")[0] == store.baselines(1)["lion"].key
        assert column(history_of(store), "genome")[0] != str(zoo.load("lion"))


def test_progress_tells_what_the_store_holds(tmp_path: Path) -> None:
    seen: list[int] = []
    with opened(tmp_path / "r.db") as store:
        settings = settings_of(baselines=["adamw"])
        run(settings, store, PretendingEvaluator(), stop_at(30))
        driver = run(settings, store, PretendingEvaluator(), lambda _, progress: seen.append(progress.births))
        (last,) = rows_of_query(store, "SELECT * FROM v_progress ORDER BY batch DESC LIMIT 1")
        adamw = store.baselines(1)["adamw"].fitness
    progress = driver.progress
    assert (progress.births, progress.trained) == (last["births_so_far"], last["trained_so_far"])
    assert progress.best_fitness == last["best_so_far"]
    assert progress.cache_hit_share == pytest.approx(1 - last["trained_so_far"] / last["births_so_far"])
    assert progress.best_fitness is not None and adamw is not None
    assert progress.over_adamw == pytest.approx(progress.best_fitness - adamw)
    assert seen[0] >= 30 and seen == sorted(seen) and seen[-1] == BIRTHS
    assert progress.seconds_left == 0.0


def trained(fitness: float) -> Outcome:
    return pretended("1", 0)._replace(fitness=fitness)


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([trained(-1.0), trained(-2.0)], Score("ok", -1.5, None, 2, None, 10, None, (-1.0, -2.0))),
        (
            [pretended("1", 0), pretended("00000005", 0)],
            Score("diverged", None, "pretended divergence of 00", 2, None, 6),
        ),
    ],
)
def test_scores_on_one_task(outcomes: list[Outcome], expected: Score) -> None:
    task = get_task("digits_mlp")
    assert score({task.fingerprint: outcomes}, [TaskSeeds(task, (0, 1))], "mean", ()) == expected


@pytest.mark.parametrize(("aggregate", "expected"), [("mean", (0.5 + 2.0) / 2), ("worst", 0.5)])
def test_scores_on_several_tasks_lie_between_their_anchors(aggregate: Aggregate, expected: float) -> None:
    """Half-way from 2 to 1, and as far beyond the best known as that is from the baseline."""
    easy, hard = get_task("digits_mlp"), replace(get_task("digits_mlp"), steps=7)
    tasks = [TaskSeeds(easy, (0, 1), Anchors(2.0, 1.0)), TaskSeeds(hard, (0,), Anchors(0.3, 0.2))]
    outcomes = {easy.fingerprint: [trained(-1.0), trained(-2.0)], hard.fingerprint: [trained(-0.1)]}
    assert score(outcomes, tasks, aggregate, ()).fitness == pytest.approx(expected)
    failed = outcomes | {hard.fingerprint: [pretended("00000005", 0)]}
    assert score(failed, tasks, aggregate, ()).status == "diverged"


def test_marks_are_the_highest_losses_among_seeds_task_by_task() -> None:
    first, second = get_task("digits_mlp"), replace(get_task("digits_mlp"), steps=50)
    tasks = [TaskSeeds(first, (0, 1), Anchors(2.0, 1.0)), TaskSeeds(second, (0,), Anchors(2.0, 1.0))]
    curves = [[i + seed * (i == 9) for i in range(20)] for seed in (0, 1)]
    outcomes = {
        first.fingerprint: [trained(-1.0)._replace(curve=list(map(float, curve))) for curve in curves],
        second.fingerprint: [trained(-1.0)._replace(curve=[5.0] * 20)],
    }
    assert score(outcomes, tasks, "mean", (2, 10)).hurdle_losses == (1.0, 10.0, 5.0, 5.0)


def test_anchors_measured_again_are_not_mixed_with_those_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores on several tasks lie between recorded losses: with others the history would go on differently."""
    tasks = [{"name": "digits_mlp_short"}, {"name": "noisy_quadratic_short"}]
    several = settings_of(tasks=tasks, hurdles=None)
    with opened(tmp_path / "r.db") as store:
        run(several, store, PretendingEvaluator(), stop_at(9))
        known = references.reference(get_task("digits_mlp_short"))
        assert known is not None
        monkeypatch.setattr("search.settings.tasks.reference", lambda _task: known._replace(baseline=0.2))
        with pytest.raises(InputError, match=r"code, data or versions \(anchors\.digits_mlp_short: .* -> \[0.2, "):
            run(several, store, PretendingEvaluator())
