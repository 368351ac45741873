"""Mutations: always valid children, three kinds equally likely, each doing exactly what its name says."""

from __future__ import annotations

import math
from collections import Counter
from hashlib import sha256
from random import Random
from statistics import fmean, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from programs import InputError, Program, parse, zoo
from programs.graph import V
from programs.kinds import ROW
from programs.mutation import delete, insert, modify, mutate, random_program, tune
from programs.ops import LANGUAGES, functions_of

from tests.support.strategies import programs

SEEDS = st.integers(0, 2**32 - 1)
CHI_SQUARE_2 = 13.8  # exceeded with probability 0.001 at two degrees of freedom


def check(child: Program | None) -> Program:
    """The child, read back from its text: valid by the parser's own rules."""
    assert child is not None
    return parse(str(child))


def changed_arguments(parent: Program, child: Program) -> list[tuple[int, int]]:
    """Places (statement, argument) at which two programs of one shape differ."""
    assert [(s.target, s.function, len(s.args)) for s in parent.statements] == [
        (s.target, s.function, len(s.args)) for s in child.statements
    ]
    return [
        (i, j)
        for i, (a, b) in enumerate(zip(parent.statements, child.statements, strict=True))
        for j, (x, y) in enumerate(zip(a.args, b.args, strict=True))
        if x != y
    ]


def without(program: Program, place: int) -> Program:
    return Program(program.statements[:place] + program.statements[place + 1 :])


@given(program=programs(), seed=SEEDS)
def test_children_are_valid_and_do_what_they_say(program: Program, seed: int) -> None:
    """Insert adds exactly one statement, delete removes one, modify changes one argument and never a function."""
    rng, before = Random(seed), str(program)
    for _ in range(10):
        child, name = mutate(program, rng)
        assert check(child) == child
        assert str(program) == before
        if name == "insert":
            assert program in [without(child, i) for i in range(len(child))]
        elif name == "delete":
            assert child in [without(program, i) for i in range(len(program))]
        else:
            assert name == "modify"
            assert_one_change_unless_zero(program, child)


def assert_one_change_unless_zero(parent: Program, child: Program) -> None:
    """Constants that scaling cannot change are tested apart."""
    unchangeable = any(a == 0.0 for s in parent.statements for a in s.args)
    assert len(changed_arguments(parent, child)) in ((0, 1) if unchangeable else (1,))


@pytest.mark.parametrize("constant", ["0.0", "1.7976931348623157e308"])
def test_modify_never_returns_the_parent(constant: str) -> None:
    program, rng = parse(f"update = g * {constant}"), Random(0)
    assert all(modify(program, rng) != program for _ in range(200))


@given(program=programs(), seed=SEEDS)
def test_the_same_seed_gives_the_same_child(program: Program, seed: int) -> None:
    assert mutate(program, Random(seed)) == mutate(program, Random(seed))


def test_different_seeds_give_different_children() -> None:
    program = zoo.load("adamw")
    assert len({mutate(program, Random(seed))[0] for seed in range(100)}) > 60


@pytest.mark.parametrize("name", ["adamw", "lion", "sgd", "raw_lion"])
def test_the_three_kinds_are_equally_likely(name: str) -> None:
    """Chi-square over 6000 draws; from `sgd`, of two statements, few deletions are valid and it holds all the same."""
    program, rng = zoo.load(name), Random(20)
    counts = Counter(mutate(program, rng)[1] for _ in range(6000))
    assert set(counts) == {"insert", "delete", "modify"}
    assert sum((n - 2000) ** 2 / 2000 for n in counts.values()) < CHI_SQUARE_2, counts


def test_from_a_program_of_one_statement_nothing_is_deleted() -> None:
    program, rng = parse("update = g * lr"), Random(1)
    counts = Counter(mutate(program, rng)[1] for _ in range(1000))
    assert set(counts) == {"insert", "modify"}
    assert abs(counts["insert"] - 500) < 60


@pytest.mark.parametrize("limit", [1, 2, 5, 12])
def test_no_child_grows_beyond_max_statements(limit: int) -> None:
    program, rng = parse("update = g * lr"), Random(2)
    sizes = []
    for _ in range(500):
        program, _ = mutate(program, rng, max_statements=limit)
        sizes.append(len(program))
    assert max(sizes) == limit


def test_a_program_beyond_the_limit_only_shrinks_or_changes() -> None:
    program, rng = zoo.load("raw_lion"), Random(3)
    assert {mutate(program, rng, max_statements=4)[1] for _ in range(100)} == {"delete", "modify"}


def test_a_long_walk_stays_valid() -> None:
    """3000 mutations in a row; every twentieth program is read back from its text."""
    program, rng = zoo.load("adamw"), Random(4)
    for number in range(3000):
        program, _ = mutate(program, rng, max_statements=40)
        _ = program.dataflow
        if number % 20 == 0:
            assert check(program) == program


def test_insertions_reach_every_place_and_every_function() -> None:
    program, rng = zoo.load("lion"), Random(5)
    places: Counter[int] = Counter()
    functions: Counter[str] = Counter()
    for _ in range(4000):
        child = check(insert(program, rng))
        place = next(i for i, s in enumerate(child.statements) if program.statements[i : i + 1] != (s,))
        places[place] += 1
        functions[child.statements[place].function] += 1
    assert len(functions) == 44
    assert set(places) == set(range(len(program) + 1))
    assert min(functions.values()) > 40  # 91 expected
    assert min(places.values()) > 350  # 500 expected


def test_deletions_take_every_statement_equally_often() -> None:
    program, rng = zoo.load("lion"), Random(6)
    counts = Counter(delete(program, rng) for _ in range(3500))
    assert set(counts) == {without(program, i) for i in range(len(program))}
    assert min(counts.values()) > 400  # 500 expected


def test_half_of_the_changes_of_a_constant_scale_it_by_a_log_normal_factor() -> None:
    """2^a with a ~ N(0, 1); the other half becomes another variable or a new constant."""
    program, rng = parse("update = g * 1000.0"), Random(7)
    children = [modify(program, rng) for _ in range(6000)]
    constants = [c.statements[0].args[1] for c in children if c and c.statements[0].args[0] == "g"]
    scaled = [math.log2(a / 1000.0) for a in constants if isinstance(a, float) and a > 20.0]
    fresh = [a for a in constants if isinstance(a, float) and a <= 20.0]
    assert abs(len(scaled) - 1500) < 150  # half of the statements' two arguments is the constant
    assert abs(fmean(scaled)) < 0.1
    assert abs(pstdev(scaled) - 1.0) < 0.1
    assert abs(fmean(fresh)) < 0.3
    assert abs(pstdev(fresh) - 1.0) < 0.2


def test_new_constants_are_standard_normal() -> None:
    program, rng = parse("x = g * lr\nupdate = x * lr"), Random(8)
    children = [modify(program, rng) for _ in range(12000)]
    constants = [a for c in children if c for s in c.statements for a in s.args if isinstance(a, float)]
    assert len(constants) > 1000
    assert abs(fmean(constants)) < 0.1
    assert abs(pstdev(constants) - 1.0) < 0.1
    assert abs(sum(abs(a) < 0.6745 for a in constants) / len(constants) - 0.5) < 0.05


@given(program=programs(), seed=SEEDS)
def test_tune_changes_one_constant_and_nothing_else(program: Program, seed: int) -> None:
    """It keeps the constant's sign; a zero alone cannot be tuned."""
    constants = [a for s in program.statements for a in s.args if isinstance(a, float)]
    if not constants:
        with pytest.raises(InputError, match="no constants"):
            tune(program, Random(seed))
        return
    before = str(program)
    child, name = tune(program, Random(seed))
    assert (name, str(program), check(child)) == ("tune", before, child)
    changed = changed_arguments(program, child)
    assert len(changed) == 1 or (not changed and 0.0 in constants)
    for i, j in changed:
        old, new = program.statements[i].args[j], child.statements[i].args[j]
        assert isinstance(old, float) and isinstance(new, float)
        assert new / old > 0


def test_tune_refuses_a_program_without_constants() -> None:
    with pytest.raises(InputError, match="no constants"):
        tune(parse("update = g * lr"), Random(0))


def test_tune_reaches_every_constant_by_log_normal_factors() -> None:
    program, rng = zoo.load("adamw"), Random(9)
    places: Counter[tuple[int, int]] = Counter()
    factors = []
    for _ in range(4000):
        child, _ = tune(program, rng)
        ((i, j),) = changed_arguments(program, child)
        places[i, j] += 1
        new, old = child.statements[i].args[j], program.statements[i].args[j]
        factors.append(math.log2(float(new) / float(old)))
    assert len(places) == 4
    assert min(places.values()) > 850  # 1000 expected
    assert abs(fmean(factors)) < 0.06
    assert abs(pstdev(factors) - 1.0) < 0.06


# --- random programs -------------------------------------------------------------------------------------------------


@given(st.integers(1, 40), st.integers(0, 10_000))
def test_random_programs_are_valid_and_as_long_as_asked(statements: int, seed: int) -> None:
    program = random_program(Random(seed), statements)
    assert len(program) == statements and program.dataflow is not None
    assert program.statements[-1].target == "update"
    assert parse(str(program)) == program


SETS_DRAWN = [("paper",), LANGUAGES["paper"], ("matrices",), ("paper", "steps"), LANGUAGES["extended"]]


@pytest.mark.parametrize("sets", SETS_DRAWN, ids=" ".join)
def test_only_and_all_functions_of_the_sets_are_drawn(sets: tuple[str, ...]) -> None:
    """In random programs and by insertions; the last are valid, whatever is kept by rows or columns in between."""
    functions = functions_of(sets)
    names = {op.name for op in functions}
    rng, used = Random(3), set[str]()
    for seed in range(150):
        program = random_program(Random(seed), 16, functions)
        used |= {s.function for s in program.statements}
        for _ in range(5):
            program, _ = mutate(program, rng, 40, functions)
            used |= {s.function for s in program.statements}
        assert check(program) == program
    assert used == names


def test_draws_of_the_paper_are_what_they_always_were() -> None:
    """The digest is that of the first release of the language, with nothing but the functions of the paper."""
    digest, rng = sha256(), Random(16)
    functions = functions_of(["paper"])
    for name in ("adamw", "lion", "sgd_momentum", "rmsprop"):
        program = zoo.load(name)
        for _ in range(500):
            program, mutation = mutate(program, rng, 30, functions)
            digest.update(f"{mutation}\n{program}\n".encode())
    for number in range(100):
        digest.update(str(random_program(rng, 1 + number % 20, functions)).encode())
    assert digest.hexdigest() == "3639d767dcebcd750333717dccddf1e4b0b0f9433d718632012f6b5d2b8a62fc"


def test_a_state_may_come_to_be_kept_by_rows() -> None:
    """What is the same along rows may be written to a state, and then the state is no longer than that."""
    rng, program = Random(5), parse("v = v + g\nx = row_mean(v)\nupdate = g / x")
    functions = functions_of(LANGUAGES["extended"])
    children = [mutate(program, rng, 10, functions)[0] for _ in range(3000)]
    assert ROW in {child.dataflow.nodes[V].kind for child in children}
