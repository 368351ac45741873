"""The exported file as text: names, docstring, what it depends on, and that linters and type checkers accept it."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from test_export_language import PROGRAMS as EXTENDED
from test_export_torch import PROGRAMS, SHAPES, gradients, load, parameters, row

from programs import InputError, parse, zoo
from programs.export import optax_source, torch_source
from programs.layout import Layout
from programs.program import MAX_TEXT
from programs.run.reference import initial_state, numpy_step

from tests.support.patience import call
from tests.support.strategies import mutated_program, random_program


def defaults(text: str) -> dict[str, Any]:
    """The hyperparameters of an exported program and their defaults."""
    settings = load(parse(text))(parameters()).defaults
    flags = ("state_dtype", "state_bits", "foreach", "maximize", "capturable", "differentiable")
    return {name: value for name, value in settings.items() if name not in flags}


# The second moment is computed first.
AVERAGES = "g2 = square(g)\nv = {}\nm = {}\nx = sqrt(v)\nupdate = m / x\nupdate = update * lr"
SUMS = "g2 = g * g\nv = v * {}\nv = v + g2\nm = {} * m\nm = g + m\nx = sqrt(v)\nupdate = m / x"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (str(zoo.load("lion")), {"lr": 1e-4, "betas": (0.9, 0.99), "weight_decay": 0.01}),
        (str(zoo.load("adamw")), {"lr": 1e-3, "betas": (0.9, 0.999), "weight_decay": 0.01}),
        (str(zoo.load("nadamw")), {"lr": 1e-3, "betas": (0.9, 0.999), "beta3": 0.9, "weight_decay": 0.01}),
        (str(zoo.load("rmsprop")), {"lr": 1e-3, "beta2": 0.99}),
        (str(zoo.load("sgd")), {"lr": 0.1}),
        (str(zoo.load("sgd_momentum")), {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.0005}),
        (str(zoo.load("raw_lion")), {"lr": 1.0, "beta1": 0.899, "c1": 1.109, "weight_decay": 0.4602, "c2": 0.0002}),
        (AVERAGES.format("interp(g2, v, 0.99)", "interp(g, m, 0.9)"), {"lr": 1.0, "betas": (0.9, 0.99)}),
        (AVERAGES.format("interp(g2, v, 0.9)", "interp(g2, m, 0.99)"), {"lr": 1.0, "beta2": 0.9, "beta3": 0.99}),
        (AVERAGES.format("interp(g2, v, 0.9)", "interp(m, g, 0.1)"), {"lr": 1.0, "beta2": 0.9, "beta3": 0.1}),
        *[  # whatever makes the second moment one that is never negative
            (
                f"a = {of}\nv = interp(a, v, 0.99)\nm = interp(g, m, 0.9)\nupdate = m / v",
                {"lr": 1.0, "betas": (0.9, 0.99)},
            )
            for of in ("rms(g)", "row_norm(g)", "column_norm(g)", "arccosh(g)", "norm(g)", "exp(g)")
        ],
        (
            "a = square(g)\na = row_mean(a)\nv = interp(a, v, 0.99)\nm = interp(g, m, 0.9)\nupdate = m / v",
            {"lr": 1.0, "betas": (0.9, 0.99)},
        ),
        (SUMS.format("0.99", "0.9"), {"lr": 1.0, "betas": (0.9, 0.99)}),
        (SUMS.format("0.99", "1.1"), {"lr": 1.0, "beta2": 0.99, "c1": 1.1}),
        (
            "u = interp(g, m, 0.8)\nm = interp(g, m, 0.9)\nv = interp(u, v, 0.5)\nupdate = u + v",
            {"lr": 1.0, "beta1": 0.8, "beta2": 0.9, "beta3": 0.5},
        ),
        ("u = m * 0.5\nm = m * 0.9\nm = m - g\nupdate = u + m", {"lr": 1.0, "momentum": 0.9, "c1": 0.5}),
        ("update = g * lr", {"lr": 1.0}),
        ("update = g * 0.1", {"lr": 1.0, "c1": 0.1}),
        ("x = lr * -0.1\nupdate = g * x", {"lr": 1.0, "c1": -0.1}),
        ("x = lr * 0.1\ny = lr * x\nupdate = g * y", {"lr": 1.0, "c1": 0.1}),
        ("x = lr * 4.0\ny = g * 4.0\nupdate = y * x", {"lr": 4.0, "c1": 4.0}),  # the input lr is node 4
        ("a = sqrt(0.25)\nx = lr * a\nupdate = g * x", {"lr": 0.5}),
        ("g = clip(g, 0.5)\nupdate = g * lr", {"lr": 1.0, "max_norm": 0.5}),
        ("x = g + 1e-6\nx = x + 0.5\nupdate = x * lr", {"lr": 1.0, "eps": 1e-6, "c1": 0.5}),
        ("e = get_eps()\nx = g + e\nupdate = x * lr", {"lr": 1.0, "eps": 1e-8}),
        ("x = w * -0.5\nupdate = x + g", {"lr": 1.0, "c1": -0.5}),
        ("a = log(0.0)\nupdate = maximum(g, a)", {"lr": 1.0, "c1": -float("inf")}),
        ("p = get_pi()\nupdate = g * p", {"lr": 1.0}),
    ],
)
def test_constants_get_names_by_their_place_and_lr_its_peak(text: str, expected: dict[str, float]) -> None:
    found = defaults(text)
    assert found.keys() == expected.keys()
    assert all(found[name] == pytest.approx(value, rel=1e-15) for name, value in expected.items())


def test_lion_reads_like_lion() -> None:
    text = torch_source(zoo.load("lion"), "Lion")
    assert (
        """    for param, w, g, m in zip(params, weights, grads, ms, strict=True):
        update = torch.sign(torch.lerp(g, m, beta1)) + w * weight_decay
        m.lerp_(g, 1 - beta2)
        param.sub_(update * lr)
"""
        in text
    )
    assert (
        """        update = interp(g, m, beta1)
        update = sign(update)
        m = interp(g, m, beta2)
        wd = w * weight_decay
        update = update + wd
        update = update * lr
        w = w - update
"""
        in text
    )


def test_dead_statements_and_dead_states_are_left_out() -> None:
    text = torch_source(parse("x = sin(w)\nv = x * 2.0\nm = cosh(g)\nupdate = g * lr"), "Found")
    assert not any(word in text for word in ("torch.sin(", "cosh", 'state["', "weights"))


def test_reductions_over_everything_are_explained() -> None:
    text = " ".join(torch_source(zoo.load("raw_lion"), "RawLion").split())
    assert "run over the parameters of all groups" in text
    assert "These functions see a DTensor" in text
    assert "ZeroRedundancyOptimizer" in text
    of_a_leaf = " ".join(torch_source(PROGRAMS["norm"], "Found").split())
    assert "one number for each parameter tensor. These functions see a DTensor" in of_a_leaf
    assert "run over the parameters of all groups" not in of_a_leaf + torch_source(zoo.load("lion"), "Lion")


def test_provenance_stands_in_the_docstring_whatever_it_holds() -> None:
    provenance = {"search": "quickstart", "task": 'a """ b \\ c', "fitness": "-0.5"}
    document = ast.get_docstring(
        next(n for n in ast.parse(torch_source(zoo.load("sgd"), "Sgd", provenance)).body if isinstance(n, ast.ClassDef))
    )
    assert document is not None
    assert "search: quickstart" in document
    assert "fitness: -0.5" in document


@pytest.mark.parametrize(
    "name", ["", "1st", "a b", "class", "Opt-1", "Optimizer", "torch", "_X", "Größe", "x;import os"]
)
def test_a_class_needs_a_name_that_works(name: str) -> None:
    with pytest.raises(InputError, match=r"class|itself") as error:
        torch_source(zoo.load("sgd"), name)
    assert "\n" not in str(error.value)


def test_nothing_but_torch_and_the_standard_library_is_imported() -> None:
    for program in PROGRAMS.values():
        tree = ast.parse(torch_source(program, "Found"))
        modules = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)} | {
            a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names
        }
        roots = {(module or "").split(".")[0] for module in modules}
        assert roots <= {"__future__", "collections", "itertools", "math", "torch", "traceback", "typing"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All programs of the tests and some evolved ones, exported."""
    folder = tmp_path_factory.mktemp("exported")
    evolved = {
        f"{make.__name__}_{seed}": make(Random(seed), 30)
        for make in (mutated_program, random_program)
        for seed in range(20)
    }
    extended = {name: parse(text, name) for name, text in EXTENDED.items()}
    for name, program in (PROGRAMS | extended | evolved).items():
        (folder / f"{name.replace(' ', '_')}.py").write_text(torch_source(program, "Found", {"program": name}))
    return folder


def run(*words: str | Path) -> None:
    result = call(sys.executable, "-m", *words)
    assert result.code == 0, result.out[-3000:] + result.err[-2000:]


def test_ruff_has_nothing_to_say(files: Path) -> None:
    run("ruff", "check", "--isolated", "--no-cache", "--line-length", "120", "--select", "E,F,I,B,UP,SIM,RUF", files)
    run("ruff", "format", "--isolated", "--no-cache", "--line-length", "120", "--check", files)


def test_mypy_has_nothing_to_say_in_strict_mode(files: Path) -> None:
    run("mypy", "--strict", files)  # with the cache of the project, which knows torch


# --- length -----------------------------------------------------------------------------------------------------------

LONG = {
    "trees and states": "x = cos(x)\nm = m + x\n",
    "numbers and hyperparameters": "a = a * 0.99\n",
    "norms": "n = norm(x)\nx = x / n\n",
    "totals": "n = global_norm(x)\nx = x / n\nx = x + w\n",
}


@pytest.mark.parametrize("kind", LONG)
def test_a_program_may_be_as_long_as_the_language_allows(kind: str) -> None:
    """Both exports are written in time and lines that grow with the program, and the optimizer follows the program."""
    head, tail = "x = g + w\na = sin(lr)\n", "x = x * a\nx = x + m\nupdate = x * 0.1"
    program = parse(head + LONG[kind] * ((MAX_TEXT - 100) // len(LONG[kind])) + tail)
    assert len(optax_source(program, "found").splitlines()) < 10 * len(program) + 500
    source, namespace = torch_source(program, "Found"), dict[str, Any]()
    assert len(source.splitlines()) < 20 * len(program) + 500
    exec(compile(source, "<export>", "exec"), namespace)  # noqa: S102
    step, layout = numpy_step(program, Layout.of_shapes(SHAPES)), Layout.of_shapes(SHAPES)
    update, _ = step(row(parameters()), row(gradients(0)), initial_state(program, layout), 0.3)
    for foreach in (False, True):
        params = parameters()
        optimizer = namespace["Found"](params, lr=0.3, foreach=foreach)
        for param, grad in zip(params, gradients(0), strict=True):
            param.grad = grad
        optimizer.step()
        np.testing.assert_allclose(row(params), row(parameters()) - update, rtol=1e-9)
