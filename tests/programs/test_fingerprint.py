"""Programs that move weights alike share a fingerprint, and others do not."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from programs import Program, Statement, dataflow_hash, live, parse, zoo
from programs.fingerprint import DEFAULT_BITS, fingerprint
from programs.graph import G
from programs.liveness import live_statements

from tests.support.strategies import programs

CORPUS = json.loads(Path(__file__).with_name("equivalence_corpus.json").read_text(encoding="utf-8"))


def key(text: str) -> str:
    return fingerprint(parse(text)).key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("update = g * g", "update = square(g)", id="x*x and square(x)"),
        pytest.param(
            "m = interp(g, m, 0.9)\nx = m * m\nx = sqrt(x)\nupdate = m / x",
            "m = interp(g, m, 0.9)\nupdate = sign(m)",
            id="m/sqrt(m*m) and sign(m)",
        ),
        pytest.param(
            "x = interp(g, v, 0.899)\nv = interp(g, x, 1.109)\nupdate = v * 0.1",
            f"v = interp(g, v, {0.899 * 1.109})\nupdate = v * 0.1",
            id="merged interpolations",
        ),
        pytest.param("m = interp(g, m, 0.9)\nupdate = m * lr", "v = interp(g, v, 0.9)\nupdate = v * lr", id="slots"),
        pytest.param(
            "x = negative(g)\nupdate = negative(x)\nupdate = update * lr", "update = g * lr", id="double negation"
        ),
        pytest.param("x = g * 1.0\nupdate = x * lr", "update = g * lr", id="x*1"),
        pytest.param("x = norm(g)\nx = norm(x)\nupdate = g * x", "x = norm(g)\nupdate = g * x", id="norm of a norm"),
    ],
)
def test_equal_behaviour_written_differently(one: str, other: str) -> None:
    assert dataflow_hash(parse(one)) != dataflow_hash(parse(other)) or "v" in other
    assert key(one) == key(other)


@given(programs(), programs())
def test_equal_hashes_imply_equal_fingerprints(one: Program, other: Program) -> None:
    if dataflow_hash(one) == dataflow_hash(other):
        assert fingerprint(one).key == fingerprint(other).key


@given(programs(), st.integers(0, 2**32))
def test_dead_code_and_names_leave_no_trace(program: Program, seed: int) -> None:
    """Renaming temporaries and adding statements that nothing reads."""
    rng = Random(seed)
    names = {s.target for s in program.statements} - {"w", "g", "m", "v", "lr", "update"}
    renamed = {name: f"renamed_{i}" for i, name in enumerate(sorted(names))}
    statements = [
        Statement(
            renamed.get(s.target, s.target),
            s.function,
            tuple(renamed.get(a, a) if isinstance(a, str) else a for a in s.args),
        )
        for s in program.statements
    ]
    statements.insert(rng.randrange(len(statements) + 1), Statement("nobody_reads", "mul", ("w", "g")))
    try:
        changed = Program(tuple(statements))
        _ = changed.dataflow
    except ValueError:  # w or g was a scalar where the dead statement stands
        return
    assert fingerprint(changed).key == fingerprint(program).key


REWRITES = {
    "commuted": lambda s: [s._replace(args=s.args[::-1])] if s.function in ("add", "mul") else [s],
    "double negation": lambda s: [s, *(Statement(s.target, "negative", (s.target,)) for _ in range(2))],
    "times one": lambda s: [s, Statement(s.target, "mul", (s.target, 1.0))],
    "halved and doubled": lambda s: [
        s,
        Statement(s.target, "mul", (s.target, 0.5)),
        Statement(s.target, "mul", (s.target, 2.0)),
    ],
}


@pytest.mark.parametrize("rewrite", REWRITES)
@given(program=programs(), place=st.integers(0, 40))
def test_exact_algebra_keeps_the_fingerprint(rewrite: str, program: Program, place: int) -> None:
    """Rewrites that change no bit of any value short of overflow."""
    place %= len(program)
    before, after = program.statements[:place], program.statements[place + 1 :]
    changed = Program((*before, *REWRITES[rewrite](program.statements[place]), *after))
    assert fingerprint(changed).key == fingerprint(program).key


@pytest.mark.parametrize("factor", [2.0, 0.25, -3.0, 1e-3, 1e4])
def test_a_rescaled_state_keeps_the_fingerprint(factor: float) -> None:
    """v holds `factor` times the momentum, and is scaled back where it is read."""
    plain = "m = interp(g, m, 0.9)\nupdate = sign(m)\nx = m * lr\nupdate = update + x"
    scaled = f"m = m * {1 / factor}\n{plain}\nm = m * {factor}"
    assert key(plain) == key(scaled)


@pytest.mark.parametrize("name", zoo.names())
def test_perturbing_a_live_constant_changes_the_fingerprint(name: str) -> None:
    """By a hundredth; but for bounds, and for what a sign is taken of, which only larger changes need show in."""
    program = zoo.load(name)
    for i in live_statements(program):
        statement = program.statements[i]
        if statement.function == "maximum" or statement.target == "known":
            continue
        for j, arg in enumerate(statement.args):
            if isinstance(arg, float):
                args = (*statement.args[:j], arg * 1.01, *statement.args[j + 1 :])
                changed = Program(
                    (*program.statements[:i], statement._replace(args=args), *program.statements[i + 1 :])
                )
                assert fingerprint(changed).key != fingerprint(program).key, str(statement)


TRUST = "n = rms(w)\n{}\nm = interp(g, m, 0.9)\nx = sign(m)\nx = x * n\nupdate = x * lr"
LAMB = str(zoo.load("lamb"))


@pytest.mark.parametrize(
    "texts",
    [
        [TRUST.format(floor) for floor in ("", *(f"n = maximum(n, {at})" for at in (1e-6, 1e-4, 1e-3, 2e-3)))],
        [TRUST.format("n = maximum(n, 0.001)").replace("rms(w)", f"{norm}(w)") for norm in ("rms", "norm", "row_norm")],
        [LAMB, LAMB.replace("trust = trust + zero", "trust = trust * 1.0"), LAMB.replace("1.0 - zero", "0.1 - zero")],
    ],
    ids=["floors", "norms", "LAMB"],
)
def test_what_happens_to_tensors_of_zeros_shows(texts: list[str]) -> None:
    """A trust ratio leaves biases, which start at zero, where they are, unless something lifts it there."""
    assert len({key(text) for text in texts}) == len(texts)


ORTHOGONAL = "{}\nx = orthogonalize(x)\nupdate = x * lr"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (ORTHOGONAL.format("x = log(g)"), ORTHOGONAL.format("x = g * 0.05\nx = log(x)")),
        (ORTHOGONAL.format("x = g * 0.1"), ORTHOGONAL.format("y = cube(lr)\ny = y / y\nlr = lr * y\nx = g * 0.1")),
    ],
    ids=["infinities", "end of a training"],
)
def test_programs_of_matrices_are_told_apart(one: str, other: str) -> None:
    """The logarithm of a gradient of zero makes its matrix NaN; y / y is 1 until lr^3 is as small as the guard."""
    assert key(one) != key(other)


def test_programs_of_the_paper_keep_the_keys_that_they_always_had() -> None:
    """Whatever is beside them in their search, and however the others are compared."""
    kept = {
        "adamw": "eaaf06b134cafdb0e77a0269b3c3ea96",
        "lion": "c4f17a49f74646d619cdddd57a076d6f",
        "nadamw": "d48d2ec3f3f403d5ad1370d3873c93e7",
        "rmsprop": "c578ede0d2d3b1db3b9d2b6436dba170",
        "nesterov": "58be03ff63a8338ad46a76f430a7607b",
        "adabelief": "9d684e7bef516d88378119efaa937d21",
    }
    assert {name: fingerprint(zoo.load(name)).key for name in kept} == kept


def test_the_zoo_is_told_apart() -> None:
    assert len({fingerprint(zoo.load(name)).key for name in zoo.names()}) == len(zoo.names())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("update = w * lr", "depend on the gradient"),
        ("x = sign(g)\nx = abs(x)\nx = x + 1.0\nx = x / x\nupdate = w * x", "depend on the gradient"),
        ("update = g * 0.0", "zero"),
        ("x = g - g\nupdate = x * w", "zero"),
        ("x = arcsin(3.0)\nupdate = g * x", "finite"),
    ],
)
def test_programs_that_cannot_learn_are_rejected(text: str, reason: str) -> None:
    rejection = fingerprint(parse(text)).rejection
    assert rejection is not None
    assert reason in rejection


@pytest.mark.parametrize("name", zoo.names())
def test_known_optimizers_are_not_rejected(name: str) -> None:
    assert fingerprint(zoo.load(name)).rejection is None


@given(programs())
def test_only_programs_without_influence_of_the_gradient_are_rejected_for_it(program: Program) -> None:
    """A program whose live statements do not read g must be rejected one way or another."""
    nodes = live(program.dataflow).nodes
    if G not in nodes:
        assert fingerprint(program).rejection is not None
    assert all(node < len(program.dataflow.nodes) for node in nodes)


def test_fewer_bits_merge_more() -> None:
    """A row of programs, each a little different from the one before. And the keys of different widths never meet."""
    row = [parse(f"update = g * {1 + 1e-9 * 1.4**i}") for i in range(60)]
    distinct = [len({fingerprint(p, bits).key for p in row}) for bits in (1, 4, 8, 16, DEFAULT_BITS)]
    assert distinct == sorted(set(distinct))
    program = zoo.load("adamw")
    assert fingerprint(program, 20).key != fingerprint(program, 24).key


def test_the_corpus_is_sorted_as_it_was_independently() -> None:
    """At least 300 evolved programs, sorted by the oracle on other data: scripts/record/equivalence_corpus.py."""
    assert len(CORPUS) >= 300
    by_class: dict[int, set[str]] = {}
    by_key: dict[str, set[int]] = {}
    for entry in CORPUS:
        found = key(entry["program"])
        by_class.setdefault(entry["class"], set()).add(found)
        by_key.setdefault(found, set()).add(entry["class"])
    assert len(by_class) < len(CORPUS) - 30, "the corpus has programs to merge"
    assert [c for c, keys in by_class.items() if len(keys) > 1] == []
    assert [k for k, numbers in by_key.items() if len(numbers) > 1] == []
