"""Speed of the language on one core: draw + check + hash of children, and each part by itself.

    python -m scripts.bench.language [--children N]

Parents have 25 statements of which at least 9 are live, as in AdamW: they are grown from it by mutations that keep that
many. The reference, measured in the same run, is a pass of pure Python over as many statements, so that figures of
different machines can be compared.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from programs import Program, dataflow_hash, live, live_program, zoo
from programs.fingerprint import fingerprint
from programs.mutation import mutate

STATEMENTS, LIVE = 25, 9


def grown_parent(rng: Random) -> Program:
    """Return a program of 25 statements with at least 9 live ones."""
    program = zoo.load("adamw")
    while len(program) < STATEMENTS:
        child, _ = mutate(program, rng, STATEMENTS)
        if len(live_program(child)) >= LIVE:
            program = child
    return program


def microseconds(function: Callable[[Any], object], items: Sequence[Any]) -> float:
    """Return the mean time of one call."""
    started = time.perf_counter()
    for item in items:
        function(item)
    return (time.perf_counter() - started) / len(items) * 1e6


def pure_python_pass(program: Program) -> int:
    """Look up and store each argument of each statement in a dictionary: the reference."""
    seen: dict[Any, int] = {}
    for target, _, args in program.statements:
        for arg in args:
            seen[arg] = seen.get(arg, 0) + 1
        seen[target] = 0
    return len(seen)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--children", type=int, default=20_000)
    children = parser.parse_args().children
    rng = Random(0)
    parents = [grown_parent(rng) for _ in range(50)]

    def draw(number: int) -> Program:
        return mutate(parents[number % len(parents)], Random(number), 64)[0]

    whole = microseconds(lambda number: dataflow_hash(draw(number)), range(children))
    drawn = [draw(number) for number in range(children)]
    unchecked = [Program(program.statements) for program in drawn]
    rows = [
        ("draw + check + hash", whole),
        ("check (kinds) alone", microseconds(lambda program: program.dataflow, unchecked)),
        ("liveness alone", microseconds(lambda program: live(program.dataflow), drawn)),
        ("hash with liveness", microseconds(dataflow_hash, drawn)),
        ("fingerprint", microseconds(fingerprint, drawn[: children // 10])),
    ]
    reference = microseconds(pure_python_pass, drawn)
    print(f"{children} children of {len(parents)} parents with {STATEMENTS} statements, one core")
    for name, time_each in rows:
        print(f"{name:22}{time_each:8.1f} us {1e6 / time_each:10,.0f} /s {time_each / reference:7.1f} x the reference")
    print(f"{'reference pass':22}{reference:8.1f} us")


if __name__ == "__main__":
    main()
