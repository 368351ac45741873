"""Exported source is run against the NumPy reference before it is handed out.

Both compute in float64, so that nothing but rounding parts them. They meet recorded gradients of mixed magnitudes with
exact zeros, and a learning-rate schedule that rises and falls.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from inspect import signature
from typing import Any

import numpy as np
import torch

from programs.errors import InputError
from programs.export.torch_source import torch_source
from programs.layout import Layout
from programs.liveness import live_functions
from programs.program import Program
from programs.run.reference import Recording, State, initial_state, numpy_step
from programs.schedules import DEFAULT_SCHEDULE, Schedule

STEPS = 60
SHAPES = ((4, 3), (5,), (), (2, 3, 2), (1,))
MAGNITUDES = (1.0, 1e-3, 1.0, 30.0, 1e-6)  # of the gradients of each parameter tensor
TOLERANCE = 1e-6  # relative
HIDDEN = 2e-9  # of a weight: movement below this is lost in the rounding of the weight itself

# Where these meet infinities and NaN, torch differs: sign(NaN) is 0, and lerp turns an infinity into NaN.
_LAX = ("sign", "interp")


def export_torch(
    program: Program,
    class_name: str,
    provenance: Mapping[str, str] | None = None,
    total_steps: int | None = None,
    schedule: Schedule = DEFAULT_SCHEDULE,
) -> str:
    """Return the source of the optimizer, checked against the program; its docstring states the difference.

    The arguments are those of `torch_source`.

    Raises:
        InputError: the class name is no identifier, or the source does not move weights as the program does.
    """
    source = torch_source(program, class_name, provenance, total_steps, schedule)
    difference = verify_torch(source, class_name, program)
    if not difference <= TOLERANCE:
        raise InputError(
            f"the exported optimizer moves weights differently (largest relative difference {difference:.2g}, allowed"
            f" {TOLERANCE:g}) and was not written; the program may amplify rounding or overflow"
        )
    verified = f"{STEPS} steps in float64 against the program; largest relative difference of movement {difference:.1e}"
    return torch_source(program, class_name, {**(provenance or {}), "verified": verified}, total_steps, schedule)


def verify_torch(source: str, class_name: str, program: Program) -> float:
    """Return the largest relative difference between the weights moved by the source and by the program.

    First both run freely, and the way from the start is compared. Rules that amplify rounding drift apart in this; they
    are run again with the optimizer put back to the weights and states of the program before each step, and single
    steps are compared, states too. Places where the program is not finite must not be finite in the source either.
    """
    recording = _record()
    free = _largest_difference(source, class_name, program, recording, put_back=False)
    if free <= TOLERANCE:
        return free
    return _largest_difference(source, class_name, program, recording, put_back=True)


def _record() -> Recording:
    layout = Layout.of_shapes(SHAPES)
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(STEPS, layout.total)) * np.asarray(MAGNITUDES)[layout.leaf_of]
    gradients[rng.random(gradients.shape) < 0.1] = 0.0
    rates = np.sin(np.linspace(0.05, 3.1, STEPS))
    return Recording(layout, rng.normal(size=layout.total), gradients, rates, STEPS)


def _largest_difference(source: str, class_name: str, program: Program, recording: Recording, put_back: bool) -> float:
    layout, starts = recording.layout, recording.layout.starts
    is_lax = not live_functions(program).isdisjoint(_LAX)
    exported = _Exported(source, class_name, recording)
    step, w = numpy_step(program, layout, steps=recording.steps), recording.w
    state = initial_state(program, layout)
    of_weights, of_states = -np.inf, 0.0
    with np.errstate(all="ignore"):
        for gradient, rate in zip(recording.gradients, recording.rates, strict=True):
            start = w if put_back else recording.w
            update, state = step(w, gradient, state, float(rate))
            w = w - update
            exported.step(gradient, float(rate))
            of_weights = max(of_weights, _difference(start, w, exported.weights(), starts, is_lax))
            if put_back:
                for name, leaves in exported.states():
                    found, row, of_leaves = np.concatenate(leaves), getattr(state, name), _starts(leaves)
                    of_states = max(of_states, _difference(np.zeros_like(row), row, found, of_leaves, is_lax))
                exported.put(w, state)
            if not np.isfinite(w).all() and not (put_back and np.isfinite(w).any()):
                break
    return max(of_weights, of_states) if of_weights >= 0 else np.inf  # nowhere finite: nothing was compared


def _starts(leaves: Sequence[np.ndarray]) -> np.ndarray:
    """Return where each leaf begins when they are laid end to end."""
    return np.cumsum([0, *(leaf.size for leaf in leaves[:-1])])


def _difference(start: np.ndarray, expected: np.ndarray, found: np.ndarray, starts: np.ndarray, is_lax: bool) -> float:
    """Return the largest error in a leaf, relative to its largest movement; -inf if no number is finite."""
    finite = np.isfinite(expected) & np.isfinite(found)
    if not is_lax and not np.array_equal(np.isfinite(expected), np.isfinite(found)):
        return np.inf
    if not finite.any():
        return -np.inf
    error = np.where(finite, np.abs(expected - found), 0.0)
    movement = np.where(finite, np.abs(expected - start) + HIDDEN * np.abs(expected), 0.0)
    error, movement = (np.maximum.reduceat(x, starts) for x in (error, movement))
    return float(np.max(np.where(error == 0.0, 0.0, error / movement)))


class _Exported:
    """The generated optimizer on the leaves of a recording."""

    def __init__(self, source: str, class_name: str, recording: Recording) -> None:
        namespace: dict[str, Any] = {}
        exec(compile(source, f"<{class_name}>", "exec"), namespace)  # noqa: S102 - generated by `torch_source`
        self._layout = recording.layout
        self._params = [torch.tensor(leaf) for leaf in self._leaves(recording.w)]
        kind = namespace[class_name]
        length = {"total_steps": recording.steps} if "total_steps" in signature(kind).parameters else {}
        self._optimizer: torch.optim.Optimizer = kind(self._params, **length)
        self._peak: float = self._optimizer.param_groups[0]["lr"]

    def step(self, gradient: np.ndarray, rate: float) -> None:
        for param, leaf in zip(self._params, self._leaves(gradient), strict=True):
            param.grad = torch.tensor(leaf)
        self._optimizer.param_groups[0]["lr"] = self._peak * rate
        self._optimizer.step()

    def weights(self) -> np.ndarray:
        return torch.cat([p.flatten() for p in self._params]).numpy()

    def states(self) -> Iterator[tuple[str, list[np.ndarray]]]:
        """Yield each state slot that the optimizer has, by name, with its numbers for each leaf."""
        for name in ("m", "v"):
            if name in self._optimizer.state[self._params[0]]:
                yield name, [self._optimizer.state[p][name].flatten().numpy() for p in self._params]

    def put(self, w: np.ndarray, state: State) -> None:
        """Overwrite weights and states."""
        for param, leaf in zip(self._params, self._leaves(w), strict=True):
            param.copy_(torch.tensor(leaf))
        for name, leaves in self.states():
            parts = np.split(getattr(state, name), _starts(leaves)[1:])
            for param, part in zip(self._params, parts, strict=True):
                slot = self._optimizer.state[param][name]
                slot.copy_(torch.tensor(part).reshape(slot.shape))

    def _leaves(self, row: np.ndarray) -> list[np.ndarray]:
        leaves = np.split(row, self._layout.starts[1:])
        return [leaf.reshape(shape) for leaf, shape in zip(leaves, SHAPES, strict=True)]
