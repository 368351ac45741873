"""Equations in LaTeX: read as people read them, well formed for every program, and true."""

from __future__ import annotations

import re

import pytest
from hypothesis import given

from programs import Program, parse, zoo
from programs.ops import OPS
from programs.simplify import equations

from tests.support.strategies import programs


def test_lion() -> None:
    assert equations(zoo.load("lion")).splitlines() == [
        r"\begin{aligned}",
        r"m_t &= (1 - \beta_{2})\,g_t + \beta_{2}\,m_{t-1} \\",
        r"u_t &= \eta_t \cdot \left(\operatorname{sign}\left((1 - \beta_{1})\,g_t + \beta_{1}\,m_{t-1}\right)"
        r" + \lambda \cdot w_t\right) \\",
        r"w_{t+1} &= w_t - u_t",
        r"\end{aligned}",
        r"\qquad \eta_t = s_t \cdot \eta,\ \eta = 0.0001,\quad \beta_{1} = 0.9,\quad \beta_{2} = 0.99,"
        r"\quad \lambda = 0.01",
    ]


@pytest.mark.parametrize(
    ("text", "row"),
    [
        pytest.param(
            "x = g + w\nupdate = x * m\nm = g * 1.0", r"u_t &= \left(g_t + w_t\right) \cdot m_{t-1}", id="sum"
        ),
        pytest.param("x = g - w\nupdate = w - x", r"u_t &= w_t - \left(g_t - w_t\right)", id="difference"),
        pytest.param("x = g + w\nupdate = square(x)", r"u_t &= \left(g_t + w_t\right)^{2}", id="power"),
        pytest.param("x = square(g)\nupdate = cube(x)", r"u_t &= \left(g_t^{2}\right)^{3}", id="power of a power"),
        pytest.param("x = negative(g)\nupdate = w - x", r"u_t &= w_t - \left(-g_t\right)", id="minus"),
        pytest.param("update = g / w", r"u_t &= \frac{g_t}{w_t + 10^{-8}}", id="guard"),
        pytest.param("update = sqrt(g)", r"u_t &= \sqrt{\left|g_t\right|}", id="root"),
        pytest.param("update = maximum(g, 2.5e-07)", r"\operatorname{max}\left(g_t, c_{1}\right)", id="function"),
        pytest.param("update = g + m", r"u_t &= g_t + 0", id="a state that is never written"),
        pytest.param("update = g * lr", r"u_t &= \eta_t \cdot g_t", id="the schedule"),
    ],
)
def test_expressions(text: str, row: str) -> None:
    assert row in equations(parse(text))


def test_the_length_of_the_training_is_no_hyperparameter() -> None:
    text = equations(parse("t = get_step()\ns = get_steps()\nx = t / s\nx = 1.0 - x\nx = g * x\nupdate = x * lr"))
    assert r"\left(c_{1} - \frac{t}{T + 10^{-8}}\right)" in text
    assert "nan" not in text and "steps" not in text and text.endswith(r"\qquad c_{1} = 1")


def test_what_is_used_twice_has_an_equation() -> None:
    rows = equations(parse("x = arcsin(g)\ny = x * w\nupdate = x + y")).splitlines()
    assert rows[1:3] == [
        r"x_{1,t} &= \operatorname{arcsin}\left(g_t\right) \\",
        r"u_t &= x_{1,t} + x_{1,t} \cdot w_t \\",
    ]


@given(programs())
def test_every_program_has_well_formed_equations(program: Program) -> None:
    latex = equations(program)
    depth = 0
    for brace in re.findall(r"[{}]", latex):
        depth += 1 if brace == "{" else -1
        assert depth >= 0
    assert depth == 0
    assert latex.count(r"\left") - latex.count(r"\left\l") == latex.count(r"\right") - latex.count(r"\right\r")
    rows = latex.partition(r"\end{aligned}")[0].splitlines()[1:]
    assert all(row.count("&=") == 1 for row in rows) and len({r.split("&=")[0] for r in rows}) == len(rows)
    assert "None" not in latex and not re.search(
        r"(?<!\\)_(?![{tc])", latex.replace(r"\log_2", "").replace(r"\log_{10}", "")
    )


@pytest.mark.parametrize("function", sorted(OPS))
def test_every_function_can_be_written(function: str) -> None:
    args = ("g", "w", "lr")[: OPS[function].arity]
    args = ("g", "lr") if function == "clip" else args
    text = f"x = {function}({', '.join(args)})" if not OPS[function].infix else f"x = g {OPS[function].infix} w"
    assert r"u_t &=" in equations(parse(f"{text}\nupdate = x * w"))
