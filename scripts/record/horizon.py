"""Measure whether the loss after four times the steps can be predicted from shorter trainings, for ranking programs.

    python -m scripts.record.horizon [TASK ...] [--store horizon.db] [--births 400]

TASK is what is trained for n steps. Locked tasks are refused, since this searches.
Of each task there are about 50 programs: those of the zoo at two settings each, the best and one further of six that
trained well after n steps, and the best that a small search on n steps has found. All are trained with complete
schedules of n/4, n/2, n and 7n/4 steps on some seeds, and of 4n on others. Predictors see the short ones alone; what
counts is Kendall's tau between their order and the real one after 4n. Prints tables in Markdown; what is in the store
is not trained again.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

from programs.program import Program

from proxy_tasks import TASKS, Task
from proxy_tasks.locked import refuse_locked
from proxy_tasks.outcome import CURVE_POINTS

from search.evolution.driver import Driver
from search.results.rank_correlation import Numbers, pairs_of, tau_of
from search.results.results import Results
from search.settings.baselines import BASELINES, is_program
from search.settings.seeds import fresh_seeds, tuning_seeds
from search.settings.settings import Dedup, EvaluatorSettings, Settings
from search.settings.tasks import TaskSeeds
from search.store import Store
from search.training.jobs import Evaluator
from search.training.service import TrainingService
from search.training.session import opened
from search.training.tuning import first_trials

SEEDS = 4
TRIALS, SETTINGS = 16, 6  # points of a tuning, and those of them that a program of the zoo is tried at
EVOLVED = 20
SHARES = (0.25, 0.5, 1.0, 1.75)  # of n; the first three cost as much as the last
HORIZON = 4
FAILED = 100.0  # a loss in place of that of a training that failed, the bound of the tasks


class Measured(NamedTuple):
    """What the trainings of P programs on a task said; losses are infinite where a training failed.

    `short` are losses by share, [P, S]; `curves` mean training losses, [P, S, 20]; `real` the losses after `HORIZON`
    times the steps by seed, [P, seeds].
    """

    task: Task
    short: Numbers
    curves: Numbers
    real: Numbers

    def of(self, chosen: Numbers) -> Measured:
        """Return the same of some programs."""
        return Measured(self.task, self.short[chosen], self.curves[chosen], self.real[chosen])


def lasting(task: Task, share: float) -> Task:
    """Return a task with a share of its steps."""
    return replace(task, name=f"{task.name} x {share:g}", steps=round(task.steps * share))


class Recorder:
    """Chooses programs and trains them, in one store."""

    def __init__(self, store: Store, evaluator: Evaluator, births: int) -> None:
        self._store = store
        self._evaluator = evaluator
        self._births = births
        self._service = TrainingService(store, evaluator, batch_size=64, dedup=Dedup())

    def measure(self, task: Task) -> Measured:
        """Return what is measured on a task."""
        programs = self._programs(task)
        shares = [TaskSeeds(lasting(task, share), tuning_seeds(SEEDS)) for share in SHARES]
        target = TaskSeeds(lasting(task, HORIZON), fresh_seeds(SEEDS))
        found = self._service.train(programs, [*shares, target])
        short = np.array([[np.mean(of.losses(on.seeds)) for of, on in zip(one, shares, strict=False)] for one in found])
        real = np.array([one[-1].losses(target.seeds) for one in found])
        keys = [self._service.candidate(program).key for program in programs]
        return Measured(task, short, np.stack([self._curves(on, keys) for on in shares], axis=1), real)

    def _curves(self, on: TaskSeeds, keys: list[str]) -> Numbers:
        """Return the mean curves of programs, [P, 20], infinite where a training failed."""
        known = self._store.trainings(on.task.fingerprint, keys, on.seeds)
        blank = np.full(CURVE_POINTS, np.inf)
        of_each = [[known[key, on.task.fingerprint, seed].curve for seed in on.seeds] for key in keys]
        whole = [all(len(curve) == CURVE_POINTS for curve in curves) for curves in of_each]
        return np.array([np.mean(c, axis=0) if is_whole else blank for c, is_whole in zip(of_each, whole, strict=True)])

    def _programs(self, task: Task) -> list[Program]:
        chosen = [program for row in BASELINES if is_program(row) for program in self._settings(row, task)]
        evolved = self._evolved(task)
        return list({self._service.candidate(program).key: program for program in [*chosen, *evolved]}.values())

    def _settings(self, name: str, task: Task) -> list[Program]:
        """Return a program of the zoo at its best setting and at another that trained well."""
        trials = first_trials(BASELINES[name], TRIALS, self._service)[:SETTINGS]
        candidates = [trial.candidate for trial in trials]
        scores = self._service.evaluate(candidates, [TaskSeeds(task, tuning_seeds(1))])
        ranked = sorted(
            (c for c in candidates if scores[c.key].fitness is not None), key=lambda c: -(scores[c.key].fitness or 0)
        )
        return [c.program for c in ranked[:2] if isinstance(c.program, Program)]

    def _evolved(self, task: Task) -> list[Program]:
        """Return the best of a small search."""
        settings = Settings.model_validate(
            {
                "name": f"horizon-{task.name}", "language": "extended", "budget": {"programs": self._births},
                "strategy": {"start": "torch_adamw"}, "baselines": ["torch_adamw"],
                "tasks": [{"name": task.name, "seeds": {"first": 1, "most": 4}}],
                "evaluator": {"batch": 32, "lookahead": 2},
            }
        )  # fmt: skip
        Driver(settings, self._store, self._evaluator).run()
        best = Results(self._store).leaderboard(settings.name, 4 * EVOLVED, pareto=False)
        return [row.program for row in best[::4]]


# --- predictors: from what is measured, the loss after 4n, [P], or anything of the same order -------------------------


def offset_power_law(losses: Numbers, times: int = 2) -> Numbers:
    """Return L0 + A n^-a through the losses after n/4, n/2 and n steps, [P, 3], `times` doublings later.

    Gains of successive doublings have one ratio, 2^-a. It is kept within 0 and 1, and there are no losses that rise.
    """
    losses = np.nan_to_num(losses, posinf=FAILED)
    first, second = losses[:, 0] - losses[:, 1], np.maximum(0, losses[:, 1] - losses[:, 2])
    ratio = np.where(first > 0, np.clip(second / np.where(first > 0, first, 1), 0, 1), 1)
    return losses[:, 2] - second * sum(ratio**power for power in range(1, times + 1))


def last_slope(losses: Numbers, doublings: float) -> Numbers:
    """Return the loss after n times that over the last doubling, to the power of `doublings`; [P, 2] or more."""
    losses = np.nan_to_num(losses, posinf=FAILED)
    return losses[:, -1] * np.minimum(1, losses[:, -1] / losses[:, -2]) ** doublings


class Schedule(NamedTuple):
    """The area under a schedule until each twentieth of the steps, [20], and that of its decay; the last is the end."""

    forward: Numbers
    annealed: Numbers


def schedule_of(task: Task, memory: float) -> Schedule:
    """Return S1 and S2 of arXiv 2408.11029: sums over steps of the rate, and of its decay remembered with `memory`."""
    rates = task.learning_rates().astype(float)
    momentum, decays = 0.0, []
    for before, now in zip([rates[0], *rates], rates, strict=False):
        momentum = memory * momentum + max(0.0, before - now)
        decays.append(momentum)
    ends = np.round(np.arange(1, CURVE_POINTS + 1) * task.steps / CURVE_POINTS).astype(int) - 1
    return Schedule(np.cumsum(rates)[ends], np.cumsum(decays)[ends])


def annealing_law(task: Task, curves: Numbers) -> Numbers:
    """Return how much lower the loss is after 4n than after n, [P], by L0 + A S1^-a - C S2 (arXiv 2408.11029).

    Fitted to the curves of n/4, n/2 and n steps, [P, 3, 20], without the first fifth, with A, C and L0 not negative and
    the best of some exponents and memories.
    """
    lengths = [lasting(task, share) for share in (*SHARES[:3], HORIZON)]
    return np.array([_annealing_gain(lengths, curve) if np.isfinite(curve).all() else 0.0 for curve in curves])


def _annealing_gain(lengths: Sequence[Task], curves: Numbers) -> float:
    best = (np.inf, 0.0)
    losses = curves[:, CURVE_POINTS // 5 :].ravel()
    for memory in (0.9, 0.97, 0.99, 0.999):
        schedules = [schedule_of(task, memory) for task in lengths]
        forward, annealed = (np.concatenate([one[CURVE_POINTS // 5 :] for one in kind]) for kind in
                             zip(*schedules[:3], strict=True))  # fmt: skip
        for power in np.linspace(0.1, 2, 20):
            columns = np.stack([np.ones_like(losses), forward**-power, -annealed], axis=1)
            scale = np.abs(columns).max(axis=0)
            weights, residual = nnls(columns / scale, losses)
            ends = [np.array([1.0, s.forward[-1] ** -power, -s.annealed[-1]]) @ (weights / scale) for s in
                    schedules[2:]]  # fmt: skip
            best = min(best, (residual, float(ends[0] - ends[1])))
    return max(0.0, best[1])


def log_losses(measured: Measured) -> Numbers:
    """Return the logarithms of the losses after n/4, n/2 and n steps with a column of ones, [P, 4], all finite."""
    logs = np.log(np.nan_to_num(measured.short[:, :3], posinf=FAILED))
    return np.column_stack([logs, np.ones(len(logs))])


def fitted(rest: Sequence[Measured]) -> Numbers:
    """Return the weights, [4], of `log_losses` that predict the logarithm of the real loss best."""
    columns = [log_losses(one) for one in rest]
    real = [np.mean(one.real, axis=1) for one in rest]
    centred = [(c[known] - c[known].mean(axis=0), np.log(r[known]) - np.log(r[known]).mean()) for c, r in
               zip(columns, real, strict=True) for known in [np.isfinite(r)]]  # fmt: skip
    weights, *_ = np.linalg.lstsq(*(np.concatenate(part) for part in zip(*centred, strict=True)), rcond=None)
    return weights


def _from_other_programs(measured: Measured) -> Numbers:
    every = np.arange(len(measured.real))
    return np.array([log_losses(measured)[p] @ fitted([measured.of(every[every != p])]) for p in every])


PREDICTORS: dict[str, Callable[[Measured], Numbers]] = {
    "n steps": lambda m: m.short[:, 2],
    "n/2 steps": lambda m: m.short[:, 1],
    "7n/4 steps, at the same cost": lambda m: m.short[:, 3],
    "power law with offset": lambda m: offset_power_law(m.short[:, :3]),
    "last slope": lambda m: last_slope(m.short[:, :3], 2),
    "a quarter of the last slope": lambda m: last_slope(m.short[:, :3], 0.5),
    "annealing law": lambda m: m.short[:, 2] - annealing_law(m.task, m.curves[:, :3]),
    "weights fitted to other programs": _from_other_programs,
}


# --- what is printed -------------------------------------------------------------------------------------------------


def taus(predicted: Numbers, real: Numbers, counts: Numbers) -> Numbers:
    """Return Kendall's tau of lower losses first, first of all programs, then of samples of them."""
    worst = [np.where(np.isfinite(losses), -losses, -np.inf) for losses in (predicted, real)]
    pairs = pairs_of(*worst)
    return np.concatenate([tau_of(pairs), tau_of(pairs, counts)])


def repeatability(measured: Measured) -> float:
    """Return tau between the orders that two halves of the seeds give after 4n steps: no predictor can reach 1."""
    halves = (-measured.real[:, half::2].mean(axis=1) for half in (0, 1))
    return float(tau_of(pairs_of(*halves))[0])


def row(name: str, predicted: Sequence[Numbers], tasks: Sequence[Measured]) -> str:
    """Return a predictor with tau on each task, and what it gains on the trainings of n steps, with 95 % intervals."""
    cells = []
    for losses, one in zip(predicted, tasks, strict=True):
        programs = len(one.real)
        counts = np.random.default_rng(0).multinomial(programs, np.full(programs, 1 / programs), 1000).astype(float)
        real = np.mean(one.real, axis=1)
        tau = taus(losses, real, counts)
        gain = tau - taus(one.short[:, 2], real, counts)
        low, high = np.quantile(gain[1:], (0.025, 0.975))
        cells.append(f"{tau[0]:.2f}" if name == "n steps" else f"{tau[0]:.2f} ({low:+.2f} to {high:+.2f})")
    return f"| {name} | {' | '.join(cells)} |"


def show(tasks: Sequence[Measured]) -> None:
    """Print all predictors on all tasks."""
    print(f"\n| | {' | '.join(f'{one.task.name}, {len(one.real)} programs' for one in tasks)} |")
    print(f"|---|{'---|' * len(tasks)}")
    for name, predict in PREDICTORS.items():
        print(row(name, [predict(one) for one in tasks], tasks), flush=True)
    if len(tasks) > 1:
        others = [log_losses(one) @ fitted([rest for rest in tasks if rest is not one]) for one in tasks]
        print(row("weights fitted to other tasks", others, tasks))
    print(f"| two seeds after 4n steps against two others | {' | '.join(f'{repeatability(o):.2f}' for o in tasks)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = ["digits_mlp_short", "digits_autoencoder_short", "mnist1d_mlp_short"]
    parser.add_argument("tasks", nargs="*", metavar="TASK", default=default)
    parser.add_argument("--store", default="horizon.db")
    parser.add_argument("--births", type=int, default=400)
    options = parser.parse_args()
    for name in options.tasks:
        refuse_locked(name)
    with opened(options.store, EvaluatorSettings(kind="inline")) as (store, evaluator):
        recorder = Recorder(store, evaluator, options.births)
        tasks = [recorder.measure(TASKS[name]) for name in options.tasks]
    print("all programs")
    show(tasks)
    print("\nthe better half after n steps")
    show([one.of(np.argsort(one.short[:, 2])[: len(one.real) // 2]) for one in tasks])


if __name__ == "__main__":
    main()
