"""What one task says of another: the order of programs on each, as `optsearch proxies` has measured it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from programs.hashing import structure_hash

from search.results.rank_correlation import Tau, estimate, pairs_of, ranked
from search.store.evidence_views import ProxyEntry
from search.store.views import LeaderboardEntry

BETTER_PART = 0.5  # of the leaderboard, from which programs are taken: what is worse is not chosen between
LEAST_PROGRAMS = 8  # of which an order is worth something


class MeasuredTask(NamedTuple):
    """A task with the measurements of programs on it, by their IDs."""

    name: str
    steps: int
    by_program: dict[int, ProxyEntry]

    def fitness(self, programs: Sequence[int]) -> list[float | None]:
        """Return the fitness of programs, None where training failed."""
        return [self.by_program[one].fitness for one in programs]


class Correlation(NamedTuple):
    """What the order of programs on a proxy says of their order on a larger task, the target.

    `share` are the steps of a training on the proxy over those on the target.
    """

    proxy: str
    target: str
    programs: int
    failed: int
    steps: int
    share: float
    tau: Tau


def measured_tasks(rows: Sequence[ProxyEntry]) -> list[MeasuredTask]:
    """Return the tasks that programs of a search were measured on, those with few steps first."""
    tasks: dict[str, MeasuredTask] = {}
    for row in rows:
        task = tasks.setdefault(row.task, MeasuredTask(row.task, row.steps, {}))
        task.by_program[row.program_id] = row
    return sorted(tasks.values(), key=lambda task: (task.steps, task.name))


def correlations(tasks: Sequence[MeasuredTask]) -> list[Correlation]:
    """Return what each task says of every larger one, by target, the best proxy first.

    Larger is what trains for more steps. Programs that were measured on only one of both tasks are left out; what
    failed on a task is worse there than everything that did not, and as bad as all else that failed.
    """
    found = [_correlation(proxy, target) for target in tasks for proxy in tasks if proxy.steps < target.steps]
    return sorted(found, key=lambda one: (_place(tasks, one.target), -_or_least(one.tau.tau), one.steps))


def _correlation(proxy: MeasuredTask, target: MeasuredTask) -> Correlation:
    programs = sorted(proxy.by_program.keys() & target.by_program.keys())
    of_proxy, of_target = proxy.fitness(programs), target.fitness(programs)
    failed = sum(None in both for both in zip(of_proxy, of_target, strict=True))
    tau = estimate(pairs_of(ranked(of_proxy), ranked(of_target)))
    return Correlation(proxy.name, target.name, len(programs), failed, proxy.steps, proxy.steps / target.steps, tau)


def _place(tasks: Sequence[MeasuredTask], name: str) -> int:
    return [task.name for task in tasks].index(name)


def _or_least(tau: float) -> float:
    return tau if tau == tau else -1.0  # NaN differs from itself


def spread(rows: Sequence[LeaderboardEntry], number: int) -> list[LeaderboardEntry]:
    """Return programs of distinct structures, evenly over the better part of a leaderboard, the best among them.

    Where the better part has too few, they are the best.

    Programs that differ in their constants alone would be much the same once all are tuned.

    Args:
        rows: of the leaderboard, best first.
        number: of programs; fewer if there are no more.
    """
    first: dict[str, LeaderboardEntry] = {}
    for row in rows:
        first.setdefault(structure_hash(row.program), row)
    distinct = list(first.values())
    better = distinct[: max(number, round(len(distinct) * BETTER_PART))]
    if len(better) <= number:
        return better
    return [better[round(place * (len(better) - 1) / max(1, number - 1))] for place in range(number)]
