"""Eight kinds of hostile trainings in a real search: what becomes of them, of the workers and of the other programs.

    python -m scripts.stress.hostile [--timeout 20] [--workers 3] [--batch 8]

First the search is run in this process: in every other batch one of the programs is given the next hostile behaviour,
which is not carried out: the program only gets the outcome that is expected of it. Then the search is run on Ray
workers, where these programs do behave like that. Both histories must be equal. The exit code is 1 if they are not, if
a program is recorded as something else, or if an attempt takes more than 5 s beyond the time allowed.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from pathlib import Path

from tests.support.hostile import GRACE, HOSTILE, Watch, attempts_by_role, play, settings


def how_long_they_lived(log: str, watch: Watch) -> list[float]:
    """Return the seconds from each log line about the end of a worker until the worker was last seen."""
    lived = []
    for line in log.splitlines():
        if found := re.match(r"(\S+ \S+?),(\d+) .*worker (\d+) on .*; replaced", line):
            ended = time.mktime(time.strptime(found[1], "%Y-%m-%d %H:%M:%S")) + int(found[2]) / 1000
            if int(found[3]) in watch.last_seen:
                lived.append(watch.last_seen[int(found[3])] - ended)
    return lived


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--timeout", type=float, default=20.0)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8)
    options = parser.parse_args()
    watch = Watch()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        chosen = settings(
            folder,
            400,
            {"name": "digits_mlp", "steps": 100},
            timeout_s=options.timeout,
            workers=options.workers,
            batch=options.batch,
        )
        watch.start()
        began = time.monotonic()
        played = play(chosen, folder)
        seconds = time.monotonic() - began
        log = "".join(file.read_text() for file in folder.glob("*.log*"))
    watch.end()
    wrong = []
    print("| a training that | attempts | longest, s | recorded as | reason |\n|---|---|---|---|---|")
    for role, attempts in attempts_by_role(played).items():
        status, reason = played.verdicts[role]
        of_failed = [attempt.seconds for attempt in attempts if attempt.result != "ok"]
        print(f"| {role} | {len(of_failed)} | {max(of_failed):.1f} | {status} | {reason} |")
        if status != HOSTILE[role].status or not re.search(HOSTILE[role].reason, reason):
            wrong.append(f"{role}: {status}: {reason}")
        if max(of_failed) > options.timeout + GRACE:
            wrong.append(f"{role}: {max(of_failed):.1f} s")
    lived = how_long_they_lived(log, watch)
    print(
        f"{len(played.found)} births in {seconds:.0f} s, both runs; {len(watch.last_seen)} workers,"
        f" {len(lived)} replaced"
    )
    print(f"the last of these was gone {max(lived):.1f} s after it was ended")
    most = max(watch.most_memory.values())
    print(
        f"most memory: {most / 2**20:.0f} MiB in a worker, {watch.most_in_all / 2**20:.0f} MiB in all workers together"
    )
    if played.expected != played.found:
        pairs = zip(played.expected, played.found, strict=False)
        wrong.append(f"the histories differ: {next((pair for pair in pairs if pair[0] != pair[1]), 'in length')}")
    if set(played.verdicts) != set(HOSTILE):
        wrong.append(f"only {sorted(played.verdicts)} took part")
    print("all other programs as in the run without hostile behaviour" if not wrong else f"WRONG: {wrong}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
