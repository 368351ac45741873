"""Whether a cheap ranker could choose which children to train: replayed over stored searches of `kind: evolution`.

    python -m scripts.record.ranker STORE SEARCH [SEARCH ...] [--children 4] [--refit 64] [--memory 800]

Goes through the trained new structures of each population in the order of their births. A pairwise ranker (logistic
regression on differences of features, as in RankSVM of Joachims, KDD 2002) is fitted to the births before, and chooses
one of the next `children`; its choice is compared with a choice by lot. Features are what is known before a training:
counts of live functions and their change from the parent, states, statements, the kind of change, the parent's fitness,
the size of the updates on random gradients, and how they lie to those of the parent and to the gradient.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter, defaultdict
from contextlib import closing
from itertools import combinations
from statistics import fmean
from typing import NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from programs.behaviour import size_of_updates
from programs.fingerprint import LARGER_LAYOUT, probe_updates
from programs.liveness import live_statements, state_kinds
from programs.ops import OPS
from programs.program import Program, parse
from programs.proposals import PROPOSALS

from search.evolution.structures import kind_of
from search.settings.settings_file import stored_settings
from search.store import ProgramRow, open_store
from search.store.keys import Answer

FEWEST = 100  # births before a ranker is fitted
PAIRS = 4000  # that it is fitted to


class Child(NamedTuple):
    """A trained new structure: what is known before, and what came out; the fitness is -inf where it failed."""

    features: np.ndarray
    fitness: float
    parent: float


def children_of(rows: list[ProgramRow]) -> list[Child]:
    """Return the trained new structures of a population, in the order of their births."""
    by_birth = {row.birth: row for row in rows}
    found = []
    for row in rows:
        parent = by_birth.get(-1 if row.parent_birth is None else row.parent_birth)
        if row.answered_by != Answer.TRAINING or kind_of(row.mutation) not in PROPOSALS or parent is None:
            continue
        before = -math.inf if parent.fitness is None else parent.fitness
        fitness = -math.inf if row.fitness is None else row.fitness
        found.append(Child(features_of(parse(row.genome), row.mutation, parse(parent.genome), before), fitness, before))
    return found


def features_of(child: Program, mutation: str, parent: Program, fitness: float) -> np.ndarray:
    """Return what is known of a child, made by this mutation of a parent with this fitness, before it is trained."""
    own, before = _counts(child), _counts(parent)
    kinds = [float(kind_of(mutation) == kind) for kind in PROPOSALS]
    size, old = size_of_updates(child, LARGER_LAYOUT), size_of_updates(parent, LARGER_LAYOUT)
    ratio = math.log(size / old) if size and old else 0.0
    moves, moved = probe_updates(child).ravel(), probe_updates(parent).ravel()
    numbers = [fitness if math.isfinite(fitness) else 0.0, math.log(size or 1.0), ratio, _cosine(moves, moved)]
    return np.array([*own, *(own - before), *kinds, *numbers])


def _counts(program: Program) -> np.ndarray:
    used = Counter(program.statements[position].function for position in live_statements(program))
    return np.array([*(float(used[name]) for name in OPS), float(used.total()), float(len(state_kinds(program)))])


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    known = np.isfinite(one) & np.isfinite(other)
    lengths = np.linalg.norm(one[known]) * np.linalg.norm(other[known])
    return float(one[known] @ other[known] / lengths) if lengths > 0 and math.isfinite(lengths) else 0.0


def _fitted(known: list[Child], rng: np.random.Generator) -> tuple[StandardScaler, LogisticRegression] | None:
    scaler = StandardScaler().fit([child.features for child in known])
    x = np.clip(scaler.transform([child.features for child in known]), -5, 5)
    pairs = rng.integers(len(known), size=(PAIRS, 2))
    pairs = [(a, b) for a, b in pairs if known[a].fitness != known[b].fitness]
    if len(pairs) < FEWEST:
        return None
    differences = np.array([x[a] - x[b] for a, b in pairs])
    first = [known[a].fitness > known[b].fitness for a, b in pairs]
    return scaler, LogisticRegression(C=0.1, fit_intercept=False, max_iter=500).fit(differences, first)


class Result(NamedTuple):
    """What the choice gave beside a choice by lot: shares of groups, and of ordered pairs."""

    groups: int
    best: float
    trains: tuple[float, float]
    gains: tuple[float, float]
    top: tuple[float, float]
    pairs: float


def replayed(of_populations: list[list[Child]], children: int, refit: int, memory: int) -> Result:
    """Return what the ranker would have chosen."""
    rng = np.random.default_rng(0)
    chosen, groups, right, pairs, places = [], [], 0, 0, []
    for born in of_populations:
        ranker = None
        for start in range(FEWEST, len(born) - children, children):
            if ranker is None or start % refit < children:
                ranker = _fitted(born[max(0, start - memory) : start], rng) or ranker
            if ranker is None:
                continue
            group = born[start : start + children]
            scaler, model = ranker
            scores = model.decision_function(np.clip(scaler.transform([child.features for child in group]), -5, 5))
            pick = group[int(np.argmax(scores))]
            seen = sorted(child.fitness for child in born[max(0, start - 200) : start])
            bar = seen[int(0.95 * len(seen))]
            chosen.append((pick, bar))
            groups.append([(child, bar) for child in group])
            places.append(pick.fitness == max(child.fitness for child in group))
            for a, b in combinations(range(children), 2):
                if group[a].fitness != group[b].fitness:
                    pairs += 1
                    right += (scores[a] > scores[b]) == (group[a].fitness > group[b].fitness)
    everyone = [one for group in groups for one in group]

    def shares(good: str) -> tuple[float, float]:
        rules = {
            "trains": lambda child, _: math.isfinite(child.fitness),
            "gains": lambda child, _: child.fitness > child.parent,
            "top": lambda child, bar: child.fitness > bar,
        }
        return fmean(rules[good](*one) for one in chosen), fmean(rules[good](*one) for one in everyone)

    return Result(len(groups), fmean(places), shares("trains"), shares("gains"), shares("top"), right / max(1, pairs))


def main() -> None:
    """Print a row for each search."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("searches", nargs="+")
    parser.add_argument("--children", type=int, default=4)
    parser.add_argument("--refit", type=int, default=64)
    parser.add_argument("--memory", type=int, default=800)
    args = parser.parse_args()
    print("| search | groups | best of them chosen | trains | beats its parent | in the upper 5 % | pairs in order |")
    print("|---|---|---|---|---|---|---|")
    with closing(open_store(args.store)) as store:
        for search in args.searches:
            found = store.find_search(search)
            assert found is not None, f"no search {search}"
            repeats = stored_settings(found.settings, search).strategy.repeats
            populations = defaultdict(list)
            for row in store.births(found.id):
                populations[row.birth % repeats].append(row)
            born = [children_of(rows) for rows in populations.values()]
            result = replayed(born, args.children, args.refit, args.memory)
            cells = [f"{ours:.3f} against {lot:.3f}" for ours, lot in (result.trains, result.gains, result.top)]
            print(f"| {search} | {result.groups} | {result.best:.3f} | {' | '.join(cells)} | {result.pairs:.3f} |")


if __name__ == "__main__":
    main()
