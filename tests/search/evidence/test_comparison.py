"""Comparisons: what populations have found, what that is worth on fresh seeds, and the statistics of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy import stats

from programs.errors import InputError
from programs.program import Program

from proxy_tasks import get_task

from search.commands.comparison_tables import show_contest, show_overall
from search.commands.terminal import console
from search.evidence import populations as populations_module
from search.evidence.comparison import Comparison
from search.evidence.comparison_figure import COLOURS, draw
from search.evidence.populations import Run, run_of
from search.evidence.standings import (
    FRESH_SEEDS,
    UNTRAINED,
    ArmEntry,
    BestEntry,
    FreshSeeds,
    Tried,
    arm_entries,
    best_entries,
    overall_entries,
)
from search.settings.settings_file import SettingsFile
from search.settings.tasks import Anchors, TaskSeeds
from search.store import BaselineRow, ProgramRow
from search.training.service import Trainings

ROOT = Path(__file__).parents[3]
PROGRAMS = {key: f"update = g * {place}.5" for place, key in enumerate("abcdefgh")}


def born(
    birth: int, key: str, fitness: float | None, error: float | None = 0.0, answered_by: str = "training"
) -> ProgramRow:
    """A birth of which only this matters; 10 steps where it was trained."""
    status = "rejected" if answered_by in ("rejection", "constraint") else "diverged" if fitness is None else "ok"
    steps = 10 * (answered_by in ("training", "reevaluation"))
    return ProgramRow(
        birth, 0, None, "insert", PROGRAMS[key], key, key, answered_by, 1, 1, 0.0, status, fitness, None, 1, error,
        steps,
    )  # fmt: skip


# --- populations -----------------------------------------------------------------------------------------------------


def test_the_best_of_each_population_is_that_of_its_own_births() -> None:
    rows = [born(0, "a", -3.0), born(1, "b", -1.0), born(2, "c", -2.0), born(3, "d", -4.0)]
    run = run_of(rows, 2)
    assert [p.end.best and p.end.best.key for p in run.populations] == ["c", "b"]
    assert (run.births, run.replica_steps) == (4, 40)
    assert [p.fitness for p in run.populations] == [[-3.0, -2.0], [-1.0, -1.0]]
    assert [p.trained for p in run.populations] == [[0.5, 1.5], [1.0, 2.0]]


def test_the_bound_decides_and_not_the_fitness() -> None:
    (population,) = run_of([born(0, "a", -1.0, 0.5), born(1, "b", -1.2, 0.1), born(2, "c", -1.3, None)], 1).populations
    assert population.end.best is not None and population.end.best.key == "b"


def test_programs_count_once_and_rejected_ones_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(populations_module, "MARKS", (2, 3, 9))
    rows = [
        born(0, "a", -3.0), born(1, "a", -3.0, answered_by="hash"), born(2, "b", None, answered_by="rejection"),
        born(3, "c", None, answered_by="constraint"), born(4, "d", None), born(5, "e", -2.0), born(6, "e", -2.0,
        answered_by="in_flight"),
    ]  # fmt: skip
    (population,) = run_of(rows, 1).populations
    assert population.end.programs == 3, "a, d, which diverged, and e"
    assert [(mark, found.best and found.best.key) for mark, found in population.marks.items()] == [(2, "a"), (3, "e")]


def test_what_another_population_had_trained_counts() -> None:
    run = run_of([born(0, "a", -1.0), born(1, "a", -1.0, answered_by="fingerprint"), born(2, "b", -2.0)], 2)
    assert [(p.end.programs, p.end.best and p.end.best.key) for p in run.populations] == [(2, "a"), (1, "a")]


def test_further_seeds_correct_a_lucky_program_in_every_population_that_has_met_it() -> None:
    rows = [
        born(0, "a", -1.0), born(1, "a", -1.0, answered_by="hash"), born(2, "b", -2.0), born(3, "c", -2.5),
        born(4, "a", -3.0, answered_by="reevaluation"), born(5, "d", -9.0), born(6, "e", -9.0),
        born(7, "a", -1.0, answered_by="hash"),
    ]  # fmt: skip
    run = run_of(rows, 2)
    assert [p.end.best and p.end.best.key for p in run.populations] == ["b", "c"]
    assert [p.end.programs for p in run.populations] == [3, 3], "a program on further seeds is not a further program"
    gone = run_of([*rows[:4], born(4, "a", None, answered_by="reevaluation")], 2)
    assert [p.end.best and p.end.best.key for p in gone.populations] == ["b", "c"]


# --- fresh seeds -----------------------------------------------------------------------------------------------------


class Pretending:
    """A service that gives programs the losses that it was made with, by seed; those without fail."""

    def __init__(self, losses: dict[str, Sequence[float | None]]) -> None:
        self.losses = losses
        self.asked: list[str] = []

    def train(self, programs: Sequence[Program], tasks: Sequence[TaskSeeds]) -> list[list[Trainings]]:
        self.asked += map(str, programs)
        return [[self._trainings(str(program), on) for on in tasks] for program in programs]

    def _trainings(self, genome: str, on: TaskSeeds) -> Trainings:
        assert on.rungs == 1 and on.seeds == tuple(range(1000, 1000 + FRESH_SEEDS))
        known = dict(zip(on.seeds, self.losses[genome], strict=True))
        fitness = {seed: -loss for seed, loss in known.items() if loss is not None}
        return Trainings(on.task.name, fitness, ["diverged: why"] * (len(known) - len(fitness)))


def fresh(service: Pretending, *anchors: Anchors | None, aggregate: Any = "mean") -> FreshSeeds:
    tasks = [TaskSeeds(get_task("digits_mlp"), (0, 1), placed, 1) for placed in anchors or (None,)]
    return FreshSeeds(service, tasks, aggregate)  # type: ignore[arg-type]  # a stand-in


def test_trainings_that_fail_count_as_the_untrained_model() -> None:
    untrained = [2.0 + seed for seed in range(16)]
    losses = {PROGRAMS["a"]: [1.0] * 14 + [None, None], PROGRAMS["b"]: [1.0] * 16, str(UNTRAINED): untrained}
    measured = fresh(Pretending(losses)).measure([PROGRAMS["a"], PROGRAMS["b"], PROGRAMS["a"]])
    assert measured[PROGRAMS["a"]] == (pytest.approx(-(14 + 16.0 + 17.0) / 16), 2)
    assert measured[PROGRAMS["b"]] == (-1.0, 0)


def test_nothing_is_trained_for_failures_where_there_are_none() -> None:
    service = Pretending({PROGRAMS["b"]: [1.0] * 16})
    fresh(service).measure([PROGRAMS["b"]])
    assert service.asked == [PROGRAMS["b"]]


def test_where_even_the_untrained_model_fails_the_bound_of_the_task_counts() -> None:
    losses = {PROGRAMS["a"]: [None] * 16, str(UNTRAINED): [None] * 16}
    assert fresh(Pretending(losses)).measure([PROGRAMS["a"]])[PROGRAMS["a"]] == (-100.0, 16)


def test_several_tasks_are_scored_as_the_search_scores_them() -> None:
    service = Pretending({PROGRAMS["a"]: [1.0] * 16})
    anchors = Anchors(2.0, 0.0), Anchors(4.0, 3.0)
    assert fresh(service, *anchors).measure([PROGRAMS["a"]])[PROGRAMS["a"]].fitness == pytest.approx((0.5 + 3.0) / 2)
    assert fresh(service, *anchors, aggregate="worst").measure([PROGRAMS["a"]])[PROGRAMS["a"]].fitness == 0.5


def test_a_population_that_found_nothing_counts_as_what_it_is() -> None:
    rows = [born(0, "a", -1.0), born(1, "b", None), born(2, "a", -1.0, answered_by="hash"), born(3, "c", None)]
    service = Pretending({PROGRAMS["a"]: [1.5] * 16, PROGRAMS["d"]: [2.0] * 16, str(UNTRAINED): [3.0] * 16})
    adamw = BaselineRow("adamw", PROGRAMS["d"], "d", 0.1, 0.0, -1.9, 28)
    tried = [Tried("one", "x-one", run_of(rows, 2), adamw)]
    entries = best_entries("digits_mlp", tried, fresh(service))
    assert [(e.population, e.fitness, e.fresh, e.lead) for e in entries] == [
        (0, -1.0, -1.5, 0.5),
        (1, None, -3.0, -1.0),
    ]
    (arm,) = arm_entries(tried, entries, "one")
    assert (arm.without, arm.fitness, arm.fresh, arm.gap, arm.lead) == (1, -1.0, -2.25, 0.5, -0.25)
    assert (arm.adamw_fitness, arm.adamw_fresh) == (-1.9, -2.0)


# --- statistics ------------------------------------------------------------------------------------------------------

RNG = np.random.default_rng(7)
ARMS = {"first": 0.0, "second": -0.3, "third": 0.1}


def made_up(task: str, scale: float, populations: int = 5) -> tuple[list[Tried], list[BestEntry]]:
    """Arms with random results on a task."""
    entries = []
    for arm, shift in ARMS.items():
        for population in range(populations):
            for mark in (128, 512, *([2048] if population else []), None):
                seen = float(RNG.normal(shift, 0.2))
                entries.append(
                    BestEntry(
                        task, arm, population, mark, mark or 3000 + population, 7, seen * scale,
                        float(RNG.uniform(0.1, 0.2)) * scale, (seen - float(RNG.uniform(0, 0.3))) * scale, 0,
                        -0.5 * scale,
                    )
                )  # fmt: skip
    return [Tried(arm, f"x-{arm}-{task}", Run(1000, 2_000_000, []), None) for arm in ARMS], entries


def column(entries: Sequence[BestEntry], arm: str, mark: int | None, name: str) -> np.ndarray:
    return np.array([getattr(e, name) for e in entries if (e.arm, e.mark) == (arm, mark)])


def test_an_arm_in_numbers_is_what_numpy_and_scipy_make_of_its_populations() -> None:
    tried, entries = made_up("t", 1.0)
    for one in arm_entries(tried, entries, "first"):
        seen, new = column(entries, one.arm, None, "fitness"), column(entries, one.arm, None, "fresh")
        assert (one.fitness, one.fitness_error) == pytest.approx((seen.mean(), stats.sem(seen)))
        assert (one.fresh, one.fresh_error) == pytest.approx((new.mean(), stats.sem(new)))
        assert (one.gap, one.gap_error) == pytest.approx(((seen - new).mean(), stats.sem(seen - new)))
        errors = column(entries, one.arm, None, "standard_error")
        assert one.gap_in_errors == pytest.approx(np.mean((seen - new) / errors))
        for mark in (128, 512):
            lead = column(entries, one.arm, mark, "fresh") + 0.5
            found = getattr(one, f"lead_{mark}"), getattr(one, f"lead_{mark}_error")
            assert found == pytest.approx((lead.mean(), stats.sem(lead)))
        assert one.lead_2048 is None, "not all populations got so far"
        assert (one.lead, one.lead_error) == pytest.approx((new.mean() + 0.5, stats.sem(new)))
        assert one.programs == 3002 and one.adamw_fresh == -0.5


def test_how_far_the_first_arm_is_ahead_is_as_welch_has_it() -> None:
    tried, entries = made_up("t", 1.0)
    first, *others = arm_entries(tried, entries, "first")
    assert (first.ahead, first.ahead_error, first.z) == (None, None, None)
    ours = column(entries, "first", None, "fresh")
    for one in others:
        theirs = column(entries, one.arm, None, "fresh")
        welch = stats.ttest_ind(ours, theirs, equal_var=False, alternative="greater")
        assert one.ahead == pytest.approx(ours.mean() - theirs.mean())
        assert one.ahead_error == pytest.approx(math.hypot(stats.sem(ours), stats.sem(theirs)))
        assert one.z == pytest.approx(stats.norm.isf(welch.pvalue))
    assert others[0].z is not None and others[0].z > 1, "which is not trivial"


def test_over_all_tasks_z_is_as_stouffer_has_it() -> None:
    arms: dict[str, list[ArmEntry]] = {name: [] for name in ARMS}
    for task, scale in (("t", 1.0), ("u", 1e-3), ("v", 100.0)):
        for one in arm_entries(*made_up(task, scale), "first"):
            arms[one.arm].append(one)
    first, *others = overall_entries(arms, "first")
    assert (first.tasks, first.z, first.ahead_on, first.replica_steps) == (3, None, None, 6_000_000)
    for one in others:
        zs = [entry.z for entry in arms[one.arm]]
        combined = stats.combine_pvalues([stats.norm.sf(z) for z in zs], method="stouffer")
        assert one.z == pytest.approx(combined.statistic)
        assert one.ahead_on == sum((entry.ahead or 0) > 0 for entry in arms[one.arm])
        assert one.gap_in_errors == pytest.approx(np.mean([entry.gap_in_errors for entry in arms[one.arm]]))


def test_arms_are_compared_on_the_tasks_that_the_first_arm_has_run_on_too() -> None:
    arms: dict[str, list[ArmEntry]] = {name: [] for name in ARMS}
    for task in ("t", "u"):
        for one in arm_entries(*made_up(task, 1.0), "first"):
            if (task, one.arm) not in (("t", "first"), ("u", "third")):
                arms[one.arm].append(one)
    of = {one.arm: one for one in overall_entries(arms, "first")}
    assert (of["second"].tasks, of["third"].tasks, of["third"].z) == (1, 0, None)
    assert of["second"].z == arms["second"][1].z


def test_one_population_has_means_and_no_errors() -> None:
    tried, entries = made_up("t", 1.0, populations=1)
    for one in arm_entries(tried, entries, "first"):
        assert one.fresh_error is one.gap_error is one.lead_error is one.ahead_error is one.z is None
        assert one.gap is not None and (one.ahead is None) == (one.arm == "first")


# --- tables and figures ----------------------------------------------------------------------------------------------


def test_tables_fit_80_columns(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "_width", 80)
    arms: dict[str, list[ArmEntry]] = {name: [] for name in ARMS}
    for task in ("markov_transformer_large_batch", "u"):
        tried, entries = made_up(task, 99.0)
        tried = [one._replace(run=Run(1_234_567, 123_456_789, [])) for one in tried]
        of_task = arm_entries(tried, entries, "first")
        show_contest(of_task, "first")
        for one in of_task:
            arms[one.arm].append(one)
    show_overall(overall_entries(arms, "first"), "first")
    out = capsys.readouterr().out
    assert all(len(line) <= 80 for line in out.splitlines())
    assert out.count("third") > 5 and "123.5" in out and "+-" in out and "246.9" in out


@pytest.mark.parametrize("adamw", [True, False])
def test_every_arm_has_its_colour_in_every_panel_and_one_entry_of_the_legend(tmp_path: Path, adamw: bool) -> None:
    found: list[ArmEntry] = []
    for task in ("t", "u"):
        tried, entries = made_up(task, 1.0)
        if not adamw:
            entries = [BestEntry(**{**e.as_columns(), "adamw": None}) for e in entries]
        found += [one for one in arm_entries(tried, entries, "first") if (one.task, one.arm) != ("t", "first")]
    draw("x", ["first", "unrun", "second", "third"], found, [], tmp_path / "x.svg", "score")
    svg = (tmp_path / "x.svg").read_text()
    assert [svg.count(f"<!-- {name} -->") for name in ("first", "unrun", "second", "third")] == [1, 0, 1, 1]
    used = [svg.count(colour.lower()) for colour in COLOURS[:4]]
    assert used[1] == 0 and 0 < used[0] < used[2] == used[3], "the first arm has not run on t"


# --- files -----------------------------------------------------------------------------------------------------------

FILE = """\
name: x
strategy: {start: adamw, repeats: 2}
budget: {replica_steps: 1000}
each:
  - {name: digits_mlp, steps: 5, seeds: {first: 1, most: 4}}
  - {name: digits_autoencoder, steps: 5, seeds: {first: 1, most: 4}}
arms:
  evolution: {}
  paper: {strategy: {kind: paper}, seeds: 2}
"""


def read(tmp_path: Path, text: str, *changes: str) -> Comparison:
    (tmp_path / "x.yaml").write_text(text)
    return Comparison(SettingsFile(tmp_path / "x.yaml", changes))


def test_every_arm_has_a_search_on_each_task(tmp_path: Path) -> None:
    file = read(tmp_path, FILE)
    found = [file.settings(arm, contest) for contest in file.contests for arm in file.arms]
    assert [(one.name, [task.name for task in one.tasks]) for one in found] == [
        ("x-evolution-digits_mlp", ["digits_mlp"]), ("x-paper-digits_mlp", ["digits_mlp"]),
        ("x-evolution-digits_autoencoder", ["digits_autoencoder"]),
        ("x-paper-digits_autoencoder", ["digits_autoencoder"]),
    ]  # fmt: skip
    assert [len(one.task_seeds[0].seeds) for one in found] == [4, 2, 4, 2] and found[1].tasks[0].steps == 5
    assert [one.strategy.kind for one in found[:2]] == ["evolution", "paper"]


def test_seeds_of_an_arm_may_be_raced_and_hold_for_all_tasks(tmp_path: Path) -> None:
    text = FILE.replace("each:", "tasks:").replace("seeds: {first: 1, most: 4}", "seeds: 3")
    file = read(tmp_path, text.replace("evolution: {}", "evolution: {seeds: {first: 2, most: 8}}"))
    (contest,) = file.contests
    assert contest.name == "digits_mlp and digits_autoencoder"
    first, second = (file.settings(arm, contest) for arm in file.arms)
    assert [first.name, second.name] == ["x-evolution", "x-paper"]
    assert [task.model_dump()["seeds"] for task in first.tasks] == [{"first": 2, "most": 8}] * 2
    assert [task.seeds for task in second.tasks] == [2, 2]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("each:", "each: []\ntasks:", "expected tasks, for searches on all of them together, or each, for a search on"
                                      " each; both are here"),
        ("each:", "chosen:", "or each, for a search on each; neither is here"),
        ("each:", "each: 5\nunread:", ":4: each: "),
        ("name: digits_autoencoder", "name: digits_mlp", ":4: each: each task may be named once"),
        ("name: digits_autoencoder", "name: digits", ":6: each.1.name: "),
        ("most: 4}}\n  -", "most: 0}}\n  -", ":5: each.0.seeds"),
        (", seeds: 2}", "}", ":9: arms.paper: 'digits_mlp' has seeds to race programs on, which kind: paper does not"
                             " do; give the arm a number of its own, such as seeds: 2"),
        (", seeds: 2}", ", seeds: {first: 1, most: 2}}", ":9: arms.paper: 'digits_mlp' has seeds to race"),
        (", seeds: 2}", ", seeds: few}", ":9: arms.paper.seeds: "),
        (", seeds: 2}", ", seed_s: 2}", ":9: arms.paper.seed_s: unknown setting; known here: seeds, lengths_of"),
        (", seeds: 2}", ", seeds: 2, tasks: []}", ":9: arms.paper.tasks: all arms have the same; leave it out"),
        (", seeds: 2}", ", seeds: 2, aggregate: worst}", ":9: arms.paper.aggregate: all arms have the same; leave it"),
        (", seeds: 2}", ", seeds: 2, strategy.kind: x}", ":9: arms.paper.strategy.kind: unknown setting"),
        ("kind: paper", "kinds: paper", ":9: arms.paper.strategy.kinds: unknown setting"),
        ("strategy: {kind: paper}", "strategy: paper", ":9: arms.paper.strategy: "),
        ("  paper:", "  a b:", ":9: arms.a b.name: "),
        ("  paper:", "  paper: {seeds: 2, lengths_of: tuning}\n  other:", "lengths_of: expected an arm above it"),
    ],
)  # fmt: skip
def test_mistakes_are_said_in_one_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in FILE
    with pytest.raises(InputError) as error:
        read(tmp_path, FILE.replace(old, new, 1))
    assert said in str(error.value) and "\n" not in str(error.value)


def test_what_was_set_on_the_command_line_is_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^--set arms\.paper\.tasks=5: arms\.paper\.tasks: all arms have the same"):
        read(tmp_path, FILE, "arms.paper.tasks=5")
    file = read(tmp_path, FILE, "arms.paper.seeds=3")
    assert len(file.settings(file.arms[1], file.contests[0]).task_seeds[0].seeds) == 3


def test_arms_and_tasks_are_chosen_by_their_names_in_the_order_of_the_file(tmp_path: Path) -> None:
    file = read(tmp_path, FILE)
    assert file.chosen_arms(None) == file.chosen_arms("paper, evolution") == file.arms
    assert file.chosen_contests("digits_autoencoder") == file.contests[1:]
    with pytest.raises(InputError, match="no arm of this comparison is called 'papers'; there are evolution, paper"):
        file.chosen_arms("papers")
    with pytest.raises(InputError, match="no task of this comparison is called ''; there are digits_mlp, digits_auto"):
        file.chosen_contests("digits_mlp,")


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "comparisons").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_files_that_come_with_the_project_are_comparisons(path: Path) -> None:
    file = Comparison(SettingsFile(path))
    for contest in file.contests:
        first, *others = (file.settings(arm, contest).history() for arm in file.arms)
        assert all(other != first for other in others), "an arm that is the first once more"
    for arm in yaml.safe_load(path.read_text())["arms"].values():
        assert path.stem != "ablations" or len(str(arm).split(":")) <= 3, "one change alone"
