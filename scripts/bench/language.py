"""Speed of the languages on one core: draw + check + hash of children, and each part by itself.

    python -m scripts.bench.language [--children N] [--rounds N]

Each part is measured with the paper's functions and with all of them in turn; ratios are medians over the rounds.

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
from typing import Any, NamedTuple

from programs import Program, dataflow_hash, live, live_program, zoo
from programs.fingerprint import fingerprint
from programs.mutation import mutate
from programs.ops import LANGUAGES, Op, functions_of

STATEMENTS, LIVE = 25, 9
REFERENCE = "reference pass"


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


class Sample(NamedTuple):
    """Parents of a language, and children of them, as they are drawn and again before they are checked."""

    functions: Sequence[Op]
    parents: list[Program]
    drawn: list[Program]

    @classmethod
    def of(cls, language: str, children: int) -> Sample:
        """Return 50 parents and their children."""
        rng, functions = Random(0), functions_of(LANGUAGES[language])
        sample = cls(functions, [grown_parent(rng, functions) for _ in range(50)], [])
        return sample._replace(drawn=[sample.child(number) for number in range(children)])

    def child(self, number: int) -> Program:
        """Draw a child."""
        return mutate(self.parents[number % len(self.parents)], Random(number), 64, self.functions)[0]

    def numbers(self) -> range:
        """Return the numbers of the children."""
        return range(len(self.drawn))

    def unchecked(self) -> list[Program]:
        """Return the children as programs whose values nobody has followed yet."""
        return [Program(program.statements) for program in self.drawn]


PARTS: dict[str, Callable[[Sample], float]] = {
    "draw + check + hash": lambda s: microseconds(lambda number: dataflow_hash(s.child(number)), s.numbers()),
    "check (kinds) alone": lambda s: microseconds(lambda program: program.dataflow, s.unchecked()),
    "liveness alone": lambda s: microseconds(lambda program: live(program.dataflow), s.drawn),
    "hash with liveness": lambda s: microseconds(dataflow_hash, s.drawn),
    "fingerprint": lambda s: microseconds(fingerprint, s.drawn[: len(s.drawn) // 5]),
    REFERENCE: lambda s: microseconds(pure_python_pass, s.drawn),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--children", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    samples = {name: Sample.of(name, args.children) for name in LANGUAGES}
    rounds = [
        {part: {name: measure(sample) for name, sample in samples.items()} for part, measure in PARTS.items()}
        for _ in range(args.rounds)
    ]
    print(f"{args.children} children of 50 parents with {STATEMENTS} statements, one core, {args.rounds} rounds")
    print(f"{'':22}" + "".join(f"{name:>28}" for name in LANGUAGES) + f"{'ratio':>8}")
    for part in PARTS:
        cells = []
        for name in LANGUAGES:
            each = median(one[part][name] for one in rounds)
            passes = median(one[part][name] / one[REFERENCE][name] for one in rounds)
            cells.append(f"{each:8.1f} us {passes:7.1f} passes")
        ratio = median(one[part]["extended"] / one[part]["paper"] for one in rounds)
        print(f"{part:22}" + "".join(f"{cell:>28}" for cell in cells) + f"{ratio:8.2f}")


if __name__ == "__main__":
    main()
