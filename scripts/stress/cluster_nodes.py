"""A search on a cluster whose nodes come and go, beside the same search undisturbed in one process.

    python -m scripts.stress.cluster_nodes [--programs 6000] [--changes 8]

The nodes are Ray processes on loopback addresses of this machine (Linux), one CPU each. Every change kills a node with
all that runs on it, or adds one. Prints a table; the exit code is 1 if the two histories differ.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from random import Random

from tests.support.cluster_nodes import CONFIG, NODES, Cluster, begin, births
from tests.support.processes import Run, history


def disturb(run: Run, cluster: Cluster, changes: int, programs: int) -> list[str]:
    """Kill and add nodes at even intervals of the run, and return what was done, in words."""
    rng, done = Random(0), []
    for number in range(changes):
        while run.code is None and births(run.folder) < programs * (number + 1) // (changes + 1):
            time.sleep(0.2)
        if run.code is not None:
            break
        if number % 2 and len(cluster.nodes) < NODES:
            cluster.add()
            done.append("added")
        else:
            cluster.remove(rng.choice(cluster.nodes))
            done.append("killed")
        print(f"{time.monotonic() - run.began:5.0f} s: a node {done[-1]}, {len(cluster.nodes)} left", flush=True)
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=6000)
    parser.add_argument("--changes", type=int, default=8)
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args()
    config = CONFIG.format(programs=options.programs, steps=options.steps, batch=16)
    folder = Path(tempfile.mkdtemp(prefix="cluster-"))
    with Cluster() as cluster:
        for _ in range(NODES):
            cluster.add()
        run = begin(folder / "cluster", config, f"evaluator.address={cluster.address}")
        done = disturb(run, cluster, options.changes, options.programs)
        code, seconds = run.wait(7200), time.monotonic() - run.began
    log = run.log
    undisturbed = begin(folder / "inline", config, "evaluator.kind=inline")
    inline_code, inline_seconds = undisturbed.wait(7200), time.monotonic() - undisturbed.began
    found, expected = (history(one.folder / "results.db", "nodes") for one in (run, undisturbed))
    is_identical = code == inline_code == 0 and found == expected
    print("\n| | cluster | undisturbed, one process |\n|---|---|---|")
    print(f"| births | {len(found)} | {len(expected)} |")
    print(f"| nodes killed, added | {done.count('killed')}, {done.count('added')} | - |")
    print(f"| batches lost and trained again | {len(re.findall('; trained again|; halved', log))} | - |")
    print(f"| wall time | {seconds:.0f} s | {inline_seconds:.0f} s |")
    print(f"| identical history | {'yes' if is_identical else 'no'} | |")
    shutil.rmtree(folder)
    sys.exit(not is_identical)


if __name__ == "__main__":
    main()
