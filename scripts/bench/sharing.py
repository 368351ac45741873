"""Does it pay to run statements that programs of a batch have in common together?

    python -m scripts.bench.sharing [STORE SEARCH BIRTH ...] [--programs 64] [--rounds 60]

Times a step of the update rules of a batch in two arrangements: as the trainer arranges them, and each structure by
itself. The candidates are a few mutations away from AdamW; if a store is given, programs that a search trained from
each given birth on are measured too.
"""

from __future__ import annotations

import argparse

import torch

from programs import Program
from programs.run.batched import Rows, UpdateRules
from programs.run.sharing import SharingTree, Skeletons, share

from proxy_tasks import configure_process, get_task

from scripts.bench.candidates import near_adamw, shortest_steps, trained_programs


def apart(skeletons: Skeletons) -> SharingTree:
    """Arrange programs of one structure together, their constants as columns, with nothing else in common."""
    groups: dict[object, list[int]] = {}
    for i, skeleton in enumerate(skeletons.of_program):
        groups.setdefault((tuple(skeleton.constants), tuple(skeleton.outputs.items())), []).append(i)
    branches = [SharingTree(group, list(skeletons.of_program[group[0]].constants)) for group in groups.values()]
    return SharingTree([i for branch in branches for i in branch.programs], [], branches)


def compare(title: str, programs: list[Program], rounds: int) -> None:
    """Time both arrangements in turn and print the shortest times."""
    layout = get_task("digits_mlp").load()[1].layout
    skeletons = Skeletons(programs)
    trees = {"apart": apart(skeletons), "shared": share(skeletons, range(len(programs)))}
    rows = {name: Rows(*(torch.randn(len(programs), layout.width) for _ in range(4))) for name in trees}
    rules = {name: UpdateRules(skeletons, tree, layout, rows[name]) for name, tree in trees.items()}
    times = shortest_steps([rule.step for rule in rules.values()], list(rows.values()), rounds)
    best = dict(zip(trees, times, strict=True))
    calls = {name: len(rule.calls) for name, rule in rules.items()}
    print(
        f"{title}: {best['apart'] * 1e3:.2f} ms in {calls['apart']} calls apart, {best['shared'] * 1e3:.2f} ms in"
        f" {calls['shared']} shared: {best['apart'] / best['shared']:.2f} times as fast"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", nargs="?")
    parser.add_argument("search", nargs="?")
    parser.add_argument("births", nargs="*", type=int)
    parser.add_argument("--programs", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args()
    configure_process()
    compare("near AdamW", near_adamw(options.programs), options.rounds)
    for birth in options.births if options.store else ():
        programs = trained_programs(options.store, options.search, birth, options.programs)
        compare(f"from birth {birth}", programs, options.rounds)


if __name__ == "__main__":
    main()
