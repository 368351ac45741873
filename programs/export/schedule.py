"""The schedule that a rule was trained with, as a function of the exported file and in words."""

from __future__ import annotations

import textwrap

from programs.schedules import POINTS, SHAPES, Schedule

_WIDTH = 100


def helper_names() -> tuple[str, ...]:
    """Return what the functions are called that exported files may have."""
    return tuple(f"warmup_{name}" for name in SHAPES)


def helper_name(schedule: Schedule) -> str:
    """Return what the function is called that makes a schedule."""
    return f"warmup_{schedule.name}"


def helper(schedule: Schedule) -> str:
    """Return the function that makes a schedule for an optimizer of torch."""
    arguments = ["optimizer: Optimizer", "total_steps: int", f"warmup: float = {schedule.warmup!r}"]
    arguments += [f"decay: float = {schedule.decay!r}"] * (schedule.name == "wsd")
    arguments += ["points: tuple[float, ...] = _POINTS"] * (schedule.name == POINTS)
    about = f'"""The schedule with which the search trained: ``lr`` {schedule.words}.'
    lines = [
        f"def {helper_name(schedule)}({', '.join(arguments)}) -> LambdaLR:",
        *textwrap.wrap(about, _WIDTH, initial_indent="    ", subsequent_indent="    "),
        "",
        "    Call ``step()`` of what it returns after each step of the optimizer.",
        '    """',
        "    warm = max(1, round(warmup * total_steps))",
        "",
        "    def factor(step: int) -> float:",
        *_body(schedule),
        "",
        "    return LambdaLR(optimizer, factor)",
    ]
    text = "\n".join(lines)
    return f"{_points(schedule)}\n\n\n{text}" if schedule.points else text


def in_optax(schedule: Schedule) -> str:
    """Return what optax has for a schedule, and the points of one that is given by them."""
    name = SHAPES[schedule.name].optax
    return f"{name}, along {', '.join(f'{point:.6g}' for point in schedule.points)}" if schedule.points else name


def _body(schedule: Schedule) -> list[str]:
    code = SHAPES[schedule.name].code
    start, end = ("points[0] * ", "points[-1]") if schedule.name == POINTS else ("", "0.0")
    lines = ["if step >= total_steps:", f"    return {end}"] * (schedule.name != "constant")
    lines += ["if step < warm:", f"    return {start}(step + 1) / warm"]
    if schedule.name == POINTS:
        lines += [
            f"place = {code} * (len(points) - 1)",
            "before = min(int(place), len(points) - 2)",
            "return points[before] + (place - before) * (points[before + 1] - points[before])",
        ]
    else:
        lines.append(f"return {code}")
    return [f"        {line}" for line in lines]


def _points(schedule: Schedule) -> str:
    values = textwrap.wrap(", ".join(f"{point:.6g}" for point in schedule.points), _WIDTH)
    return "\n".join(["_POINTS = (", *(f"    {line}" for line in values), ")"])
