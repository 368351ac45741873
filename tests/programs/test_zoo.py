"""Each program of the zoo, step by step, beside an optimizer that somebody else wrote or a formula written out.

All runs are in closed loop: every side computes its gradients from its own weights. The NumPy reference in float64 must
stay within 1e-9 of the other side, torch over rows in float32 within 2e-5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from unittest.mock import patch

import numpy as np
import pytest
import torch

from programs import InputError, Program, dataflow_hash, live, zoo
from programs.fingerprint import fingerprint
from programs.kinds import COLUMN, ROW, TREE
from programs.layout import Layout
from programs.run.reference import initial_state, numpy_step

from tests.support.closed_loop import by_reference, by_rows, start
from tests.support.originals import OTHERS


def test_every_program_of_the_zoo_has_something_to_be_compared_with() -> None:
    assert zoo.names() == sorted(OTHERS)


@pytest.mark.parametrize("name", sorted(OTHERS))
@pytest.mark.parametrize(("run", "tolerance"), [(by_reference, 1e-9), (by_rows, 2e-5)], ids=["numpy", "torch"])
def test_zoo_program_moves_weights_like_the_original(
    name: str, run: Callable[[Program], Iterator[np.ndarray]], tolerance: float
) -> None:
    """After every one of 40 steps, as a share of the distance gone so far (plus rounding of float32 weights).

    torch's Adafactor has no guard where the program adds 1e-8 to the roots of averages.
    """
    previous, tolerance = start(), max(tolerance, 1e-6 if name == "adafactor" else 0.0)
    for t, (got, expected) in enumerate(zip(run(zoo.load(name)), OTHERS[name](), strict=True), start=1):
        gone = np.abs(expected - start()).max()
        rounding = t * np.finfo(np.float32).eps * np.abs(expected).max() if run is by_rows else 0.0
        assert np.abs(got - expected).max() <= tolerance * gone + rounding
        assert not np.array_equal(expected, previous)
        previous = expected


@lru_cache
def end(name: str) -> np.ndarray:
    """[P] weights at the end of the reference's run."""
    *_, w = by_reference(zoo.load(name))
    return w


@pytest.mark.parametrize("name", sorted(OTHERS))
def test_the_comparison_can_tell_programs_apart(name: str) -> None:
    """Each original is far from every other program of the zoo, by the measure of the test above."""
    *_, expected = OTHERS[name]()
    gone = np.abs(expected - start()).max()
    for other in set(zoo.names()) - {name}:
        assert np.abs(end(other) - expected).max() > 1e-3 * gone, other


@pytest.mark.parametrize(("in_bfloat16", "tolerance"), [(False, 1e-6), (True, 0.03)])
def test_muon_is_torch_s(in_bfloat16: bool, tolerance: float) -> None:
    """As a share of the distance gone: within the guards in float64, and within what bfloat16 does to the iteration."""
    shapes = [(3, 4), (2, 6), (5, 2), (16, 16)]
    layout, rng = Layout.of_shapes(shapes), np.random.default_rng(3)
    first = rng.normal(size=layout.total)
    cut = np.split(first.copy(), layout.starts[1:])
    leaves = [torch.from_numpy(x).view(shape) for x, shape in zip(cut, shapes, strict=True)]
    optimizer: torch.optim.Optimizer = torch.optim.Muon(leaves, adjust_lr_fn="match_rms_adamw")
    program = zoo.load("muon")
    step, state, w = numpy_step(program, layout), initial_state(program, layout), first
    with patch.object(torch.Tensor, "bfloat16", torch.Tensor.bfloat16 if in_bfloat16 else lambda x: x):
        for _ in range(20):
            g = rng.normal(size=layout.total)
            for leaf, part in zip(leaves, np.split(g, layout.starts[1:]), strict=True):
                leaf.grad = torch.from_numpy(part).view_as(leaf)
            optimizer.step()
            update, state = step(w, g, state, 1.0)
            w = w - update
    expected = torch.cat([leaf.ravel() for leaf in leaves]).numpy()
    assert np.abs(w - expected).max() <= tolerance * np.abs(expected - first).max()


STATES: dict[str, tuple[int, ...]] = {
    "sgd": (), "lion": (TREE,), "signum": (TREE,), "sgd_momentum": (TREE,), "nesterov": (TREE,), "rmsprop": (TREE,),
    "raw_lion": (TREE,), "muon": (TREE,), "scion": (TREE,), "normuon": (TREE, ROW), "adafactor": (ROW, COLUMN),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(OTHERS))
def test_memory_that_each_program_costs(name: str) -> None:
    flow = zoo.load(name).dataflow
    assert tuple(flow.nodes[slot].kind for slot in live(flow).states) == STATES.get(name, (TREE, TREE))


def test_all_are_different_programs_with_descriptions_and_none_is_rejected() -> None:
    keys = [fingerprint(zoo.load(name)) for name in zoo.names()]
    assert len({key.key for key in keys}) == len(zoo.names()) == 23
    assert len({dataflow_hash(zoo.load(name)) for name in zoo.names()}) == 23
    assert all(key.rejection is None for key in keys)
    assert all(len(zoo.describe(name)) > 10 for name in zoo.names())


@pytest.mark.parametrize("name", ["", "nope", "__init__", "../errors", "adamw.py"])
def test_an_unknown_name_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(InputError, match="adabelief, adafactor, adamw, adopt"):
        zoo.load(name)
