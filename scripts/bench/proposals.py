"""Speed and success of the proposals, and of cleaning, on one core.

    python -m scripts.bench.proposals [--draws N]

Parents are the programs of the zoo that a language can say, and mutants of them; donors are the same. `success` is the
share of draws that give a child, `new` the share of children with another structure once they are cleaned. The
reference is a fingerprint, measured in the same run.
"""

from __future__ import annotations

import argparse
import time
from random import Random

from programs import Program, live_program, structure_hash, zoo
from programs.fingerprint import fingerprint
from programs.liveness import live_functions
from programs.mutation import mutate
from programs.ops import LANGUAGES, functions_of
from programs.proposals import PROPOSALS, Material
from programs.simplify.cleaning import cleaned

MOST = 40
MUTATIONS = 8


def parents_in(language: str) -> list[Program]:
    """Return the programs of the zoo in a language, and two mutants of each."""
    rng, functions = Random(0), functions_of(LANGUAGES[language])
    names = {op.name for op in functions}
    programs = [p for p in map(zoo.load, zoo.names()) if live_functions(p) <= names and len(p) <= MOST]
    mutants = []
    for program in (*programs, *programs):
        child = program
        for _ in range(MUTATIONS):
            child, _ = mutate(child, rng, MOST, functions)
        mutants.append(cleaned(child))
    return [*map(live_program, programs), *mutants]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000)
    args = parser.parse_args()
    for language in LANGUAGES:
        parents = parents_in(language)
        material = Material(functions_of(LANGUAGES[language]), parents, MOST)
        started = time.process_time()
        for program in parents:
            fingerprint(program)
        reference = (time.process_time() - started) / len(parents)
        print(f"{language}: {len(parents)} parents, a fingerprint takes {reference * 1e6:.0f} us")
        print(f"{'':16}{'draws/s':>10}{'children/s':>12}{'fingerprints':>14}{'success':>9}{'new':>6}{'cleaned us':>12}")
        for name, proposal in PROPOSALS.items():
            started = time.process_time()
            drawn = [proposal(parents[n % len(parents)], Random(n), material) for n in range(args.draws)]
            seconds = time.process_time() - started
            children = [(parents[n % len(parents)], child) for n, child in enumerate(drawn) if child is not None]
            started = time.process_time()
            clean = [(parent, cleaned(child)) for parent, child in children]
            cleaning = (time.process_time() - started) / max(1, len(clean))
            new = sum(structure_hash(child) != structure_hash(parent) for parent, child in clean)
            print(
                f"{name:16}{args.draws / seconds:10.0f}{len(children) / seconds:12.0f}"
                f"{seconds / max(1, len(children)) / reference:14.2f}{len(children) / args.draws:9.2f}"
                f"{new / max(1, len(children)):6.2f}{cleaning * 1e6:12.0f}"
            )


if __name__ == "__main__":
    main()
