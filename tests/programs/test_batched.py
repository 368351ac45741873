"""torch over rows against the NumPy reference: every function, whole programs, and many replicas at once.

"Equal up to rounding" is, in float32, 4e-6 of the result (32 units in the last place; the worst found in a scan of
random floats is nine, in `cbrt`). Where terms cancel it is 4e-6 of the sum of their magnitudes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from programs import Program, Statement, parse, zoo
from programs.layout import Layout
from programs.liveness import live_statements
from programs.run.batched import Rows
from programs.run.reference import State, numpy_step
from programs.run.sharing import SharingTree, Skeletons, share

from tests.support import oracle
from tests.support.oracle import ARITIES, LEAF, SCALAR, TREE, expected_kind
from tests.support.runs import batched_weights, padded, reference_weights, rules_of, zero_rows
from tests.support.strategies import (
    SIZES,
    Trajectory,
    case_program,
    kind_cases,
    layout_of,
    mutated_program,
    programs,
    random_program,
    trajectory,
)

RTOL, TINY = 4e-6, 1e-44  # the latter: two units of the smallest denormals
LAYOUT = layout_of()
WIDTH = sum(SIZES)
REDUCING = ("norm", "global_norm", "dot", "cosine_sim", "clip", "interp")
SINH_LIMIT = 88.7  # beyond it torch overflows up to 0.7 too early, see below


# --- one function at a time ----------------------------------------------------------------------------------------


def next_m(program: Program, rows: Sequence[np.ndarray], lr: float) -> tuple[np.ndarray, np.ndarray]:
    """The next state m `[P]` in float32: by the NumPy reference and by torch."""
    w, g, m, v = (np.array(row, np.float32) for row in rows)
    with np.errstate(all="ignore"):
        _, state = numpy_step(program, LAYOUT, np.float32)(w, g, State(m, v), lr)
    buffers = Rows(*(padded(x[None], LAYOUT) for x in (w, g, m, v)))
    rules_of([program], LAYOUT, buffers)[0].step(torch.tensor([lr], dtype=torch.float32), torch.zeros(1))
    assert state.m.dtype == np.float32
    return state.m, buffers.m[0, :WIDTH].numpy()


def slack(function: str, kinds: Sequence[str], rows: Sequence[np.ndarray], scalars: Sequence[float]) -> float:
    """How far two orders of summation may lie apart, in absolute terms: RTOL of the terms' magnitudes."""
    largest = {TREE: iter(np.abs(rows[:2])), LEAF: iter(np.abs(rows[2::-2])), SCALAR: iter(np.abs(scalars))}
    sizes = [np.asarray(next(largest[kind]), np.float64) for kind in kinds]
    if function == "dot":
        return RTOL * float(np.sum(sizes[0] * sizes[1]))
    if function == "cosine_sim":
        return RTOL
    if function == "interp":
        return RTOL * float(np.max((1 + sizes[2]) * np.max(sizes[0]) + sizes[2] * np.max(sizes[1])))
    return 0.0


def magnitudes(function: str) -> st.SearchStrategy[float]:
    """Floats of all magnitudes, zeros and both signs; where squares are summed, none that over- or underflow."""
    if function in REDUCING:
        return st.one_of(st.just(0.0), st.floats(2**-50, 2**50, width=32), st.floats(-(2**50), -(2**-50), width=32))
    numbers = st.one_of(
        st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, 2.0]),
        st.floats(-4, 4, width=32),
        st.floats(allow_nan=False, allow_infinity=False, width=32),
    )
    if function in ("sinh", "cosh"):
        return numbers.filter(lambda x: not SINH_LIMIT < abs(x) < SINH_LIMIT + 1)
    return numbers


@st.composite
def leaf_rows(draw: st.DrawFn) -> np.ndarray:
    """[P] rows whose leaves hold one nonzero number, a power of two, so that their norms are exact."""
    row = np.zeros(WIDTH, np.float32)
    row[LAYOUT.starts] = draw(st.lists(st.integers(-6, 4).map(lambda k: 2.0**k), min_size=4, max_size=4))
    return row


@pytest.mark.parametrize(("function", "kinds"), kind_cases(), ids=lambda x: x if isinstance(x, str) else "-".join(x))
@settings(max_examples=5)
@given(data=st.data())
def test_every_function_of_every_kinds_agrees_with_numpy(
    function: str, kinds: tuple[str, ...], data: st.DataObject
) -> None:
    """Finite arguments. Scalars are constants alone (then folded before the first step) or lr among constants."""
    number = magnitudes(function)
    row = st.lists(number, min_size=WIDTH, max_size=WIDTH).map(lambda x: np.array(x, np.float32))
    w, g = (data.draw(leaf_rows() if list(kinds).count(LEAF) == 2 else row) for _ in range(2))
    m, v = data.draw(leaf_rows()), data.draw(leaf_rows()) * data.draw(st.sampled_from([0.0, 1.0]))
    scalars = [data.draw(number) for _ in range(3)]
    use_lr = data.draw(st.booleans())
    program = case_program(function, kinds, ["lr", *scalars[1:]] if use_lr else scalars)
    expected, got = next_m(program, (w, g, m, v), scalars[0])
    atol = TINY + slack(function, kinds, (w, g, m, v), scalars)
    np.testing.assert_allclose(got, expected, rtol=RTOL, atol=atol)


SPECIAL = np.array(
    [0.0, -0.0, 1.0, -1.0, 0.5, -2.0, 1e-8, 3e38, -3e38, 1e-42, np.inf, -np.inf, np.nan, 1 / 3], np.float32
)


ON_TREES = [f for f, n in ARITIES.items() if n and expected_kind(f, [TREE] * n) == TREE and f not in oracle.MATRIX]


@pytest.mark.parametrize("function", ON_TREES)
def test_elementwise_functions_agree_at_infinities_and_nan(function: str) -> None:
    """All pairs of special numbers, NaN for NaN and infinity for infinity."""
    pairs = np.array(list(itertools.product(SPECIAL, SPECIAL))).T  # [2, 196], in 28 rows of 7
    for w, g in zip(*(x.reshape(-1, WIDTH) for x in pairs), strict=True):
        zero = np.zeros(WIDTH)
        expected, got = next_m(case_program(function, [TREE] * ARITIES[function]), (w, g, zero, zero), 1.0)
        np.testing.assert_allclose(got, expected, rtol=RTOL, atol=TINY)


@pytest.mark.parametrize("function", ["norm", "global_norm", "dot", "cosine_sim", "clip"])
@pytest.mark.parametrize("special", [0.0, np.inf, -np.inf, np.nan, 3e38])
def test_reductions_agree_at_infinities_nan_and_overflow(function: str, special: float) -> None:
    """One special number in the row, and a row of nothing else."""
    kinds = [TREE, SCALAR] if function == "clip" else [TREE] * ARITIES[function]
    one = np.array([1.0, -2.0, special, 0.0, 0.5, 3.0, -1.0])
    for w in (one, np.full(WIDTH, special)):
        expected, got = next_m(case_program(function, kinds), (w, one[::-1], np.zeros(WIDTH), np.zeros(WIDTH)), 0.5)
        np.testing.assert_allclose(got, expected, rtol=RTOL)


@pytest.mark.parametrize(("x", "y"), list(itertools.product([np.inf, -np.inf, np.nan, 1.0], repeat=2)))
@pytest.mark.parametrize("a", [-0.5, 0.0, 0.25, 0.75, 1.0, 1.5])
def test_interp_of_infinities_is_numpys_value_or_nan(x: float, y: float, a: float) -> None:
    """As `ops.py` says: the fused form may lose an infinity, and invents nothing else."""
    rows = (np.full(WIDTH, x), np.full(WIDTH, y), np.zeros(WIDTH), np.zeros(WIDTH))
    expected, got = next_m(case_program("interp", [TREE, TREE, SCALAR], [a]), rows, 1.0)
    assert np.all(np.isnan(got) | np.isinf(got) | np.isclose(got, expected, rtol=RTOL))
    if np.isfinite([x, y]).all():
        np.testing.assert_allclose(got, expected, rtol=RTOL)


# Not strict: it hangs on the vector instructions of the machine.
OVERFLOWS_EARLY = pytest.mark.xfail(strict=False, reason="torch.sinh and cosh overflow from 88.7 on, NumPy's from 89.4")


@pytest.mark.parametrize(
    ("function", "args"),
    [
        pytest.param("sinh", (89.0,), marks=OVERFLOWS_EARLY),
        pytest.param("cosh", (89.0,), marks=OVERFLOWS_EARLY),
        pytest.param("interp", (3e38, -3e38, 0.5), marks=pytest.mark.xfail(strict=True, reason="y - x overflows")),
    ],
)
def test_large_finite_arguments_agree_too(function: str, args: tuple[float, ...]) -> None:
    """Results that float32 can hold."""
    kinds, rows = [TREE, TREE, SCALAR][: len(args)], [np.full(WIDTH, x) for x in (*args[:2], 0.0, 0.0, 0.0)[:4]]
    expected, got = next_m(case_program(function, kinds, args[2:]), rows, 1.0)
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(got, expected, rtol=RTOL)


@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=12).map(tuple),
    replicas=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_norms_of_leaves_of_any_size(sizes: tuple[int, ...], replicas: int, seed: int) -> None:
    """`norm(g)` spread over the row, replica by replica, against a loop over leaves."""
    layout = layout_of(sizes)
    rows = zero_rows(replicas, np.zeros(layout.total), layout)
    g = np.random.default_rng(seed).normal(size=(replicas, layout.total))
    rows.g.copy_(padded(g, layout))
    program = parse("n = norm(g)\nupdate = w - n")
    rules_of([program] * replicas, layout, rows)[0].step(torch.ones(1), torch.zeros(1))
    pieces = [np.split(row, np.cumsum(sizes)[:-1]) for row in g]
    expected = [np.concatenate([np.full(len(p), np.linalg.norm(p)) for p in row]) for row in pieces]
    np.testing.assert_allclose(rows.w[:, : layout.total].numpy(), expected, rtol=1e-6)


def test_an_empty_leaf_is_refused() -> None:
    """A reduction within it would have no meaning."""
    with pytest.raises(ValueError, match="empty leaf"):
        Layout.of_shapes([(2,), (0,), (1,)])


@pytest.mark.parametrize("padding", [0.0, 1e30, -np.inf, np.nan])
@pytest.mark.parametrize("function", sorted(REDUCING))
def test_what_stands_in_the_padding_is_of_no_matter(function: str, padding: float) -> None:
    """Reductions of raw buffers, of values computed from them, and of spread leaves."""
    call = {"dot": "dot(y, w)", "cosine_sim": "cosine_sim(y, w)", "clip": "clip(y, 0.5)", "interp": "interp(y, w, 0.5)"}
    text = f"y = exp(g)\nn = norm(w)\ny = y * n\nx = {call.get(function, f'{function}(y)')}\nupdate = m + x\nm = m - x"
    program, start = parse(text), trajectory(8, steps=1)
    rows = zero_rows(2, start.w, LAYOUT)
    rows.g.copy_(padded(start.gradients[0], LAYOUT))
    for buffer in rows:
        buffer[:, WIDTH:] = padding
    rules = rules_of([program] * 2, LAYOUT, rows)[0]
    rules.step(torch.ones(1), torch.zeros(1))
    np.testing.assert_allclose(rows.w[1, :WIDTH].numpy(), reference_weights(program, start)[0], rtol=1e-5, atol=1e-6)


# --- whole programs ------------------------------------------------------------------------------------------------


def disagreement(program: Program, start: Trajectory) -> tuple[float, bool]:
    """How much farther torch lies from NumPy than rounding explains, and whether the comparison is a sharp one.

    Programs may magnify rounding without bound (the sign of a difference, the tangent of a large number). So NumPy in
    float64, NumPy in float64 from slightly moved weights, and NumPy in float32 are run too; their spread is how much
    rounding may do. Steps after the first non-finite number are left out.
    """
    exact = Trajectory(start.w.astype(np.float64), [g.astype(np.float64) for g in start.gradients], start.rates)
    moved = exact._replace(w=exact.w * (1 + 1e-7))
    runs = np.array([reference_weights(program, s) for s in (start, exact, moved)])  # [3, steps, P]
    usable = np.logical_and.accumulate(np.all(np.abs(runs) < 1e15, axis=(0, 2)))  # [steps]
    got = batched_weights([program], start)[:, 0]
    if any(s.function == "interp" for s in program.statements):  # an infinity may have become NaN, as documented
        usable &= np.logical_and.accumulate(np.isfinite(got).all(axis=1))
    if not usable.any():
        return 0.0, False
    got, (numpy, *others) = got[usable], runs[:, usable]
    spread, size = np.abs(numpy - others).max(), np.abs(numpy).max()
    return float(np.abs(got - numpy).max() / (100 * spread + 1e-5 * size + TINY)), bool(spread <= 1e-4 * size)


@pytest.mark.parametrize("make", [random_program, mutated_program])
def test_random_programs_agree_with_numpy_over_steps(make: Callable[[Random, int], Program]) -> None:
    """200 programs of each origin, four steps in which weights and states move; most comparisons are sharp."""
    rng, sharp = Random(17), 0
    for number in range(200):
        program = make(rng, rng.randint(1, 25))
        ratio, is_sharp = disagreement(program, trajectory(number, dtype=np.float32))
        assert ratio <= 1.0, f"{ratio}\n{program}"
        sharp += is_sharp
    assert sharp > 120


@pytest.mark.parametrize("name", zoo.names())
def test_the_zoo_agrees_with_numpy_over_steps(name: str) -> None:
    start = trajectory(1, steps=10, dtype=np.float32)
    got = batched_weights([zoo.load(name)], start)[:, 0]
    np.testing.assert_allclose(got, reference_weights(zoo.load(name), start), rtol=2e-5, atol=1e-6)


# --- many replicas -------------------------------------------------------------------------------------------------


def one_by_one(batch: Sequence[Program], start: Trajectory) -> np.ndarray:
    """[steps, R, P] each program trained alone."""
    return np.concatenate([batched_weights([p], start) for p in batch], axis=1)


def variants(name: str, number: int) -> list[Program]:
    """The same structure with other constants."""
    rng = Random(number)

    def vary(s: Statement) -> Statement:
        return s._replace(args=tuple(a if isinstance(a, str) else a * rng.uniform(0.5, 1.0) for a in s.args))

    return [Program(tuple(vary(s) for s in zoo.load(name).statements)) for _ in range(number)]


@pytest.mark.parametrize("arrangement", ["equal", "mixed", "alternating"])
def test_a_batch_equals_its_programs_one_by_one(arrangement: str) -> None:
    """Programs of one structure (run as one), of many, and equal ones that do not stand side by side."""
    names = [n for n in zoo.names() if n != "raw_lion"]
    batch = {
        "equal": variants("adamw", 7),
        "mixed": [p for name in names for p in variants(name, 3)],
        "alternating": [p for pair in zip(variants("adamw", 4), variants("lion", 4), strict=True) for p in pair],
    }[arrangement]
    start = trajectory(2, sizes=SIZES, steps=8, dtype=np.float32)
    together = batched_weights(batch, start)
    np.testing.assert_array_equal(together, one_by_one(batch, start))
    assert len({row.tobytes() for row in together[-1]}) == len(batch)  # no replica got another's constants


@settings(max_examples=40)
@given(batch=st.lists(programs(longest=12), min_size=2, max_size=5), seed=st.integers(0, 1000))
def test_what_the_neighbours_do_is_of_no_matter(batch: list[Program], seed: int) -> None:
    """Random programs, each in two copies at different places: equal rows, whatever stands between them."""
    together = batched_weights([*batch, *batch], trajectory(seed, dtype=np.float32))
    np.testing.assert_array_equal(together[:, : len(batch)], together[:, len(batch) :])


@settings(max_examples=60)
@given(batch=st.lists(programs(longest=12), min_size=2, max_size=5), seed=st.integers(0, 1000))
def test_a_batch_of_random_programs_equals_them_one_by_one(batch: list[Program], seed: int) -> None:
    """To the last bit, steps on end."""
    start = trajectory(seed, dtype=np.float32)
    np.testing.assert_array_equal(batched_weights(batch, start), one_by_one(batch, start))


@pytest.mark.parametrize("sizes", [(1,), (5, 30), (64,), (200, 33, 100)])
@pytest.mark.parametrize("replicas", [2, 9])
def test_copies_of_random_programs_equal_one(sizes: tuple[int, ...], replicas: int) -> None:
    """To the last bit, in rows of several widths and batches that run as one."""
    rng = Random(23)
    for number in range(25):
        program = random_program(rng, 12)
        start = trajectory(number, sizes=sizes, dtype=np.float32)
        together = batched_weights([program] * replicas, start, sizes)
        np.testing.assert_array_equal(together, np.repeat(batched_weights([program], start, sizes), replicas, axis=1))


def test_replicas_have_their_own_weights_gradients_and_states() -> None:
    """Each row of a batch against NumPy from that row's start."""
    rng = np.random.default_rng(4)
    w, g, m, v = rng.normal(size=(4, 3, WIDTH)).astype(np.float32)
    v = np.abs(v)
    rows = Rows(*(padded(x, LAYOUT) for x in (w, g, m, v)))
    program = zoo.load("adamw")
    rules_of([program] * 3, LAYOUT, rows)[0].step(torch.tensor([0.7]), torch.zeros(1))
    for r in range(3):
        update, state = numpy_step(program, LAYOUT, np.float32)(w[r], g[r], State(m[r], v[r]), 0.7)
        for got, expected in ((rows.w, w[r] - update), (rows.m, state.m), (rows.v, state.v), (rows.g, g[r])):
            np.testing.assert_allclose(got[r, :WIDTH].numpy(), expected, rtol=1e-6)


def test_slots_that_are_not_in_use_are_not_written() -> None:
    """A dead write, and a slot that is only read."""
    rows = zero_rows(2, np.ones(WIDTH), LAYOUT)
    rows.g.fill_(2.0)
    batch = [parse("update = g * v\nm = square(g)"), parse("v = g + v\nupdate = v * lr")]
    rules, order = rules_of(batch, LAYOUT, rows)
    rules.step(torch.ones(1), torch.zeros(1))
    w, m, v = (buffer[np.argsort(order), :WIDTH].tolist() for buffer in (rows.w, rows.m, rows.v))
    assert m == [[0.0] * WIDTH] * 2
    assert v == [[0.0] * WIDTH, [2.0] * WIDTH]
    assert w == [[1.0] * WIDTH, [-1.0] * WIDTH]


# --- what programs have in common ----------------------------------------------------------------------------------


def test_programs_that_differ_in_constants_alone_are_one_branch() -> None:
    tree = share(Skeletons(variants("adamw", 3)), range(3))
    assert tree.programs == [0, 1, 2] and not tree.branches
    assert len(tree.expressions) == len(live_statements(zoo.load("adamw")))


def test_constants_come_in_the_order_of_the_program() -> None:
    skeleton = Skeletons([zoo.load("adamw")]).of_program[0]
    assert [c for constants in skeleton.constants.values() for c in constants] == [0.9, 0.999, 0.01, 0.001]


def test_dead_statements_leave_no_trace() -> None:
    bare, dead = Skeletons([parse("update = g * 0.5"), parse("x = sqrt(g)\nm = x * 0.25\nupdate = g * 0.5")]).of_program
    assert bare == dead


def test_statements_that_differ_in_constants_alone_are_kept_apart_within_a_program() -> None:
    program = parse("x = g * 0.5\ny = g * 0.25\nz = g * 0.5\nx = x - y\nz = square(z)\nupdate = x + z")
    assert len(Skeletons([program]).of_program[0].constants) == 5  # z is x
    start = trajectory(2, steps=2, dtype=np.float32)
    np.testing.assert_allclose(
        batched_weights([program], start)[:, 0], reference_weights(program, start), rtol=1e-5, atol=1e-6
    )


def test_relatives_share_what_they_have_in_common() -> None:
    """Two of three go together after the first statement; each row has its own end."""
    batch = [parse(f"x = g * 0.5\n{rest}") for rest in ("y = sin(x)\nupdate = y * w", "update = exp(x)",
                                                        "y = sin(x)\nupdate = y + w")]  # fmt: skip
    tree = share(Skeletons(batch), range(3))
    assert len(tree.expressions) == 1
    assert [sorted(branch.programs) for branch in tree.branches] == [[0, 2], [1]]
    assert sorted(tree.programs) == [0, 1, 2]


def test_programs_that_compute_the_same_may_keep_other_states() -> None:
    """The same statements up to constants, but m is the average for one and the root for the other."""
    kept = "m = interp(g, m, 0.9)\nv = interp(g, v, {c})\nx = sqrt(v)\nupdate = m / x"
    batch = [parse(text) for c in (0.5, 0.6) for text in (kept.format(c=c), kept.format(c=c) + "\nm = sqrt(v)")]
    start = trajectory(1, steps=4, dtype=np.float32)
    together = batched_weights(batch, start)
    for i, program in enumerate(batch):
        np.testing.assert_array_equal(together[:, i], batched_weights([program], start)[:, 0])
    assert not np.array_equal(together[:, 0], together[:, 1])


@given(st.lists(programs(), min_size=1, max_size=6), st.randoms())
def test_every_live_statement_of_every_program_is_executed_once(batch: list[Program], rng: Random) -> None:
    """On the way from the root to each program's leaf, arguments before what reads them, whatever the order."""
    skeletons = Skeletons(batch)
    members = list(range(len(batch)))
    rng.shuffle(members)
    tree = share(skeletons, members)
    assert sorted(tree.programs) == sorted(members)
    paths: dict[int, list[int]] = {}

    def walk(branch: SharingTree, before: list[int]) -> None:
        assert [m for child in branch.branches for m in child.programs] in ([], branch.programs)
        for child in branch.branches:
            walk(child, before + branch.expressions)
        if not branch.branches:
            assert len({tuple(skeletons.of_program[member].outputs.items()) for member in branch.programs}) == 1
            paths.update(dict.fromkeys(branch.programs, before + branch.expressions))

    walk(tree, [])
    for member, path in paths.items():
        assert sorted(path) == sorted(skeletons.of_program[member].constants)
        for i, number in enumerate(path):
            args = skeletons.nodes[number].args
            assert all(not skeletons.nodes[arg].is_call or arg in path[:i] for arg in args)


FOLDING = """a = get_pi()
b = a * 0.5
c = sin(b)
d = norm(c)
e = global_norm(d)
f = clip(e, 0.25)
h = interp(f, 2.0, 0.5)
x = g * h
y = h * lr
update = x + y"""


def test_what_depends_on_constants_alone_is_computed_before_training() -> None:
    """f = 0.25, h = (0.25 + 2) / 2; a step is three calls and w - update, and the result is the reference's."""
    program = parse(FOLDING)
    rules, _ = rules_of([program], LAYOUT, zero_rows(1, np.zeros(WIDTH), LAYOUT))
    assert len(rules.calls) == 4
    start = trajectory(3, dtype=np.float32)
    np.testing.assert_allclose(
        batched_weights([program], start)[:, 0], reference_weights(program, start), rtol=1e-5, atol=1e-6
    )
    first = start.w - 1.125 * (start.gradients[0] + start.rates[0])
    np.testing.assert_allclose(batched_weights([program], start)[0][0], first, rtol=1e-5, atol=1e-6)


def test_folded_constants_of_replicas_stay_apart() -> None:
    """Three programs of one structure whose folded constants differ, beside three of another."""
    batch = [parse(f"a = square({c})\nb = a + 1.0\nupdate = g * b") for c in (0.5, 1.0, 2.0)]
    batch += [parse(f"a = sqrt({c})\nupdate = g * a") for c in (0.25, 1.0, 4.0)]
    start = trajectory(5, steps=1, dtype=np.float32)
    expected = [start.w - np.float32(c) * start.gradients[0] for c in (1.25, 2.0, 5.0, 0.5, 1.0, 2.0)]
    np.testing.assert_allclose(batched_weights(batch, start)[0], expected, rtol=1e-5, atol=1e-6)


def test_a_program_without_constants_runs() -> None:
    start = trajectory(6, steps=2, dtype=np.float32)
    program = parse("update = g * lr")
    np.testing.assert_allclose(batched_weights([program] * 3, start)[:, 1], reference_weights(program, start))
