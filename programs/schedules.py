"""Learning-rate schedules: the factor on the learning rate at each step of a training, from 0 to 1.

All rise linearly over a warm-up; what comes then is a row of `SHAPES`, or a list of points. A row says everything: the
values for the trainer, the code for exported files, and the words for their docstrings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from programs.errors import InputError

if TYPE_CHECKING:  # who only reads what tasks are does not wait for NumPy
    import numpy as np

WARMUP, DECAY = 0.05, 0.2  # shares of the steps
POINTS = "points"
"""What a schedule is called that is given as a list of points."""


class Shape(NamedTuple):
    """What a schedule does after its warm-up.

    `values(done, total, falling, points)` gives the factors after `done` of the `total` steps that follow the warm-up;
    the decay of `wsd` takes the last `falling` of them. `code` says the same of `step`, `warm`, `total_steps` and
    `decay` in Python; of points, the share of the way along them. `words` describe it, `optax` is what optax has for
    it.
    """

    values: Callable[[np.ndarray, int, int, Sequence[float]], np.ndarray]
    code: str
    words: str
    optax: str


def _cosine(done: np.ndarray, total: int, _falling: int, _points: Sequence[float]) -> np.ndarray:
    import numpy as np

    return 0.5 * (1 + np.cos(math.pi * done / total))


def _linear(done: np.ndarray, total: int, _falling: int, _points: Sequence[float]) -> np.ndarray:
    return 1 - done / total


def _wsd(done: np.ndarray, total: int, falling: int, _points: Sequence[float]) -> np.ndarray:
    import numpy as np

    return np.minimum(1.0, (total - done) / falling)


def _constant(done: np.ndarray, _total: int, _falling: int, _points: Sequence[float]) -> np.ndarray:
    import numpy as np

    return np.ones(len(done))


def _along_points(done: np.ndarray, total: int, _falling: int, points: Sequence[float]) -> np.ndarray:
    import numpy as np

    return np.interp(done * (len(points) - 1) / max(1, total - 1), np.arange(len(points)), points)


SHAPES = {
    "cosine": Shape(
        _cosine,
        "0.5 * (1 + math.cos(math.pi * (step - warm) / (total_steps - warm)))",
        "falls along a cosine to 0",
        "optax.warmup_cosine_decay_schedule",
    ),
    "linear": Shape(
        _linear,
        "1 - (step - warm) / (total_steps - warm)",
        "falls linearly to 0",
        "optax.join_schedules of two optax.linear_schedule",
    ),
    "wsd": Shape(
        _wsd,
        "min(1.0, (total_steps - step) / max(1, round(decay * total_steps)))",
        "stays until it falls linearly to 0 over the last {decay:.3g} %",
        "optax.join_schedules of optax.linear_schedule and optax.constant_schedule",
    ),
    "constant": Shape(
        _constant,
        "1.0",
        "stays",
        "optax.join_schedules of optax.linear_schedule and optax.constant_schedule",
    ),
    POINTS: Shape(
        _along_points,
        "(step - warm) / max(1, total_steps - warm - 1)",
        "goes along {points} points, from {first:.3g} to {last:.3g}",
        "optax.join_schedules of optax.linear_schedule and optax.piecewise_interpolate_schedule",
    ),
}
NAMES = tuple(name for name in SHAPES if name != POINTS)


class Schedule(NamedTuple):
    """How the learning rate moves over a training.

    `form` is a name of `NAMES`, or factors at equal distances from the first step after the warm-up to the last, with
    straight lines between them. `warmup` is the share of the steps over which the factor rises to where the form
    begins, `decay` the share over which `wsd` falls.
    """

    form: str | tuple[float, ...] = "cosine"
    warmup: float = WARMUP
    decay: float = DECAY

    @property
    def name(self) -> str:
        """The key in `SHAPES`."""
        return self.form if isinstance(self.form, str) else POINTS

    @property
    def points(self) -> tuple[float, ...]:
        """The factors that it is given by, if it is."""
        return () if isinstance(self.form, str) else self.form

    def check(self, what: str) -> None:
        """Check form and shares; `what` has the schedule, for messages.

        Raises:
            InputError: there is no such schedule, or its decay would begin before the warm-up ends.
        """
        if isinstance(self.form, str):
            if self.form not in NAMES:
                raise InputError(
                    f"{what}: unknown schedule '{self.form}'; there are {', '.join(NAMES)}, or a list of factors"
                )
        elif len(self.form) < 2 or not all(_is_factor(point) for point in self.form) or not any(self.form):
            raise InputError(f"{what}: a schedule in points is two or more numbers from 0 to 1, not all of them 0")
        if self.form == "wsd" and self.warmup + self.decay > 1:
            raise InputError(
                f"{what}: warmup {self.warmup:g} and decay {self.decay:g} are more than all of the steps; lower one"
            )

    def warm_steps(self, steps: int) -> int:
        """Return the number of steps of the warm-up, at least one, in a training of `steps` steps."""
        return max(1, round(self.warmup * steps))

    def values(self, steps: int) -> np.ndarray:
        """Return the factors at each of `steps` steps, float32 `[steps]`."""
        import numpy as np

        warm = self.warm_steps(steps)
        step = np.arange(steps)
        falling = max(1, round(self.decay * steps))
        after = SHAPES[self.name].values(np.maximum(step - warm, 0), max(1, steps - warm), falling, self.points)
        peak = self.points[0] if self.points else 1.0
        return np.where(step < warm, (step + 1) / warm * peak, after).astype(np.float32)

    @property
    def words(self) -> str:
        """What it does, as the end of a sentence that begins with the learning rate."""
        first, last = (self.points[0], self.points[-1]) if self.points else (1.0, 1.0)
        after = SHAPES[self.name].words.format(decay=100 * self.decay, points=len(self.points), first=first, last=last)
        return f"rises over the first {100 * self.warmup:.3g} % of the steps and then {after}"


def _is_factor(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


DEFAULT_SCHEDULE = Schedule()
