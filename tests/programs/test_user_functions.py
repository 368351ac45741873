"""What every function of the table must hold: its three meanings are one, and it can be taken home.

Functions of the user's join the table: how they are read, and what is refused, comes last.
"""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import numpy as np
import pytest

from programs import InputError, Program, Statement, function_words, hashing, ops, parse, user_functions, zoo
from programs.export import export_torch, optax_source
from programs.fingerprint import fingerprint
from programs.hashing import dataflow_hash
from programs.mutation import mutate
from programs.ops import OPS, SETS, USER, Op, largest, like_first, one_number, one_per_weight, per_leaf, per_row
from programs.simplify import equations, simplify_algebra

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

POLAR = ops.OPS["orthogonalize"].numpy
MEAN = lambda x: np.mean(x * x, axis=-1, keepdims=True)  # noqa: E731 - of rows
LIKELY = [  # what the table has no function of
    Op("mean_square", (ops.ANY,), one_number, MEAN, "{1}", "{1}", sums=((0, 0),), averages=True),
    Op("over_rms", (ops.ANY,), like_first, lambda x: x / np.sqrt(MEAN(x)), "{0} / torch.sqrt({1})", "{0} / sqrtf({1})",
       sums=((0, 0),), averages=True),
    Op("half", (ops.WEIGHTS,), one_per_weight, lambda layout, x: POLAR(layout, x) / 2, "orthogonalize({0}) / 2", ""),
    Op("kept", (ops.WEIGHTS,), one_per_weight, lambda layout, x: x * POLAR(layout, x), "{0} * orthogonalize({0})", ""),
]  # fmt: skip

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


@pytest.mark.parametrize("name", ["tanh", "maximum", "interp"])
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
    rows = (*ops._PAPER, *ops._STEPS, *ops._MATRICES)
    assert len(OPS) == len(rows) and {op.set for op in rows} <= SETS.keys()


# --- a function that is added ----------------------------------------------------------------------------------------


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    add(SOFTSIGN, monkeypatch)


def add(op: Op, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it stood in the table."""
    monkeypatch.setitem(OPS, op.name, op)
    monkeypatch.setattr(hashing, "_TAGS", hashing._Tags())


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


def test_the_export_says_what_the_function_is(added: None) -> None:
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


SECOND_NAMES = [op.name for op in OPS.values() if op.set in ("steps", "matrices") or op.sums]


def reading(function: str) -> Program:
    """A program that calls a function of w and g, as far as it has arguments, in an average and beside it."""
    op = OPS[function]
    args = [name if ops.TREE in accepts else 0.5 for name, accepts in zip(("g", "w"), op.accepts, strict=False)]
    call = f"{function}({', '.join(map(str, args))})"
    return parse(f"a = {call}\nb = a * g\nm = interp(m, b, 0.1)\nx = m + b\ny = {call}\nx = x * y\nupdate = x * lr")


def check_everywhere(program: Program) -> None:
    """NumPy, torch, C; exports are checked against the program when they are made."""
    shapes = ((6, 7), (9, 4), (5,), (1,))
    rng, size = np.random.default_rng(3), 6 * 7 + 9 * 4 + 5 + 1
    gradients = rng.normal(size=(4, size)).astype(np.float32)
    start = Trajectory(rng.normal(size=size).astype(np.float32), gradients, np.full(4, 0.5, np.float32))
    expected = reference_weights(program, start, shapes)
    runs = [batched_weights([program], start, shapes)]
    if shutil.which("cc"):
        runs.append(Fused([program]).weights(start, shapes))
    for got in runs:
        np.testing.assert_allclose(got[:, 0], expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    assert "class Found(Optimizer)" in export_torch(program, "Found", total_steps=100)
    assert "def found(" in optax_source(program, "found", total_steps=100)


@pytest.mark.parametrize("name", SECOND_NAMES)
def test_a_function_of_the_table_may_have_a_second_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a function counts by what its row says, not by what it is called."""
    add(dataclasses.replace(OPS[name], name="mine", set=USER), monkeypatch)
    program, original = reading("mine"), reading(name)
    check_everywhere(program)
    if OPS[name].set != "paper":  # programs of the paper's functions alone are compared on a smaller problem
        assert fingerprint(program).key == fingerprint(original).key
    assert dataflow_hash(program) != dataflow_hash(original)
    simpler = simplify_algebra(program).program
    assert fingerprint(simpler).key == fingerprint(program).key
    assert equations(simpler)


@pytest.mark.parametrize("op", LIKELY, ids=lambda op: op.name)
def test_functions_may_average_and_be_of_whole_matrices(op: Op, monkeypatch: pytest.MonkeyPatch) -> None:
    add(op, monkeypatch)
    check_everywhere(reading(op.name))


def test_a_function_of_matrices_need_not_be_zero_where_its_argument_is(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "1 - orthogonalize({0})"
    add(Op("beyond", (ops.WEIGHTS,), one_per_weight, lambda layout, x: 1 - POLAR(layout, x), text, ""), monkeypatch)
    program = parse("m = m * 0.9\na = beyond(m)\na = a * g\nupdate = a * lr")
    assert fingerprint(simplify_algebra(program).program).key == fingerprint(program).key


def test_what_a_function_tells_of_the_training_is_part_of_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The row has no text to tell these apart, and the export says what it is in words."""
    keys = []
    for name in ("get_step", "get_steps"):
        add(dataclasses.replace(OPS[name], name="mine", set=USER), monkeypatch)
        keys.append(dataflow_hash(reading("mine")))
        source = export_torch(reading("mine"), "Found", total_steps=9)
        assert f"mine() is {OPS[name].meaning}" in " ".join(source.split())
    assert keys[0] != keys[1]


@pytest.mark.parametrize(
    ("what", "row"),
    [
        ("one argument", {"accepts": (ops.WEIGHTS, ops.WEIGHTS), "result": one_per_weight}),
        ("no sums", {"accepts": (ops.WEIGHTS,), "result": one_per_weight, "sums": ((0,),)}),
        ("needs sums", {"accepts": (ops.WEIGHTS,), "result": per_row}),
        ("of_numbers", {"accepts": (ops.ANY,), "result": per_leaf, "sums": ((0,),)}),
    ],
)
def test_what_not_all_parts_could_run_is_refused_with_its_name(what: str, row: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"function odd: .*{what}"):
        Op("odd", numpy=np.abs, torch="{1}", c="{1}", **row)


# --- functions of the user's, as text --------------------------------------------------------------------------------

TEXT = """
def softsign(x):
    '''x over one plus its size.'''
    return x / (1 + abs(x))

def huber(x: float, delta) -> float:
    a = abs(x)  # used twice
    return x if a <= delta else delta * sign(x)

def gate(x):
    return 1 if x > 0.1 else -2**-1

def mix(x, y, a):
    return tanh(x) * (1 - a) + maximum(y, -x) * a ** 2

def leaky(x, y):
    return interp(maximum(x, 0), minimum(1, y), 0.25) - power(2, x)
"""
DEFINITIONS = user_functions.read_functions(TEXT, "mine.py")
CALLS = {"softsign": "(g)", "huber": "(g, lr)", "gate": "(w)", "mix": "(g, w, 0.3)", "leaky": "(0.5, g)"}


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of functions is what it was after the test."""
    monkeypatch.setattr(hashing, "_TAGS", hashing._Tags())
    for name in (*DEFINITIONS, "mine", "twice"):
        monkeypatch.setitem(OPS, name, SOFTSIGN)
        del OPS[name]


@pytest.mark.parametrize("name", DEFINITIONS)
def test_a_definition_means_the_same_everywhere(table: None, name: str) -> None:
    """In NumPy, torch, C and exports, of trees, leaves, numbers and what is known of the training alone."""
    user_functions.define(DEFINITIONS, "mine.py")
    arity = OPS[name].arity
    numbers, leaves = (", ".join(args[:arity]) for args in (("lr", "0.05", "lr"), ("r", "lr", "r")))
    check_everywhere(parse(
        f"a = {name}{CALLS[name]}\nm = interp(m, a, 0.1)\nr = norm(g)\nb = {name}({leaves})\nc = {name}({numbers})\n"
        "x = m * b\nx = x + a\nx = x * c\nupdate = x * lr"
    ))  # fmt: skip


def test_a_function_may_be_of_the_length_of_the_training_and_a_number(table: None) -> None:
    user_functions.define(DEFINITIONS, "mine.py")
    program = parse(
        "s = get_steps()\na = huber(0.5, s)\nb = huber(s, 0.5)\nx = g * a\nx = x * b\nx = x * 0.01\nupdate = x * lr"
    )
    assert "class Found(Optimizer)" in export_torch(program, "Found", total_steps=100)
    assert "jnp.asarray(total_steps, dtype=jnp.float32)" in optax_source(program, "found", total_steps=100)


@pytest.mark.parametrize("name", ["input", "constant", "sum", "handed", "number", "spread", "zeros", "write"])
def test_a_function_may_be_called_as_what_is_none(table: None, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs have words for inputs, numbers, and what is known a phase later, which are no names of functions."""
    monkeypatch.setitem(OPS, name, SOFTSIGN)
    del OPS[name]
    rule = (
        "a = {0}(g, w)\nb = {0}(0.5, lr)\nr = norm(g)\nc = {0}(r, a)\nm = interp(c, m, 0.9)\nm = m * b\nupdate = m * lr"
    )
    for one in (name, "mine"):
        user_functions.define({one: f"def {one}(x, y):\n    return x + 2 * y"}, "mine.py")
    program, other = parse(rule.format(name)), parse(rule.format("mine"))
    check_everywhere(program)
    assert fingerprint(program) == fingerprint(other)
    assert len(simplify_algebra(program).program) == len(simplify_algebra(other).program)


def test_a_number_may_end_as_the_guard_does(table: None) -> None:
    user_functions.define({"mine": "def mine(x):\n    return x / (abs(x) + 3.1e-08)"}, "mine.py")
    check_everywhere(parse("x = mine(g)\nupdate = x * lr"))


def test_a_definition_means_what_python_says(table: None) -> None:
    """But for the guard of the division."""
    user_functions.define(DEFINITIONS, "mine.py")
    for x in (-3.0, -0.05, 0.0, 0.2, 7.5):
        assert OPS["softsign"].number([x]) == pytest.approx(x / (1 + abs(x)))
        assert OPS["huber"].number([x, 0.5]) == (x if abs(x) <= 0.5 else math.copysign(0.5, x))
        assert OPS["gate"].number([x]) == (1 if x > 0.1 else -0.5)
        assert OPS["mix"].number([x, 2.0, 0.5]) == pytest.approx(math.tanh(x) / 2 + max(2.0, -x) / 4)


def test_definitions_have_one_form(table: None) -> None:
    """Comments, blank lines and annotations are no part of it, docstrings are."""
    again = user_functions.read_functions("\n\n".join(DEFINITIONS.values()), "again")
    assert again == DEFINITIONS and "#" not in "".join(again.values()) and "float" not in again["huber"]
    assert '"""x over one plus its size."""' in again["softsign"]
    user_functions.define(again, "again")
    user_functions.define(DEFINITIONS, "mine.py")
    assert user_functions.user_definitions() == DEFINITIONS
    assert function_words.written(OPS["huber"]) == "huber(x, delta)"
    assert function_words.meaning(OPS["softsign"]) == "x over one plus its size"


def test_a_text_of_a_program_brings_its_functions(table: None) -> None:
    text = "def train(w, g, m, v, lr):\n    m = mine(g)\n    update = m * lr\n    return update, m, v\n"
    with pytest.raises(InputError, match="unknown function 'mine'"):
        user_functions.read_program(text, "a.txt")
    program = user_functions.read_program(f"def mine(x):\n    return x * x\n\n{text}", "a.txt")
    assert user_functions.read_program(user_functions.as_text(program), "b.txt") == program
    alone = 'def train(w, g, m, v, lr):\n    """As\ndef mine(x): is"""\n    update = g * lr\n    return update, m, v\n'
    for before in ("", "# mine\n", '"""What I found."""\n', '"""With\ndef mine(x)."""\n', "\n# a\n'b'\n"):
        assert len(user_functions.read_program(before + alone, "c.txt")) == 1
    for before in ("# mine, 2026\n\n", '"""What I found.\n\nIn two lines."""\n'):
        assert user_functions.read_program(before + user_functions.as_text(program), "b.txt") == program
    assert user_functions.as_text(program).startswith("def mine(x):\n    return x * x\n\n\ndef train(w")
    definition = "def mine(x):\n    return x * x\n\n"
    for definitions in (definition, definition + "def twice(x):\n    return x * 2\n"):
        assert user_functions.read_program(f"{definitions}m = mine(g)\nupdate = m * lr\n", "d.txt") == program
    with pytest.raises(InputError, match=r"^d.txt: line 5, column 5: unknown function 'other'"):
        user_functions.read_program(f"{definition}m = g * g\nm = other(m)\nupdate = m * lr\n", "d.txt")
    assert len(user_functions.read_program(f'"""Of two\fpages\u2028and lines."""\n{alone}', "e.txt")) == 1
    with pytest.raises(InputError, match=r"^a.txt: line 5, column 9: unknown function 'other'"):
        user_functions.read_program(f"def mine(x):\n    return x * x\n\n{text.replace('mine(g)', 'other(g)')}", "a.txt")


def test_the_key_of_a_program_has_the_meaning_of_its_functions(table: None) -> None:
    keys = []
    for body in ("x * x", "x  *  x  # the same", "x * x * x"):
        OPS.pop("mine", None)
        hashing._TAGS.clear()
        user_functions.define(user_functions.read_functions(f"def mine(x): return {body}", "mine.py"), "mine.py")
        keys.append(dataflow_hash(parse("m = mine(g)\nupdate = m * lr")))
    assert keys[0] == keys[1] != keys[2]


def test_a_name_has_one_meaning(table: None) -> None:
    user_functions.define(user_functions.read_functions("def mine(x): return x * x", "mine.py"), "mine.py")
    other = user_functions.read_functions("def mine(x): return x * 2", "other.py")
    with pytest.raises(InputError, match=r"^other.py: mine is 'x \* 2' there and 'x \* x' here; .* take another"):
        user_functions.define(other, "other.py")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "defines no function; expected some such as"),
        ("x = 3", "line 1: expected functions such as"),
        ("import torch", "line 1: expected functions such as"),
        ("def f(x) return x", "line 1: expected ':'; expected functions"),
        ("def f(x): return x * 2\ndef f(x): return x * 3", "line 2: f is defined twice"),
        ("def tanh(x): return x * 2", "tanh is a function of the language; give yours another name"),
        ("def train(x): return x * 2", "'train' cannot be the name"),
        ("def F(x): return x * 2", "'F' cannot be the name"),
        ("def f(): return 2", "f takes 0 arguments, expected from 1 to 3"),
        ("def f(x, y, z, a): return x", "f takes 4 arguments"),
        ("def f(x, *, y): return x + y", "f must be written plainly"),
        ("def f(x=1): return x + 1", "f must be written plainly"),
        ("@cache\ndef f(x): return x + 1", "f must be written plainly"),
        ("def f(x, y): return x * 2", "f does not depend on y"),
        ("def f(x): return x", "f computes nothing"),
        ("def f(x): return 2", "f does not depend on x"),
        ("def f(x): x * 2", "expected 'return' and an expression at the end"),
        ("def f(x): return", "expected 'return' and an expression at the end"),
        ("def f(x):\n    for a in x: pass\n    return a", "line 2: expected assignments such as"),
        ("def f(x): return z * 2", "unknown name 'z'; there are x"),
        ("def f(x): return torch.erf(x)", "'torch.erf(x)' cannot stand here"),
        ("def f(x): return x > 2", "'x > 2' cannot stand here"),
        ("def f(x): return 1 if x else 2", "expected a choice such as"),
        ("def f(x): return erf(x)", "'erf' is no function of the language"),
        ("def f(x): return x / norm(x)", "norm does not work number by number"),
        ("def f(x): return x * get_step()", "get_step does not work number by number"),
        ("def f(x): return tanh(x, 2)", "tanh takes 1 argument, got 2"),
        ("def f(x): return x * 1e39", "'1e+39' is no finite number of 32 bits"),
        ("def f(x): return x * log(0)", "'log(0)' is no finite number of 32 bits"),
        ("def f(x): return x * True", "'True' cannot stand here"),
        ("def f(x):\n" + "    x = x * x\n" * 40 + "    return x", "has more than 4000 characters"),
        ("def f(x): return " + "-" * 3000 + "x", ""),
        ("def f(x): return " + " + ".join(["x"] * 300), "f has too long an expression; make it shorter"),
        ("def f(x): return " + " + ".join(["x"] * 700), "f has too long an expression; make it shorter"),
    ],
)
def test_what_is_no_function_is_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(InputError) as refused:
        user_functions.read_functions(text, "mine.py")
    assert str(refused.value).startswith("mine.py: ") and said in str(refused.value) and "\n" not in str(refused.value)
