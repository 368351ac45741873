"""Speed of an exported optimizer against one of torch, measured in turn in the same run.

    python -m scripts.bench.export [--program lion] [--tensors 100] [--size 100000] [--rounds 20] [--threads 1]
    python -m scripts.bench.export --program muon --reference Muon --tensors 8 --size 256 256

Prints the median time of a step of each and the median of the ratios of the rounds, for the foreach path and the
single-tensor path. A ratio below 1 means that the exported optimizer is faster.
"""

from __future__ import annotations

import argparse
import statistics

import torch

from programs import zoo

from search.evidence.step_time import exported_class, seconds, weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="lion")
    parser.add_argument("--tensors", type=int, default=100)
    parser.add_argument("--size", type=int, nargs="+", default=[100_000])
    parser.add_argument("--reference", choices=["AdamW", "Muon"], default="AdamW", help="of torch.optim")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    found = exported_class(zoo.load(args.program))

    def fresh() -> list[torch.Tensor]:
        return weights(args.tensors, *args.size, device=args.device)

    made = torch.optim.AdamW(fresh(), foreach=True) if args.reference == "AdamW" else torch.optim.Muon(fresh())
    optimizers = {
        f"torch.optim.{args.reference}": made,
        f"{args.program}(foreach=True)": found(fresh(), foreach=True),
        f"{args.program}(foreach=False)": found(fresh(), foreach=False),
    }
    for optimizer in optimizers.values():
        seconds([optimizer])  # states are made in the first step
    times = {name: [] for name in optimizers}
    for _ in range(args.rounds):
        for name, optimizer in optimizers.items():
            times[name].append(seconds([optimizer]))
    reference, *others = times
    print(f"{args.tensors} tensors of {args.size} on {args.device}, {args.threads} thread(s), {args.rounds} rounds")
    print(f"{reference:>24}: {1e3 * statistics.median(times[reference]):8.2f} ms")
    for name in others:
        ratio = statistics.median(b / a for a, b in zip(times[reference], times[name], strict=True))
        print(f"{name:>24}: {1e3 * statistics.median(times[name]):8.2f} ms  {ratio:.2f} times the reference")


if __name__ == "__main__":
    main()
