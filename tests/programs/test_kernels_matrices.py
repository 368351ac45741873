"""Fused kernels of programs that count steps or work on matrices: what torch computes between phases, small states."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
import torch

from programs import Program, parse
from programs.graph import INPUTS, M, V
from programs.kernels import batch
from programs.kernels.source import Lent, Source
from programs.kinds import ANY, COLUMN, ROW, TREE
from programs.ops import OPS, Op, one_number
from programs.run.batched import Rows
from programs.run.reference import initial_state, numpy_step
from programs.run.sharing import Skeletons

from tests.support.kernel_runs import OFTEN_OF_MATRICES, Fused, deep_program, disagreement, needs_c
from tests.support.runs import padded, reference_weights
from tests.support.strategies import layout_of, trajectory

SHAPES = ((5, 4), (3,), (2, 9), (1, 6), (7, 2), (6, 1))
LAYOUT = layout_of(SHAPES)

STEPS = "t = get_step()\nn = get_steps()\nx = t / n\nd = power(0.9, t)\nx = x - d\nupdate = g * x"
FACTORED = """s = square(g)
r = row_mean(s)
k = column_mean(s)
m = interp(r, m, 0.9)
v = interp(k, v, 0.99)
x = m * v
x = sqrt(x)
update = g / x
q = rms(update)
update = update / q"""
ORTHOGONAL = """m = interp(g, m, 0.9)
o = orthogonalize(m)
s = square(o)
s = row_mean(s)
v = interp(s, v, 0.95)
x = sqrt(v)
update = o / x
q = norm(update)
update = update / q
update = update * lr"""
BY_ROWS = "r = row_norm(g)\nm = maximum(m, r)\nd = dot(m, g)\nq = global_norm(m)\nd = d / q\nupdate = m * d"
BY_COLUMNS = "r = column_norm(w)\nv = r - v\nz = orthogonalize(v)\nupdate = z * lr"
EXAMPLES = [parse(text) for text in (STEPS, FACTORED, ORTHOGONAL, BY_ROWS, BY_COLUMNS)]


def mixed(seed: int, each: int = 5) -> list[Program]:
    rng = Random(seed)
    return [*EXAMPLES, *(deep_program(rng, rng.randint(2, 12), OFTEN_OF_MATRICES) for _ in range(each))]


# --- phases --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "phases", "sums", "lent"),
    [
        ("update = g * lr\nt = get_step()\nupdate = update / t", 1, 0, []),
        ("n = rms(g)\nupdate = g * n", 2, 1, []),
        ("o = orthogonalize(g)\nn = rms(o)\nupdate = o * n", 3, 1, [(0, "orthogonalize({0})", TREE)]),
        ("a = row_norm(g)\nb = row_norm(g)\nc = column_norm(g)\nx = a * b\nupdate = x * c", 2, 0,
         [(0, "row_sum({0})", TREE), (0, "column_sum({0})", TREE)]),
        ("a = row_mean(g)\nb = column_mean(a)\nupdate = g * b", 3, 0,
         [(0, "row_mean({0})", TREE), (1, "column_mean({0})", TREE)]),
        ("m = sqrt(m)\nr = row_mean(g)\nm = m + r\nupdate = g * m", 3, 0, [(0, "row_mean({0})", TREE), (1, "", ROW)]),
        ("r = column_mean(g)\nv = v + r\nv = orthogonalize(v)\nupdate = g * v", 3, 0,
         [(0, "column_mean({0})", TREE), (1, "orthogonalize({0})", TREE)]),
        ("r = column_mean(g)\nm = m + r\no = orthogonalize(m)\nupdate = g * o", 4, 0,
         [(0, "column_mean({0})", TREE), (1, "orthogonalize({0})", TREE), (2, "", COLUMN)]),
    ],
)  # fmt: skip
def test_programs_are_cut_where_values_are_handed_over(
    text: str, phases: int, sums: int, lent: list[tuple[int, str, int]]
) -> None:
    """What is equal is handed over once; small states are written in a phase of their own."""
    source = Source(Skeletons([parse(text)]))
    assert (source.phases, source.n_sums) == ([phases], sums)
    assert source.lent == [[Lent(*one) for one in lent]]


def test_functions_that_differ_in_what_torch_computes_have_rules_of_their_own() -> None:
    """Though their kernels do the same."""
    texts = [f"x = {function}(g)\nupdate = g * x" for function in ("row_mean", "column_mean", "row_mean")]
    assert len(Source(Skeletons([parse(text) for text in texts])).phases) == 2


# --- whole programs ------------------------------------------------------------------------------------------------


@needs_c
def test_examples_agree_with_numpy_over_steps() -> None:
    start = trajectory(1, LAYOUT.sizes, steps=12, dtype=np.float32)
    got = Fused(EXAMPLES).weights(start, SHAPES)
    for i, program in enumerate(EXAMPLES):
        expected = reference_weights(program, start, SHAPES)
        np.testing.assert_allclose(got[:, i], expected, rtol=1e-4, atol=1e-4, err_msg=str(program))


@needs_c
def test_random_programs_agree_with_numpy_over_steps() -> None:
    """50 programs in one batch; most comparisons are sharp."""
    rng, sharp = Random(3), 0
    fused = Fused([deep_program(rng, rng.randint(1, 12), OFTEN_OF_MATRICES) for _ in range(50)])
    assert {0, 1, 2} <= {len(lent) for lent in fused.source.lent}
    for seed in range(2):
        start = trajectory(seed, LAYOUT.sizes, dtype=np.float32)
        got = fused.weights(start, SHAPES)
        for i, program in enumerate(fused.programs):
            ratio, is_sharp = disagreement(program, start, got[:, i], SHAPES)
            assert ratio <= 1.0, f"{ratio}\n{program}"
            sharp += is_sharp
    assert sharp > 50


@needs_c
def test_functions_may_average(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over weights, over leaves, and over a single number."""
    mean = Op("mean", (ANY,), one_number, lambda x: np.mean(x, -1, keepdims=True), "{1}", "{1}", sums=((0,),),
              averages=True)  # fmt: skip
    monkeypatch.setitem(OPS, "mean", mean)
    program = parse(
        "a = mean(g)\nn = rms(g)\nb = mean(n)\nc = mean(lr)\na = a * b\nupdate = w * c\nupdate = update * a"
    )
    start = trajectory(6, LAYOUT.sizes, dtype=np.float32)
    got = Fused([program]).weights(start, SHAPES)[:, 0]
    np.testing.assert_allclose(got, reference_weights(program, start, SHAPES), rtol=1e-5, atol=1e-6)


@needs_c
@pytest.mark.parametrize("text", [FACTORED, ORTHOGONAL, BY_ROWS, BY_COLUMNS])
def test_states_are_as_small_as_they_are_kept(text: str) -> None:
    """Their numbers are NumPy's, and nothing is written beside them."""
    program, start = parse(text), trajectory(2, LAYOUT.sizes, steps=3, dtype=np.float32)
    fused = Fused([program])
    rows = fused.rows(start.w, LAYOUT)
    kinds = {slot: program.dataflow.nodes[slot].kind for slot in (M, V) if fused.skeletons.state_width(slot, LAYOUT)}
    for slot, kind in kinds.items():
        assert rows[slot].shape == (1, LAYOUT.width_of(kind))
        rows[slot][:, LAYOUT.length(kind) :] = 7.0
    rules, step = fused.bound(rows, LAYOUT), numpy_step(program, LAYOUT, np.float32)
    w, state = start.w, initial_state(program, LAYOUT, np.float32)
    for taken, (g, rate) in enumerate(zip(start.gradients, start.rates, strict=True)):
        rows.g.copy_(padded(g, LAYOUT))
        rules.step(torch.tensor([rate]), torch.tensor([taken]))
        update, state = step(w, g, state, rate)
        w = w - update
    for slot, kind in kinds.items():
        expected = getattr(state, INPUTS[slot])
        np.testing.assert_allclose(rows[slot][0, : len(expected)].numpy(), expected, rtol=1e-4, atol=1e-5)
        assert (rows[slot][:, LAYOUT.length(kind) :] == 7.0).all()


# --- batches -------------------------------------------------------------------------------------------------------


@needs_c
def test_a_batch_equals_its_programs_one_by_one() -> None:
    """To the last bit, at every step, whatever widths states have in the company."""
    programs, start = mixed(5), trajectory(2, LAYOUT.sizes, steps=4, dtype=np.float32)
    together = Fused(programs).weights(start, SHAPES)
    for i, program in enumerate(programs):
        alone = Fused([program]).weights(start, SHAPES)[:, 0]
        np.testing.assert_array_equal(together[:, i], alone, err_msg=str(program))


@needs_c
def test_results_do_not_depend_on_the_order_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices that end within rows of leaves; blocks of each phase in order, backwards and shuffled."""
    monkeypatch.setattr(batch, "SLICE", 5)
    rng, programs = np.random.default_rng(0), mixed(6)
    start = trajectory(4, LAYOUT.sizes, steps=3, dtype=np.float32)
    expected = Fused(programs).weights(start, SHAPES)
    for order in (lambda n: range(n)[::-1], rng.permutation):
        np.testing.assert_array_equal(Fused(programs, order).weights(start, SHAPES), expected)


@needs_c
@pytest.mark.parametrize("dead", [1, 3])
def test_masked_rows_and_padding_are_left_as_they_are(dead: int) -> None:
    """To the last bit; the other rows move as if nothing was masked."""
    fused, start = Fused(mixed(7)), trajectory(3, LAYOUT.sizes, steps=1, dtype=np.float32)
    alive = [int(i % 4 != dead) for i in range(len(fused.programs))]
    before, masked, free = (fused.rows(start.w, LAYOUT) for _ in range(3))
    for rows in (before, masked, free):
        rows.g.copy_(padded(start.gradients[0], LAYOUT))
        rows.m.fill_(0.5)
        rows.v.fill_(0.25)
    fused.bound(masked, LAYOUT, alive).step(torch.ones(1), torch.zeros(1))
    fused.bound(free, LAYOUT).step(torch.ones(1), torch.zeros(1))
    assert not torch.equal(free.m, before.m)
    assert not torch.equal(free.v, before.v)
    for start_, got, moved in zip(before, masked, free, strict=True):
        expected = torch.where(torch.tensor(alive, dtype=torch.bool)[:, None], moved, start_)
        np.testing.assert_array_equal(got.numpy(), expected.numpy())
    np.testing.assert_array_equal(free.w[:, LAYOUT.total :].numpy(), before.w[:, LAYOUT.total :].numpy())


@needs_c
def test_rows_of_a_source_among_rows_of_others() -> None:
    """As where sources are compiled apart: each leaves the rows of the others alone."""
    programs, start = mixed(8), trajectory(9, LAYOUT.sizes, steps=2, dtype=np.float32)
    whole, halves = Fused(programs), [Fused(programs[part::2]) for part in range(2)]
    rows, alive = whole.rows(start.w, LAYOUT), torch.ones(len(programs), dtype=torch.bool)
    rules = []
    for part, half in enumerate(halves):
        members = [i // 2 if i % 2 == part else None for i in range(len(programs))]
        rules.append(batch.FusedRules(half.source, members, LAYOUT, rows, alive, half.launch, steps=2))
    for taken, (g, rate) in enumerate(zip(start.gradients, start.rates, strict=True)):
        rows.g.copy_(padded(g, LAYOUT))
        for one in rules:
            one.step(torch.tensor([rate]), torch.tensor([taken]))
    np.testing.assert_array_equal(rows.w[:, : LAYOUT.total].numpy(), whole.weights(start, SHAPES)[-1])


@pytest.mark.parametrize(("slot", "text"), [(M, ORTHOGONAL), (V, ORTHOGONAL), (M, FACTORED), (V, FACTORED)])
def test_states_that_are_too_small_are_refused(slot: int, text: str) -> None:
    skeletons = Skeletons([parse(text)])
    widths = [LAYOUT.width, LAYOUT.width, *(skeletons.state_width(s, LAYOUT) for s in (M, V))]
    widths[slot] -= 32
    rows = Rows(*(torch.zeros(1, width) for width in widths))
    with pytest.raises(ValueError, match=f"{INPUTS[slot]} must be contiguous float32 of shape"):
        batch.FusedRules(Source(skeletons), [0], LAYOUT, rows, torch.ones(1, dtype=torch.bool), lambda *_: None)
