"""Does it pay to run statements that programs of a batch have in common together?

    python -m scripts.bench.sharing [STORE SEARCH BIRTH ...] [--programs 64] [--rounds 60]

Times a step of the update rules of a batch in two arrangements: as the trainer has it, and each structure by itself.
Without a store, of candidates a few mutations away from AdamW; with one, of the programs that a search trained from
each given birth on.
"""

from __future__ import annotations

import argparse
import time
from random import Random

import torch

from programs import Program, parse, zoo
from programs.mutation import mutate
from programs.run.batched import Rows, UpdateRules
from programs.run.sharing import SharingTree, Skeletons, share

from proxy_tasks import configure_process, get_task

from search.store import open_store

_TRAINED = """SELECT genome FROM program i JOIN search s ON s.id = i.search_id WHERE s.name = :search
              AND answered_by = 'training' AND status = 'ok' AND birth >= :birth ORDER BY birth LIMIT :number"""


def near_adamw(number: int) -> list[Program]:
    rng, found = Random(1), [zoo.load("adamw")]
    while len(found) < number:
        child = found[int(rng.random() * len(found))]
        for _ in range(3):
            child, _ = mutate(child, rng)
        found.append(child)
    return found


def apart(skeletons: Skeletons) -> SharingTree:
    """Programs of one structure together, as their constants are columns; nothing else in common."""
    groups: dict[object, list[int]] = {}
    for i, skeleton in enumerate(skeletons.of_program):
        groups.setdefault((tuple(skeleton.constants), tuple(skeleton.outputs.items())), []).append(i)
    branches = [SharingTree(group, list(skeletons.of_program[group[0]].constants)) for group in groups.values()]
    return SharingTree([i for branch in branches for i in branch.programs], [], branches)


def compare(title: str, programs: list[Program], rounds: int) -> None:
    layout = get_task("digits_mlp").load()[1].layout
    skeletons, lr = Skeletons(programs), torch.tensor([0.5])
    trees = {"apart": apart(skeletons), "shared": share(skeletons, range(len(programs)))}
    rows = {name: Rows(*(torch.randn(len(programs), layout.width) for _ in range(4))) for name in trees}
    rules = {name: UpdateRules(skeletons, tree, layout, rows[name]) for name, tree in trees.items()}
    best = dict.fromkeys(trees, float("inf"))
    for _ in range(rounds):
        for name in trees:
            for buffer, value in zip(rows[name], (0.1, 0.01, 0.01, 0.01), strict=True):
                buffer.fill_(value)
            with torch.no_grad():
                rules[name].step(lr)
                started = time.thread_time()
                rules[name].step(lr)
                best[name] = min(best[name], time.thread_time() - started)
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
        rows = open_store(options.store).rows(_TRAINED, search=options.search, birth=birth, number=options.programs)
        compare(f"from birth {birth}", [parse(row["genome"]) for row in rows], options.rounds)


if __name__ == "__main__":
    main()
