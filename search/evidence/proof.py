"""The last proof: a finalist beside tuned baselines, on tasks that nothing before it has touched.

What is done is fixed here and is no setting, so that it cannot be chosen by its result. On every locked task all
competitors, the finalist among them, are tuned with the same trials; then they are trained on fresh seeds, which
decide, with other learning rates, for fewer steps, and with one setting for all tasks of a locked set. Each set is
measured apart and has a z of its own.

Of S sets, each opened for n_s finalists so far, that of one finalist is one of n_1 + ... + n_S tests against a
baseline. p = min(1, S n_s P(Z >= z)) shares the chance of a wrong claim evenly between the sets and, within a set,
between its finalists (Bonferroni; Dunn, JASA 1961), which holds however they depend on each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import fmean
from typing import NamedTuple

from programs.liveness import states_per_weight
from programs.program import Program

from proxy_tasks import Task, get_task
from proxy_tasks.locked import LOCKED_SETS, LockedSet
from proxy_tasks.outcome import TorchOptimizer
from proxy_tasks.torch_optimizers import state_per_weight

from search.evidence.step_time import step_times
from search.settings.baselines import BASELINES, TORCH_ADAMW, TRIALS, Competitor, competitor
from search.settings.seeds import PROOF_FRESH_SEEDS as FRESH_SEEDS
from search.settings.seeds import PROOF_TUNING_SEEDS as TUNING_SEEDS
from search.settings.tasks import TaskSeeds
from search.training.service import Candidate, Trainings, TrainingService
from search.training.statistics import Difference, bonferroni, combined, difference, limited
from search.training.tuning import TunedCompetitor, first_trials, trainings_of_tuning, tune

SHORT_SEEDS = FRESH_SEEDS[:5]  # of trainings with fewer steps
SHARES = (0.25, 0.5, 0.75)  # of the steps
FACTORS = tuple(10 ** (quarter / 4) for quarter in range(-4, 5))  # of the tuned learning rate
TOLERANCE = 1.05  # of the lowest loss
REFERENCE = TORCH_ADAMW  # the baseline that the others are measured by

COMPETITORS = (
    "adamw", "torch_adamw", "nadamw", "nesterov", "sgd_momentum", "lion", "signum", "torch_muon",
)  # fmt: skip


class ProofOnTask(NamedTuple):
    """How a competitor fares on a locked task. Losses, where higher is worse.

    `steps_to_adamw`: the share of the task's steps, by schedules that are as long, after which it has the loss of tuned
    AdamW; None if not even all of them will do. `tolerance`: decades of learning rates around the best within 5 % of
    the lowest loss, at most two. `one_setting`: its loss with the setting that suits all tasks of the set best, over
    that of AdamW tuned for this one. None where trainings failed.
    """

    task: Task
    tuned: TunedCompetitor
    fresh: Trainings
    steps_to_adamw: float | None
    tolerance: float | None
    one_setting: float | None = None


class Competition(NamedTuple):
    """A competitor over the tasks of a set. `differences`: what the finalist is ahead of it on each, None where either
    has too few trainings; `z` and `p` over all of them, None for the finalist itself and where one is missing."""

    name: str
    is_finalist: bool
    tasks: list[ProofOnTask]
    differences: list[Difference | None]
    z: float | None
    p: float | None
    state_per_weight: list[float]
    step_time: float

    @property
    def one_setting(self) -> float | None:
        """Geometric mean over the tasks of the set."""
        ratios = [on.one_setting for on in self.tasks if on.one_setting is not None]
        return math.exp(fmean(map(math.log, ratios))) if len(ratios) == len(self.tasks) else None


class ProofOnSet(NamedTuple):
    """What a locked set says: the finalist first, then the baselines. `finalists`: for how many the set was ever
    opened, this one included."""

    locked: LockedSet
    finalists: int
    competitions: list[Competition]


class Cost(NamedTuple):
    """What a proof takes at most, if nothing of it is in the store."""

    trainings: int
    steps: int
    """Training steps of all of them."""


def cost_of_proof(sets: Sequence[LockedSet] = LOCKED_SETS) -> Cost:
    """Return what the proof of one finalist takes, if every training goes well."""
    trainings, steps = 0, 0.0
    for task in (get_task(name) for locked in sets for name in locked.tasks):
        whole = trainings_of_tuning([TaskSeeds(task, TUNING_SEEDS)]) + len(FRESH_SEEDS)
        whole += (len(FACTORS) - 1) * len(TUNING_SEEDS) + len(FRESH_SEEDS)  # these with one setting for all tasks
        trainings += whole + len(SHARES) * len(SHORT_SEEDS)
        steps += task.steps * (whole + len(SHORT_SEEDS) * math.fsum(SHARES))
    competitors = 1 + len(COMPETITORS)
    return Cost(competitors * trainings, round(competitors * steps))


def prove(
    name: str,
    finalist: Program,
    service: TrainingService,
    openings: int,
    say: Callable[[str], None],
    sets: Sequence[LockedSet] = LOCKED_SETS,
) -> Iterator[ProofOnSet]:
    """Measure the finalist and all baselines on one locked set after the other.

    Args:
        name: of the finalist.
        finalist: the program.
        service: that trains.
        openings: finalists that are recorded with the locked sets opened, this one included: p is corrected for them.
        say: told what is going on.
        sets: the locked sets.

    Yields:
        What each set says, in their order, as soon as it is measured.
    """
    competitors = [competitor(name, finalist), *(BASELINES[baseline] for baseline in COMPETITORS)]
    times: list[float] = []
    for locked in sets:
        of_each = _on_set(locked, competitors, service, say)
        times = times or step_times([of_one[0].tuned.program for of_one in of_each])
        yield _proof_on_set(locked, locked.finalists(openings), len(sets), of_each, times)


def _on_set(
    locked: LockedSet, competitors: Sequence[Competitor], service: TrainingService, say: Callable[[str], None]
) -> list[list[ProofOnTask]]:
    """Return, for each competitor, how it fares on each task of a set."""
    columns = []
    for place, task in enumerate(locked.tasks, start=1):
        on = f"task {place} of {len(locked.tasks)} of the {locked.name} locked set"
        say(f"{on}: {len(competitors)} competitors on {task}")
        columns.append(_on_task(get_task(task), competitors, service))
    say(f"one setting for all tasks of the {locked.name} locked set")
    return _with_one_setting(competitors, [list(on) for on in zip(*columns, strict=True)], service)


def _on_task(task: Task, competitors: Sequence[Competitor], service: TrainingService) -> list[ProofOnTask]:
    tuned = tune(competitors, service, [TaskSeeds(task, TUNING_SEEDS)])
    programs = [one.program for one in tuned]
    fresh = [of_one for (of_one,) in service.train(programs, [TaskSeeds(task, FRESH_SEEDS)])]
    shorter = [replace(task, name=f"{task.name} x {share:g}", steps=round(task.steps * share)) for share in SHARES]
    short = service.train(programs, [TaskSeeds(one, SHORT_SEEDS) for one in shorter])
    sweeps = [_sweep(rival, at) for rival, at in zip(competitors, tuned, strict=True)]
    swept = _trained(sweeps, [TaskSeeds(task, TUNING_SEEDS)], service)
    reference = next(of_one for one, of_one in zip(tuned, fresh, strict=True) if one.name == REFERENCE)
    target = _loss(reference, SHORT_SEEDS)
    return [
        ProofOnTask(
            task, one, of_one,
            steps_to(target, [*(_loss(trained) for trained in shares), _loss(of_one, SHORT_SEEDS)]),
            tolerance([_loss(trained) for (trained,) in at_rates]),
        )
        for one, of_one, shares, at_rates in zip(tuned, fresh, short, swept, strict=True)
    ]  # fmt: skip


def _sweep(rival: Competitor, at: TunedCompetitor) -> list[Program | TorchOptimizer]:
    rate, decay = at.best.point
    return [at.program if factor == 1 else rival.make(rate * factor, decay) for factor in FACTORS]


def _trained(
    of_each: Sequence[Sequence[Program | TorchOptimizer | Candidate]],
    tasks: Sequence[TaskSeeds],
    service: TrainingService,
) -> list[list[list[Trainings]]]:
    """Train what belongs to each competitor, all side by side, so that no worker waits for a competitor to end."""
    trained = iter(service.train([program for of_one in of_each for program in of_one], tasks))
    return [[next(trained) for _ in of_one] for of_one in of_each]


def _loss(trainings: Trainings, seeds: Iterable[int] | None = None) -> float:
    """Mean over these seeds, or all; infinite where a training failed."""
    if trainings.failures:
        return math.inf
    of_seeds = trainings.by_seed if seeds is None else {seed: trainings.by_seed[seed] for seed in seeds}
    return -fmean(of_seeds.values())


def steps_to(target: float, losses: Sequence[float]) -> float | None:
    """Return the share of the steps at which a loss is reached, linear between the shares that were trained.

    Args:
        target: the loss.
        losses: after `SHARES` of the steps and after all of them; infinite where training failed.

    Returns:
        The lowest of `SHARES` also where less would do; None where all steps do not.
    """
    ends = [*SHARES, 1.0]
    if not math.isfinite(target):
        return None
    for place, (share, loss) in enumerate(zip(ends, losses, strict=True)):
        if loss <= target:
            before = losses[place - 1] if place else math.inf
            if not math.isfinite(before):
                return share
            last = ends[place - 1]
            return last + (share - last) * (before - target) / (before - loss)
    return None


def tolerance(losses: Sequence[float]) -> float | None:
    """Decades of learning rates around the best of `FACTORS` where the loss is within `TOLERANCE` of the lowest.

    Args:
        losses: for each factor, infinite where training failed; linear in between. Positive.
    """
    best = losses.index(min(losses))
    if not math.isfinite(losses[best]):
        return None
    bound = TOLERANCE * losses[best]
    return _reach(losses[best:], bound) + _reach(losses[best::-1], bound)


def _reach(losses: Sequence[float], bound: float) -> float:
    """Decades from the first until the loss crosses the bound."""
    step = math.log10(FACTORS[1] / FACTORS[0])
    for place, (loss, following) in enumerate(pairwise(losses)):
        if following > bound:
            return step * (place + (bound - loss) / (following - loss))
    return step * (len(losses) - 1)


def _with_one_setting(
    competitors: Sequence[Competitor], of_each: list[list[ProofOnTask]], service: TrainingService
) -> list[list[ProofOnTask]]:
    """Return the results with the one trial, of those that all tasks share, that does best on a seed of tuning."""
    targets = [_loss(on.fresh) for on in next(of_one for of_one in of_each if of_one[0].tuned.name == REFERENCE)]
    tasks = [on.task for on in of_each[0]]
    trials = [[trial.candidate for trial in first_trials(rival, TRIALS, service)] for rival in competitors]
    tried = _trained(trials, [TaskSeeds(task, TUNING_SEEDS[:1]) for task in tasks], service)
    chosen = [_best_on_all(of_one, results) for of_one, results in zip(trials, tried, strict=True)]
    fresh = _trained(chosen, [TaskSeeds(task, FRESH_SEEDS) for task in tasks], service)
    return [
        [
            on._replace(one_setting=_ratio(trained, target))
            for on, trained, target in zip(of_one, at_best[0] if at_best else [None] * len(tasks), targets, strict=True)
        ]
        for of_one, at_best in zip(of_each, fresh, strict=True)
    ]


def _best_on_all(trials: Sequence[Candidate], tried: Sequence[Sequence[Trainings]]) -> list[Candidate]:
    """Return the trial with the lowest geometric mean of losses over the tasks; none if none trains on all tasks."""
    totals = [math.fsum(math.log(_loss(on)) for on in of_one) for of_one in tried]
    best = totals.index(min(totals))
    return [trials[best]] if math.isfinite(totals[best]) else []


def _ratio(trainings: Trainings | None, target: float) -> float | None:
    """Return the loss over the target; None if nothing was trained, or either failed."""
    ratio = math.inf if trainings is None else _loss(trainings) / target
    return ratio if 0 < ratio < math.inf else None


def _proof_on_set(
    locked: LockedSet, finalists: int, sets: int, of_each: Sequence[list[ProofOnTask]], step_times: Sequence[float]
) -> ProofOnSet:
    competitions = [
        _competition(of_one, of_each[0], place == 0, finalists * sets, time)
        for place, (of_one, time) in enumerate(zip(of_each, step_times, strict=True))
    ]
    return ProofOnSet(locked, finalists, competitions)


def _competition(
    of_one: list[ProofOnTask], finalist: list[ProofOnTask], is_finalist: bool, tests: int, step_time: float
) -> Competition:
    differences = [_ahead(ours, theirs) for ours, theirs in zip(finalist, of_one, strict=True)]
    zs = [limited(ahead.z) for ahead in differences if ahead is not None]
    z = combined(zs) if len(zs) == len(of_one) and not is_finalist else None
    state = [_state(on) for on in of_one]
    p = None if z is None else bonferroni(z, tests)
    return Competition(of_one[0].tuned.name, is_finalist, of_one, differences, z, p, state, step_time)


def _ahead(ours: ProofOnTask, theirs: ProofOnTask) -> Difference | None:
    """None where one of the finalist's trainings failed; of its rivals, those that did not count."""
    return None if ours.fresh.failures else difference(ours.fresh.by_seed, theirs.fresh.by_seed)


def _state(on: ProofOnTask) -> float:
    program = on.tuned.program
    return (
        state_per_weight(on.task, program)
        if isinstance(program, TorchOptimizer)
        else states_per_weight(program, [on.task.load()[1].layout])
    )
