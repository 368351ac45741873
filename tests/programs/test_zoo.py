"""Each program of the zoo, step by step, beside an optimizer that somebody else wrote or a formula written out here.

All runs are in closed loop: every side computes its gradients from its own weights. The NumPy reference in float64 must
stay within 1e-9 of the other side, torch over rows in float32 within 2e-5.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from programs import InputError, Program, dataflow_hash, live, zoo
from programs.layout import Layout
from programs.run.reference import initial_state, numpy_step

from tests.support.runs import padded, rules_of, zero_rows

SHAPES = [(3, 4), (4,), (2, 3, 2), ()]
LAYOUT = Layout.of_shapes(SHAPES)
STEPS = 40
ALWAYS_ZERO = [2, 13]  # weights whose gradient is zero, where an unguarded m / sqrt(v) would be 0 / 0

Leaves = list[np.ndarray]


def rate(t: int) -> float:
    """Five steps of warm-up, then a cosine that ends above zero."""
    return (t + 1) / 5 if t < 5 else 0.5 * (1.05 + 0.95 * math.cos(math.pi * (t - 5) / STEPS))


def start() -> np.ndarray:
    """[P] weights of unit size."""
    return np.random.default_rng(0).normal(size=LAYOUT.total)


def gradient(w: np.ndarray, t: int) -> np.ndarray:
    """[P] of a nonlinear function whose variables interact, with noise that changes at every step."""
    rng = np.random.default_rng(100 + t)
    coupling = np.random.default_rng(1).normal(size=(LAYOUT.total, LAYOUT.total)) / LAYOUT.total
    g: np.ndarray = coupling @ np.tanh(w) + 0.3 * w + 0.5 * rng.normal(size=LAYOUT.total)
    g[ALWAYS_ZERO] = 0.0
    return g


def cut(row: np.ndarray) -> Leaves:
    """[P] -> the leaves in their shapes."""
    ends = np.cumsum(LAYOUT.sizes)[:-1]
    return [piece.reshape(shape) for piece, shape in zip(np.split(row, ends), SHAPES, strict=True)]


def join(leaves: Leaves) -> np.ndarray:
    return np.concatenate([np.ravel(x) for x in leaves])


# --- the zoo's side ------------------------------------------------------------------------------------------------


def by_reference(program: Program) -> Iterator[np.ndarray]:
    """[P] weights after each step, NumPy in float64."""
    step, state, w = numpy_step(program, LAYOUT), initial_state(LAYOUT), start()
    for t in range(STEPS):
        update, state = step(w, gradient(w, t), state, rate(t))
        w = w - update
        yield w


def by_rows(program: Program) -> Iterator[np.ndarray]:
    """[P] weights after each step, torch in float32."""
    rows = zero_rows(1, start(), LAYOUT)
    rules, _ = rules_of([program], LAYOUT, rows)
    for t in range(STEPS):
        w = rows.w[0, : LAYOUT.total].numpy().astype(np.float64)
        rows.g.copy_(padded(gradient(w, t), LAYOUT))
        rules.step(torch.tensor([rate(t)], dtype=torch.float32))
        yield rows.w[0, : LAYOUT.total].numpy().astype(np.float64)


# --- the other side: torch.optim -----------------------------------------------------------------------------------

Settings = Callable[[int], dict[str, Any]]


def by_torch(make: Callable[[list[torch.Tensor]], torch.optim.Optimizer], settings: Settings) -> Iterator[np.ndarray]:
    """[P] weights after each step of an optimizer of torch in float64; `settings(t)` is put into it before step t."""
    leaves = [torch.from_numpy(x.copy()) for x in cut(start())]
    optimizer = make(leaves)
    for t in range(STEPS):
        for x, g in zip(leaves, cut(gradient(join([x.numpy() for x in leaves]), t)), strict=True):
            x.grad = torch.from_numpy(np.array(g))
        optimizer.param_groups[0].update(settings(t))
        optimizer.step()
        yield join([x.numpy() for x in leaves])


def adamw() -> Iterator[np.ndarray]:
    """torch.optim.AdamW with its bias correction undone.

    With c1 = 1 - 0.9^t and c2 = 1 - 0.999^t torch subtracts

        lr_t wd_t w + lr_t / c1 * m / (sqrt(v) / sqrt(c2) + eps_t)

    and the program lr wd w + lr m / (sqrt(v) + 1e-8). They are equal for lr_t = lr c1 / sqrt(c2), wd_t = wd lr / lr_t
    and eps_t = 1e-8 / sqrt(c2). So against torch's defaults the program differs in two places: no bias correction, and
    an epsilon that is added to the uncorrected root.
    """

    def settings(t: int) -> dict[str, float]:
        c1, c2 = 1 - 0.9 ** (t + 1), 1 - 0.999 ** (t + 1)
        lr = 0.001 * rate(t)
        scaled = lr * c1 / math.sqrt(c2)
        return {"lr": scaled, "eps": 1e-8 / math.sqrt(c2), "weight_decay": 0.01 * lr / scaled}

    return by_torch(lambda leaves: torch.optim.AdamW(leaves, betas=(0.9, 0.999)), settings)


def sgd() -> Iterator[np.ndarray]:
    """torch.optim.SGD, plain; nothing differs."""
    return by_torch(lambda leaves: torch.optim.SGD(leaves, lr=1.0), lambda t: {"lr": 0.1 * rate(t)})


def nadamw() -> Iterator[np.ndarray]:
    """torch.optim.NAdam with decoupled weight decay, its momentum schedule and both corrections at their limits.

    After infinitely many steps torch's momentum is 0.9 and both corrections are 1; what is left subtracts
    lr wd w + lr (0.1 g + 0.9 m) / (sqrt(v) + eps) with the new m and v, as the program does.
    """

    def make(leaves: list[torch.Tensor]) -> torch.optim.Optimizer:
        optimizer = torch.optim.NAdam(
            leaves, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01, momentum_decay=1.0, decoupled_weight_decay=True
        )
        for x in leaves:
            optimizer.state[x].update(
                step=torch.tensor(1e9), mu_product=torch.tensor(0.0), exp_avg=torch.zeros_like(x),
                exp_avg_sq=torch.zeros_like(x),
            )  # fmt: skip
        return optimizer

    return by_torch(make, lambda t: {"lr": 0.001 * rate(t)})


def sgd_momentum() -> Iterator[np.ndarray]:
    """torch.optim.SGD(momentum=0.9, weight_decay=0.0005); nothing differs."""
    return by_torch(
        lambda leaves: torch.optim.SGD(leaves, lr=1.0, momentum=0.9, weight_decay=0.0005),
        lambda t: {"lr": 0.1 * rate(t)},
    )


def nesterov() -> Iterator[np.ndarray]:
    """torch.optim.SGD(momentum=0.9, weight_decay=0.0005, nesterov=True); nothing differs."""
    return by_torch(
        lambda leaves: torch.optim.SGD(leaves, lr=1.0, momentum=0.9, weight_decay=0.0005, nesterov=True),
        lambda t: {"lr": 0.1 * rate(t)},
    )


def rmsprop() -> Iterator[np.ndarray]:
    """torch.optim.RMSprop(alpha=0.99, eps=1e-8): g / (sqrt(v) + eps) on both sides; nothing differs."""
    return by_torch(lambda leaves: torch.optim.RMSprop(leaves, alpha=0.99, eps=1e-8), lambda t: {"lr": 0.001 * rate(t)})


# --- the other side: formulas --------------------------------------------------------------------------------------


def by_formula(formula: Callable[[Leaves, Leaves, dict[str, Leaves], float], Leaves]) -> Iterator[np.ndarray]:
    """[P] weights after each step; `formula(w, g, memory, lr)` gives the updates leaf by leaf."""
    w = cut(start())
    memory = {name: [np.zeros(shape) for shape in SHAPES] for name in ("m", "v")}
    for t in range(STEPS):
        update = formula(w, cut(gradient(join(w), t)), memory, rate(t))
        w = [x - u for x, u in zip(w, update, strict=True)]
        yield join(w)


def mix(old: Leaves, new: Leaves, keep: float) -> Leaves:
    """keep * old + (1 - keep) * new, the exponential average."""
    return [keep * a + (1 - keep) * b for a, b in zip(old, new, strict=True)]


def lion() -> Iterator[np.ndarray]:
    """Algorithm 2 of the Lion paper: update lr (sign(0.9 m + 0.1 g) + wd w), then m = 0.99 m + 0.01 g."""

    def formula(w: Leaves, g: Leaves, memory: dict[str, Leaves], lr: float) -> Leaves:
        direction = mix(memory["m"], g, 0.9)
        memory["m"] = mix(memory["m"], g, 0.99)
        return [0.0001 * lr * (np.sign(d) + 0.01 * x) for d, x in zip(direction, w, strict=True)]

    return by_formula(formula)


def signum() -> Iterator[np.ndarray]:
    """m = 0.9 m + 0.1 g, update lr (sign(m) + wd w)."""

    def formula(w: Leaves, g: Leaves, memory: dict[str, Leaves], lr: float) -> Leaves:
        memory["m"] = mix(memory["m"], g, 0.9)
        return [0.0001 * lr * (np.sign(m) + 0.01 * x) for m, x in zip(memory["m"], w, strict=True)]

    return by_formula(formula)


def adabelief() -> Iterator[np.ndarray]:
    """m as in Adam, v the average of (g - m)^2 with the new m; update lr (m / (sqrt(v) + 1e-8) + wd w).

    Against the paper: no bias correction, and no epsilon added to v at every step.
    """

    def formula(w: Leaves, g: Leaves, memory: dict[str, Leaves], lr: float) -> Leaves:
        m = memory["m"] = mix(memory["m"], g, 0.9)
        v = memory["v"] = mix(memory["v"], [(a - b) ** 2 for a, b in zip(g, m, strict=True)], 0.999)
        return [0.001 * lr * (a / (np.sqrt(b) + 1e-8) + 0.01 * x) for a, b, x in zip(m, v, w, strict=True)]

    return by_formula(formula)


def raw_lion() -> Iterator[np.ndarray]:
    """Program 4: g scaled to global norm lr at most, arcsin; m = 0.101 g + 0.899 v; v = -0.109 g + 1.109 m.

    Update 0.0002 lr (m / (|m| + 1e-8) + 0.4602 w). The last statement on m has no effect.
    """

    def formula(w: Leaves, g: Leaves, memory: dict[str, Leaves], lr: float) -> Leaves:
        norm = math.sqrt(sum(float((x**2).sum()) for x in g))
        g = [np.arcsin(x * min(1.0, lr / norm)) for x in g]
        m = [0.101 * a + 0.899 * b for a, b in zip(g, memory["v"], strict=True)]
        memory["v"] = [-0.109 * a + 1.109 * b for a, b in zip(g, m, strict=True)]
        return [0.0002 * lr * (a / (np.abs(a) + 1e-8) + 0.4602 * x) for a, x in zip(m, w, strict=True)]

    return by_formula(formula)


OTHERS: dict[str, Callable[[], Iterator[np.ndarray]]] = {
    f.__name__: f for f in (adabelief, adamw, lion, nadamw, nesterov, raw_lion, rmsprop, sgd, sgd_momentum, signum)
}


def test_every_program_of_the_zoo_has_something_to_be_compared_with() -> None:
    assert zoo.names() == sorted(OTHERS)


@pytest.mark.parametrize("name", sorted(OTHERS))
@pytest.mark.parametrize(("run", "tolerance"), [(by_reference, 1e-9), (by_rows, 2e-5)], ids=["numpy", "torch"])
def test_zoo_program_moves_weights_like_the_original(
    name: str, run: Callable[[Program], Iterator[np.ndarray]], tolerance: float
) -> None:
    """After every one of 40 steps, as a share of the distance gone so far (plus rounding of float32 weights)."""
    previous = start()
    for got, expected in zip(run(zoo.load(name)), OTHERS[name](), strict=True):
        gone = np.abs(expected - start()).max()
        rounding = 40 * np.finfo(np.float32).eps * np.abs(expected).max() if run is by_rows else 0.0
        assert np.abs(got - expected).max() <= tolerance * gone + rounding
        assert not np.array_equal(expected, previous)
        previous = expected


@pytest.mark.parametrize("name", sorted(OTHERS))
def test_the_comparison_can_tell_programs_apart(name: str) -> None:
    """Each original is far from every other program of the zoo, by the measure of the test above."""
    *_, expected = OTHERS[name]()
    gone = np.abs(expected - start()).max()
    for other in set(zoo.names()) - {name}:
        *_, got = by_reference(zoo.load(other))
        assert np.abs(got - expected).max() > 1e-3 * gone, other


@pytest.mark.parametrize(
    ("name", "slots"),
    [("sgd", 0), ("lion", 1), ("signum", 1), ("sgd_momentum", 1), ("nesterov", 1), ("rmsprop", 1), ("raw_lion", 1),
     ("adamw", 2), ("nadamw", 2), ("adabelief", 2)],
)  # fmt: skip
def test_memory_that_each_program_costs(name: str, slots: int) -> None:
    assert len(live(zoo.load(name).dataflow).states) == slots


def test_all_are_different_programs_with_descriptions() -> None:
    assert len({dataflow_hash(zoo.load(name)) for name in zoo.names()}) == len(zoo.names()) == 10
    assert all(len(zoo.describe(name)) > 10 for name in zoo.names())


@pytest.mark.parametrize("name", ["", "nope", "__init__", "../errors", "adamw.py"])
def test_an_unknown_name_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(InputError, match="adabelief, adamw, lion, nadamw"):
        zoo.load(name)
