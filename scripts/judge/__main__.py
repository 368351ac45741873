"""Judge exported optimizers in an independent trainer, which shares no code with the search and its proxies.

    python -m scripts.judge FILE.py [FILE.py ...] [--problems gpt_stdlib resnet_digits] [--steps 400]
                            [--trials 12] [--tuning-seeds 2] [--seeds 8] [--json FILE]

Every rival, torch's AdamW and Muon among them, is tuned with the same number of trials: first its learning rate, from
its default by half decades until the best is enclosed, then between; the last third of the trials goes to weight
decay. Rates rise over the first tenth of the steps, stay, and fall linearly to 0 over the last half. Then all are
trained on fresh seeds: the same seed is the same model and the same batches for all. Prints mean losses ± standard
errors, and how far each file is ahead of AdamW and of Muon, seed by seed.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from scripts.judge.problems import PROBLEMS, Problem, loss_of, validation_loss
from scripts.judge.rivals import Rival, Setting, TorchMuon, exported, torch_adamw

HALF_DECADE = math.sqrt(10)
DECAYS = (10.0, 0.1, 100.0, 0.01)  # times the default
FRESH = 1000  # the first seed that judges


def schedule(step: int, steps: int) -> float:
    """Return the share of the learning rate: warm-up over a tenth, then constant, linear to 0 over the last half."""
    return min(1.0, (step + 1) / (steps / 10), (steps - step) / (steps / 2))


def trained(rival: Rival, problem: Problem, setting: Setting, seed: int) -> float:
    """Return the validation loss after a training; infinity if it diverges."""
    torch.manual_seed(seed)
    module = problem.module()
    generator = torch.Generator().manual_seed(seed)
    optimizers = rival.optimizers(module, setting)
    rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    for step in range(problem.steps):
        factor = schedule(step, problem.steps)
        for optimizer, peaks in zip(optimizers, rates, strict=True):
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = factor * peak
        loss = loss_of(module, *problem.batch(generator))
        if not math.isfinite(loss.item()):
            return math.inf
        module.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
    found = validation_loss(module, problem)
    return found if math.isfinite(found) else math.inf


def tuned(rival: Rival, loss: Callable[[Setting], float], trials: int) -> Setting:
    """Return the best of so many settings; the rate first, then the decay."""
    start = rival.start
    for_decay = 0 if start.decay is None else min(trials // 3, len(DECAYS))
    known = {0.0: loss(start)}  # by the power of half a decade
    while len(known) < trials - for_decay:
        power = next_power(known)
        known[power] = loss(Setting(start.rate * HALF_DECADE**power, start.decay))
    rate = start.rate * HALF_DECADE ** min(known, key=known.__getitem__)
    losses = {Setting(rate, start.decay): min(known.values())}
    for factor in DECAYS[:for_decay]:
        setting = Setting(rate, factor * (start.decay or 0.01))
        losses[setting] = loss(setting)
    return min(losses, key=losses.__getitem__)


def next_power(known: dict[float, float]) -> float:
    """Return where to try next: beyond the edge if the best is there, otherwise in the wider gap beside it."""
    powers = sorted(known)
    best = min(powers, key=known.__getitem__)
    if best == powers[-1]:
        return best + 1
    if best == powers[0]:
        return best - 1
    at = powers.index(best)
    below, above = best - powers[at - 1], powers[at + 1] - best
    return best + above / 2 if above >= below else best - below / 2


def main() -> None:
    """Tune and judge, problem by problem."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, help="exported optimizers")
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--tuning-seeds", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--json", type=Path, help="write everything there")
    args = parser.parse_args()
    try:
        rivals: list[Rival] = [torch_adamw(), TorchMuon(), *(exported(path, args.steps) for path in args.files)]
    except ValueError as error:
        parser.error(str(error))
    names = [rival.name for rival in rivals]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        parser.error(f"two files are called {twice.pop()}.py: results are told apart by these names; rename one")
    if args.seeds < 2:
        parser.error(f"--seeds {args.seeds}: a standard error takes two at least")
    told = {}
    for name in args.problems:
        problem = PROBLEMS[name](args.steps)
        weights = sum(p.numel() for p in problem.module().parameters())
        print(f"\n{name}: {weights:,} weights, {problem.steps} steps", flush=True)
        losses: dict[str, list[float]] = {}
        for rival in rivals:
            begun = time.monotonic()

            def on_average(setting: Setting, rival: Rival = rival, problem: Problem = problem) -> float:
                return statistics.mean(trained(rival, problem, setting, seed) for seed in range(args.tuning_seeds))

            best = tuned(rival, on_average, args.trials)
            losses[rival.name] = [trained(rival, problem, best, FRESH + seed) for seed in range(args.seeds)]
            mean, error = mean_and_error(losses[rival.name])
            decay = "" if best.decay is None else f", decay {best.decay:.2g}"
            print(
                f"  {rival.name:24} {mean:.4f} ± {error:.4f}   rate {best.rate:.2g}{decay}"
                f"   ({time.monotonic() - begun:.0f} s)", flush=True,
            )  # fmt: skip
            told.setdefault(name, {})[rival.name] = {
                "rate": best.rate, "decay": best.decay, "losses": losses[rival.name]
            }  # fmt: skip
        for file in rivals[2:]:
            for rival in rivals[:2]:
                ahead = [a - b for a, b in zip(losses[rival.name], losses[file.name], strict=True)]
                mean, error = mean_and_error(ahead)
                print(f"  {file.name} ahead of {rival.name} by {mean:.4f} ± {error:.4f}", flush=True)
    if args.json:
        args.json.write_text(json.dumps(told, indent=1) + "\n")


def mean_and_error(values: list[float]) -> tuple[float, float]:
    """Return the mean and its standard error."""
    spread = statistics.stdev(values) if all(map(math.isfinite, values)) else math.inf
    return statistics.mean(values), spread / math.sqrt(len(values))


if __name__ == "__main__":
    main()
