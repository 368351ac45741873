"""Whole programs as fused kernels, in the C dialect: sums and phases, batches, masks, and the order of blocks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from programs import Program, Statement, parse, zoo
from programs.kernels import batch, c
from programs.kernels.source import CUDA, C, Source
from programs.run.batched import Rows
from programs.run.reference import State, numpy_step
from programs.run.sharing import Skeletons

from tests.support.kernel_runs import EXACT, Fused, deep_program, disagreement, needs_c, units
from tests.support.oracle import Shape
from tests.support.runs import padded, reference_weights, zero_rows
from tests.support.strategies import SIZES, Trajectory, layout_of, mutated_program, programs, random_program, trajectory

LAYOUT = layout_of()
WIDTH = sum(SIZES)
NONE = torch.zeros(1)  # steps taken before
SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, 0.5, 1e-42, -1e-42, 3e38, -3e38, np.inf, -np.inf, np.nan], np.float32)

REDUCING = parse("""n = norm(g)
q = global_norm(g)
d = dot(g, w)
c = cosine_sim(g, w)
y = clip(g, 0.5)
a = n * c
b = q * d
l = global_norm(n)
k = clip(n, 0.25)
m = interp(y, m, 0.9)
x = m * a
x = x + b
x = x * l
update = x + k""")


def source_of(*texts: str) -> Source:
    return Source(Skeletons([parse(text) for text in texts]))


# --- slices, sums, phases ------------------------------------------------------------------------------------------


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=8).map(tuple),
    length=st.integers(1, 12),
    most=st.integers(1, 9),
)
def test_slices_cover_the_row_and_stay_within_leaves(sizes: tuple[int, ...], length: int, most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch, "SLICE", length)
        patch.setattr(batch, "MOST_SLICES", most)
        starts, leaf, heads = batch.slices(layout_of(sizes))
    assert starts[0] == 0 and starts[-1] == sum(sizes) and sorted(set(starts)) == starts
    assert len(leaf) == len(starts) - 1
    assert max(np.diff(starts)) <= max(length, -(-sum(sizes) // most))
    assert [leaf[head] for head in heads[:-1]] == list(range(len(sizes))) and heads[-1] == len(leaf)
    assert [starts[head] for head in heads] == [0, *np.cumsum(sizes)]


@pytest.mark.parametrize(
    ("text", "phases", "sums"),
    [
        ("update = g * lr", 1, 0),
        ("n = norm(g)\nupdate = g * n", 2, 1),
        ("a = global_norm(lr)\na = clip(a, 0.5)\na = norm(a)\nupdate = g * a", 1, 0),
        ("n = norm(g)\nq = global_norm(n)\nupdate = g * q", 3, 2),
        ("x = clip(g, 0.5)\nn = global_norm(x)\nc = cosine_sim(g, w)\nc = c * n\nupdate = g * c", 3, 4),
        ("a = dot(g, g)\nb = global_norm(g)\nc = clip(g, b)\nn = norm(g)\nd = a * n\nupdate = c * d", 2, 1),
        ("n = norm(g)\nm = w * n\nupdate = g * v", 1, 0),  # what is dead costs no phase
    ],
)
def test_programs_are_cut_at_their_sums(text: str, phases: int, sums: int) -> None:
    """Sums of the same are one."""
    source = source_of(text)
    assert (source.phases, source.n_sums) == ([phases], sums)


@needs_c
@pytest.mark.parametrize("length", [1, 3, 10, 4096])
def test_sums_over_leaves_in_one_slice_or_many(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "SLICE", length)
    sizes = (17, 1, 30, 2)
    start = trajectory(3, sizes, steps=3, dtype=np.float32)
    got = Fused([REDUCING]).weights(start, sizes)[:, 0]
    assert np.isfinite(got).all()
    np.testing.assert_allclose(got, reference_weights(REDUCING, start, sizes), rtol=1e-5, atol=1e-5)


@needs_c
def test_sums_of_a_million_numbers_are_rounded_once() -> None:
    """Within a unit of the sum, in float64, of the squares as float32 has them.

    In float32 the small numbers would be lost beside a few large ones in their slice, or their slices beside one.
    """
    sizes, rng = (700_000, 300_000), np.random.default_rng(0)
    beside_few = np.where(rng.random(sum(sizes)) < 0.001, 1.0, 1e-4)
    beside_one = np.where(np.arange(sum(sizes)) % sizes[0] == 0, 1e3, 2e-3)
    g = np.repeat(np.float32([beside_few, beside_one]), 2, axis=0)
    layout, zeros = layout_of(sizes), np.zeros(g.shape)
    rows = Rows(*(padded(x, layout) for x in (zeros, g, zeros, zeros)))
    roots = [parse(f"n = {call}\none = exp(w)\nupdate = one * n") for call in ("norm(g)", "global_norm(g)")]
    Fused(roots * 2).bound(rows, layout).step(torch.ones(1), NONE)
    for i, row in enumerate((g * g).astype(np.float64)):
        leaves = np.sqrt(np.add.reduceat(row, layout.starts))
        expected = np.repeat(leaves, sizes) if i % 2 == 0 else np.full(row.shape, np.sqrt(np.sum(row)))
        assert units(-rows.w[i, : layout.total].numpy(), expected.astype(np.float32)).max() <= 1


# --- whole programs ------------------------------------------------------------------------------------------------


@needs_c
@pytest.mark.parametrize("shapes", [SIZES, ((5, 4), (3,), (2, 9), (7, 2))])
def test_the_zoo_agrees_with_numpy_over_twenty_steps(shapes: tuple[Shape, ...]) -> None:
    """To the last bit, where all functions are rounded correctly."""
    names, start = zoo.names(), trajectory(1, layout_of(shapes).sizes, steps=20, dtype=np.float32)
    got, equal = Fused([zoo.load(name) for name in names]).weights(start, shapes), 0
    for i, name in enumerate(names):
        expected = reference_weights(zoo.load(name), start, shapes)
        if all(s.function in EXACT for s in zoo.load(name).statements):
            np.testing.assert_array_equal(got[:, i], expected, err_msg=name)
            equal += 1
        np.testing.assert_allclose(got[:, i], expected, rtol=2e-5, atol=1e-6, err_msg=name)
    assert equal >= 9


@needs_c
def test_random_programs_of_exact_functions_are_numpys_to_the_last_bit() -> None:
    """150 programs, four steps; every other time with zeros, infinities, NaN, denormals and huge numbers."""
    rng = Random(1)
    fused = Fused([deep_program(rng, 15, EXACT) for _ in range(150)])
    for seed in range(10):
        start = trajectory(seed, sizes=(40, 60), dtype=np.float32)
        if seed % 2:
            w, *gradients = np.random.default_rng(seed).choice(SPECIAL, (5, 100))
            start = Trajectory(w, gradients, start.rates)
        got = fused.weights(start, (40, 60))
        for i, program in enumerate(fused.programs):
            assert units(got[:, i], reference_weights(program, start, (40, 60))).max() == 0, str(program)


@needs_c
@pytest.mark.parametrize("make", [random_program, mutated_program, deep_program])
def test_random_programs_agree_with_numpy_over_steps(make: Callable[[Random, int], Program]) -> None:
    """200 programs of each origin in one batch, four steps each; most comparisons are sharp."""
    rng, sharp = Random(17), 0
    fused = Fused([make(rng, rng.randint(1, 25)) for _ in range(200)])
    assert max(fused.source.phases) > 1
    for seed in range(3):
        start = trajectory(seed, dtype=np.float32)
        got = fused.weights(start)
        for i, program in enumerate(fused.programs):
            ratio, is_sharp = disagreement(program, start, got[:, i])
            assert ratio <= 1.0, f"{ratio}\n{program}"
            sharp += is_sharp
    assert sharp > 360


@needs_c
@settings(max_examples=15)
@given(texts=st.lists(programs(longest=15), min_size=4, max_size=12), seed=st.integers(0, 1000))
def test_batches_of_random_programs_agree_with_numpy(texts: list[Program], seed: int) -> None:
    start = trajectory(seed, dtype=np.float32)
    got = Fused(texts).weights(start)
    for i, program in enumerate(texts):
        ratio, _ = disagreement(program, start, got[:, i])
        assert ratio <= 1.0, f"{ratio}\n{program}"


# --- batches -------------------------------------------------------------------------------------------------------


def mixed(seed: int) -> list[Program]:
    """The zoo, programs with several phases, and random ones."""
    rng = Random(seed)
    others = [make(rng, 12) for make in (random_program, mutated_program, deep_program) for _ in range(8)]
    return [*(zoo.load(name) for name in zoo.names()), REDUCING, *others]


@needs_c
def test_a_batch_equals_its_programs_one_by_one() -> None:
    """To the last bit, at every step."""
    batch_, start = mixed(5), trajectory(2, steps=8, dtype=np.float32)
    together = Fused(batch_).weights(start)
    for i, program in enumerate(batch_):
        np.testing.assert_array_equal(together[:, i], Fused([program]).weights(start)[:, 0], err_msg=str(program))


@needs_c
def test_results_do_not_depend_on_the_order_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many slices for each leaf, blocks of each phase in order, backwards and shuffled: equal to the last bit."""
    monkeypatch.setattr(batch, "SLICE", 5)
    sizes, rng = (40, 3, 70), np.random.default_rng(0)
    start = trajectory(4, sizes, steps=4, dtype=np.float32)
    expected = Fused(mixed(6)).weights(start, sizes)
    for order in (lambda n: range(n)[::-1], rng.permutation):
        np.testing.assert_array_equal(Fused(mixed(6), order).weights(start, sizes), expected)


@needs_c
@pytest.mark.parametrize("dead", [0, 3, 9])
def test_masked_rows_and_padding_are_left_as_they_are(dead: int) -> None:
    """To the last bit; the other rows move as if nothing was masked."""
    batch_ = mixed(7)
    rng = np.random.default_rng(1)
    values = rng.normal(size=(4, len(batch_), WIDTH))
    before, masked, free = (Rows(*(padded(x, LAYOUT) for x in values)) for _ in range(3))
    alive = [int(i % 10 != dead) for i in range(len(batch_))]
    fused = Fused(batch_)
    fused.bound(masked, LAYOUT, alive).step(torch.ones(1), NONE)
    fused.bound(free, LAYOUT).step(torch.ones(1), NONE)
    for start, got, moved in zip(before, masked, free, strict=True):
        expected = torch.where(torch.tensor(alive, dtype=torch.bool)[:, None], moved, start)
        np.testing.assert_array_equal(got.numpy(), expected.numpy())
        np.testing.assert_array_equal(got[:, WIDTH:].numpy(), start[:, WIDTH:].numpy())
    assert not torch.equal(masked.w[:, :WIDTH], before.w[:, :WIDTH])


@needs_c
def test_rows_of_a_source_may_be_of_some_programs_in_any_order() -> None:
    """As after replicas have been dropped, or with several seeds of one program: nothing is compiled again."""
    batch_, start = mixed(8), trajectory(9, steps=1, dtype=np.float32)
    fused = Fused(batch_)
    members = [len(batch_) - 1, 2, 2, 10, 0, 5]
    rows = zero_rows(len(members), start.w, LAYOUT)
    rows.g.copy_(padded(start.gradients[0], LAYOUT))
    alive = torch.ones(len(members), dtype=torch.bool)
    batch.FusedRules(fused.source, members, LAYOUT, rows, alive, fused.launch).step(torch.tensor(start.rates), NONE)
    np.testing.assert_array_equal(rows.w[:, :WIDTH].numpy(), fused.weights(start)[0][members])


@needs_c
def test_updates_are_scaled() -> None:
    rng = np.random.default_rng(4)
    w, g, m, v = rng.normal(size=(4, 1, WIDTH)).astype(np.float32)
    rows = Rows(*(padded(x, LAYOUT) for x in (w, g, m, np.abs(v))))
    Fused([zoo.load("adamw")]).bound(rows, LAYOUT, scale=0.25).step(torch.tensor([0.7]), NONE)
    update, state = numpy_step(zoo.load("adamw"), LAYOUT, np.float32)(w[0], g[0], State(m[0], np.abs(v[0])), 0.7)
    np.testing.assert_array_equal(rows.w[0, :WIDTH].numpy(), w[0] - np.float32(0.25) * update)
    np.testing.assert_array_equal(rows.v[0, :WIDTH].numpy(), state.v)


@needs_c
def test_slots_that_are_not_in_use_are_not_written() -> None:
    """A dead write, and a slot that is only read."""
    rows = zero_rows(2, np.ones(WIDTH), LAYOUT)
    rows.g.fill_(2.0)
    texts = ["update = g * v\nm = square(g)", "v = g + v\nupdate = v * lr"]
    Fused([parse(text) for text in texts]).bound(rows, LAYOUT).step(torch.ones(1), NONE)
    w, m, v = (buffer[:, :WIDTH].tolist() for buffer in (rows.w, rows.m, rows.v))
    assert m == [[0.0] * WIDTH] * 2
    assert v == [[0.0] * WIDTH, [2.0] * WIDTH]
    assert w == [[1.0] * WIDTH, [-1.0] * WIDTH]


@pytest.mark.parametrize("which", ["transposed", "float64", "short", "mask"])
def test_buffers_that_kernels_would_misread_are_refused(which: str) -> None:
    rows, alive = zero_rows(2, np.ones(WIDTH), LAYOUT), torch.ones(2, dtype=torch.int8)
    bad = {"transposed": torch.zeros(LAYOUT.width, 2).T, "float64": rows.v.double(), "short": rows.v[:, :WIDTH]}
    rows = rows._replace(v=bad.get(which, rows.v))
    alive = torch.ones(2) if which == "mask" else alive
    with pytest.raises(ValueError, match="must be contiguous"):
        batch.FusedRules(source_of("update = g * lr"), [0, 0], LAYOUT, rows, alive, lambda *_: None)


# --- the source ----------------------------------------------------------------------------------------------------


def variants(name: str, number: int) -> list[Program]:
    """The same structure with other constants."""
    rng = Random(number)

    def vary(s: Statement) -> Statement:
        return s._replace(args=tuple(a if isinstance(a, str) else a * rng.uniform(0.5, 1.0) for a in s.args))

    return [Program(tuple(vary(s) for s in zoo.load(name).statements)) for _ in range(number)]


def test_programs_that_differ_in_constants_alone_share_a_rule() -> None:
    source = Source(Skeletons([*variants("adamw", 3), *variants("lion", 2), zoo.load("adamw")]))
    assert len(source.phases) == 2
    assert [r == source.rules[0] for r in source.rules] == [True, True, True, False, False, True]
    assert source.constants[5] == (0.9, 0.999, 0.01, 0.001)
    assert source.text(C).count("sqrtf(") == 1


def test_dead_statements_and_repeated_ones_leave_no_trace() -> None:
    bare = source_of("a = sin(g)\nb = a * a\nupdate = b * w")
    same = source_of("a = sin(g)\nx = exp(a)\nc = sin(g)\nb = a * c\nv = norm(w)\nv = v * g\nupdate = b * w")
    assert same.text(CUDA) == bare.text(CUDA)


def test_the_key_depends_on_the_text_and_the_options_alone() -> None:
    """Not on order, repetition, names or constants; known, so that it is the same in any process."""
    batch_ = [zoo.load(name) for name in zoo.names()]
    key = Source(Skeletons(batch_)).key(C)
    assert Source(Skeletons([*batch_[::-1], *variants("lion", 3)])).key(C) == key
    assert len({key, Source(Skeletons(batch_)).key(CUDA), Source(Skeletons(batch_)).key(C, "-O1")}) == 3
    assert Source(Skeletons(batch_[:-1])).key(C) != key


@needs_c
def test_a_source_is_compiled_once(tmp_path: Path) -> None:
    """The second time what lies in the folder is used; nothing else is left there."""
    source = source_of("update = g * lr")
    c.compiled(source, tmp_path)
    (library,) = tmp_path.iterdir()
    made = library.stat().st_mtime_ns
    c.compiled(source_of("update = g * lr"), tmp_path)
    assert [(f, f.stat().st_mtime_ns) for f in tmp_path.iterdir()] == [(library, made)]
