"""Speed of the languages on one core: draw + check + hash of children, and each part by itself.

    python -m scripts.bench.language [--children N] [--rounds N]

The paper's functions and all of them are measured in turn in one run; the ratios are medians over the rounds.

Parents have 25 statements of which at least 9 are live, as in AdamW: they are grown from it by mutations that keep that
many. The reference, measured in the same run, is a pass of pure Python over as many statements, so that figures of
different machines can be compared.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from random import Random
from statistics import median
from typing import Any

from programs import Program, dataflow_hash, live, live_program, zoo
from programs.fingerprint import fingerprint
from programs.mutation import mutate
from programs.ops import LANGUAGES, Op, functions_of

STATEMENTS, LIVE = 25, 9


def grown_parent(rng: Random, functions: Sequence[Op]) -> Program:
    """Return a program of 25 statements with at least 9 live ones."""
    program = zoo.load("adamw")
    while len(program) < STATEMENTS:
        child, _ = mutate(program, rng, STATEMENTS, functions)
        if len(live_program(child)) >= LIVE:
            program = child
    return program


def microseconds(function: Callable[[Any], object], items: Sequence[Any]) -> float:
    """Return the mean processor time of one call."""
    started = time.process_time()
    for item in items:
        function(item)
    return (time.process_time() - started) / len(items) * 1e6


def pure_python_pass(program: Program) -> int:
    """Look up and store each argument of each statement in a dictionary: the reference."""
    seen: dict[Any, int] = {}
    for target, _, args in program.statements:
        for arg in args:
            seen[arg] = seen.get(arg, 0) + 1
        seen[target] = 0
    return len(seen)


def measured(language: str, children: int) -> dict[str, float]:
    """Return the mean microseconds of each part."""
    rng, functions = Random(0), functions_of(LANGUAGES[language])
    parents = [grown_parent(rng, functions) for _ in range(50)]

    def draw(number: int) -> Program:
        return mutate(parents[number % len(parents)], Random(number), 64, functions)[0]

    whole = microseconds(lambda number: dataflow_hash(draw(number)), range(children))
    drawn = [draw(number) for number in range(children)]
    unchecked = [Program(program.statements) for program in drawn]
    return {
        "draw + check + hash": whole,
        "check (kinds) alone": microseconds(lambda program: program.dataflow, unchecked),
        "liveness alone": microseconds(lambda program: live(program.dataflow), drawn),
        "hash with liveness": microseconds(dataflow_hash, drawn),
        "fingerprint": microseconds(fingerprint, drawn[: children // 10]),
        "reference pass": microseconds(pure_python_pass, drawn),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--children", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    rounds = [{name: measured(name, args.children) for name in LANGUAGES} for _ in range(args.rounds)]
    print(f"{args.children} children of 50 parents with {STATEMENTS} statements, one core, {args.rounds} rounds")
    print(f"{'':22}" + "".join(f"{name:>28}" for name in LANGUAGES) + f"{'ratio':>8}")
    for part in rounds[0]["paper"]:
        cells = []
        for name in LANGUAGES:
            each = median(one[name][part] for one in rounds)
            passes = median(one[name][part] / one[name]["reference pass"] for one in rounds)
            cells.append(f"{each:8.1f} us {passes:7.1f} passes")
        ratio = median(one["extended"][part] / one["paper"][part] for one in rounds)
        print(f"{part:22}" + "".join(f"{cell:>28}" for cell in cells) + f"{ratio:8.2f}")


if __name__ == "__main__":
    main()
