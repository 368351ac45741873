"""Rank sets of proxies by how well they order programs on several targets at once, for the documentation.

    python -m scripts.record.suite_proxies STORE SEARCH TARGET [TARGET ...] [--most 3]

From what `optsearch proxies` has measured. A set orders programs by the sum of their fitness on its tasks, each
standardized; nothing is fitted. Prints rows of Markdown: the set, its steps, the mean of Kendall's tau over the targets
with a 95 % interval over programs, and tau with each target. Targets are no proxies.
"""

from __future__ import annotations

import argparse
from itertools import combinations

import numpy as np

from search.results.proxies import measured_tasks
from search.results.proxy_sets import standardized
from search.results.rank_correlation import pairs_of, ranked, tau_of
from search.results.results import open_results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("search")
    parser.add_argument("targets", nargs="+", metavar="TARGET")
    parser.add_argument("--most", type=int, default=3)
    options = parser.parse_args()
    with open_results(options.store) as results:
        tasks = {task.name: task for task in measured_tasks(results.proxies(options.search))}
    programs = sorted(set.intersection(*(set(task.by_program) for task in tasks.values())))
    counts = np.random.default_rng(0).multinomial(len(programs), np.full(len(programs), 1 / len(programs)), 1000)
    samples = np.concatenate([np.ones((1, len(programs))), counts.astype(float)])
    values = {name: standardized(task.fitness(programs)).values for name, task in tasks.items()}
    aims = {name: ranked(tasks[name].fitness(programs)) for name in options.targets}
    proxies = [name for name in tasks if name not in aims]
    rows = []
    for size in range(1, options.most + 1):
        for chosen in combinations(proxies, size):
            summed = np.sum([values[name] for name in chosen], axis=0)
            taus = np.array([tau_of(pairs_of(summed, aim), samples) for aim in aims.values()])  # [targets, samples]
            mean = taus.mean(axis=0)
            low, high = np.nanquantile(mean[1:], (0.025, 0.975))
            cells = [" + ".join(chosen), f"{sum(tasks[name].steps for name in chosen):,}"]
            cells += [f"{mean[0]:.2f} ({low:+.2f} to {high:+.2f})", *(f"{tau:.2f}" for tau in taus[:, 0])]
            rows.append((-mean[0], f"| {' | '.join(cells)} |"))
    print(f"{len(programs)} programs\n\n| set | steps | mean tau | {' | '.join(aims)} |")
    print(f"|---|---|---|{'---|' * len(aims)}")
    print("\n".join(row for _, row in sorted(rows)))


if __name__ == "__main__":
    main()
