"""Exported optax transformations move weights as the program does. Skipped where jax and optax are not installed."""

from __future__ import annotations

import ast
from random import Random
from typing import Any

import numpy as np
import pytest
from test_export_torch import PROGRAMS, SHAPES, expected_weights, gradients, parameters, rate
from test_export_torch import STEPS as LENGTH

from programs import InputError, Program, parse, zoo
from programs.export import optax_source

from tests.support.strategies import mutated_program, random_program

STEPS = 50
NEEDS_JAX = "jax and optax are not installed; `pip install jax optax` to run this test"


def trained(program: Program, steps: int, **settings: float) -> np.ndarray:
    """The weights after each step, one row each, in float64 and compiled."""
    jax, optax = pytest.importorskip("jax", reason=NEEDS_JAX), pytest.importorskip("optax", reason=NEEDS_JAX)
    jax.config.update("jax_enable_x64", True)
    namespace: dict[str, Any] = {}
    exec(compile(optax_source(program, "found", total_steps=LENGTH), "<export>", "exec"), namespace)  # noqa: S102
    peak = namespace["found"].__defaults__[0]
    rates = jax.numpy.array([rate(t) for t in range(steps)])
    transformation = namespace["found"](lambda count: peak * rates[count], **settings)
    params = {f"leaf{i}": jax.numpy.array(p.numpy()) for i, p in enumerate(parameters())}
    state, update, rows = transformation.init(params), jax.jit(transformation.update), []
    for t in range(steps):
        grads = {f"leaf{i}": jax.numpy.array(g.numpy()) for i, g in enumerate(gradients(t))}
        updates, state = update(grads, state, params)
        params = optax.apply_updates(params, updates)
        rows.append(np.concatenate([np.ravel(params[f"leaf{i}"]) for i in range(len(SHAPES))]))
    return np.stack(rows)


@pytest.mark.parametrize("name", PROGRAMS)
def test_weights_follow_the_program(name: str) -> None:
    np.testing.assert_allclose(
        trained(PROGRAMS[name], STEPS), expected_weights(PROGRAMS[name], steps=STEPS), rtol=1e-8, atol=1e-10
    )


@pytest.mark.parametrize("make", [mutated_program, random_program])
@pytest.mark.parametrize("seed", range(10))
def test_evolved_programs_follow_the_program(make: Any, seed: int) -> None:
    program = make(Random(seed), 30)
    np.testing.assert_allclose(trained(program, 2), expected_weights(program, steps=2), rtol=1e-6, atol=1e-9)


def test_half_precision_keeps_its_dtypes() -> None:
    jax = pytest.importorskip("jax", reason=NEEDS_JAX)
    namespace: dict[str, Any] = {}
    exec(compile(optax_source(zoo.load("raw_lion"), "found"), "<export>", "exec"), namespace)  # noqa: S102
    params = {"w": jax.numpy.ones(3, jax.numpy.bfloat16)}
    transformation = namespace["found"](lambda _: jax.numpy.float32(0.5))
    updates, state = transformation.update(params, transformation.init(params), params)
    assert updates["w"].dtype == state.v["w"].dtype == jax.numpy.bfloat16


def test_weights_are_asked_for_where_they_are_read() -> None:
    jax = pytest.importorskip("jax", reason=NEEDS_JAX)
    namespace: dict[str, Any] = {}
    exec(compile(optax_source(zoo.load("lion"), "lion"), "<export>", "exec"), namespace)  # noqa: S102
    transformation = namespace["lion"]()
    params = {"w": jax.numpy.ones(3)}
    with pytest.raises(ValueError, match="needs params"):
        transformation.update(params, transformation.init(params))


def test_the_file_depends_on_jax_and_optax_alone() -> None:
    for program in PROGRAMS.values():
        text = optax_source(program, "found", {"task": 'a """ b'})
        modules = {n.module for n in ast.walk(ast.parse(text)) if isinstance(n, ast.ImportFrom)}
        names = {a.name for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Import) for a in n.names}
        assert modules | names <= {"__future__", "typing", "jax", "jax.numpy", "optax"}
        assert "torch" not in text or "torch" in str(program)


@pytest.mark.parametrize("name", ["", "1st", "a b", "def", "jnp", "optax"])
def test_a_function_needs_a_name_that_works(name: str) -> None:
    with pytest.raises(InputError, match=r"function|itself"):
        optax_source(parse("update = g * lr"), name)
