"""Write `equivalence_corpus.json`: evolved programs, sorted into classes that move weights alike.

    python -m scripts.record.equivalence_corpus STORE SEARCH [--programs 400] [--output FILE]

The classes do not depend on the fingerprint: every program is run by the oracle, a second implementation of the
language, in float64 on several random trees, and two programs are in one class if their updates agree to 1e-6 at every
weight of every step. Programs that agree with another only to between 1e-6 and 1e-3 are left out: whether these are
alike cannot be decided.
"""

from __future__ import annotations

import argparse
import json
from contextlib import closing
from pathlib import Path
from random import Random

import numpy as np

from programs import Program, parse

from proxy_tasks.outcome import Status

from search.store import open_store
from search.store.views import ProgramEntry

from tests.support import oracle

SIZES = (300, 150, 50)
STEPS = 12
SCALES = (100.0, 1.0, 1e-2, 1e-4)
ALIKE, DIFFERENT = 1e-6, 1e-3
CORPUS = Path(__file__).parents[2] / "tests" / "programs" / "equivalence_corpus.json"


def behaviour(program: Program) -> np.ndarray:
    """Return all updates on trees with gradients of different scales; the guard of the division is made negligible."""
    oracle.ELEMENTWISE["div"] = lambda x, y: x / (y + 1e-100)
    updates = []
    for tree, scale in enumerate(SCALES):
        rng = np.random.default_rng(1000 + tree)
        w = rng.normal(size=sum(SIZES)) * 2
        w[rng.random(sum(SIZES)) < 0.1] = 0.0
        gradients = rng.normal(size=(STEPS, sum(SIZES))) * scale * 10.0 ** rng.uniform(-2, 1, size=sum(SIZES))
        gradients[:, rng.random(sum(SIZES)) < 0.15] = 0.0
        updates += oracle.run(program.statements, SIZES, w, list(gradients), np.linspace(0.2, 1.0, STEPS).tolist())
    return np.concatenate(updates)


def apart(a: np.ndarray, b: np.ndarray) -> float:
    """Return the largest relative difference, infinite where only one of two numbers is finite."""
    if not np.array_equal(np.isfinite(a), np.isfinite(b)):
        return np.inf
    if not np.array_equal(a[~np.isfinite(a)], b[~np.isfinite(b)], equal_nan=True):
        return np.inf
    a, b = a[np.isfinite(a)], b[np.isfinite(b)]
    scale = np.maximum(np.abs(a), np.abs(b)) + 1e-12
    return float((np.abs(a - b) / scale).max(initial=0.0))


def classes(programs: list[Program]) -> list[tuple[Program, int]]:
    """Return each program with the number of its class; doubtful ones are left out."""
    found: list[np.ndarray] = []
    sorted_in = []
    for program in programs:
        behaved = behaviour(program)
        distances = [apart(behaved, other) for other in found]
        if any(ALIKE <= d < DIFFERENT for d in distances):
            continue
        number = next((i for i, d in enumerate(distances) if d < ALIKE), len(found))
        if number == len(found):
            found.append(behaved)
        sorted_in.append((program, number))
    return sorted_in


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("search")
    parser.add_argument("--programs", type=int, default=400)
    parser.add_argument("--output", type=Path, default=CORPUS)
    options = parser.parse_args()
    chosen = sampled(options.store, options.search, options.programs)
    entries = [{"program": str(program), "class": number} for program, number in classes(chosen)]
    options.output.write_text(json.dumps(entries, indent=0) + "\n", encoding="utf-8")
    number = len({entry["class"] for entry in entries})
    print(f"{len(entries)} programs in {number} classes, {len(chosen) - len(entries)} left out")


def sampled(location: str, search: str, number: int) -> list[Program]:
    """Return different programs of a search, up to half of them with a key that others have too."""
    rng = Random(0)
    by_key: dict[str, dict[str, str]] = {}
    with closing(open_store(location)) as store:
        where = "search = :search AND status <> :rejected"
        for row in store.iterate(ProgramEntry, where, order="birth", search=search, rejected=str(Status.REJECTED)):
            by_key.setdefault(row.key, {}).setdefault(row.dataflow_hash, row.genome)
    merged = [list(texts.values()) for texts in by_key.values() if len(texts) > 1]
    single = [text for texts in by_key.values() if len(texts) == 1 for text in texts.values()]
    chosen = [text for texts in rng.sample(merged, min(len(merged), number // 6)) for text in texts[:3]]
    chosen += rng.sample(single, min(len(single), number - len(chosen)))
    rng.shuffle(chosen)
    return [parse(text) for text in chosen]


if __name__ == "__main__":
    main()
