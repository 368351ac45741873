"""What commands that only read cost, beside importing what a run needs, which is what they once did.

    python -m scripts.bench.commands [--rounds 5] [--births 1000] [--store results.db]

Prints seconds of processor time, user and system, the least of some rounds, and the ratio to the import of
`search.commands.run` in the same rounds. Without a store, one with as many births as asked for is made.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from scripts.bench.report import fill

OF_STORE = ("status", "leaderboard", "show 1", "lineage 1", "failures")
OTHERS = ("zoo", "tasks", "--help")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--births", type=int, default=1000)
    parser.add_argument("--store", type=Path)
    args = parser.parse_args()
    optsearch = str(Path(sys.executable).parent / "optsearch")
    with tempfile.TemporaryDirectory() as folder:
        store = args.store or Path(folder) / "results.db"
        if not store.exists():
            fill(store, args.births)
        of_store = {line: [optsearch, *line.split(), "--store", str(store)] for line in OF_STORE}
        lines = of_store | {f"{line} --json": [*words, "--json"] for line, words in of_store.items()}
        lines |= {line: [optsearch, *line.split()] for line in (*OTHERS, "zoo --json", "tasks --json")}
        commands = {"import search.commands.run": [sys.executable, "-c", "import search.commands.run"]} | lines
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(args.rounds):
            for name, words in commands.items():
                times[name].append(seconds(words))
    reference, *_ = least = [min(found) for found in times.values()]
    for name, found in zip(times, least, strict=True):
        print(f"{name:>28}: {found:5.2f} s  {found / reference:.2f} times the import")


def seconds(words: list[str]) -> float:
    """Run a command and return the seconds of processor time that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - ours
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
