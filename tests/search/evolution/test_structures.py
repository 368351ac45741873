"""Evolution of structures: islands, credit, races, what is proposed, and what a search of it leaves behind."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from programs import parse, structure_hash, zoo
from programs.behaviour import distance, size_of_updates
from programs.liveness import live_statements
from programs.proposals import PROPOSALS, Material

from proxy_tasks import get_task
from proxy_tasks.outcome import Outcome, Status

from search.evolution.births import Genome
from search.evolution.credit import CONSTANTS, FLOOR, Credit
from search.evolution.estimates import Estimate
from search.evolution.islands import FIRST_STEP, RECORDS, STEPS, Island, Record, dominates
from search.evolution.structures import ALIKE, MOST_GAIN, RACE, kind_of
from search.results.results import Results
from search.store import ProgramRow

from tests.support import searches
from tests.support.searches import PretendingEvaluator, opened, pretended, rows_of_query, run, settings_of

GENOME = Genome(zoo.load("sgd"))


def record(key: int, fitness: float, structure: int = 0, error: float = 0.1, sizes: tuple[float, ...] = ()) -> Record:
    return Record(key, GENOME, f"key {key}", f"structure {structure}", Estimate(fitness, error), (fitness,), sizes)


# --- islands ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 20), st.floats(-5, 5), st.integers(0, 6)), min_size=1, max_size=80))
def test_an_island_holds_the_best_programs_of_the_best_structures(added: list[tuple[int, float, int]]) -> None:
    island = Island([record(1000, -math.inf, 99)], 4, 0.0)
    for key, fitness, structure in added:
        known = island.records.get(f"key {key}")
        island.add(record(key, fitness, structure if known is None else int(known.structure.split()[1])))
    held = island.records.values()
    ranked = island.best_of_structures()
    assert len(ranked) == len({one.structure for one in held}) <= 4
    assert max(Counter(one.structure for one in held).values()) <= RECORDS
    assert [one.estimate.fitness for one in ranked] == sorted((o.estimate.fitness for o in ranked), reverse=True)
    for one in ranked:
        assert one.estimate.fitness == max(o.estimate.fitness for o in held if o.structure == one.structure)


def test_the_best_stays_until_more_is_known_of_it() -> None:
    island = Island([record(0, -math.inf)], 2, 0.0)
    for one in (record(1, 5.0, 1), record(2, 1.0, 2), record(3, 2.0, 3)):
        island.add(one)
    assert [one.birth for one in island.best_of_structures()] == [1, 3]
    island.add(record(1, 0.5, 1))
    assert [one.birth for one in island.best_of_structures()] == [3, 1], "a lucky program loses its place"


def doing(key: int, fitness: float, text: str, sizes: tuple[float, ...] = ()) -> Record:
    """Return the record of a program."""
    program = parse(text)
    structure, estimate = structure_hash(program), Estimate(fitness, 0.1)
    return Record(key, Genome(program), f"key {key}", structure, estimate, (fitness,), sizes)


SIGNS = "update = sign(g)\nupdate = update * lr"
NEARLY = "x = g * 1e-6\nupdate = sign(g)\nupdate = update + x\nupdate = update * lr"


def test_structures_that_move_weights_alike_are_one() -> None:
    """The better one counts, whichever comes first; other constants of either stay what it is."""
    for first, second in ((1.0, 2.0), (2.0, 1.0)):
        island = Island([doing(0, -1.0, "update = g * lr")], 10, 0.002)
        island.add(doing(1, first, SIGNS))
        island.add(doing(2, second, NEARLY))
        assert [one.birth for one in island.best_of_structures()] == [1 if first > second else 2, 0]
        island.add(doing(3, 3.0, NEARLY.replace("1e-6", "1.0")))
        assert [one.birth for one in island.best_of_structures()] == [3, 0]


def test_structures_are_apart_by_their_sizes_or_without_a_radius() -> None:
    for radius, sizes in ((0.0, ((), ())), (0.002, ((2.0,), (4.0,)))):
        island = Island([doing(0, -1.0, "update = g * lr", sizes[0])], 10, radius)
        island.add(doing(1, 1.0, SIGNS, sizes[0]))
        island.add(doing(2, 1.0, NEARLY, sizes[1]))
        assert {one.birth for one in island.best_of_structures()} >= {1, 2}


def test_steps_grow_with_every_success_and_shrink_with_four_failures() -> None:
    island = Island([record(0, 0.0)], 2, 0.0)
    assert island.step("s") == FIRST_STEP
    island.tries["s"], island.wins["s"] = 5, 1
    assert island.step("s") == pytest.approx(FIRST_STEP)
    island.wins["s"] = 5
    assert island.step("s") == STEPS[1]
    island.tries["s"], island.wins["s"] = 500, 0
    assert island.step("s") == STEPS[0]


# --- several objectives ----------------------------------------------------------------------------------------------

records = st.builds(
    record,
    st.integers(0, 5), st.floats(-3, 3), error=st.floats(0, 1),
    sizes=st.tuples(st.sampled_from([0.0, 1.0, 2.0]), st.sampled_from([3.0, 9.0])),
)  # fmt: skip


@given(records, records)
def test_domination_is_one_sided_and_needs_more_than_noise(one: Record, other: Record) -> None:
    assert not dominates(one, one)
    assert not (dominates(one, other) and dominates(other, one))
    if dominates(one, other):
        assert all(a <= b for a, b in zip(one.sizes, other.sizes, strict=True))
        noise = math.hypot(one.estimate.standard_error, other.estimate.standard_error)
        assert one.estimate.fitness - other.estimate.fitness >= -noise
        assert one.sizes != other.sizes or one.estimate.fitness - other.estimate.fitness > noise


def test_what_an_island_begins_anew_from_is_known() -> None:
    island = Island([record(0, -math.inf), record(1, -math.inf, 1)], 10, 0.0)
    for one in (record(0, 0.5), record(2, 0.7, 2), record(0, 0.4)):
        island.add(one)
    assert [start.estimate.fitness for start in island.starts] == [0.4, -math.inf]


def test_the_front_comes_first() -> None:
    island = Island([record(0, -math.inf, 0, 0.0, (9.0,))], 10, 0.0)
    for one in (record(1, 1.0, 1, 0.01, (5.0,)), record(2, 0.9, 2, 0.01, (6.0,)), record(3, 0.2, 3, 0.01, (2.0,))):
        island.add(one)
    assert [one.birth for one in island.best_of_structures()] == [1, 3, 2, 0]


# --- credit ----------------------------------------------------------------------------------------------------------

KINDS = [CONSTANTS, *PROPOSALS]


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.floats(0, 3)), max_size=200), st.floats(0.05, 0.95))
def test_kinds_share_all_births_and_none_is_given_up(noted: list[tuple[str, float]], constants: float) -> None:
    credit = Credit(KINDS, constants)
    prior = credit.weights(adapts=False)
    assert credit.weights(adapts=True) == pytest.approx(prior)
    for kind, gain in noted:
        credit.note(kind, gain)
    weights = credit.weights(adapts=True)
    assert sum(weights.values()) == pytest.approx(1)
    assert all(weights[kind] >= FLOOR * prior[kind] for kind in KINDS)
    assert credit.weights(adapts=False) == prior


def test_without_births_of_constants_the_others_share_all() -> None:
    credit = Credit([*PROPOSALS], 0.0)
    assert sum(credit.weights(adapts=False).values()) == pytest.approx(1)
    for _ in range(200):
        credit.note("insert", MOST_GAIN)
    weights = credit.weights(adapts=True)
    assert sum(weights.values()) == pytest.approx(1) and weights["insert"] > 1 / len(PROPOSALS)


def test_what_gains_is_tried_more_often() -> None:
    credit = Credit(KINDS, 0.4)
    before = credit.weights(adapts=True)
    for _ in range(50):
        credit.note("graft", 1.0)
        credit.note("insert", 0.0)
    after = credit.weights(adapts=True)
    assert after["graft"] > 1.5 * before["graft"] and after["insert"] < before["insert"]


def test_the_kind_of_a_birth_is_what_made_it() -> None:
    assert [kind_of(word) for word in ("graft", "graft+2", "insert x0.3", "constants")] == [
        "graft", "graft", "insert", "constants",
    ]  # fmt: skip


# --- a search --------------------------------------------------------------------------------------------------------

RACED = {"name": "digits_mlp", "steps": 5, "seeds": {"first": 1, "most": 8}}


def searched(tmp_path: Path, births: int = 600, **strategy: Any) -> list[ProgramRow]:
    with opened(tmp_path / "r.db") as store:
        chosen = {"kind": "evolution", "start": "adamw", "population": 10} | strategy
        run(settings_of(strategy=chosen, tasks=[RACED], budget={"programs": births}), store, PretendingEvaluator())
        return list(store.births(1))


@pytest.fixture
def fickle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes programs diverge on some seeds."""

    def outcome(key: str, seed: int) -> Outcome:
        if seed and Random(f"{seed} {key}").random() < 0.1:
            return Outcome("diverged", None, [1.0], 1, 0.5, "on this seed")
        return pretended(key, seed)

    monkeypatch.setattr(searches, "pretended", outcome)


@pytest.mark.usefixtures("fickle")
def test_races_train_the_same_program_on_further_seeds(tmp_path: Path) -> None:
    rows = searched(tmp_path)
    races = [row for row in rows if row.mutation == RACE]
    assert len(races) > 10 and {row.answered_by for row in races} <= {"reevaluation", "in_flight"}
    known: dict[str, ProgramRow] = {}
    for row in rows:
        if row.answered_by == "reevaluation":
            before = known[row.key]
            assert row.parent_birth is not None and rows[row.parent_birth].genome == row.genome
            assert row.trainings == 2 * before.trainings <= 8
            if row.fitness is None:
                assert row.by_seed is None
            else:
                assert before.by_seed is not None and row.by_seed is not None
                assert list(row.by_seed[: before.trainings]) == list(before.by_seed)
                assert len(row.by_seed) == row.trainings
        if row.answered_by in ("training", "reevaluation"):
            known[row.key] = row
    assert max(row.trainings for row in races) == 8
    assert any(row.fitness is None for row in races), "a failure on a further seed is one"


@pytest.mark.usefixtures("fickle")
def test_what_failed_on_a_further_seed_is_no_parent_any_more_and_not_on_the_leaderboard(tmp_path: Path) -> None:
    rows = searched(tmp_path)
    failed = {row.key: row.birth for row in rows if row.answered_by == "reevaluation" and row.fitness is None}
    for row in rows:
        if row.parent_birth is not None and row.mutation != RACE:
            key = rows[row.parent_birth].key
            if key in failed:
                assert row.batch - rows[failed[key]].batch < 3, "only what was drawn before it was known"
    with opened(tmp_path / "r.db") as store:
        assert not failed.keys() & {row.key for row in Results(store).leaderboard("small", None)}


def test_races_have_no_more_than_their_share(tmp_path: Path) -> None:
    rows = searched(tmp_path, race_share=0.2)
    spent: Counter[bool] = Counter()
    for row in rows:
        if row.answered_by in ("training", "reevaluation"):
            cost = row.trainings // 2 if row.answered_by == "reevaluation" else 1
            spent[row.answered_by == "reevaluation"] += cost
            assert spent[True] <= 0.2 * spent.total() + 4, "but for the last of them"
    assert spent[True] > 0


def test_some_races_are_for_programs_that_do_not_look_promising(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first seed that is hard for all but what the noise was measured with: all that is better looks worse."""
    for folder in ("before", "believing", "doubting"):
        (tmp_path / folder).mkdir()
    known = {searched(tmp_path / "before", 1)[0].key}
    with opened(tmp_path / "before" / "r.db") as store:
        known |= {row["key"] for row in rows_of_query(store, "SELECT key FROM baseline")}

    def outcome(key: str, seed: int) -> Outcome:
        loss = 0.5 if key in known else 0.8 if seed == 0 else 0.2
        return pretended(key, seed)._replace(status=Status.OK, fitness=-loss, reason=None)

    monkeypatch.setattr(searches, "pretended", outcome)
    doubting = searched(tmp_path / "doubting", 300)
    monkeypatch.setattr("search.evolution.structures.DOUBT", 0.0)
    believing = searched(tmp_path / "believing", 300)

    def best_of(rows: list[ProgramRow]) -> float:
        return max(row.fitness for row in rows if row.fitness is not None)

    assert best_of(doubting) > -0.4 > best_of(believing)


def test_trainings_are_those_that_the_rows_tell(tmp_path: Path) -> None:
    rows = searched(tmp_path, births=300)
    last = {row.key: row for row in rows if row.answered_by in ("training", "reevaluation")}
    with opened(tmp_path / "r.db") as store:
        del last[rows[0].key]  # which baselines and estimates were measured with
        for key, row in last.items():
            (found,) = rows_of_query(store, "SELECT COUNT(*) AS n FROM training WHERE key = :key", key=key)
            assert found["n"] == row.trainings


def test_children_have_another_structure_or_other_constants(tmp_path: Path) -> None:
    rows = searched(tmp_path)
    structures = {row.birth: structure_hash(parse(row.genome)) for row in rows}
    for row in rows:
        if row.parent_birth is None or row.mutation == RACE:
            continue
        same = structures[row.birth] == structures[row.parent_birth]
        assert same if row.mutation == CONSTANTS else kind_of(row.mutation) in PROPOSALS
        program = parse(row.genome)
        assert len(live_statements(program)) == len(program), "genomes are clean"
    assert {kind_of(row.mutation) for row in rows} >= {CONSTANTS, RACE, "insert", "delete", "exchange", "graft"}


@pytest.mark.parametrize("radius", [0.0, 0.05])
def test_changes_that_change_next_to_nothing_are_drawn_again(tmp_path: Path, radius: float) -> None:
    rows = searched(tmp_path, 400, niche_radius=radius)
    apart = [
        distance(parse(row.genome), parse(rows[row.parent_birth].genome))
        for row in rows
        if row.parent_birth is not None and kind_of(row.mutation) in PROPOSALS and "+" not in row.mutation
    ]
    near = sum(one < 0.05 for one in apart) / len(apart)
    assert near > 0.15 if radius == 0.0 else near < 0.05, "cleaning and the size of updates may bring some back"


def test_new_structures_have_updates_of_their_parents_size(tmp_path: Path) -> None:
    """Where a factor on the update decides; weight decay and relative steps go their own ways."""

    layout = get_task("digits_mlp").load()[1].layout

    def share_alike(rows: list[ProgramRow]) -> float:
        ratios = []
        for row in rows:
            if row.parent_birth is not None and kind_of(row.mutation) in PROPOSALS:
                own, parents = (
                    size_of_updates(parse(text), layout) for text in (row.genome, rows[row.parent_birth].genome)
                )
                if own and parents:
                    ratios.append(own / parents)
        return sum(1 / ALIKE / 1.01 < ratio < ALIKE * 1.01 for ratio in ratios) / len(ratios)

    for folder in ("matched", "free"):
        (tmp_path / folder).mkdir()
    matched = share_alike(searched(tmp_path / "matched", 300))
    assert matched > 0.7 and matched > share_alike(searched(tmp_path / "free", 300, match_size=False)) + 0.1


def test_scales_are_tried_side_by_side(tmp_path: Path) -> None:
    rows = searched(tmp_path, scales=[1, 0.1, 10], match_size=False)
    batches: dict[int, list[ProgramRow]] = {}
    for row in rows:
        batches.setdefault(row.batch, []).append(row)
    for batch in list(batches.values())[:-1]:
        for row, later, last in zip(batch, batch[1:], batch[2:], strict=False):
            is_new = row.answered_by == "training" and kind_of(row.mutation) in PROPOSALS and " x" not in row.mutation
            if is_new and later.mutation != RACE and last.mutation != RACE:
                assert [later.mutation, last.mutation] == [f"{row.mutation} x0.1", f"{row.mutation} x10"]
    words = {row.mutation.split(" ")[1] for row in rows if " x" in row.mutation}
    assert words == {"x0.1", "x10"}


@pytest.mark.parametrize("islands", [1, 2])
def test_no_variant_is_lost_at_the_end_of_a_batch_or_born_elsewhere(tmp_path: Path, islands: int) -> None:
    rows = searched(tmp_path, scales=[1, 0.1, 10], match_size=False, islands=islands, migrate_after=None)
    new = {
        row.birth for row in rows
        if row.answered_by == "training" and kind_of(row.mutation) in PROPOSALS and " x" not in row.mutation
    }  # fmt: skip
    variants = [row for row in rows if " x" in row.mutation]
    assert 2 * len(new) - 2 * islands <= len(variants) <= 2 * len(new) and variants, "all but the last"
    assert all(row.parent_birth is not None and row.parent_birth % islands == row.birth % islands for row in variants)


def test_islands_of_repeats_do_not_mix(tmp_path: Path) -> None:
    rows = searched(tmp_path, repeats=2, islands=2, migrate_after=None)
    for row in rows:
        if row.parent_birth is not None and row.mutation != RACE:
            assert row.parent_birth % 4 == row.birth % 4, "island = birth // 2 % 2, repeat = birth % 2"
        elif row.mutation == RACE and row.parent_birth is not None:
            assert row.parent_birth % 2 == row.birth % 2


def test_a_race_is_a_turn_to_migrate_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(
        "search.evolution.structures.StructureEvolution._migrate", lambda _self, _r, _i, number: asked.append(number)
    )
    rows = searched(tmp_path, 200, islands=2)
    assert asked == [row.birth for row in rows] and any(row.mutation == RACE for row in rows)


def test_the_best_migrate(tmp_path: Path) -> None:
    rows = searched(tmp_path, islands=2, migrate_after=20)
    assert any(
        row.parent_birth is not None and row.parent_birth % 2 != row.birth % 2 and row.mutation != RACE for row in rows
    )


@pytest.mark.parametrize("name", ["adamw", "lion", "nesterov"])
def test_material_of_all_kinds_makes_children(name: str) -> None:
    from programs.ops import LANGUAGES, functions_of

    functions = functions_of(LANGUAGES["paper"])
    material = Material(functions, zoo.within(functions), 64)
    rng = Random(1)
    made = Counter(
        kind for kind, change in PROPOSALS.items() for _ in range(20) if change(zoo.load(name), rng, material)
    )
    assert all(made[kind] >= 10 for kind in PROPOSALS if kind not in ("average", "duplicate_state"))
