"""Time of simplification by algebra for programs of 40 statements, most of them live.

    python -m scripts.bench.simplify [--programs N] [--seed S]

Half of the programs consist of linear functions. They are much denser than evolved programs, which have about 7 live
statements and few sums.
"""

from __future__ import annotations

import argparse
import time
from random import Random
from statistics import mean

from programs import InputError, Program, Statement, live_program
from programs.ops import OPS
from programs.simplify import simplify_algebra

STATEMENTS, LIVE = 40, 24
LINEAR = ("add", "sub", "mul", "interp", "negative", "div")
MIXED = (*LINEAR, "square", "sqrt", "sign", "abs", "tanh", "maximum", "clip", "norm", "exp")


def drawn(rng: Random, functions: tuple[str, ...]) -> Program:
    """Return a program whose statements mostly use values that were computed and not used yet."""
    while True:
        names, unused = ["w", "g", "m", "v", "lr"], ["g", "m", "v"]
        lines = []
        for number in range(STATEMENTS - 1):
            function = rng.choice(functions)
            args = [_argument(rng, names, unused) for _ in OPS[function].accepts]
            if function in ("interp", "clip"):
                args[-1] = rng.choice([0.9, 0.99, rng.random(), "lr"])
            target = rng.choice("mv") if number > STATEMENTS // 3 and rng.random() < 0.1 else f"t{number}"
            lines.append(Statement(target, function, tuple(args)))
            names.append(target)
            unused.append(target)
        program = Program((*lines, Statement("update", "mul", (names[-1], "lr"))))
        try:
            if len(live_program(program)) >= LIVE:
                return program
        except InputError:
            continue


def _argument(rng: Random, names: list[str], unused: list[str]) -> str | float:
    if unused and rng.random() < 0.6:
        return unused.pop(0)
    return rng.gauss(0.0, 1.0) if rng.random() < 0.4 else rng.choice(names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, seconds, before, after = Random(options.seed), [], 0, 0
    for number in range(options.programs):
        program = drawn(rng, LINEAR if number % 2 else MIXED)
        started = time.process_time()
        result = simplify_algebra(program)
        seconds.append(time.process_time() - started)
        before, after = before + len(live_program(program)), after + len(result.program)
    slow = sum(s > 1 for s in seconds)
    print(f"{options.programs} programs of {STATEMENTS} statements, {before} live before, {after} after")
    print(f"CPU seconds: mean {mean(seconds):.2f}, largest {max(seconds):.2f}, above 1: {slow}")


if __name__ == "__main__":
    main()
