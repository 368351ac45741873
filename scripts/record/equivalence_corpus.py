"""Write `equivalence_corpus.json`: evolved programs, sorted into classes that move weights alike.

    python -m scripts.record.equivalence_corpus STORE SEARCH

The classes owe nothing to the fingerprint: every program is run by the oracle, the language written a second time, in
float64 on several random trees, and two belong together if their updates agree to 1e-6 at every weight of every step.
Programs that agree with another to between 1e-6 and 1e-3 are left out: whether those are alike is a matter of taste.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from random import Random

import numpy as np

from programs import Program, parse

from search.store import open_store

from tests.support import oracle

SIZES = (300, 150, 50)
STEPS = 12
SCALES = (100.0, 1.0, 1e-2, 1e-4)
ALIKE, DIFFERENT = 1e-6, 1e-3
PROGRAMS = 400


def behaviour(program: Program) -> np.ndarray:
    """All updates on all trees, whose gradients are of different scale, with the guard of the division out of sight."""
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
    """Largest relative difference; infinite where finiteness differs."""
    if not np.array_equal(np.isfinite(a), np.isfinite(b)):
        return np.inf
    if not np.array_equal(a[~np.isfinite(a)], b[~np.isfinite(b)], equal_nan=True):
        return np.inf
    a, b = a[np.isfinite(a)], b[np.isfinite(b)]
    scale = np.maximum(np.abs(a), np.abs(b)) + 1e-12
    return float((np.abs(a - b) / scale).max(initial=0.0))


def classes(programs: list[Program]) -> list[tuple[Program, int]]:
    """Each program with the number of its class; doubtful ones left out."""
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


def main(location: str, search: str) -> None:
    rows = open_store(location).rows(
        "SELECT i.dataflow_hash, i.key, MIN(i.genome) AS genome FROM program i JOIN search s ON s.id = i.search_id"
        " WHERE s.name = :search AND i.status <> 'rejected' GROUP BY i.dataflow_hash, i.key ORDER BY MIN(i.birth)",
        search=search,
    )
    rng = Random(0)
    by_key: dict[str, list[str]] = {}
    for row in rows:
        by_key.setdefault(row["key"], []).append(row["genome"])
    merged = [texts for texts in by_key.values() if len(texts) > 1]
    single = [texts for texts in by_key.values() if len(texts) == 1]
    chosen = [t for group in rng.sample(merged, min(len(merged), PROGRAMS // 6)) for t in group[:3]]
    chosen += [group[0] for group in rng.sample(single, PROGRAMS - len(chosen))]
    rng.shuffle(chosen)
    entries = [{"program": str(program), "class": number} for program, number in classes([parse(t) for t in chosen])]
    path = Path(__file__).parents[2] / "tests" / "programs" / "equivalence_corpus.json"
    path.write_text(json.dumps(entries, indent=0) + "\n", encoding="utf-8")
    number = len({entry["class"] for entry in entries})
    print(f"{len(entries)} programs in {number} classes, {len(chosen) - len(entries)} left out")


if __name__ == "__main__":
    main(*sys.argv[1:])
