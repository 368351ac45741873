"""How large numbers may be, in settings and in options of commands: the one table."""

from __future__ import annotations

from typing import NamedTuple


class Limit(NamedTuple):
    """From `least` to `most`, both included, and why there may be no more. Without `least`, the setting says it."""

    least: int | None
    most: int
    why: str


# How programs are made.
POPULATION = Limit(2, 100_000, "all of a population are in memory")
TOURNAMENT = Limit(1, 10_000, "as many are drawn for every birth")
STATEMENTS = Limit(1, 1_000, "the text of a program may have 100,000 characters")
STATES = Limit(0, 2, "programs have no more than two state slots")
REPEATS = Limit(1, 1_000, "all populations are in memory")
BIRTHS = Limit(1, 10**9, "the store counts births in 32 bits")
REPLICA_STEPS = Limit(1, 10**18, "databases count in 64 bits")
MINUTES = Limit(None, 10**7, "leave it out where the time does not matter")
REMUTATIONS = Limit(0, 1_000, "each is a program more to be drawn and checked")
REMEMBERED = Limit(1, 10**8, "all are in memory")
PROPOSED = Limit(1, 1_000, "each is recorded before the first is used")
FINISHED = Limit(10, 10**9, "the store counts births in 32 bits")

# What is trained.
STEPS = Limit(1, 10**7, "the samples of all steps are drawn before the first")
BATCH_SIZE = Limit(1, 10**6, "the samples of a step are in memory")
UPDATE_SCALE = Limit(None, 10**6, "updates would not be finite")
LOSS = Limit(-(10**12), 10**12, "scores would not be finite")
TRIALS = Limit(1, 10_000, "each is trained on every task and seed")
PASSING = Limit(1, 10**6, "each is tuned")

# Where it is trained.
WORKERS = Limit(1, 10_000, "each is a process")
BATCH = Limit(1, 100_000, "all programs of a batch are trained together")
LOOKAHEAD = Limit(1, 10_000, "as many batches are drawn before the first is trained")
ROWS = Limit(1, 10**6, "each has weights of its own")
MEMORY_MIB = Limit(None, 2**24, "no machine has more than 16 TiB")
TIMEOUT_S = Limit(None, 10**7, "what hangs would not be ended for 115 days")
CPUS = Limit(None, 1_024, "no machine has more")
GPUS = Limit(0, 64, "no machine has more")

# Options of commands.
SEEDS = Limit(1, 1_000, "no more are kept apart from those of searches")
SIMPLIFY_SEEDS = Limit(2, 1_000, SEEDS.why)
TOLERANCE = Limit(0, 1_000, "every change would be harmless")
PAIRS = Limit(1, 10**6, "each is trained")
ROUNDS = Limit(1, 100, "each is trained at every learning rate")
STAGE = Limit(1, 1_000, "no funnel has more stages")
ROWS_SHOWN = Limit(1, 10**6, "more than can be read")
SIZE = Limit(0, 10**6, "no program has more")
PORT = Limit(0, 65_535, "there are no more ports")
PROGRAM_ID = Limit(0, 10**30, "no database has more")
