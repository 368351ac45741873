"""What every function must hold that is added to the table: its three meanings are one, and it can be taken home.

The functions of the table that work number by number are held to it, too.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from random import Random

import numpy as np
import pytest

from programs import Program, Statement, hashing, ops, parse, zoo
from programs.export import export_torch
from programs.fingerprint import fingerprint
from programs.hashing import dataflow_hash
from programs.mutation import mutate
from programs.ops import OPS, SETS, USER_OPS, Op, largest, one_number

from tests.support.kernel_runs import Fused
from tests.support.runs import batched_weights, reference_weights
from tests.support.strategies import SIZES, Trajectory

WIDTH = sum(SIZES)
ELEMENTWISE = [op.name for op in OPS.values() if op.accepts and op.result is largest]
RTOL, ATOL = 4e-6, 1e-30  # of float32; functions of the library of C may differ in the last places

SOFTSIGN = Op(
    "softsign", (ops.ANY,), largest, lambda x: x / (1 + np.abs(x)), "{0} / (1 + torch.abs({0}))",
    "{0} / (1.0f + fabsf({0}))",
)  # fmt: skip

ENERGY = Op("energy", (ops.ANY,), one_number, lambda x: ops._all(x * x), "{1}", "{1}", sums=((0, 0),))


def program_of(name: str) -> Program:
    """A program whose update is the function of the gradient, of the learning rate, and of 0.3."""
    return Program((Statement("update", name, ("g", "lr", 0.3)[: OPS[name].arity]),))


def starts() -> Iterator[Trajectory]:
    """One step each from weights of zero, so that the update is what is seen; gradients of three magnitudes."""
    rng = np.random.default_rng(5)
    for magnitude, rate in ((1.0, 1.0), (1e-3, 0.5), (5.0, 0.1)):
        gradients = magnitude * rng.normal(size=(1, WIDTH)).astype(np.float32)
        gradients[:, 0] = 0.0
        yield Trajectory(np.zeros(WIDTH, np.float32), gradients, np.array([rate], np.float32))


def compare(weights: Callable[[Trajectory], np.ndarray]) -> None:
    """With the NumPy column. `weights`: [steps, programs, P] of all functions."""
    for start in starts():
        got = weights(start)
        for place, name in enumerate(ELEMENTWISE):
            expected = reference_weights(program_of(name), start)
            np.testing.assert_allclose(got[:, place], expected, rtol=RTOL, atol=ATOL, err_msg=name)


def test_torch_computes_what_numpy_says() -> None:
    programs = [program_of(name) for name in ELEMENTWISE]
    compare(lambda start: batched_weights(programs, start))


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler (cc) on this machine")
def test_c_computes_what_numpy_says() -> None:
    compare(Fused([program_of(name) for name in ELEMENTWISE]).weights)


@pytest.mark.parametrize("name", ["tanh", "maximum", "interp", *(op.name for op in USER_OPS)])
def test_it_can_be_exported_found_and_told_apart(name: str) -> None:
    """The export is checked against the program when it is made."""
    program = program_of(name)
    assert parse(str(program)) == program
    assert "class Found(Optimizer)" in export_torch(program, "Found")
    others = [program_of(other) for other in ELEMENTWISE if other != name]
    assert dataflow_hash(program) not in {dataflow_hash(other) for other in others}
    assert fingerprint(program).key not in {fingerprint(other).key for other in others}, "does the same as another"
    rng, child = Random(1), zoo.load("sgd")
    assert any(name in str(mutate(child, rng)[0]) for _ in range(3000)), "mutations draw it"


def test_names_are_taken_once() -> None:
    rows = (*ops._PAPER, *ops._STEPS, *ops._MATRICES, *USER_OPS)
    assert len(OPS) == len(rows) and {op.set for op in rows} <= SETS.keys()


# --- a function that is added ----------------------------------------------------------------------------------------


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    add(SOFTSIGN, monkeypatch)


def add(op: Op, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it stood in the table."""
    monkeypatch.setattr(ops, "USER_OPS", (op,))
    monkeypatch.setitem(OPS, op.name, op)
    monkeypatch.setitem(hashing._TAGS, op.name, hashing._tag(op.name))


def test_keys_tell_two_functions_of_one_name_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = []
    for op in (SOFTSIGN, dataclasses.replace(SOFTSIGN, torch="torch.tanh({0})")):
        add(op, monkeypatch)
        keys.append(dataflow_hash(parse("m = softsign(g)\nupdate = m * lr")))
    add(SOFTSIGN, monkeypatch)
    keys.append(dataflow_hash(parse("m = softsign(g)\nupdate = m * lr")))
    assert keys[0] == keys[2] != keys[1]


def test_keys_of_other_programs_stay_what_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """As they are in databases everywhere."""
    before = {name: dataflow_hash(zoo.load(name)) for name in zoo.names()}
    add(SOFTSIGN, monkeypatch)
    assert {name: dataflow_hash(zoo.load(name)) for name in zoo.names()} == before
    assert before["lion"] == "605a0ad8cb1a700c2e539b7bba40aef8"


def test_the_export_says_what_the_function_is(added: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("programs.export.docstring.USER_OPS", ops.USER_OPS)
    source = export_torch(parse("m = softsign(g)\nupdate = m * lr"), "Found")
    assert "softsign(x) is x / (1 + torch.abs(x))" in " ".join(source.split())


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler (cc) on this machine")
def test_a_function_may_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the gradient, over a number, and over what another sum was needed for; NumPy, torch, C and the export."""
    add(ENERGY, monkeypatch)
    program = parse("a = energy(g)\nb = energy(lr)\nx = g * a\nc = energy(x)\nx = x * b\nupdate = x / c")
    for start in starts():
        expected = reference_weights(program, start)
        for got in (batched_weights([program], start), Fused([program]).weights(start)):
            np.testing.assert_allclose(got[:, 0], expected, rtol=1e-5, atol=ATOL)
    assert "class Found(Optimizer)" in export_torch(program, "Found")
