"""Optimizers that somebody else wrote, and formulas written out from papers, one for each program of the zoo.

Each generator yields the weights `[P]` after each step in closed loop (`tests.support.closed_loop`). Its description
says all that differs from the source, but for guards: formulas add 1e-8 to norms, too, that they divide by.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from tests.support.closed_loop import MATRICES, Leaves, Memory, by_formula, by_leaf, by_torch, rate

GUARD = 1e-8

# --- torch.optim -----------------------------------------------------------------------------------------------------


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


def torch_adamw() -> Iterator[np.ndarray]:
    """torch.optim.AdamW with its defaults; nothing differs."""
    return by_torch(lambda leaves: torch.optim.AdamW(leaves, weight_decay=0.01), lambda t: {"lr": 0.001 * rate(t)})


def optax_nadamw() -> Iterator[np.ndarray]:
    """torch.optim.NAdam with decoupled weight decay, its momentum schedule at its limit and its product in float64.

    The momentum is 0.9 from the first step on, so that its product is 0.9^t.
    """

    def make(leaves: list[torch.Tensor]) -> torch.optim.Optimizer:
        optimizer = torch.optim.NAdam(leaves, momentum_decay=1e9, weight_decay=0.01, decoupled_weight_decay=True)
        for x in leaves:
            optimizer.state[x].update(
                step=torch.tensor(0.0), mu_product=torch.ones((), dtype=torch.float64), exp_avg=torch.zeros_like(x),
                exp_avg_sq=torch.zeros_like(x),
            )  # fmt: skip
        return optimizer

    return by_torch(make, lambda t: {"lr": 0.001 * rate(t)})


def radam() -> Iterator[np.ndarray]:
    """torch.optim.RAdam with decoupled weight decay; nothing differs."""
    return by_torch(
        lambda leaves: torch.optim.RAdam(leaves, weight_decay=0.01, decoupled_weight_decay=True),
        lambda t: {"lr": 0.001 * rate(t)},
    )


def adafactor() -> Iterator[np.ndarray]:
    """torch.optim.Adafactor, kernels given to it as matrices; lr stays below 1 / sqrt(t)."""
    return by_torch(
        lambda leaves: torch.optim.Adafactor(leaves, weight_decay=0.01), lambda t: {"lr": 0.01 * rate(t)}, MATRICES
    )


# --- formulas of all leaves at once --------------------------------------------------------------------------------


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


# --- formulas of one leaf ------------------------------------------------------------------------------------------


def orthogonal(x: np.ndarray) -> np.ndarray:
    """Muon's iteration on the singular values instead of the matrix, with the RMS of signs; a vector over its RMS."""
    matrix = x.reshape(len(x), -1) if x.ndim > 1 else x.reshape(-1, 1)
    if min(matrix.shape) == 1:
        return math.sqrt(x.size) * x / (np.linalg.norm(x) + GUARD)
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    values = values / (np.linalg.norm(values) + GUARD)
    for _ in range(5):
        values = 3.4445 * values - 4.775 * values**3 + 2.0315 * values**5
    scaled: np.ndarray = math.sqrt(max(matrix.shape)) * (left * values @ right)
    return scaled.reshape(x.shape)


def adam(g: np.ndarray, memory: Memory, t: int) -> Any:
    """m_hat / (sqrt(v_hat) + 1e-8) of Adam, Algorithm 1 of arXiv 1412.6980."""
    m, v = memory.average("m", g, 0.9), memory.average("v", g**2, 0.999)
    return m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + GUARD)


def muon() -> Iterator[np.ndarray]:
    """Jordan et al.'s Muon: Nesterov momentum through the iteration, in float64; 0.2 sqrt(max(rows, columns)) times.

    Vectors, which Muon leaves to others, are divided by their RMS. `torch.optim.Muon` is compared in a test of its own.
    """

    def formula(w: np.ndarray, g: np.ndarray, memory: Memory, t: int) -> np.ndarray:
        m = memory.average("m", g, 0.95)
        return 0.2 * orthogonal(0.05 * g + 0.95 * m)

    return by_leaf(formula, 0.001, 0.1)


def normuon() -> Iterator[np.ndarray]:
    """Algorithm 1 of arXiv 2510.05491, where 0.2 / rms(N) is 0.2 sqrt(rows columns) / norm(N); vectors are columns."""

    def formula(w: np.ndarray, g: np.ndarray, memory: Memory, t: int) -> np.ndarray:
        direction = orthogonal(memory.average("m", g, 0.95))
        rows = direction.reshape(len(g) if g.ndim else 1, -1)
        v = memory.average("v", np.mean(rows**2, axis=1, keepdims=True), 0.95)
        normal = rows / (np.sqrt(v) + GUARD)
        return np.reshape(0.2 * normal / (np.sqrt(np.mean(normal**2)) + GUARD), g.shape)

    return by_leaf(formula, 0.001, 0.1)


def scion() -> Iterator[np.ndarray]:
    """Algorithm 2 of arXiv 2502.07529, d = (1 - alpha) d + alpha g and x = (1 - gamma) x + gamma lmo(d).

    alpha is 0.1; -lmo(d) is the polar factor times 2 sqrt(max(rows, columns)), or 2 d / rms(d).
    """

    def formula(w: np.ndarray, g: np.ndarray, memory: Memory, t: int) -> Any:
        d = memory.average("d", g, 0.9)
        return w + 2 * orthogonal(d)  # times gamma

    return by_leaf(formula, 0.00025, 0.0)


def lamb() -> Iterator[np.ndarray]:
    """Algorithm 2 of arXiv 1904.00962 with phi(z) = z, and as in optax a ratio of 1 where all weights are zero."""

    def formula(w: np.ndarray, g: np.ndarray, memory: Memory, t: int) -> Any:
        u = adam(g, memory, t) + 0.01 * w
        length = np.linalg.norm(w)
        return u if length == 0 else length / (np.linalg.norm(u) + GUARD) * u

    return by_leaf(formula, 0.001, 0.0)


def cautious_adamw() -> Iterator[np.ndarray]:
    """The authors' code of arXiv 2411.16085: Adam's step times mask / clamp(mean(mask), 1e-3); the decay before it."""

    def formula(w: np.ndarray, g: np.ndarray, memory: Memory, t: int) -> Any:
        u = adam(g, memory, t)
        mask = np.where(memory["m"] * g > 0, 1.0, 0.0)
        return u * mask / max(float(np.mean(mask)), 1e-3)

    return by_leaf(formula, 0.001)


def grams() -> Iterator[np.ndarray]:
    """Algorithm 1 of arXiv 2412.17107: sign(g) |u| with Adam's u."""
    return by_leaf(lambda _w, g, memory, t: np.sign(g) * np.abs(adam(g, memory, t)), 0.001)


def laprop() -> Iterator[np.ndarray]:
    """Algorithm 1 of arXiv 2002.04839, the learning rate taken out of the momentum."""

    def formula(w: np.ndarray, g: np.ndarray, memory: Memory, t: int) -> Any:
        v = memory.average("v", g**2, 0.999) / (1 - 0.999**t)
        return memory.average("m", g / (np.sqrt(v) + GUARD), 0.9) / (1 - 0.9**t)

    return by_leaf(formula, 0.0004)


def adopt() -> Iterator[np.ndarray]:
    """The authors' code of arXiv 2411.02853 (the clipped form), but for the decay in the first step."""

    def formula(w: np.ndarray, g: np.ndarray, memory: Memory, t: int) -> Any:
        if t == 1:
            memory["v"] = g**2
            return np.zeros_like(g)
        normed = np.clip(g / np.maximum(np.sqrt(memory["v"]), 1e-6), -((t - 1) ** 0.25), (t - 1) ** 0.25)
        memory.average("v", g**2, 0.9999)
        return memory.average("m", normed, 0.9)

    return by_leaf(formula, 0.001)


def mars_lion() -> Iterator[np.ndarray]:
    """The authors' code of arXiv 2411.10438: the approximate gradient, clipped to norm 1 in each tensor, then Lion's m.

    As there, the gradient before the first is zero.
    """

    def formula(w: np.ndarray, g: np.ndarray, memory: Memory, t: int) -> Any:
        c = g + 0.025 * 0.95 / (1 - 0.95) * (g - memory.get("last", 0.0))
        memory["last"] = g
        norm = float(np.linalg.norm(c))
        return np.sign(memory.average("m", c / norm if norm > 1 else c, 0.95))

    return by_leaf(formula, 0.0001)


OTHERS: dict[str, Callable[[], Iterator[np.ndarray]]] = {
    f.__name__: f
    for f in (
        adabelief, adafactor, adamw, adopt, cautious_adamw, grams, lamb, laprop, lion, mars_lion, muon, nadamw,
        nesterov, normuon, optax_nadamw, radam, raw_lion, rmsprop, scion, sgd, sgd_momentum, signum, torch_adamw,
    )
}  # fmt: skip
